#include <algorithm>
#include <cstddef>
#include <limits>

#include "domain/grammar/internal/token_trie.h"

namespace pensieve::grammar {
namespace internal {
namespace {

// A token longer than this is never allowed: depths stay small, and no vocabulary has one that a
// grammar would miss.
constexpr std::size_t kLongestToken = 1024;

std::size_t common_prefix(std::string_view a, std::string_view b) {
  const auto n = std::min(a.size(), b.size());
  std::size_t i = 0;
  while (i < n && a[i] == b[i]) ++i;
  return i;
}

}  // namespace

TokenTrie::TokenTrie(std::span<const std::string> tokens)
    : tokens_(tokens.begin(), tokens.end()), with_bytes_(n_words()) {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const auto& text = tokens_[i];
    if (text.empty() || text.size() > kLongestToken) continue;
    sorted_.push_back(static_cast<TokenId>(i));
    with_bytes_[i / 32] |= 1u << (i % 32);
    longest_token_ = std::max(longest_token_, static_cast<int>(text.size()));
    const auto brackets =
        std::count_if(text.begin(), text.end(), [](char c) { return c == '[' || c == '{'; });
    most_brackets_ = std::max(most_brackets_, static_cast<int>(brackets));
  }
  std::sort(sorted_.begin(), sorted_.end(), [&](TokenId a, TokenId b) {
    const int order = tokens_[a].compare(tokens_[b]);
    return order != 0 ? order < 0 : a < b;
  });

  // Sorted texts are the trie in walking order: each shares a prefix with the one before, and what
  // lies open beyond that prefix ends here.
  nodes_.push_back({.end = 0, .first_token = 0, .depth = 0, .byte = 0});
  token_below_.push_back(kNoToken);
  std::vector<NodeIndex> open = {0};
  std::string_view before;
  for (const TokenId token : sorted_) {
    const std::string_view text = tokens_[token];
    const auto shared = common_prefix(before, text);
    while (open.size() > shared + 1) {
      nodes_[open.back()].end = static_cast<NodeIndex>(nodes_.size());
      open.pop_back();
    }
    for (std::size_t depth = shared; depth < text.size(); ++depth) {
      open.push_back(static_cast<NodeIndex>(nodes_.size()));
      nodes_.push_back({.end = 0,
                        .first_token = static_cast<std::uint32_t>(token_ids_.size()),
                        .depth = static_cast<std::uint16_t>(depth + 1),
                        .byte = static_cast<std::uint8_t>(text[depth])});
      token_below_.push_back(token);
    }
    token_ids_.push_back(token);
    before = text;
  }
  for (const NodeIndex node : open) nodes_[node].end = static_cast<NodeIndex>(nodes_.size());
  nodes_.push_back({.end = 0,
                    .first_token = static_cast<std::uint32_t>(token_ids_.size()),
                    .depth = 0,
                    .byte = 0});
}

std::string_view TokenTrie::bytes(TokenId token) const {
  if (token < 0 || token >= size()) return {};
  if ((with_bytes_[token / 32] >> (token % 32) & 1u) == 0) return {};
  return tokens_[token];
}

bool TokenTrie::has_longer(std::string_view bytes) const {
  auto at = std::upper_bound(
      sorted_.begin(), sorted_.end(), bytes, [&](std::string_view value, TokenId token) {
        return value < std::string_view(tokens_[token]);
      });
  return at != sorted_.end() && std::string_view(tokens_[*at]).substr(0, bytes.size()) == bytes;
}

std::string_view TokenTrie::path(NodeIndex index) const {
  if (index == 0) return {};
  return std::string_view(tokens_[token_below_[index]]).substr(0, nodes_[index].depth);
}

}  // namespace internal

std::shared_ptr<const Vocabulary> Vocabulary::create(std::span<const std::string> tokens) {
  return std::make_shared<internal::TokenTrie>(tokens);
}

}  // namespace pensieve::grammar
