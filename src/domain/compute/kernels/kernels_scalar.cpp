// The definition of every kernel, in plain C++. Slow, and meant to be read.
#include <algorithm>
#include <cmath>
#include <limits>

#include "domain/compute/internal/half.h"
#include "domain/compute/kernels/groups_scalar.h"
#include "domain/compute/kernels/kernels.h"
#include "domain/compute/kernels/kv_layout.h"
#include "domain/compute/kernels/variants.h"

namespace pensieve::compute {
namespace {

void rmsnorm(float* out, const float* x, const float* weight, int dim, float eps) {
  double sum_of_squares = 0;
  for (int i = 0; i < dim; ++i) sum_of_squares += double{x[i]} * x[i];
  const auto scale = static_cast<float>(1.0 / std::sqrt(sum_of_squares / dim + double{eps}));
  for (int i = 0; i < dim; ++i) out[i] = x[i] * scale * weight[i];
}

void quantize_row(const float* x, int dim, int token, const Int8Rows& rows) {
  for (int g = 0; g < dim / kGroupColumns; ++g) {
    const float* in = x + g * kGroupColumns;
    float max = 0;
    for (int i = 0; i < kGroupColumns; ++i) max = std::max(max, std::fabs(in[i]));
    const auto at = static_cast<std::size_t>(g) * static_cast<std::size_t>(rows.n_tokens) +
                    static_cast<std::size_t>(token);
    const float inverse = max > 0 ? 127.0f / max : 0.0f;
    std::int32_t sum = 0;
    for (int i = 0; i < kGroupColumns; ++i) {
      const auto q = static_cast<std::int8_t>(std::nearbyint(in[i] * inverse));
      rows.q[at * kGroupColumns + static_cast<std::size_t>(i)] = q;
      sum += q;
      if (i == kGroupColumns / 2 - 1) rows.half_sum[at] = sum;
    }
    rows.scale[at] = max / 127.0f;
    rows.sum[at] = sum;
    rows.scaled_sum[at] = rows.scale[at] * static_cast<float>(sum);
  }
}

void pack_int8(
    const WeightView& view, int first_row, int first_group, int n_groups, const Int8Panel& panel) {
  const PanelFormat format = panel_format(view.type);
  for (int g = 0; g < n_groups; ++g) {
    for (int r = 0; r < kBlockRows; ++r) {
      Group group;
      read_group(view, std::min(first_row + r, view.rows - 1), first_group + g, group);
      for (int c = 0; c < kGroupColumns; ++c) {
        panel.q[g * 512 + (c / 4) * 64 + r * 4 + c % 4] = group.u[c];
      }
      for (int half = 0; half < (format.halves ? 2 : 1); ++half) {
        panel.scale[g * 32 + half * 16 + r] = group.scale[half];
        if (format.affine) panel.offset[g * 32 + half * 16 + r] = group.offset[half];
      }
    }
  }
}

void dot_int8(const PanelFormat& format,
              const Int8Panel& panel,
              int first_group,
              int n_groups,
              const Int8Rows& x,
              int first_token,
              int n_tokens,
              float* acc) {
  for (int g = 0; g < n_groups; ++g) {
    for (int t = 0; t < n_tokens; ++t) {
      const auto at =
          static_cast<std::size_t>(first_group + g) * static_cast<std::size_t>(x.n_tokens) +
          static_cast<std::size_t>(first_token + t);
      const std::int8_t* q = x.q + at * kGroupColumns;
      for (int r = 0; r < kBlockRows; ++r) {
        float& sum = acc[t * kBlockRows + r];
        const int parts = format.halves ? 2 : 1;
        for (int part = 0; part < parts; ++part) {
          std::int32_t s = 0;
          for (int c = part * 16; c < (part + 1) * kGroupColumns / parts; ++c) {
            const int u = panel.q[g * 512 + (c / 4) * 64 + r * 4 + c % 4];
            s += (u - format.zero) * q[c];
          }
          const float scale = panel.scale[g * 32 + part * 16 + r] * x.scale[at];
          sum = std::fma(scale, static_cast<float>(s), sum);
        }
        const float* const offset = panel.offset + g * 32 + r;
        if (format.affine && format.halves) {
          const std::int32_t first = x.half_sum[at], second = x.sum[at] - first;
          sum = std::fma(offset[0], x.scale[at] * static_cast<float>(first), sum);
          sum = std::fma(offset[16], x.scale[at] * static_cast<float>(second), sum);
        } else if (format.affine) {
          sum = std::fma(offset[0], x.scaled_sum[at], sum);
        }
      }
    }
  }
}

void product_int8(const WeightView& view,
                  int first_row,
                  int first_group,
                  int n_groups,
                  const Int8Panel& scratch,
                  const Int8Rows& x,
                  int first_token,
                  int n_tokens,
                  float* acc) {
  pack_int8(view, first_row, first_group, n_groups, scratch);
  dot_int8(panel_format(view.type), scratch, first_group, n_groups, x, first_token, n_tokens, acc);
}

void pack_f32(const WeightView& view, int first_row, int first_group, int n_groups, float* panel) {
  for (int r = 0; r < kBlockRows; ++r) {
    const int row = std::min(first_row + r, view.rows - 1);
    for (int g = 0; g < n_groups; ++g) {
      float values[kGroupColumns];
      read_group_f32(view, row, first_group + g, values);
      for (int c = 0; c < kGroupColumns; ++c) {
        panel[(g * kGroupColumns + c) * kBlockRows + r] = values[c];
      }
    }
  }
}

void dot_f32(const float* panel,
             int n_columns,
             const float* x,
             std::size_t stride,
             int n_tokens,
             float* acc) {
  for (int t = 0; t < n_tokens; ++t) {
    for (int k = 0; k < n_columns; ++k) {
      const float v = x[static_cast<std::size_t>(t) * stride + static_cast<std::size_t>(k)];
      for (int r = 0; r < kBlockRows; ++r) {
        acc[t * kBlockRows + r] = std::fma(panel[k * kBlockRows + r], v, acc[t * kBlockRows + r]);
      }
    }
  }
}

bool quantize_q8_0(const WeightView& plain, int row, std::byte* out) {
  for (int g = 0; g < plain.cols / kGroupColumns; ++g, out += 34) {
    float x[kGroupColumns];
    read_group_f32(plain, row, g, x);
    float max = 0;
    for (const float v : x) {
      if (!std::isfinite(v)) return false;
      max = std::max(max, std::fabs(v));
    }
    const float d = max / 127.0f;
    const std::uint16_t stored = float_to_half(d);
    if (stored == 0x7C00) return false;
    const float inverse = d >= std::numeric_limits<float>::min() ? 1.0f / d : 0.0f;
    std::memcpy(out, &stored, 2);
    for (int i = 0; i < kGroupColumns; ++i) {
      out[2 + i] = static_cast<std::byte>(static_cast<std::int8_t>(std::round(x[i] * inverse)));
    }
  }
  return true;
}

void swiglu(float* out, const float* gate, const float* up, int n) {
  for (int i = 0; i < n; ++i) out[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

void load_keys(KvType type, const std::byte* keys, int head_dim, float* out) {
  const int n = head_dim * kPageTokens;
  if (type == KvType::F32) {
    std::memcpy(out, keys, static_cast<std::size_t>(n) * 4);
  } else if (type == KvType::F16) {
    for (int i = 0; i < n; ++i) out[i] = half_to_float(load_u16(keys + i * 2));
  } else if (type == KvType::Q8) {
    for (int i = 0; i < n; ++i) {
      const int dim = i / kPageTokens, slot = i % kPageTokens;
      const float scale = half_to_float(load_u16(keys + n + ((dim / 32) * kPageTokens + slot) * 2));
      out[i] = scale * static_cast<float>(static_cast<std::int8_t>(keys[i]));
    }
  } else {
    const std::byte* scales = keys + n / 2;
    const std::byte* minima = scales + head_dim / 32 * kPageTokens * 2;
    for (int i = 0; i < n; ++i) {
      const int dim = i / kPageTokens, slot = i % kPageTokens;
      const int g = dim / 32, at = (g * kPageTokens + slot) * 2;
      const auto pair = std::to_integer<int>(keys[(g * 16 + dim % 16) * kPageTokens + slot]);
      out[i] = std::fma(half_to_float(load_u16(scales + at)),
                        static_cast<float>(dim % 32 < 16 ? pair & 15 : pair >> 4),
                        half_to_float(load_u16(minima + at)));
    }
  }
}

void load_values(KvType type, const std::byte* values, int head_dim, float* out) {
  const int n = head_dim * kPageTokens;
  if (type == KvType::F32) {
    std::memcpy(out, values, static_cast<std::size_t>(n) * 4);
  } else if (type == KvType::F16) {
    for (int i = 0; i < n; ++i) out[i] = half_to_float(load_u16(values + i * 2));
  } else if (type == KvType::Q8) {
    for (int i = 0; i < n; ++i) {
      const float scale = half_to_float(load_u16(values + n + (i / 32) * 2));
      out[i] = scale * static_cast<float>(static_cast<std::int8_t>(values[i]));
    }
  } else {
    const std::byte* scales = values + n / 2;
    const std::byte* minima = scales + n / 32 * 2;
    for (int i = 0; i < n; ++i) {
      const int g = i / 32;
      const auto pair = std::to_integer<int>(values[g * 16 + i % 16]);
      out[i] = std::fma(half_to_float(load_u16(scales + g * 2)),
                        static_cast<float>(i % 32 < 16 ? pair & 15 : pair >> 4),
                        half_to_float(load_u16(minima + g * 2)));
    }
  }
}

void attend_page(
    const float* keys, const float* values, int head_dim, AttentionRow* rows, int n_rows) {
  for (int n = 0; n < n_rows; ++n) {
    AttentionRow& row = rows[n];
    if (row.begin >= row.end) continue;
    float score[kPageTokens];
    float max = row.max;
    for (int t = row.begin; t < row.end; ++t) {
      score[t] = 0;
      for (int i = 0; i < head_dim; ++i) {
        score[t] = std::fma(keys[i * kPageTokens + t], row.query[i], score[t]);
      }
      max = std::max(max, score[t]);
    }
    const float keep = std::exp(row.max - max);  // 0 for the first page
    row.sum *= keep;
    for (int i = 0; i < head_dim; ++i) row.out[i] *= keep;
    for (int t = row.begin; t < row.end; ++t) {
      const float p = std::exp(score[t] - max);
      row.sum += p;
      for (int i = 0; i < head_dim; ++i) {
        row.out[i] = std::fma(p, values[t * head_dim + i], row.out[i]);
      }
    }
    row.max = max;
  }
}

constexpr Kernels kScalar{.name = "scalar",
                          .rmsnorm = rmsnorm,
                          .quantize_row = quantize_row,
                          .pack_int8 = pack_int8,
                          .dot_int8 = dot_int8,
                          .product_int8 = product_int8,
                          .pack_f32 = pack_f32,
                          .dot_f32 = dot_f32,
                          .quantize_q8_0 = quantize_q8_0,
                          .swiglu = swiglu,
                          .load_keys = load_keys,
                          .load_values = load_values,
                          .attend_page = attend_page};

}  // namespace

const Kernels* scalar_kernels() {
  return &kScalar;
}

}  // namespace pensieve::compute
