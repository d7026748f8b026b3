// How much work a compilation may still do. Counted in steps, not in time, so that a schema
// compiles to the same grammar on every machine.
#pragma once

#include <cstdint>

namespace pensieve::grammar::internal {

struct Budget {
  std::int64_t steps = 0;

  // Takes `n` steps. False if there are not so many left; none are left then.
  bool spend(std::int64_t n) {
    steps = n <= steps ? steps - n : 0;
    return steps > 0;
  }
};

}  // namespace pensieve::grammar::internal
