// Guesses how a text goes on from where its last tokens stood before: what followed there comes
// again. That is what a file written again with small changes, or a quotation, looks like.
// Prompt lookup decoding (Saxena, 2023) and SuffixDecoding (Oliaro et al., arXiv:2411.04975);
// places are found through chains of equal hashes, as Deflate does (RFC 1951, section 4). Knows
// token ids alone. One owner, one thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "foundation/ids.h"

namespace pensieve::engine {

class DraftIndex {
 public:
  static constexpr int kShortest = 2;  // tokens that must match
  static constexpr int kLongest = 32;  // a longer match counts as this
  static constexpr int kTries = 64;    // places that are looked at, the latest first

  // For a text of up to `capacity` tokens; a longer one is served too, but allocates.
  explicit DraftIndex(std::size_t capacity);

  // The text is `text` now; it begins with what it was. Takes time per new token, and a bounded
  // one.
  void extend(std::span<const TokenId> text);

  // So many of the text's last tokens stood before: kShortest..kLongest, or 0. The longest match
  // among the kTries latest places; among equals the one closest to where the last match was.
  int match() const { return match_; }

  // What is guessed to come next, kNoToken without a match. `text` as in extend().
  TokenId next(std::span<const TokenId> text) const;

  // Replaces `guesses` by the next `n`, or by none without a match. A match that reaches to the end
  // of the text repeats itself.
  void guess(std::span<const TokenId> text, int n, std::vector<TokenId>& guesses) const;

 private:
  std::uint32_t& head(TokenId before_last, TokenId last);
  void find(std::span<const TokenId> text);
  void insert(std::span<const TokenId> text, std::size_t end);

  // A place is the index of the token behind one kShortest-gram; 0: none, as none is there.
  std::vector<std::uint32_t> heads_;    // by hash: the latest place
  std::vector<std::uint32_t> earlier_;  // by place: the one before it with the same hash
  std::size_t size_ = 0;
  std::size_t source_ = 0;  // the place that is followed
  int match_ = 0;           // tokens before it that match, 0: none is followed
};

}  // namespace pensieve::engine
