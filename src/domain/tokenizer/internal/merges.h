// Byte-pair merging: characters become symbols, and the best pair of neighbours becomes one symbol
// until no rule fits. Knows characters, symbols and ranks. Must not know files, kinds of tokens,
// spaces or bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "foundation/ids.h"

#include "domain/tokenizer/internal/flat_map.h"

namespace pensieve::tokenizer {

// The length of the UTF-8 character at the front of `text`, or 1 where it is not well-formed.
// REQUIRES: text is not empty.
std::size_t character_length(std::string_view text);

// A piece of the vocabulary that text may become.
struct MergeablePiece {
  TokenId id = kNoToken;
  std::string_view text;
};

class Merges {
 public:
  // A symbol is a token id, or, from `n_tokens` on, a character that only occurs inside longer
  // pieces and is no token itself.
  using Symbol = std::int32_t;

  // `pieces` are distinct, not empty, with ids below `n_tokens`; their texts outlive the object. No
  // rule yet.
  Merges(std::span<const MergeablePiece> pieces, int n_tokens);

  // Every way to put a piece together from two pieces or characters becomes a rule; `ranks[i]` is
  // the rank of the rules that give `pieces[i]`. Lower ranks go first; equal ranks from left to
  // right. REQUIRES: the constructor's pieces.
  void add_rules_by_piece(std::span<const MergeablePiece> pieces,
                          std::span<const std::uint32_t> ranks);

  // left + right -> result at `rank`. The first of equal pairs stays.
  void add_rule(TokenId left, TokenId right, TokenId result, std::uint32_t rank);

  // The symbol of one character, or -1 if it occurs in no piece.
  Symbol symbol_of(std::string_view character) const {
    const auto at = character_index(character);
    return at == FlatMap::kNone ? -1 : char_symbols_[at];
  }
  // The text of a symbol that is no token. REQUIRES: symbol >= n_tokens.
  std::string_view character_of(Symbol symbol) const {
    return char_texts_[static_cast<std::size_t>(symbol - n_tokens_)];
  }

  class Run;

 private:
  struct Rule {
    Symbol left, right, result;
    std::uint32_t rank;
  };
  static std::uint64_t pair(std::uint32_t a, std::uint32_t b) {
    return (std::uint64_t{a} << 32) | b;
  }
  static std::uint64_t key_of(std::string_view character);
  std::uint32_t character_index(std::string_view character) const {
    const auto first = static_cast<std::uint8_t>(character[0]);
    return character.size() == 1 && first < 128 ? ascii_[first]
                                                : characters_.find(key_of(character));
  }
  std::uint32_t rule_of(Symbol left, Symbol right) const {
    return rule_index_.find(
        pair(static_cast<std::uint32_t>(left), static_cast<std::uint32_t>(right)));
  }

  int n_tokens_;
  std::array<std::uint32_t, 128> ascii_;
  FlatMap characters_;                        // key_of(character) -> character index
  std::vector<Symbol> char_symbols_;          // character index -> symbol
  std::vector<std::string_view> char_texts_;  // symbol - n_tokens -> text inside some piece
  FlatMap neighbours_;                        // pairs of character indices side by side in a piece
  std::vector<Rule> rules_;
  FlatMap rule_index_;  // (left, right) -> index into rules_

  friend class Run;
};

// Merges the characters of one text. A text is cut wherever two characters stand side by side that
// no piece holds side by side: no rule can reach across, so each part is merged alone. Time
// O(n log n) in the longest part, memory 24 bytes for each of its characters, constant stack.
class Merges::Run {
 public:
  explicit Run(const Merges& merges) : merges_(merges) {}

  // Takes the next character. False: it occurs in no piece; the part before it is complete (see
  // finish_part()) and the character itself is not taken. `emit(symbol)` is called for every symbol
  // that became final.
  template <typename Emit>
  bool push(std::string_view character, const Emit& emit) {
    const std::uint32_t index = merges_.character_index(character);
    if (index == FlatMap::kNone) {
      finish_part(emit);
      return false;
    }
    if (!part_.empty() && merges_.neighbours_.find(pair(last_, index)) == FlatMap::kNone) {
      finish_part(emit);
    }
    part_.push_back({merges_.char_symbols_[index], kEnd, kEnd});
    last_ = index;
    return true;
  }

  // Ends the part that is being collected and emits its symbols.
  template <typename Emit>
  void finish_part(const Emit& emit) {
    if (part_.empty()) return;
    if (part_.size() > 1) merge();
    for (std::uint32_t at = 0; at != kEnd; at = part_[at].next) emit(part_[at].symbol);
    part_.clear();
  }

 private:
  static constexpr std::uint32_t kEnd = UINT32_MAX;
  struct Node {
    Symbol symbol;             // -1: merged into its left neighbour
    std::uint32_t prev, next;  // kEnd at the ends
  };
  struct Candidate {
    std::uint32_t rank, left, rule;
  };
  // Order of a heap whose front is the lowest rank, leftmost first.
  static bool later(const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
  }
  void merge();
  // True if a rule joins the symbol at `left` with its right neighbour.
  bool candidate(std::uint32_t left, Candidate* out) const;

  const Merges& merges_;
  std::vector<Node> part_;
  std::vector<Candidate> heap_;
  std::uint32_t last_ = 0;  // character index of part_.back()
};

}  // namespace pensieve::tokenizer
