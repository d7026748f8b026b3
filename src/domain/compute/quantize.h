// Plain matrices as 8-bit blocks: what a model in 16 or 32 bits is turned into when it is loaded,
// to take half or a quarter of the memory and be multiplied in integers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "domain/compute/weights.h"

namespace pensieve::compute {

// Bytes of a matrix of that shape as Q8_0. REQUIRES: cols % 32 == 0.
std::size_t q8_0_bytes(int rows, int cols);

// Writes rows [first_row, first_row + n_rows) of a plain matrix as Q8_0 to their places in `out`,
// which has room for the whole matrix. Each group of 32 is rounded to steps of its largest
// magnitude / 127, as llama.cpp does it. False where a value is not finite or beyond what Q8_0 can
// hold (8.3 million); `out` cannot be used then. REQUIRES: is_plain(matrix.type), cols % 32 == 0.
// Any thread.
bool quantize_q8_0(const WeightView& matrix, int first_row, int n_rows, std::byte* out);

}  // namespace pensieve::compute
