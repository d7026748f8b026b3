// What this machine could do at most, measured: the two roofs that `pensieve bench` holds its
// speeds against (roofline model, Williams et al., doi:10.1145/1498765.1498785).
#pragma once

#include <string_view>

#include "foundation/accountant.h"
#include "foundation/result.h"

namespace pensieve::compute::cpu {

struct Roofs {
  double bytes_per_s = 0;  // read from memory, all threads together
  double macs_per_s = 0;   // multiply-adds in registers, all threads together; 0: not known
};

// Takes about a second, and 512 MiB meanwhile. `kernel`: one of runnable_kernel_names(), whose
// instructions are measured, with 8-bit integers or with floats. Errors: Unavailable for memory.
Result<Roofs> measure_roofs(std::string_view kernel,
                            bool int8,
                            int n_threads,
                            Accountant& accountant);

}  // namespace pensieve::compute::cpu
