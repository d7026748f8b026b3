// While guesses come true the place that is followed moves along: no place can match longer than
// the one that matched longest a token ago. So only a wrong guess costs a search.
#include "domain/engine/internal/draft_index.h"

#include <algorithm>
#include <bit>

namespace pensieve::engine {
namespace {

constexpr std::size_t kMinHeads = 1024;
constexpr std::size_t kMaxHeads = std::size_t{1} << 17;

// How many tokens before `place` and before the end of `text` agree, up to kLongest.
int common_suffix(std::span<const TokenId> text, std::size_t place) {
  const auto limit = std::min(place, static_cast<std::size_t>(DraftIndex::kLongest));
  std::size_t n = 0;
  while (n < limit && text[place - 1 - n] == text[text.size() - 1 - n]) ++n;
  return static_cast<int>(n);
}

std::size_t distance(std::size_t a, std::size_t b) {
  return a > b ? a - b : b - a;
}

}  // namespace

DraftIndex::DraftIndex(std::size_t capacity)
    : heads_(std::bit_ceil(std::clamp(capacity, kMinHeads, kMaxHeads)), 0) {
  earlier_.reserve(capacity + 1);
}

std::uint32_t& DraftIndex::head(TokenId before_last, TokenId last) {
  const auto pair =
      static_cast<std::uint64_t>(before_last) << 32 | static_cast<std::uint32_t>(last);
  const std::uint64_t hash = pair * 0x9e3779b97f4a7c15u;  // Knuth's multiplicative hashing
  return heads_[(hash >> 40) & (heads_.size() - 1)];
}

void DraftIndex::extend(std::span<const TokenId> text) {
  for (std::size_t i = size_; i < text.size(); ++i) {
    const bool came_true = match_ > 0 && text[source_] == text[i];
    match_ = came_true ? std::min(match_ + 1, kLongest) : 0;
    if (came_true) ++source_;
    // The last place is found with what was there before it, then it goes in itself.
    if (match_ == 0 && i + 1 == text.size()) find(text);
    insert(text, i + 1);
  }
  size_ = text.size();
}

void DraftIndex::find(std::span<const TokenId> text) {
  if (text.size() < kShortest + 1) return;
  const std::size_t last_source = source_;
  std::uint32_t place = head(text[text.size() - 2], text[text.size() - 1]);
  for (int tries = 0; place != 0 && tries < kTries; ++tries, place = earlier_[place]) {
    const int n = common_suffix(text, place);
    if (n < kShortest || n < match_) continue;
    if (n == match_ && distance(place, last_source) >= distance(source_, last_source)) continue;
    match_ = n;
    source_ = place;
  }
}

void DraftIndex::insert(std::span<const TokenId> text, std::size_t end) {
  earlier_.resize(end + 1, 0);
  if (end < kShortest) return;
  std::uint32_t& latest = head(text[end - 2], text[end - 1]);
  earlier_[end] = latest;
  latest = static_cast<std::uint32_t>(end);
}

TokenId DraftIndex::next(std::span<const TokenId> text) const {
  return match_ > 0 ? text[source_] : kNoToken;
}

void DraftIndex::guess(std::span<const TokenId> text, int n, std::vector<TokenId>& guesses) const {
  guesses.clear();
  if (match_ == 0) return;
  for (int i = 0; i < n; ++i) {
    const std::size_t at = source_ + static_cast<std::size_t>(i);
    guesses.push_back(at < text.size() ? text[at] : guesses[at - text.size()]);
  }
}

}  // namespace pensieve::engine
