// Stop sequences in a stream of text: finds them across token borders and holds back what may still
// become one. Knows text, not tokens; used by whoever decodes an answer.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pensieve::engine {

// The stream ends at the sequence whose last byte comes first; if two end there, at the longer one.
// How the text is cut into pieces changes neither the match nor the text given out. Not
// thread-safe.
class StopSequenceFilter {
 public:
  explicit StopSequenceFilter(std::vector<std::string> sequences);  // empty ones never match

  // Takes the next piece of text and returns what is safe to give out: everything up to the match,
  // or up to the longest end that some sequence begins with. If the sequences and pieces are valid
  // UTF-8, so is the result. Nothing comes after a match.
  std::string push(std::string_view text);

  // The text held back, for when the stream ends without a match; nothing after one.
  std::string flush();

  // Index of the sequence that was found, by the order given to the constructor.
  std::optional<std::size_t> matched() const { return matched_; }

 private:
  // Knuth, Morris, Pratt: `borders[n]` is the length of the longest proper prefix of the first n
  // bytes that also ends them, and `found` how many bytes of it end the text so far.
  struct Pattern {
    std::string text;
    std::vector<std::size_t> borders;
    std::size_t found = 0;
  };

  std::vector<Pattern> patterns_;
  std::string held_;
  std::optional<std::size_t> matched_;
};

}  // namespace pensieve::engine
