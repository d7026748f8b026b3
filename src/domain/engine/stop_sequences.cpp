// One Knuth-Morris-Pratt automaton per sequence, run byte by byte: constant time per byte and
// sequence on average, whatever the pieces are.
#include "domain/engine/stop_sequences.h"

#include <algorithm>
#include <utility>

namespace pensieve::engine {
namespace {

// The state after `byte`: how much of the pattern ends the text then.
template <typename Pattern>
std::size_t next_state(const Pattern& pattern, std::size_t found, char byte) {
  while (found > 0 && (found == pattern.text.size() || pattern.text[found] != byte))
    found = pattern.borders[found];
  return pattern.text[found] == byte ? found + 1 : 0;
}

}  // namespace

StopSequenceFilter::StopSequenceFilter(std::vector<std::string> sequences) {
  for (std::string& sequence : sequences) {
    Pattern pattern{.text = std::move(sequence), .borders = {}, .found = 0};
    pattern.borders.assign(pattern.text.size() + 1, 0);
    for (std::size_t n = 2; n <= pattern.text.size(); ++n)
      pattern.borders[n] = next_state(pattern, pattern.borders[n - 1], pattern.text[n - 1]);
    patterns_.push_back(std::move(pattern));
  }
}

std::string StopSequenceFilter::push(std::string_view text) {
  if (matched_) return {};
  for (const char byte : text) {
    held_.push_back(byte);
    std::size_t match_size = 0;
    for (std::size_t i = 0; i < patterns_.size(); ++i) {
      Pattern& pattern = patterns_[i];
      if (pattern.text.empty()) continue;
      pattern.found = next_state(pattern, pattern.found, byte);
      if (pattern.found != pattern.text.size() || pattern.found <= match_size) continue;
      match_size = pattern.found;
      matched_ = i;
    }
    if (!matched_) continue;
    held_.resize(held_.size() - match_size);
    return std::exchange(held_, {});
  }
  std::size_t n_held = 0;
  for (const Pattern& pattern : patterns_) n_held = std::max(n_held, pattern.found);
  std::string safe = held_.substr(0, held_.size() - n_held);
  held_.erase(0, safe.size());
  return safe;
}

std::string StopSequenceFilter::flush() {
  for (Pattern& pattern : patterns_) pattern.found = 0;
  return std::exchange(held_, {});
}

}  // namespace pensieve::engine
