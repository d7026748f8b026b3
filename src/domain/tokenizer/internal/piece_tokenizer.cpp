#include "domain/tokenizer/internal/piece_tokenizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>

#include "foundation/check.h"
#include "foundation/text.h"

namespace pensieve::tokenizer {
namespace {

Error bad(std::string message) {
  return Error{.kind = ErrorKind::BadFile, .message = "tokenizer: " + std::move(message)};
}

std::string token_name(std::size_t id, std::string_view piece) {
  return "token " + std::to_string(id) + " (\"" + printable(piece, 40) + "\")";
}

constexpr auto kAllBytes = [] {
  std::array<char, 256> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i);
  return bytes;
}();

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

class PieceTokenizer final : public Tokenizer {
 public:
  PieceTokenizer(const Pieces& source, const std::array<TokenId, 256>& byte_tokens)
      : kinds_(source.kinds),
        byte_tokens_(byte_tokens),
        bos_(source.bos),
        unknown_(source.unknown),
        eos_(source.eos),
        add_bos_(source.add_bos),
        add_space_prefix_(source.add_space_prefix),
        escape_spaces_(source.escape_spaces) {
    copy_texts(source);
    for (std::size_t i = 0; i < kinds_.size(); ++i) {
      const auto id = static_cast<TokenId>(i);
      if (kinds_[i] == TokenKind::Control || kinds_[i] == TokenKind::UserDefined) {
        controls_.emplace(pieces_[i], id);
      }
    }
    // Of two pieces with the same text the first counts.
    std::vector<MergeablePiece> mergeable;
    std::vector<TokenId> first(kinds_.size(), kNoToken);
    std::unordered_map<std::string_view, TokenId> seen;
    for (std::size_t i = 0; i < kinds_.size(); ++i) {
      if (kinds_[i] != TokenKind::Normal || pieces_[i].empty()) continue;
      const auto id = static_cast<TokenId>(i);
      const auto [at, is_new] = seen.emplace(pieces_[i], id);
      first[i] = at->second;
      if (!is_new) continue;
      mergeable.push_back({.id = id, .text = pieces_[i]});
      longest_piece_ = std::max(longest_piece_, pieces_[i].size());
    }
    merges_.emplace(mergeable, size());
    if (source.by_score) {
      merges_->add_rules_by_piece(mergeable, ranks_of(mergeable, source.scores));
    } else {
      add_rules(source.rules, first);
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

  std::optional<TokenId> control(std::string_view name) const override {
    const auto at = controls_.find(name);
    if (at == controls_.end()) return std::nullopt;
    return at->second;
  }

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
  bool add_space_prefix() const override { return add_space_prefix_; }
  std::span<const TokenId> eos() const override { return eos_; }
  std::size_t longest_piece() const override { return longest_piece_; }

 private:
  bool known(TokenId token) const { return token >= 0 && token < size(); }

  void copy_texts(const Pieces& source) {
    std::size_t total = 0;
    for (const auto token : source.tokens) total += token.size();
    text_.reserve(total);
    pieces_.reserve(source.tokens.size());
    bytes_.reserve(source.tokens.size());
    for (std::size_t i = 0; i < source.tokens.size(); ++i) {
      const std::size_t at = text_.size();
      text_ += source.tokens[i];
      const std::string_view piece = std::string_view(text_).substr(at);
      pieces_.push_back(piece);
      bytes_.push_back(bytes_of(piece, kinds_[i]));
    }
  }

  std::string_view bytes_of(std::string_view piece, TokenKind kind) {
    switch (kind) {
      case TokenKind::Control:
      case TokenKind::Unused:
      case TokenKind::Unknown:
        return {};
      case TokenKind::Byte:
        return {&kAllBytes[*byte_of_piece(piece)], 1};
      case TokenKind::Normal:
      case TokenKind::UserDefined:
        break;
    }
    if (!escape_spaces_ || piece.find(kSpaceMark) == std::string_view::npos) return piece;
    return unescaped_.emplace_back(unescape_spaces(piece));
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

  // `first[id]`: the token that stands for all of the same text, kNoToken if text must not become
  // it: such a rule is left out, so that no merge ever yields a control, byte or unused token.
  void add_rules(std::span<const MergeRule> rules, std::span<const TokenId> first) {
    const auto usable = [&](TokenId id) { return first[static_cast<std::size_t>(id)]; };
    for (std::size_t i = 0; i < rules.size(); ++i) {
      const TokenId left = usable(rules[i].left), right = usable(rules[i].right);
      const TokenId result = usable(rules[i].result);
      if (left == kNoToken || right == kNoToken || result == kNoToken) continue;
      merges_->add_rule(left, right, result, static_cast<std::uint32_t>(i));
    }
  }

  std::string text_;                   // every piece, one behind the other
  std::deque<std::string> unescaped_;  // bytes of pieces with U+2581 in them; addresses stay
  std::vector<std::string_view> pieces_, bytes_;
  std::vector<TokenKind> kinds_;
  std::array<TokenId, 256> byte_tokens_;  // all kNoToken or none
  std::unordered_map<std::string_view, TokenId> controls_;
  std::optional<Merges> merges_;
  TokenId bos_, unknown_;
  std::vector<TokenId> eos_;
  bool add_bos_, add_space_prefix_, escape_spaces_;
  std::size_t longest_piece_ = 1;
};

Result<std::array<TokenId, 256>> find_byte_tokens(const Pieces& pieces) {
  std::array<TokenId, 256> tokens;
  tokens.fill(kNoToken);
  int n_found = 0;
  for (std::size_t i = 0; i < pieces.tokens.size(); ++i) {
    if (pieces.kinds[i] != TokenKind::Byte) continue;
    const auto byte = byte_of_piece(pieces.tokens[i]);
    if (!byte) return bad(token_name(i, pieces.tokens[i]) + " is a byte token, not <0x00>…<0xFF>");
    if (tokens[*byte] != kNoToken) continue;
    tokens[*byte] = static_cast<TokenId>(i);
    ++n_found;
  }
  if (n_found != 0 && n_found != 256) {
    return bad("only " + std::to_string(n_found) + " of 256 byte tokens are there");
  }
  // Text becomes the unknown token then, so it must be one.
  if (n_found == 0 &&
      (pieces.unknown == kNoToken ||
       pieces.kinds[static_cast<std::size_t>(pieces.unknown)] != TokenKind::Unknown)) {
    return bad("neither byte tokens nor an unknown token for characters without a piece");
  }
  return tokens;
}

Result<void> check(const Pieces& pieces) {
  const std::size_t n = pieces.tokens.size();
  if (n == 0) return bad("the vocabulary is empty");
  if (n > kMaxTokens) return bad("the vocabulary has " + std::to_string(n) + " tokens, too many");
  if (pieces.kinds.size() != n) {
    return bad(std::to_string(n) + " tokens but " + std::to_string(pieces.kinds.size()) + " kinds");
  }
  if (pieces.by_score && pieces.scores.size() != n) {
    return bad(std::to_string(n) + " tokens but " + std::to_string(pieces.scores.size()) +
               " scores");
  }
  const auto out_of_range = [&](const char* what, TokenId id) {
    return bad(std::string(what) + " is token " + std::to_string(id) + " of " + std::to_string(n));
  };
  const auto in_range = [&](TokenId id) { return id >= 0 && static_cast<std::size_t>(id) < n; };
  if (pieces.bos != kNoToken && !in_range(pieces.bos)) return out_of_range("bos", pieces.bos);
  if (pieces.unknown != kNoToken && !in_range(pieces.unknown)) {
    return out_of_range("unknown", pieces.unknown);
  }
  for (const TokenId id : pieces.eos) {
    if (!in_range(id)) return out_of_range("eos", id);
  }
  for (std::size_t i = 0; i < n; ++i) {
    if (pieces.tokens[i].size() > kMaxPieceBytes) {
      return bad(token_name(i, pieces.tokens[i]) + " is " +
                 std::to_string(pieces.tokens[i].size()) + " bytes long, more than " +
                 std::to_string(kMaxPieceBytes));
    }
    if (pieces.by_score && !std::isfinite(pieces.scores[i])) {
      return bad("the score of " + token_name(i, pieces.tokens[i]) + " is not a finite number");
    }
  }
  for (const MergeRule& rule : pieces.rules) {
    CHECK(in_range(rule.left) && in_range(rule.right) && in_range(rule.result));
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

Result<std::unique_ptr<Tokenizer>> make_piece_tokenizer(const Pieces& pieces) {
  PENSIEVE_TRY(check(pieces));
  PENSIEVE_TRY(const auto byte_tokens, find_byte_tokens(pieces));
  return std::unique_ptr<Tokenizer>(std::make_unique<PieceTokenizer>(pieces, byte_tokens));
}

}  // namespace pensieve::tokenizer
