// The vocabulary as a trie in one array, in the order of a walk that sees parents before children
// and children by rising byte. A walk that cannot go on at a node leaps over everything below it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/ids.h"

#include "domain/grammar/grammar.h"

namespace pensieve::grammar::internal {

using NodeIndex = std::uint32_t;

// Node 0 is the root: no byte, depth 0.
struct TrieNode {
  NodeIndex end;              // the first node behind this one's descendants
  std::uint32_t first_token;  // its tokens: [first_token, first_token of the next node)
  std::uint16_t depth;        // bytes from the root
  std::uint8_t byte;
};

class TokenTrie final : public Vocabulary {
 public:
  explicit TokenTrie(std::span<const std::string> tokens);

  int size() const override { return static_cast<int>(tokens_.size()); }
  std::string_view bytes(TokenId token) const override;
  bool has_longer(std::string_view bytes) const override;

  NodeIndex n_nodes() const { return static_cast<NodeIndex>(nodes_.size() - 1); }
  const TrieNode& node(NodeIndex index) const { return nodes_[index]; }
  // The tokens whose bytes end at this node: several where a vocabulary spells a text twice.
  std::span<const TokenId> tokens_at(NodeIndex index) const {
    return {token_ids_.data() + nodes_[index].first_token,
            nodes_[index + 1].first_token - nodes_[index].first_token};
  }
  // The bytes from the root to the node.
  std::string_view path(NodeIndex index) const;

  std::size_t n_words() const { return (tokens_.size() + 31) / 32; }
  // One bit for every token that has bytes.
  std::span<const std::uint32_t> with_bytes() const { return with_bytes_; }
  int longest_token() const { return longest_token_; }
  // The most brackets that one token opens.
  int most_brackets() const { return most_brackets_; }

 private:
  std::vector<std::string> tokens_;
  std::vector<TrieNode> nodes_;  // one more than there are: the last closes first_token
  std::vector<TokenId> token_ids_;
  std::vector<TokenId> sorted_;       // tokens with bytes, by their bytes
  std::vector<TokenId> token_below_;  // for each node a token whose bytes pass through it
  std::vector<std::uint32_t> with_bytes_;
  int longest_token_ = 0;
  int most_brackets_ = 0;
};

}  // namespace pensieve::grammar::internal
