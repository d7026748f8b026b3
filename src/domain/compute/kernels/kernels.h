// The kernels of the CPU backend: one table of functions per instruction set, chosen once at start.
// kernels_scalar.cpp is the definition; every other variant keeps the same contract, and the matrix
// products keep it bit for bit (the order of every rounding is fixed below), so that a model says
// the same on every machine that runs the same path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "domain/compute/backend.h"
#include "domain/compute/weights.h"

namespace pensieve::compute {

inline constexpr int kBlockRows = 16;     // output rows a matrix kernel works on together
inline constexpr int kGroupColumns = 32;  // columns that share one activation scale

// Activations rounded to 8 bits, group-major so that a kernel reads the tokens of one group in a
// row.
//   x[token][32 g + i] = scale[g][token] * q[g][token][i]
struct Int8Rows {
  std::int8_t* q = nullptr;          // [n_groups][n_tokens][32], within [-127, 127]
  float* scale = nullptr;            // [n_groups][n_tokens], max |x| / 127
  std::int32_t* sum = nullptr;       // [n_groups][n_tokens], of q
  std::int32_t* half_sum = nullptr;  // [n_groups][n_tokens], of the first 16 of q
  float* scaled_sum = nullptr;       // [n_groups][n_tokens], scale * sum
  int n_tokens = 0;
};

// How the integers of a packed panel become weights: w = scale * (u - zero) + offset.
struct PanelFormat {
  bool wide = false;    // u needs all 8 bits; otherwise u <= 127
  bool affine = false;  // there is an offset (and zero == 0)
  bool halves = false;  // columns 0-15 and 16-31 of a group have a scale (and offset) each
  int zero = 0;
};
PanelFormat panel_format(WeightType type);

// 16 rows of some groups of a quantised matrix in kernel order. Per group:
//   q[8][16][4] u8 (column 4 k + i of row r at [k][r][i]), scale[2][16] f32, offset[2][16] f32. The
//   second scales and offsets are there only where `halves`, offsets only where `affine`. 64-byte
//   aligned.
struct Int8Panel {
  std::uint8_t* q = nullptr;
  float* scale = nullptr;
  float* offset = nullptr;
  static constexpr int kBytesPerGroup = 512, kScalesPerGroup = 32, kOffsetsPerGroup = 32;
};

// One query row against one head's KV, carried from page to page (online softmax: Milakov and
// Gimelshein, arXiv:1805.02867).
struct AttentionRow {
  const float* query = nullptr;  // [head_dim], already multiplied by 1 / sqrt(head_dim)
  float* out = nullptr;          // [head_dim]: sum of p * v so far, not yet divided by `sum`
  float max = 0;                 // of the scores so far; -infinity at first
  float sum = 0;                 // of exp(score - max)
  int begin = 0, end = 0;        // tokens of this page it sees, 0 <= begin <= end <= 64
};

// Every function: pointers do not overlap unless said; any thread; no allocation.
struct Kernels {
  std::string_view name;

  // out[i] = x[i] * weight[i] / sqrt(mean(x^2) + eps); [dim] each, out may be x.
  void (*rmsnorm)(float* out, const float* x, const float* weight, int dim, float eps);

  // Rounds x [dim] into column `token` of `rows`: per group, q = rne(x * (127 / max|x|)); all zero
  // for a group of zeros. dim % 32 == 0.
  void (*quantize_row)(const float* x, int dim, int token, const Int8Rows& rows);

  // Brings rows [first_row, first_row + 16) of groups [first_group, + n_groups) into kernel order.
  // Rows beyond the matrix repeat its last row. view.type is quantised, cols % 32 == 0.
  void (*pack_int8)(
      const WeightView& view, int first_row, int first_group, int n_groups, const Int8Panel& panel);

  // acc[t][r] += sum over groups of w[r] . x[first_token + t], for t < n_tokens. acc:
  // [n_tokens][16]. Exact order, per (t, r): for each group: s = integer sum of (u - zero) * q;
  //   acc = fma(w_scale * x_scale, float(s), acc), twice where `halves` (columns 0-15 first);
  //   where `affine`: acc = fma(w_offset, x_scaled_sum, acc), and where both: twice, with
  //   x_scale * float(sum of q over the half) for x_scaled_sum.
  // The panel begins at first_group.
  void (*dot_int8)(const PanelFormat& format,
                   const Int8Panel& panel,
                   int first_group,
                   int n_groups,
                   const Int8Rows& x,
                   int first_token,
                   int n_tokens,
                   float* acc);

  // pack_int8() and dot_int8() in one, where no panel needs to be kept: the same bits in acc.
  // `scratch` has room for n_groups and holds nothing afterwards.
  void (*product_int8)(const WeightView& view,
                       int first_row,
                       int first_group,
                       int n_groups,
                       const Int8Panel& scratch,
                       const Int8Rows& x,
                       int first_token,
                       int n_tokens,
                       float* acc);

  // The same rows as f32: panel[32 * n_groups][16], as dequantize_row() defines the values. Any
  // type.
  void (*pack_f32)(
      const WeightView& view, int first_row, int first_group, int n_groups, float* panel);

  // acc[t][r] = fma(panel[k][r], x[t][k], acc[t][r]) for k = 0 .. n_columns - 1 in this order.
  // x: n_tokens rows `stride` floats apart.
  void (*dot_f32)(const float* panel,
                  int n_columns,
                  const float* x,
                  std::size_t stride,
                  int n_tokens,
                  float* acc);

  // Row `row` of a plain matrix as Q8_0 blocks, cols / 32 of 34 bytes at `out`. Per group:
  // d = max|x| / 127, stored as f16; q = x * (1 / d), halves away from zero; all zero for a group
  // whose d is below 2^-126. What llama.cpp and the `gguf` package write. False, and nothing that
  // can be used in `out`, where a value is not finite or d is beyond f16. cols % 32 == 0.
  bool (*quantize_q8_0)(const WeightView& plain, int row, std::byte* out);

  // out[i] = silu(gate[i]) * up[i], silu(v) = v / (1 + exp(-v)); out may be gate. Relative error of
  // exp in the vector variants: 2^-22.
  void (*swiglu)(float* out, const float* gate, const float* up, int n);

  // The keys or the values of one head's block of a KV page as f32, those of rotated types as they
  // are kept. Keys come out transposed, [head_dim][64], values as [64][head_dim]. Layouts:
  // kv_layout.h; where there is a minimum, x = fma(scale, u, minimum). head_dim % 32 == 0.
  void (*load_keys)(KvType type, const std::byte* keys, int head_dim, float* out);
  void (*load_values)(KvType type, const std::byte* values, int head_dim, float* out);

  // Adds one page to every row: scores = keys^T query over [begin, end), then the online softmax
  // step. A row's result does not depend on the other rows. head_dim % 32 == 0, <= 256.
  void (*attend_page)(
      const float* keys, const float* values, int head_dim, AttentionRow* rows, int n_rows);
};

// The variants this CPU can run, best first; "scalar" is always the last.
const std::vector<const Kernels*>& runnable_kernels();
// Null if this CPU cannot run it or there is no such variant.
const Kernels* find_kernels(std::string_view name);
// Every name this program was built with, runnable here or not.
std::vector<std::string_view> built_kernels();

}  // namespace pensieve::compute
