#include "domain/tokenizer/internal/stored_vocabulary.h"

#include <utility>

#include "foundation/check.h"
#include "foundation/text.h"

namespace pensieve::tokenizer {

Error bad_vocabulary(std::string message) {
  return Error{.kind = ErrorKind::BadFile, .message = "tokenizer: " + std::move(message)};
}

std::string token_name(std::size_t id, std::string_view piece) {
  return "token " + std::to_string(id) + " (\"" + printable(piece, 40) + "\")";
}

Result<void> check_pieces(const Pieces& pieces) {
  const std::size_t n = pieces.tokens.size();
  if (n == 0) return bad_vocabulary("the vocabulary is empty");
  if (n > kMaxTokens) {
    return bad_vocabulary("the vocabulary has " + std::to_string(n) + " tokens, too many");
  }
  if (pieces.kinds.size() != n) {
    return bad_vocabulary(std::to_string(n) + " tokens but " + std::to_string(pieces.kinds.size()) +
                          " kinds");
  }
  const auto out_of_range = [&](const char* what, TokenId id) {
    return bad_vocabulary(std::string(what) + " is token " + std::to_string(id) + " of " +
                          std::to_string(n));
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
      return bad_vocabulary(token_name(i, pieces.tokens[i]) + " is " +
                            std::to_string(pieces.tokens[i].size()) + " bytes long, more than " +
                            std::to_string(kMaxPieceBytes));
    }
  }
  for (const MergeRule& rule : pieces.rules) {
    CHECK(in_range(rule.left) && in_range(rule.right) && in_range(rule.result));
  }
  return {};
}

void make_control(Pieces& pieces, TokenId id) {
  if (id < 0 || static_cast<std::size_t>(id) >= pieces.kinds.size()) return;
  TokenKind& kind = pieces.kinds[static_cast<std::size_t>(id)];
  if (kind != TokenKind::Unknown) kind = TokenKind::Control;
}

StoredVocabulary::StoredVocabulary(const Pieces& source)
    : kinds_(source.kinds), bos_(source.bos), eos_(source.eos), add_bos_(source.add_bos) {
  std::size_t total = 0;
  for (const auto token : source.tokens) total += token.size();
  text_.reserve(total);
  other_bytes_.reserve(total);
  pieces_.reserve(source.tokens.size());
  bytes_.reserve(source.tokens.size());
  for (std::size_t i = 0; i < source.tokens.size(); ++i) {
    const std::size_t at = text_.size();
    text_ += source.tokens[i];
    const std::string_view piece = std::string_view(text_).substr(at);
    const TokenKind kind = kinds_[i];
    pieces_.push_back(piece);
    bytes_.push_back(
        kind == TokenKind::Normal || kind == TokenKind::UserDefined ? piece : std::string_view());
    if (kind == TokenKind::Control || kind == TokenKind::UserDefined) {
      controls_.emplace(piece, static_cast<TokenId>(i));
    }
  }
}

void StoredVocabulary::set_bytes(TokenId token, std::string_view bytes) {
  CHECK(bytes.size() <= other_bytes_.capacity() - other_bytes_.size());  // views into it stay
  const std::size_t at = other_bytes_.size();
  other_bytes_ += bytes;
  bytes_[static_cast<std::size_t>(token)] = std::string_view(other_bytes_).substr(at);
}

std::optional<TokenId> StoredVocabulary::control(std::string_view name) const {
  const auto at = controls_.find(name);
  if (at == controls_.end()) return std::nullopt;
  return at->second;
}

StoredVocabulary::Mergeable StoredVocabulary::mergeable() const {
  Mergeable out;
  out.first.assign(kinds_.size(), kNoToken);
  std::unordered_map<std::string_view, TokenId> seen;
  seen.reserve(kinds_.size());
  for (std::size_t i = 0; i < kinds_.size(); ++i) {
    if (kinds_[i] != TokenKind::Normal || pieces_[i].empty()) continue;
    const auto id = static_cast<TokenId>(i);
    const auto [at, is_new] = seen.emplace(pieces_[i], id);
    out.first[i] = at->second;
    if (is_new) out.pieces.push_back({.id = id, .text = pieces_[i]});
  }
  return out;
}

void StoredVocabulary::add_rules(std::span<const MergeRule> rules,
                                 const Mergeable& usable,
                                 Merges& merges) {
  const auto first = [&](TokenId id) { return usable.first[static_cast<std::size_t>(id)]; };
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const TokenId left = first(rules[i].left), right = first(rules[i].right);
    const TokenId result = first(rules[i].result);
    if (left == kNoToken || right == kNoToken || result == kNoToken) continue;
    merges.add_rule(left, right, result, static_cast<std::uint32_t>(i));
  }
}

}  // namespace pensieve::tokenizer
