// Sets of texts as deterministic automata over code points, and the operations that a schema's
// words about strings come down to: both, not, at least, at most. encode() turns one into bytes as
// they stand in JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "domain/grammar/internal/budget.h"
#include "domain/grammar/internal/dfa.h"

namespace pensieve::grammar::internal {

using CodePoint = std::uint32_t;

struct CodePointRange {
  CodePoint low, high;  // both included
  bool operator==(const CodePointRange&) const = default;
};

// Sorted, with no overlap. Never holds NUL or surrogates: JSON as it is read here has neither.
using CodePoints = std::vector<CodePointRange>;
CodePoints all_code_points();
// Sorts, merges and takes out what may not be in there.
CodePoints tidy(CodePoints ranges);
CodePoints complement(const CodePoints& set);

// State 0 is the start; a code point without an edge is refused.
struct TextSet {
  struct Edge {
    CodePoint low, high;
    std::uint32_t to;
  };
  struct State {
    std::vector<Edge> edges;  // sorted, no overlap
    bool accepting = false;
  };
  std::vector<State> states;

  bool empty() const { return states.empty(); }
  bool contains(std::string_view utf8) const;
};

TextSet every_text();
TextSet text_set_of(std::span<const std::string> texts);

// None if the result would be larger than the budget has steps for. An empty set has no states.
std::optional<TextSet> intersect(const TextSet& a, const TextSet& b, Budget& budget);
std::optional<TextSet> subtract(const TextSet& a, const TextSet& b, Budget& budget);
std::optional<TextSet> with_length(const TextSet& a, int min, int max, Budget& budget);

// Whether a length can be kept by counting alone: no character takes the text further from
// acceptance, and every text can go on.
bool can_count(const TextSet& set);

enum class Spelling {
  Value,      // a JSON string; what must be escaped is, shortly where JSON has a short form
  FreeValue,  // the same, and any character up to U+FFFF may be written as \uXXXX
  Key,        // no escapes: a text that needs one is left out
};

// The JSON strings, quotes included, whose content is in the set. None if it is empty or too large.
std::optional<Dfa> encode(const TextSet& set, Spelling spelling, Budget& budget);

// The content of a JSON string in the spelling Value.
std::string escaped(std::string_view utf8);

}  // namespace pensieve::grammar::internal
