#include "domain/compute/quantize.h"

#include "foundation/check.h"

#include "domain/compute/kernels/kernels.h"

namespace pensieve::compute {

std::size_t q8_0_bytes(int rows, int cols) {
  CHECK(cols % kGroupColumns == 0);
  const BlockShape block = block_shape(WeightType::Q8_0);
  return static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols / block.elements) *
         static_cast<std::size_t>(block.bytes);
}

bool quantize_q8_0(const WeightView& matrix, int first_row, int n_rows, std::byte* out) {
  CHECK(is_plain(matrix.type) && first_row >= 0 && n_rows <= matrix.rows - first_row);
  const Kernels& kernels = *runnable_kernels().front();
  const std::size_t row_bytes = q8_0_bytes(1, matrix.cols);
  for (int row = first_row; row < first_row + n_rows; ++row) {
    if (!kernels.quantize_q8_0(matrix, row, out + static_cast<std::size_t>(row) * row_bytes)) {
      return false;
    }
  }
  return true;
}

}  // namespace pensieve::compute
