// How commands print a value: its text and a line end on standard output. What is not UTF-8 in it
// is replaced. `indent`: spaces a level, -1 for a single line.
#pragma once

#include "foundation/json.h"

namespace pensieve::cli {

void print_json(const Json& value, int indent = 2);

}  // namespace pensieve::cli
