// JSON Schema's `format` as regular expressions. Each takes a part of what its RFC allows, and
// nothing else: the texts that every validator accepts.
#pragma once

#include <string>
#include <string_view>

namespace pensieve::grammar::internal {

// The anchored expression of a format; empty for one that is not known.
std::string format_expression(std::string_view name);

}  // namespace pensieve::grammar::internal
