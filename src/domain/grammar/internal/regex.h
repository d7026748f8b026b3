// Regular expressions as JSON Schema means them (ECMA-262, found anywhere in the text) -> TextSet.
// Where dialects differ about what a class holds, the set keeps to what all agree on.
#pragma once

#include <optional>
#include <string_view>

#include "domain/grammar/internal/text_set.h"

namespace pensieve::grammar::internal {

struct Pattern {
  TextSet texts;
  // For ^x{m,n}$ with a single class x the repetition is told as a length, which is cheaper to keep
  // by counting: `texts` is then ^x*$.
  int min_length = 0;
  int max_length = kEndless;
};

// None if the expression is not valid, uses what a finite automaton cannot do (back references,
// look-around) or what is not supported (word boundaries, \p, flags), or is too large for the
// budget.
std::optional<Pattern> compile_regex(std::string_view expression, Budget& budget);

}  // namespace pensieve::grammar::internal
