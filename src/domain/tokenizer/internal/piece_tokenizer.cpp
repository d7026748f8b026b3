#include "domain/tokenizer/internal/piece_tokenizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <utility>

#include "foundation/check.h"

namespace pensieve::tokenizer {
namespace {

std::string unescape_spaces(std::string_view piece) {
  std::string out;
  for (std::size_t at = 0; at < piece.size();) {
    if (piece.substr(at).starts_with(kSpaceMark)) {
      out += ' ';
      at += kSpaceMark.size();
    } else {
      out += piece[at++];
    }
  }
  return out;
}

class PieceTokenizer final : public StoredVocabulary {
 public:
  PieceTokenizer(const SentencePieces& source, const std::array<TokenId, 256>& byte_tokens)
      : StoredVocabulary(source),
        byte_tokens_(byte_tokens),
        unknown_(source.unknown),
        add_space_prefix_(source.add_space_prefix),
        escape_spaces_(source.escape_spaces) {
    for (TokenId id = 0; id < size(); ++id) set_bytes_of(id);
    const Mergeable usable = mergeable();
    for (const auto& piece : usable.pieces) {
      longest_piece_ = std::max(longest_piece_, piece.text.size());
    }
    merges_.emplace(usable.pieces, size());
    if (source.by_score) {
      merges_->add_rules_by_piece(usable.pieces, ranks_of(usable.pieces, source.scores));
    } else {
      add_rules(source.rules, usable, *merges_);
    }
  }

  void encode(std::string_view text, bool at_start, std::vector<TokenId>& out) const override {
    if (text.empty()) return;
    CHECK(text.size() < UINT32_MAX);
    out.reserve(out.size() + text.size() / 3);
    bool after_unknown = false;
    const auto emit_bytes = [&](std::string_view bytes) {
      if (byte_tokens_[0] == kNoToken) {
        // Unknown characters in a row are one unknown token, as sentencepiece has it.
        if (!after_unknown) out.push_back(unknown_);
        after_unknown = true;
        return;
      }
      for (const char c : bytes) out.push_back(byte_tokens_[static_cast<std::uint8_t>(c)]);
    };
    const auto emit = [&](Merges::Symbol symbol) {
      if (symbol >= size()) return emit_bytes(merges_->character_of(symbol));
      after_unknown = false;
      out.push_back(symbol);
    };
    Merges::Run run(*merges_);
    const auto push = [&](std::string_view character) {
      if (!run.push(character, emit)) emit_bytes(character);
    };
    if (at_start && add_space_prefix_) push(kSpaceMark);
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = character_length(text.substr(at));
      const std::string_view character = text.substr(at, length);
      push(escape_spaces_ && character[0] == ' ' ? kSpaceMark : character);
      at += length;
    }
    run.finish_part(emit);
  }

  bool add_space_prefix() const override { return add_space_prefix_; }
  std::size_t longest_piece() const override { return longest_piece_; }

 private:
  void set_bytes_of(TokenId id) {
    if (kind(id) == TokenKind::Byte) {
      const auto byte = static_cast<char>(*byte_of_piece(piece(id)));
      return set_bytes(id, {&byte, 1});
    }
    if (!escape_spaces_ || bytes(id).find(kSpaceMark) == std::string_view::npos) return;
    set_bytes(id, unescape_spaces(piece(id)));
  }

  static std::vector<std::uint32_t> ranks_of(std::span<const MergeablePiece> pieces,
                                             std::span<const float> scores) {
    std::vector<float> distinct;
    distinct.reserve(pieces.size());
    for (const auto& piece : pieces) distinct.push_back(scores[static_cast<std::size_t>(piece.id)]);
    std::sort(distinct.begin(), distinct.end(), std::greater<>());
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    std::vector<std::uint32_t> ranks;
    ranks.reserve(pieces.size());
    for (const auto& piece : pieces) {
      const float score = scores[static_cast<std::size_t>(piece.id)];
      const auto at = std::lower_bound(distinct.begin(), distinct.end(), score, std::greater<>());
      ranks.push_back(static_cast<std::uint32_t>(at - distinct.begin()));
    }
    return ranks;
  }

  std::array<TokenId, 256> byte_tokens_;  // all kNoToken or none
  std::optional<Merges> merges_;
  TokenId unknown_;
  bool add_space_prefix_, escape_spaces_;
  std::size_t longest_piece_ = 1;
};

Result<std::array<TokenId, 256>> find_byte_tokens(const SentencePieces& pieces) {
  std::array<TokenId, 256> tokens;
  tokens.fill(kNoToken);
  int n_found = 0;
  for (std::size_t i = 0; i < pieces.tokens.size(); ++i) {
    if (pieces.kinds[i] != TokenKind::Byte) continue;
    const auto byte = byte_of_piece(pieces.tokens[i]);
    if (!byte)
      return bad_vocabulary(token_name(i, pieces.tokens[i]) +
                            " is a byte token, not <0x00>…<0xFF>");
    if (tokens[*byte] != kNoToken) continue;
    tokens[*byte] = static_cast<TokenId>(i);
    ++n_found;
  }
  if (n_found != 0 && n_found != 256) {
    return bad_vocabulary("only " + std::to_string(n_found) + " of 256 byte tokens are there");
  }
  // Text becomes the unknown token then, so it must be one.
  if (n_found == 0 &&
      (pieces.unknown == kNoToken ||
       pieces.kinds[static_cast<std::size_t>(pieces.unknown)] != TokenKind::Unknown)) {
    return bad_vocabulary(
        "neither byte tokens nor an unknown token for characters without a piece");
  }
  return tokens;
}

Result<void> check_scores(const SentencePieces& pieces) {
  if (!pieces.by_score) return {};
  const std::size_t n = pieces.tokens.size();
  if (pieces.scores.size() != n) {
    return bad_vocabulary(std::to_string(n) + " tokens but " +
                          std::to_string(pieces.scores.size()) + " scores");
  }
  for (std::size_t i = 0; i < n; ++i) {
    if (std::isfinite(pieces.scores[i])) continue;
    return bad_vocabulary("the score of " + token_name(i, pieces.tokens[i]) +
                          " is not a finite number");
  }
  return {};
}

}  // namespace

std::optional<std::uint8_t> byte_of_piece(std::string_view piece) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return std::nullopt;
  const int high = digit(piece[3]), low = digit(piece[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<std::uint8_t>(high * 16 + low);
}

Result<std::unique_ptr<Tokenizer>> make_piece_tokenizer(const SentencePieces& pieces) {
  PENSIEVE_TRY(check_pieces(pieces));
  PENSIEVE_TRY(check_scores(pieces));
  PENSIEVE_TRY(const auto byte_tokens, find_byte_tokens(pieces));
  return std::unique_ptr<Tokenizer>(std::make_unique<PieceTokenizer>(pieces, byte_tokens));
}

}  // namespace pensieve::tokenizer
