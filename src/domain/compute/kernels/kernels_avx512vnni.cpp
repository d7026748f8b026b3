// AVX-512 (F, BW, DQ, VL) with VNNI: Intel from Ice Lake, AMD from Zen 4. What 256-bit code does as
// well (reading groups, norms, rounding activations) is shared with the AVX2 variant.
#if defined(__x86_64__)
#include <cmath>
#include <limits>

#include "domain/compute/kernels/kernels.h"
#include "domain/compute/kernels/kv_layout.h"
#include "domain/compute/kernels/pack_avx512.h"
#include "domain/compute/kernels/variants.h"
#include "domain/compute/kernels/x86_groups.h"

namespace pensieve::compute {
namespace {

PENSIEVE_AVX512 inline __m512i broadcast4(const std::int8_t* x) {
  std::int32_t word;
  std::memcpy(&word, x, 4);
  return _mm512_set1_epi32(word);
}

// The eight weight vectors of a group stay in registers while the tokens stream by: per token and
// group 8 vpdpbusd (u8 weight times s8 activation, never saturating), one conversion, one product
// of scales and one fma. `at`: index of the first token in the group's columns of x.
template <bool kAffine>
PENSIEVE_AVX512 inline void multiply_group(int zero,
                                           const __m512i w[8],
                                           __m512 scale,
                                           __m512 offset,
                                           const Int8Rows& x,
                                           std::size_t at,
                                           int n_tokens,
                                           float* acc) {
  const std::int8_t* q = x.q + at * kGroupColumns;
  for (int t = 0; t < n_tokens; ++t, q += kGroupColumns) {
    const std::size_t i = at + static_cast<std::size_t>(t);
    // Two chains of four: the sum of a single token waits half as long.
    __m512i even = kAffine ? _mm512_setzero_si512() : _mm512_set1_epi32(-zero * x.sum[i]);
    __m512i odd = _mm512_setzero_si512();
    for (int k = 0; k < 8; k += 2) {
      even = _mm512_dpbusd_epi32(even, w[k], broadcast4(q + k * 4));
      odd = _mm512_dpbusd_epi32(odd, w[k + 1], broadcast4(q + k * 4 + 4));
    }
    const __m512 product = _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
    __m512 sum = _mm512_loadu_ps(acc + t * kBlockRows);
    sum = _mm512_fmadd_ps(_mm512_mul_ps(scale, _mm512_set1_ps(x.scale[i])), product, sum);
    if constexpr (kAffine) sum = _mm512_fmadd_ps(offset, _mm512_set1_ps(x.scaled_sum[i]), sum);
    _mm512_storeu_ps(acc + t * kBlockRows, sum);
  }
}

// Formats with two scales a group, and maybe two offsets.
template <bool kAffine>
PENSIEVE_AVX512 inline void multiply_halves(int zero,
                                            const __m512i w[8],
                                            const __m512 scale[2],
                                            const __m512 offset[2],
                                            const Int8Rows& x,
                                            std::size_t at,
                                            int n_tokens,
                                            float* acc) {
  const std::int8_t* q = x.q + at * kGroupColumns;
  for (int t = 0; t < n_tokens; ++t, q += kGroupColumns) {
    const std::size_t i = at + static_cast<std::size_t>(t);
    const std::int32_t first = x.half_sum[i], second = x.sum[i] - first;
    __m512i s0 = kAffine ? _mm512_setzero_si512() : _mm512_set1_epi32(-zero * first);
    __m512i s1 = kAffine ? _mm512_setzero_si512() : _mm512_set1_epi32(-zero * second);
    for (int k = 0; k < 4; ++k) {
      s0 = _mm512_dpbusd_epi32(s0, w[k], broadcast4(q + k * 4));
      s1 = _mm512_dpbusd_epi32(s1, w[k + 4], broadcast4(q + 16 + k * 4));
    }
    const __m512 x_scale = _mm512_set1_ps(x.scale[i]);
    __m512 sum = _mm512_loadu_ps(acc + t * kBlockRows);
    sum = _mm512_fmadd_ps(_mm512_mul_ps(scale[0], x_scale), _mm512_cvtepi32_ps(s0), sum);
    sum = _mm512_fmadd_ps(_mm512_mul_ps(scale[1], x_scale), _mm512_cvtepi32_ps(s1), sum);
    if constexpr (kAffine) {
      const float x0 = x.scale[i] * static_cast<float>(first);
      const float x1 = x.scale[i] * static_cast<float>(second);
      sum = _mm512_fmadd_ps(offset[0], _mm512_set1_ps(x0), sum);
      sum = _mm512_fmadd_ps(offset[1], _mm512_set1_ps(x1), sum);
    }
    _mm512_storeu_ps(acc + t * kBlockRows, sum);
  }
}

PENSIEVE_AVX512 inline std::size_t column_index(const Int8Rows& x, int group, int first_token) {
  return static_cast<std::size_t>(group) * static_cast<std::size_t>(x.n_tokens) +
         static_cast<std::size_t>(first_token);
}

template <bool kAffine, bool kHalves>
PENSIEVE_AVX512 void dot_panel(int zero,
                               const Int8Panel& panel,
                               int first_group,
                               int n_groups,
                               const Int8Rows& x,
                               int first_token,
                               int n_tokens,
                               float* acc) {
  for (int g = 0; g < n_groups; ++g) {
    const std::size_t at = column_index(x, first_group + g, first_token);
    __m512i w[8];
    for (int k = 0; k < 8; ++k) w[k] = _mm512_load_si512(panel.q + g * 512 + k * 64);
    const float* const scales = panel.scale + g * 32;
    const float* const offsets = panel.offset + g * 32;
    const __m512 scale[2] = {_mm512_load_ps(scales),
                             kHalves ? _mm512_load_ps(scales + 16) : _mm512_setzero_ps()};
    const __m512 offset[2] = {
        kAffine ? _mm512_load_ps(offsets) : _mm512_setzero_ps(),
        kAffine && kHalves ? _mm512_load_ps(offsets + 16) : _mm512_setzero_ps()};
    if constexpr (kHalves) {
      multiply_halves<kAffine>(zero, w, scale, offset, x, at, n_tokens, acc);
    } else {
      multiply_group<kAffine>(zero, w, scale[0], offset[0], x, at, n_tokens, acc);
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
  const auto run = format.halves && format.affine ? dot_panel<true, true>
                   : format.halves                ? dot_panel<false, true>
                   : format.affine                ? dot_panel<true, false>
                                                  : dot_panel<false, false>;
  run(format.zero, panel, first_group, n_groups, x, first_token, n_tokens, acc);
}

// Unpacks into registers and multiplies at once: nothing goes through memory in between.
template <WeightType kType>
PENSIEVE_AVX512 void product_plain(const WeightView& view,
                                   int first_row,
                                   int first_group,
                                   int n_groups,
                                   const Int8Rows& x,
                                   int first_token,
                                   int n_tokens,
                                   float* acc) {
  constexpr bool kAffine = kType != WeightType::Q4_0 && kType != WeightType::Q8_0;
  const int zero = panel_format(kType).zero;
  const x86::Rows rows = x86::rows_of(view, first_row);
  alignas(32) std::uint64_t bits[8][4], more[8][4];
  alignas(64) float scale[8][kBlockRows], offset[8][kBlockRows];
  for (int from = 0; from < n_groups; from += 8) {
    const int n = n_groups - from < 8 ? n_groups - from : 8;
    x86::load_scales<kType>(view,
                            rows,
                            first_row,
                            first_group + from,
                            n,
                            bits,
                            more,
                            scale[0],
                            kBlockRows,
                            offset[0],
                            kBlockRows);
    for (int i = 0; i < n; ++i) {
      const int g = first_group + from + i;
      const x86::Unpacked u = x86::unpack_group<kType>(rows, g);
      const __m512 s = _mm512_load_ps(scale[i]);
      multiply_group<kAffine>(zero,
                              u.w,
                              s,
                              kAffine ? _mm512_load_ps(offset[i]) : s,
                              x,
                              column_index(x, g, first_token),
                              n_tokens,
                              acc);
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
  if (first_row + kBlockRows <= view.rows) {
    switch (view.type) {
#define PENSIEVE_CASE(type)                 \
  case WeightType::type:                    \
    return product_plain<WeightType::type>( \
        view, first_row, first_group, n_groups, x, first_token, n_tokens, acc)
      PENSIEVE_CASE(Q4_0);
      PENSIEVE_CASE(Q4_1);
      PENSIEVE_CASE(Q8_0);
      PENSIEVE_CASE(Mlx2);
      PENSIEVE_CASE(Mlx3);
      PENSIEVE_CASE(Mlx4);
      PENSIEVE_CASE(Mlx5);
      PENSIEVE_CASE(Mlx6);
      PENSIEVE_CASE(Mlx8);
#undef PENSIEVE_CASE
      default:
        break;
    }
  }
  x86::pack_int8_512(view, first_row, first_group, n_groups, scratch);
  dot_int8(panel_format(view.type), scratch, first_group, n_groups, x, first_token, n_tokens, acc);
}

template <int kTokens>
PENSIEVE_AVX512 inline void dot_f32_tile(
    const float* panel, int n_columns, const float* x, std::size_t stride, float* acc) {
  __m512 s[kTokens];
  for (int i = 0; i < kTokens; ++i) s[i] = _mm512_loadu_ps(acc + i * kBlockRows);
  for (int k = 0; k < n_columns; ++k) {
    const __m512 w = _mm512_load_ps(panel + k * kBlockRows);
    for (int i = 0; i < kTokens; ++i) {
      const float v = x[static_cast<std::size_t>(i) * stride + static_cast<std::size_t>(k)];
      s[i] = _mm512_fmadd_ps(w, _mm512_set1_ps(v), s[i]);
    }
  }
  for (int i = 0; i < kTokens; ++i) _mm512_storeu_ps(acc + i * kBlockRows, s[i]);
}

PENSIEVE_AVX512 void dot_f32(const float* panel,
                             int n_columns,
                             const float* x,
                             std::size_t stride,
                             int n_tokens,
                             float* acc) {
  int t = 0;
  for (; t + 8 <= n_tokens; t += 8) {
    dot_f32_tile<8>(
        panel, n_columns, x + static_cast<std::size_t>(t) * stride, stride, acc + t * kBlockRows);
  }
  for (; t < n_tokens; ++t) {
    dot_f32_tile<1>(
        panel, n_columns, x + static_cast<std::size_t>(t) * stride, stride, acc + t * kBlockRows);
  }
}

// exp8() with 16 lanes: the same steps, the power of two by vscalefps.
PENSIEVE_AVX512 inline __m512 exp16(__m512 x) {
  x = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(88.0f)), _mm512_set1_ps(-87.0f));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
  p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0f)));
  return _mm512_scalef_ps(p, n);
}

PENSIEVE_AVX512 void swiglu(float* out, const float* gate, const float* up, int n) {
  const __m512 one = _mm512_set1_ps(1.0f), zero = _mm512_setzero_ps();
  int i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512 g = _mm512_loadu_ps(gate + i);
    const __m512 e = exp16(_mm512_sub_ps(zero, g));
    _mm512_storeu_ps(
        out + i, _mm512_mul_ps(_mm512_div_ps(g, _mm512_add_ps(one, e)), _mm512_loadu_ps(up + i)));
  }
  for (; i < n; ++i) out[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

PENSIEVE_AVX512 inline __m512 int8_as_f32(const std::byte* at) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(x86::load16(at)));
}

// Sixteen bytes as the sixteen numbers in their low and in their high halves.
struct NibblesF32 {
  __m512 low, high;
};
PENSIEVE_AVX512 inline NibblesF32 nibbles_as_f32(const std::byte* at) {
  const __m512i both = _mm512_cvtepu8_epi32(x86::load16(at));
  return {_mm512_cvtepi32_ps(_mm512_and_si512(both, _mm512_set1_epi32(15))),
          _mm512_cvtepi32_ps(_mm512_srli_epi32(both, 4))};
}

PENSIEVE_AVX512 void load_halves(const std::byte* in, int n, float* out) {
  for (int i = 0; i < n; i += 16)
    _mm512_storeu_ps(out + i, _mm512_cvtph_ps(x86::load32(in + i * 2)));
}

PENSIEVE_AVX512 void load_keys(KvType type, const std::byte* keys, int head_dim, float* out) {
  const int n = head_dim * kPageTokens;
  if (type == KvType::F32) {
    std::memcpy(out, keys, static_cast<std::size_t>(n) * 4);
  } else if (type == KvType::F16) {
    load_halves(keys, n, out);
  } else if (type == KvType::Q8) {
    for (int first = 0; first < head_dim; first += 32) {
      const std::byte* scales = keys + n + (first / 32) * kPageTokens * 2;
      __m512 scale[4];
      for (int j = 0; j < 4; ++j) scale[j] = _mm512_cvtph_ps(x86::load32(scales + j * 32));
      for (int dim = first; dim < first + 32; ++dim) {
        for (int j = 0; j < 4; ++j) {
          const int at = dim * kPageTokens + j * 16;
          _mm512_storeu_ps(out + at, _mm512_mul_ps(scale[j], int8_as_f32(keys + at)));
        }
      }
    }
  } else {
    const int n_groups = head_dim / 32;
    for (int g = 0; g < n_groups; ++g) {
      const std::byte* pairs = keys + g * 16 * kPageTokens;
      const std::byte* scales = keys + n / 2 + g * kPageTokens * 2;
      const std::byte* minima = scales + n_groups * kPageTokens * 2;
      __m512 scale[4], minimum[4];
      for (int j = 0; j < 4; ++j) {
        scale[j] = _mm512_cvtph_ps(x86::load32(scales + j * 32));
        minimum[j] = _mm512_cvtph_ps(x86::load32(minima + j * 32));
      }
      for (int i = 0; i < 16; ++i) {
        float* to = out + (g * 32 + i) * kPageTokens;
        for (int j = 0; j < 4; ++j) {
          const auto [low, high] = nibbles_as_f32(pairs + i * kPageTokens + j * 16);
          _mm512_storeu_ps(to + j * 16, _mm512_fmadd_ps(scale[j], low, minimum[j]));
          _mm512_storeu_ps(to + 16 * kPageTokens + j * 16,
                           _mm512_fmadd_ps(scale[j], high, minimum[j]));
        }
      }
    }
  }
}

PENSIEVE_AVX512 void load_values(KvType type, const std::byte* values, int head_dim, float* out) {
  const int n = head_dim * kPageTokens;
  if (type == KvType::F32) {
    std::memcpy(out, values, static_cast<std::size_t>(n) * 4);
  } else if (type == KvType::F16) {
    load_halves(values, n, out);
  } else if (type == KvType::Q8) {
    for (int i = 0; i < n; i += 32) {
      const __m512 scale = _mm512_set1_ps(x86::half_at(values + n + (i / 32) * 2));
      _mm512_storeu_ps(out + i, _mm512_mul_ps(scale, int8_as_f32(values + i)));
      _mm512_storeu_ps(out + i + 16, _mm512_mul_ps(scale, int8_as_f32(values + i + 16)));
    }
  } else {
    for (int g = 0; g < n / 32; ++g) {
      const __m512 scale = _mm512_set1_ps(x86::half_at(values + n / 2 + g * 2));
      const __m512 minimum = _mm512_set1_ps(x86::half_at(values + n / 2 + n / 32 * 2 + g * 2));
      const auto [low, high] = nibbles_as_f32(values + g * 16);
      _mm512_storeu_ps(out + g * 32, _mm512_fmadd_ps(scale, low, minimum));
      _mm512_storeu_ps(out + g * 32 + 16, _mm512_fmadd_ps(scale, high, minimum));
    }
  }
}

PENSIEVE_AVX512 void attend_page(
    const float* keys, const float* values, int head_dim, AttentionRow* rows, int n_rows) {
  for (int n = 0; n < n_rows; ++n) {
    AttentionRow& row = rows[n];
    if (row.begin >= row.end) continue;
    __m512 s[4];
    for (auto& v : s) v = _mm512_setzero_ps();
    for (int i = 0; i < head_dim; ++i) {
      const __m512 q = _mm512_set1_ps(row.query[i]);
      for (int j = 0; j < 4; ++j)
        s[j] = _mm512_fmadd_ps(_mm512_loadu_ps(keys + i * kPageTokens + j * 16), q, s[j]);
    }
    // Bits begin .. end - 1 of 64: the tokens this row sees.
    const std::uint64_t seen =
        (~std::uint64_t{0} << row.begin) & (~std::uint64_t{0} >> (kPageTokens - row.end));
    const __m512 nothing = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    __m512 most = _mm512_set1_ps(row.max);
    for (int j = 0; j < 4; ++j) {
      s[j] = _mm512_mask_mov_ps(nothing, static_cast<__mmask16>(seen >> (j * 16)), s[j]);
      most = _mm512_max_ps(most, s[j]);
    }
    const float max = _mm512_reduce_max_ps(most);
    alignas(64) float p[kPageTokens];
    __m512 total = _mm512_setzero_ps();
    for (int j = 0; j < 4; ++j) {
      const __m512 e = _mm512_maskz_mov_ps(static_cast<__mmask16>(seen >> (j * 16)),
                                           exp16(_mm512_sub_ps(s[j], _mm512_set1_ps(max))));
      _mm512_store_ps(p + j * 16, e);
      total = _mm512_add_ps(total, e);
    }
    const float keep = std::exp(row.max - max);
    row.sum = row.sum * keep + _mm512_reduce_add_ps(total);
    row.max = max;
    for (int c = 0; c < head_dim; c += 32) {
      __m512 o0 = _mm512_mul_ps(_mm512_loadu_ps(row.out + c), _mm512_set1_ps(keep));
      __m512 o1 = _mm512_mul_ps(_mm512_loadu_ps(row.out + c + 16), _mm512_set1_ps(keep));
      for (int t = row.begin; t < row.end; ++t) {
        const __m512 weight = _mm512_set1_ps(p[t]);
        const float* v = values + t * head_dim + c;
        o0 = _mm512_fmadd_ps(weight, _mm512_loadu_ps(v), o0);
        o1 = _mm512_fmadd_ps(weight, _mm512_loadu_ps(v + 16), o1);
      }
      _mm512_storeu_ps(row.out + c, o0);
      _mm512_storeu_ps(row.out + c + 16, o1);
    }
  }
}

constexpr Kernels kAvx512Vnni{.name = "avx512vnni",
                              .rmsnorm = x86::rmsnorm,
                              .quantize_row = x86::quantize_row,
                              .pack_int8 = x86::pack_int8_512,
                              .dot_int8 = dot_int8,
                              .product_int8 = product_int8,
                              .pack_f32 = x86::pack_f32,
                              .dot_f32 = dot_f32,
                              .quantize_q8_0 = x86::quantize_q8_0,
                              .swiglu = swiglu,
                              .load_keys = load_keys,
                              .load_values = load_values,
                              .attend_page = attend_page};

}  // namespace

const Kernels* avx512vnni_kernels() {
  return &kAvx512Vnni;
}

}  // namespace pensieve::compute

#endif  // __x86_64__
