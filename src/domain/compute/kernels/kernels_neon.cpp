// NEON with dot product (Armv8.2): Apple M1 and later, Graviton 2 and later, most phones since
// 2018.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "domain/compute/kernels/groups_scalar.h"
#include "domain/compute/kernels/kernels.h"
#include "domain/compute/kernels/kv_layout.h"
#include "domain/compute/kernels/variants.h"

#if defined(__clang__)
#define PENSIEVE_NEON_DOT [[gnu::target("dotprod")]]
#else
#define PENSIEVE_NEON_DOT [[gnu::target("arch=armv8.2-a+dotprod")]]
#endif

namespace pensieve::compute {
namespace {

const std::uint8_t* bytes(const std::byte* at) {
  return reinterpret_cast<const std::uint8_t*>(at);
}

// Sums in double: the same result to the last bit or two as the definition.
void rmsnorm(float* out, const float* x, const float* weight, int dim, float eps) {
  float64x2_t s0 = vdupq_n_f64(0), s1 = s0;
  int i = 0;
  for (; i + 4 <= dim; i += 4) {
    const float32x4_t v = vld1q_f32(x + i);
    const float64x2_t a = vcvt_f64_f32(vget_low_f32(v)), b = vcvt_high_f64_f32(v);
    s0 = vfmaq_f64(s0, a, a);
    s1 = vfmaq_f64(s1, b, b);
  }
  double sum = vaddvq_f64(vaddq_f64(s0, s1));
  for (; i < dim; ++i) sum += double{x[i]} * x[i];
  const auto scale = static_cast<float>(1.0 / std::sqrt(sum / dim + double{eps}));
  for (i = 0; i + 4 <= dim; i += 4) {
    vst1q_f32(out + i, vmulq_f32(vmulq_n_f32(vld1q_f32(x + i), scale), vld1q_f32(weight + i)));
  }
  for (; i < dim; ++i) out[i] = x[i] * scale * weight[i];
}

void quantize_row(const float* x, int dim, int token, const Int8Rows& rows) {
  for (int g = 0; g < dim / kGroupColumns; ++g) {
    float32x4_t v[8];
    float32x4_t most = vdupq_n_f32(0);
    for (int i = 0; i < 8; ++i) {
      v[i] = vld1q_f32(x + g * kGroupColumns + i * 4);
      most = vmaxq_f32(most, vabsq_f32(v[i]));
    }
    const float max = vmaxvq_f32(most);
    const float inverse = max > 0 ? 127.0f / max : 0.0f;
    const auto at = static_cast<std::size_t>(g) * static_cast<std::size_t>(rows.n_tokens) +
                    static_cast<std::size_t>(token);
    int32x4_t q[8];
    int32x4_t total[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
    for (int i = 0; i < 8; ++i) {
      q[i] = vcvtnq_s32_f32(vmulq_n_f32(v[i], inverse));
      total[i / 4] = vaddq_s32(total[i / 4], q[i]);
    }
    for (int i = 0; i < 2; ++i) {
      const int16x8_t a = vcombine_s16(vmovn_s32(q[4 * i]), vmovn_s32(q[4 * i + 1]));
      const int16x8_t b = vcombine_s16(vmovn_s32(q[4 * i + 2]), vmovn_s32(q[4 * i + 3]));
      vst1q_s8(rows.q + at * kGroupColumns + static_cast<std::size_t>(i) * 16,
               vcombine_s8(vmovn_s16(a), vmovn_s16(b)));
    }
    const std::int32_t half_sum = vaddvq_s32(total[0]), sum = half_sum + vaddvq_s32(total[1]);
    rows.scale[at] = max / 127.0f;
    rows.sum[at] = sum;
    rows.half_sum[at] = half_sum;
    rows.scaled_sum[at] = rows.scale[at] * static_cast<float>(sum);
  }
}

// Byte columns [4 j, 4 j + 4) of four rows, for 16 bytes of each.
struct Columns {
  uint8x16_t t[4];
};
Columns load_columns(const std::byte* const* rows, std::ptrdiff_t offset) {
  uint32x4_t r[4];
  for (int i = 0; i < 4; ++i) r[i] = vreinterpretq_u32_u8(vld1q_u8(bytes(rows[i] + offset)));
  const uint32x4x2_t a = vtrnq_u32(r[0], r[1]), b = vtrnq_u32(r[2], r[3]);
  const auto low = [](uint32x4_t x, uint32x4_t y) {
    return vreinterpretq_u8_u32(vcombine_u32(vget_low_u32(x), vget_low_u32(y)));
  };
  const auto high = [](uint32x4_t x, uint32x4_t y) {
    return vreinterpretq_u8_u32(vcombine_u32(vget_high_u32(x), vget_high_u32(y)));
  };
  return {{low(a.val[0], b.val[0]),
           low(a.val[1], b.val[1]),
           high(a.val[0], b.val[0]),
           high(a.val[1], b.val[1])}};
}

void pack_int8(
    const WeightView& view, int first_row, int first_group, int n_groups, const Int8Panel& panel) {
  const bool transposed = view.type == WeightType::Q4_0 || view.type == WeightType::Q4_1 ||
                          view.type == WeightType::Q8_0 || view.type == WeightType::Mlx4 ||
                          view.type == WeightType::Mlx8;
  if (!transposed)
    return scalar_kernels()->pack_int8(view, first_row, first_group, n_groups, panel);
  const std::byte* rows[kBlockRows];
  int index[kBlockRows];
  for (int r = 0; r < kBlockRows; ++r) {
    index[r] = std::min(first_row + r, view.rows - 1);
    rows[r] = view.data + static_cast<std::size_t>(index[r]) * view.row_bytes();
  }
  const bool mlx = view.type == WeightType::Mlx4 || view.type == WeightType::Mlx8;
  const bool nibbles = view.type != WeightType::Q8_0 && view.type != WeightType::Mlx8;
  const std::ptrdiff_t header = view.type == WeightType::Q4_1 ? 4 : mlx ? 0 : 2;
  const BlockShape shape = block_shape(view.type);
  const std::ptrdiff_t group_bytes =
      static_cast<std::ptrdiff_t>(kGroupColumns / shape.elements) * shape.bytes;
  const uint8x16_t flip = vdupq_n_u8(view.type == WeightType::Q8_0 ? 0x80 : 0),
                   mask = vdupq_n_u8(15);
  for (int i = 0; i < n_groups; ++i) {
    const int g = first_group + i;
    const std::ptrdiff_t offset = g * group_bytes;
    std::uint8_t* const q = panel.q + i * Int8Panel::kBytesPerGroup;
    float* const scale = panel.scale + i * Int8Panel::kScalesPerGroup;
    for (int r = 0; r < kBlockRows; ++r) {
      if (mlx) {
        const auto at = static_cast<std::size_t>(index[r]) *
                            static_cast<std::size_t>(view.cols / view.group_size) +
                        static_cast<std::size_t>(g * kGroupColumns / view.group_size);
        scale[r] = load_scale(view.scale_type, view.scales, at);
        panel.offset[i * Int8Panel::kOffsetsPerGroup + r] =
            load_scale(view.scale_type, view.biases, at);
      } else {
        scale[r] = half_to_float(load_u16(rows[r] + offset));
        if (view.type == WeightType::Q4_1) {
          panel.offset[i * Int8Panel::kOffsetsPerGroup + r] =
              half_to_float(load_u16(rows[r] + offset + 2));
        }
      }
    }
    for (int quad = 0; quad < 4; ++quad) {
      std::uint8_t* const to = q + quad * 16;
      if (!nibbles) {
        for (int half = 0; half < 2; ++half) {
          const Columns c = load_columns(rows + quad * 4, offset + header + half * 16);
          for (int j = 0; j < 4; ++j) vst1q_u8(to + (half * 4 + j) * 64, veorq_u8(c.t[j], flip));
        }
        continue;
      }
      const Columns c = load_columns(rows + quad * 4, offset + header);
      for (int j = 0; j < 4; ++j) {
        const uint8x16_t low = vandq_u8(c.t[j], mask), high = vshrq_n_u8(c.t[j], 4);
        if (mlx) {  // element 2 i in the low, 2 i + 1 in the high nibble: a dword holds 8 columns
          const uint32x4_t a = vreinterpretq_u32_u8(vzip1q_u8(low, high));
          const uint32x4_t b = vreinterpretq_u32_u8(vzip2q_u8(low, high));
          vst1q_u8(to + (2 * j) * 64, vreinterpretq_u8_u32(vuzp1q_u32(a, b)));
          vst1q_u8(to + (2 * j + 1) * 64, vreinterpretq_u8_u32(vuzp2q_u32(a, b)));
        } else {
          vst1q_u8(to + j * 64, low);
          vst1q_u8(to + (4 + j) * 64, high);
        }
      }
    }
  }
}

// Eight rows at a time: 16 weight vectors stay in registers while the tokens stream by. Weights are
// made signed: u - zero where that fits, u - 128 with a correction for MLX's 8-bit words.
template <bool kWide, bool kAffine, bool kHalves>
PENSIEVE_NEON_DOT void dot_panel(int zero,
                                 const Int8Panel& panel,
                                 int first_group,
                                 int n_groups,
                                 const Int8Rows& x,
                                 int first_token,
                                 int n_tokens,
                                 float* acc) {
  const std::uint8_t shift = static_cast<std::uint8_t>(kWide ? 128 : zero);
  const std::int32_t correction = kWide ? 128 - zero : 0;
  for (int g = 0; g < n_groups; ++g) {
    const auto at =
        static_cast<std::size_t>(first_group + g) * static_cast<std::size_t>(x.n_tokens) +
        static_cast<std::size_t>(first_token);
    for (int pair = 0; pair < 2; ++pair) {
      int8x16_t w[8][2];
      for (int k = 0; k < 8; ++k) {
        for (int h = 0; h < 2; ++h) {
          const uint8x16_t u = vld1q_u8(panel.q + g * 512 + k * 64 + (pair * 2 + h) * 16);
          w[k][h] = vreinterpretq_s8_u8(vsubq_u8(u, vdupq_n_u8(shift)));
        }
      }
      for (int t = 0; t < n_tokens; ++t) {
        const std::size_t i = at + static_cast<std::size_t>(t);
        const int8x16_t x0 = vld1q_s8(x.q + i * kGroupColumns);
        const int8x16_t x1 = vld1q_s8(x.q + i * kGroupColumns + 16);
        for (int h = 0; h < 2; ++h) {
          const int row = (pair * 2 + h) * 4;
          int32x4_t a = vdupq_n_s32(correction * x.sum[i]), b = vdupq_n_s32(0);
          a = vdotq_laneq_s32(a, w[0][h], x0, 0);
          a = vdotq_laneq_s32(a, w[1][h], x0, 1);
          a = vdotq_laneq_s32(a, w[2][h], x0, 2);
          a = vdotq_laneq_s32(a, w[3][h], x0, 3);
          b = vdotq_laneq_s32(b, w[4][h], x1, 0);
          b = vdotq_laneq_s32(b, w[5][h], x1, 1);
          b = vdotq_laneq_s32(b, w[6][h], x1, 2);
          b = vdotq_laneq_s32(b, w[7][h], x1, 3);
          float* const out = acc + t * kBlockRows + row;
          float32x4_t sum = vld1q_f32(out);
          const float32x4_t s0 = vmulq_n_f32(vld1q_f32(panel.scale + g * 32 + row), x.scale[i]);
          if constexpr (kHalves) {
            const float32x4_t s1 =
                vmulq_n_f32(vld1q_f32(panel.scale + g * 32 + 16 + row), x.scale[i]);
            sum = vfmaq_f32(sum, s0, vcvtq_f32_s32(a));
            sum = vfmaq_f32(sum, s1, vcvtq_f32_s32(b));
          } else {
            sum = vfmaq_f32(sum, s0, vcvtq_f32_s32(vaddq_s32(a, b)));
          }
          const float* const offset = panel.offset + g * 32 + row;
          if constexpr (kAffine && kHalves) {
            const std::int32_t first = x.half_sum[i], second = x.sum[i] - first;
            sum = vfmaq_n_f32(sum, vld1q_f32(offset), x.scale[i] * static_cast<float>(first));
            sum = vfmaq_n_f32(sum, vld1q_f32(offset + 16), x.scale[i] * static_cast<float>(second));
          } else if constexpr (kAffine) {
            sum = vfmaq_n_f32(sum, vld1q_f32(offset), x.scaled_sum[i]);
          }
          vst1q_f32(out, sum);
        }
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
  const auto run = format.halves && format.affine ? dot_panel<false, true, true>
                   : format.halves                ? dot_panel<false, false, true>
                   : format.wide && format.affine ? dot_panel<true, true, false>
                   : format.wide                  ? dot_panel<true, false, false>
                   : format.affine                ? dot_panel<false, true, false>
                                                  : dot_panel<false, false, false>;
  run(format.zero, panel, first_group, n_groups, x, first_token, n_tokens, acc);
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

template <int kTokens>
void dot_f32_tile(
    const float* panel, int n_columns, const float* x, std::size_t stride, float* acc) {
  float32x4_t s[kTokens][4];
  for (int i = 0; i < kTokens; ++i) {
    for (int j = 0; j < 4; ++j) s[i][j] = vld1q_f32(acc + i * kBlockRows + j * 4);
  }
  for (int k = 0; k < n_columns; ++k) {
    for (int j = 0; j < 4; ++j) {
      const float32x4_t w = vld1q_f32(panel + k * kBlockRows + j * 4);
      for (int i = 0; i < kTokens; ++i) {
        s[i][j] = vfmaq_n_f32(
            s[i][j], w, x[static_cast<std::size_t>(i) * stride + static_cast<std::size_t>(k)]);
      }
    }
  }
  for (int i = 0; i < kTokens; ++i) {
    for (int j = 0; j < 4; ++j) vst1q_f32(acc + i * kBlockRows + j * 4, s[i][j]);
  }
}

void dot_f32(const float* panel,
             int n_columns,
             const float* x,
             std::size_t stride,
             int n_tokens,
             float* acc) {
  int t = 0;
  for (; t + 4 <= n_tokens; t += 4) {
    dot_f32_tile<4>(
        panel, n_columns, x + static_cast<std::size_t>(t) * stride, stride, acc + t * kBlockRows);
  }
  for (; t < n_tokens; ++t) {
    dot_f32_tile<1>(
        panel, n_columns, x + static_cast<std::size_t>(t) * stride, stride, acc + t * kBlockRows);
  }
}

// exp(x) for x <= 88 by 2^n times a polynomial, to about 2 ulp (the scheme and coefficients of
// Cephes' expf, S. Moshier); below -87 it returns exp(-87).
float32x4_t exp4(float32x4_t x) {
  x = vmaxq_f32(vminq_f32(x, vdupq_n_f32(88.0f)), vdupq_n_f32(-87.0f));
  const float32x4_t n = vrndnq_f32(vmulq_n_f32(x, 1.44269504088896341f));
  float32x4_t r = vfmsq_n_f32(x, n, 0.693359375f);
  r = vfmsq_n_f32(r, n, -2.12194440e-4f);
  float32x4_t p = vdupq_n_f32(1.9875691500e-4f);
  p = vfmaq_f32(vdupq_n_f32(1.3981999507e-3f), p, r);
  p = vfmaq_f32(vdupq_n_f32(8.3334519073e-3f), p, r);
  p = vfmaq_f32(vdupq_n_f32(4.1665795894e-2f), p, r);
  p = vfmaq_f32(vdupq_n_f32(1.6666665459e-1f), p, r);
  p = vfmaq_f32(vdupq_n_f32(5.0000001201e-1f), p, r);
  p = vfmaq_f32(vaddq_f32(r, vdupq_n_f32(1.0f)), p, vmulq_f32(r, r));
  const int32x4_t power = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23);
  return vmulq_f32(p, vreinterpretq_f32_s32(power));
}

void swiglu(float* out, const float* gate, const float* up, int n) {
  int i = 0;
  for (; i + 4 <= n; i += 4) {
    const float32x4_t g = vld1q_f32(gate + i);
    const float32x4_t below = vaddq_f32(vdupq_n_f32(1.0f), exp4(vnegq_f32(g)));
    vst1q_f32(out + i, vmulq_f32(vdivq_f32(g, below), vld1q_f32(up + i)));
  }
  for (; i < n; ++i) out[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

void load_halves(const std::byte* in, int n, float* out) {
  for (int i = 0; i < n; i += 4) {
    const float16x4_t h = vreinterpret_f16_u8(vld1_u8(bytes(in + i * 2)));
    vst1q_f32(out + i, vcvt_f32_f16(h));
  }
}

// Eight int8 times a scale (or eight scales) as f32.
void scale8(const std::byte* in, float32x4_t scale0, float32x4_t scale1, float* out) {
  const int16x8_t wide = vmovl_s8(vreinterpret_s8_u8(vld1_u8(bytes(in))));
  vst1q_f32(out, vmulq_f32(scale0, vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)))));
  vst1q_f32(out + 4, vmulq_f32(scale1, vcvtq_f32_s32(vmovl_high_s16(wide))));
}

// Sixteen numbers of 0..255 times scales plus minima as f32.
void scale16(uint8x16_t u, const float32x4x4_t& scale, const float32x4x4_t& minimum, float* out) {
  const uint16x8_t low = vmovl_u8(vget_low_u8(u)), high = vmovl_high_u8(u);
  const uint32x4_t wide[4] = {vmovl_u16(vget_low_u16(low)),
                              vmovl_high_u16(low),
                              vmovl_u16(vget_low_u16(high)),
                              vmovl_high_u16(high)};
  for (int i = 0; i < 4; ++i)
    vst1q_f32(out + i * 4, vfmaq_f32(minimum.val[i], scale.val[i], vcvtq_f32_u32(wide[i])));
}

void load_keys(KvType type, const std::byte* keys, int head_dim, float* out) {
  const int n = head_dim * kPageTokens;
  if (type == KvType::F32) {
    std::memcpy(out, keys, static_cast<std::size_t>(n) * 4);
  } else if (type == KvType::F16) {
    load_halves(keys, n, out);
  } else if (type == KvType::Q8) {
    float scale[kPageTokens];
    for (int dim = 0; dim < head_dim; ++dim) {
      if (dim % 32 == 0) load_halves(keys + n + (dim / 32) * kPageTokens * 2, kPageTokens, scale);
      for (int slot = 0; slot < kPageTokens; slot += 8) {
        const int at = dim * kPageTokens + slot;
        scale8(keys + at, vld1q_f32(scale + slot), vld1q_f32(scale + slot + 4), out + at);
      }
    }
  } else {
    const int n_groups = head_dim / 32;
    float scale[kPageTokens], minimum[kPageTokens];
    for (int g = 0; g < n_groups; ++g) {
      const std::byte* pairs = keys + g * 16 * kPageTokens;
      const std::byte* scales = keys + n / 2 + g * kPageTokens * 2;
      load_halves(scales, kPageTokens, scale);
      load_halves(scales + n_groups * kPageTokens * 2, kPageTokens, minimum);
      for (int i = 0; i < 16; ++i) {
        float* to = out + (g * 32 + i) * kPageTokens;
        for (int slot = 0; slot < kPageTokens; slot += 16) {
          const uint8x16_t both = vld1q_u8(bytes(pairs + i * kPageTokens + slot));
          const float32x4x4_t s = vld1q_f32_x4(scale + slot), m = vld1q_f32_x4(minimum + slot);
          scale16(vandq_u8(both, vdupq_n_u8(15)), s, m, to + slot);
          scale16(vshrq_n_u8(both, 4), s, m, to + 16 * kPageTokens + slot);
        }
      }
    }
  }
}

void load_values(KvType type, const std::byte* values, int head_dim, float* out) {
  const int n = head_dim * kPageTokens;
  if (type == KvType::F32) {
    std::memcpy(out, values, static_cast<std::size_t>(n) * 4);
  } else if (type == KvType::F16) {
    load_halves(values, n, out);
  } else if (type == KvType::Q8) {
    for (int i = 0; i < n; i += 32) {
      const float32x4_t scale = vdupq_n_f32(half_to_float(load_u16(values + n + (i / 32) * 2)));
      for (int j = i; j < i + 32; j += 8) scale8(values + j, scale, scale, out + j);
    }
  } else {
    for (int g = 0; g < n / 32; ++g) {
      const std::byte* scales = values + n / 2 + g * 2;
      const float32x4_t s = vdupq_n_f32(half_to_float(load_u16(scales)));
      const float32x4_t m = vdupq_n_f32(half_to_float(load_u16(scales + n / 32 * 2)));
      const float32x4x4_t scale = {s, s, s, s}, minimum = {m, m, m, m};
      const uint8x16_t both = vld1q_u8(bytes(values + g * 16));
      scale16(vandq_u8(both, vdupq_n_u8(15)), scale, minimum, out + g * 32);
      scale16(vshrq_n_u8(both, 4), scale, minimum, out + g * 32 + 16);
    }
  }
}

void attend_page(
    const float* keys, const float* values, int head_dim, AttentionRow* rows, int n_rows) {
  for (int n = 0; n < n_rows; ++n) {
    AttentionRow& row = rows[n];
    if (row.begin >= row.end) continue;
    float32x4_t s[16];
    for (auto& v : s) v = vdupq_n_f32(0);
    for (int i = 0; i < head_dim; ++i) {
      for (int j = 0; j < 16; ++j)
        s[j] = vfmaq_n_f32(s[j], vld1q_f32(keys + i * kPageTokens + j * 4), row.query[i]);
    }
    float p[kPageTokens];
    for (int j = 0; j < 16; ++j) vst1q_f32(p + j * 4, s[j]);
    std::fill(p, p + row.begin, -std::numeric_limits<float>::infinity());
    std::fill(p + row.end, p + kPageTokens, -std::numeric_limits<float>::infinity());
    float32x4_t most = vdupq_n_f32(row.max);
    for (int j = 0; j < 16; ++j) most = vmaxq_f32(most, vld1q_f32(p + j * 4));
    const float max = vmaxvq_f32(most);
    for (int j = 0; j < 16; ++j)
      vst1q_f32(p + j * 4, exp4(vsubq_f32(vld1q_f32(p + j * 4), vdupq_n_f32(max))));
    std::fill(p, p + row.begin, 0.0f);
    std::fill(p + row.end, p + kPageTokens, 0.0f);
    float32x4_t total = vdupq_n_f32(0);
    for (int j = 0; j < 16; ++j) total = vaddq_f32(total, vld1q_f32(p + j * 4));
    const float keep = std::exp(row.max - max);
    row.sum = row.sum * keep + vaddvq_f32(total);
    row.max = max;
    for (int c = 0; c < head_dim; c += 32) {
      float32x4_t o[8];
      for (int j = 0; j < 8; ++j) o[j] = vmulq_n_f32(vld1q_f32(row.out + c + j * 4), keep);
      for (int t = row.begin; t < row.end; ++t) {
        const float* v = values + t * head_dim + c;
        for (int j = 0; j < 8; ++j) o[j] = vfmaq_n_f32(o[j], vld1q_f32(v + j * 4), p[t]);
      }
      for (int j = 0; j < 8; ++j) vst1q_f32(row.out + c + j * 4, o[j]);
    }
  }
}

constexpr Kernels kNeon{.name = "neon",
                        .rmsnorm = rmsnorm,
                        .quantize_row = quantize_row,
                        .pack_int8 = pack_int8,
                        .dot_int8 = dot_int8,
                        .product_int8 = product_int8,
                        .pack_f32 = nullptr,
                        .dot_f32 = dot_f32,
                        .quantize_q8_0 = nullptr,
                        .swiglu = swiglu,
                        .load_keys = load_keys,
                        .load_values = load_values,
                        .attend_page = attend_page};

}  // namespace

const Kernels* neon_kernels() {
  static const Kernels kernels = [] {
    Kernels table = kNeon;
    // Once per panel, and once per load: not worth versions of their own.
    table.pack_f32 = scalar_kernels()->pack_f32;
    table.quantize_q8_0 = scalar_kernels()->quantize_q8_0;
    return table;
  }();
  return &kernels;
}

}  // namespace pensieve::compute

#endif  // __aarch64__
