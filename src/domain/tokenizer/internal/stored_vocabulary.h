// What every kind of tokenizer keeps of its vocabulary: texts, bytes, kinds, the tokens with a
// meaning of their own, and the calls that only look them up. How text becomes tokens is the
// business of the classes below it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "foundation/result.h"

#include "domain/tokenizer/internal/merges.h"
#include "domain/tokenizer/tokenizer.h"

namespace pensieve::tokenizer {

// The longest piece that is accepted. Real vocabularies stop at 256 bytes; finding the ways to cut
// a piece in two costs the square of its length.
inline constexpr std::size_t kMaxPieceBytes = 1024;
inline constexpr std::size_t kMaxTokens = std::size_t{1} << 22;

// left + right -> result, ids of pieces.
struct MergeRule {
  TokenId left, right, result;
};

struct Pieces {
  std::vector<std::string_view> tokens;
  std::vector<TokenKind> kinds;
  TokenId bos = kNoToken, unknown = kNoToken;
  std::vector<TokenId> eos;
  bool add_bos = true;
  std::vector<MergeRule> rules;  // an earlier rule merges first
};

// Errors: BadFile where the vocabulary is empty or too large, lengths differ, an id is out of range
// or a piece too long. REQUIRES: the ids in `rules` are in range.
Result<void> check_pieces(const Pieces& pieces);

// Makes a token one that text never becomes: the one that begins a text, and those that end an
// answer. The unknown token stays what it is. No effect where the vocabulary has no such id.
void make_control(Pieces& pieces, TokenId id);

// "token 5 ("abc")", for a sentence.
std::string token_name(std::size_t id, std::string_view piece);
// "tokenizer: …", of kind BadFile.
Error bad_vocabulary(std::string message);

class StoredVocabulary : public Tokenizer {
 public:
  std::optional<TokenId> control(std::string_view name) const override;
  std::string_view bytes(TokenId token) const override {
    return known(token) ? bytes_[static_cast<std::size_t>(token)] : std::string_view();
  }
  TokenKind kind(TokenId token) const override {
    return known(token) ? kinds_[static_cast<std::size_t>(token)] : TokenKind::Unused;
  }
  std::string_view piece(TokenId token) const override {
    return known(token) ? pieces_[static_cast<std::size_t>(token)] : std::string_view();
  }
  int size() const override { return static_cast<int>(kinds_.size()); }
  TokenId bos() const override { return bos_; }
  bool add_bos() const override { return add_bos_; }
  std::span<const TokenId> eos() const override { return eos_; }

 protected:
  // Copies what it keeps. Every piece stands for its own text, control, unused and unknown tokens
  // for nothing. REQUIRES: check_pieces().
  explicit StoredVocabulary(const Pieces& source);

  // Makes the token stand for `bytes`, which are copied. REQUIRES: at most as many as its piece
  // has; once for each token.
  void set_bytes(TokenId token, std::string_view bytes);

  // The pieces that text may become: Normal, not empty, and of two with the same text the first.
  struct Mergeable {
    std::vector<MergeablePiece> pieces;
    std::vector<TokenId> first;  // by id: the token that stands for all of its text, or kNoToken
  };
  Mergeable mergeable() const;

  // Adds the rules in order of rank. A rule about a piece that text must not become is left out, so
  // that no merge ever yields a control, byte or unused token.
  static void add_rules(std::span<const MergeRule> rules, const Mergeable& usable, Merges& merges);

 private:
  bool known(TokenId token) const { return token >= 0 && token < size(); }

  std::string text_;         // every piece, one behind the other
  std::string other_bytes_;  // where they are not the piece's text; never grows beyond its capacity
  std::vector<std::string_view> pieces_, bytes_;
  std::vector<TokenKind> kinds_;
  std::unordered_map<std::string_view, TokenId> controls_;
  TokenId bos_;
  std::vector<TokenId> eos_;
  bool add_bos_;
};

}  // namespace pensieve::tokenizer
