// AVX2 + FMA + F16C: x86-64 from 2013 on.
#if defined(__x86_64__)
#include <cmath>
#include <limits>

#include "domain/compute/kernels/kernels.h"
#include "domain/compute/kernels/kv_layout.h"
#include "domain/compute/kernels/variants.h"
#include "domain/compute/kernels/x86_groups.h"

namespace pensieve::compute {
namespace {

using x86::exp8;
using x86::load32;

// Products of 32 columns: four neighbouring columns of 8 rows against four activations. Narrow
// weights (u <= 127) fit pmaddubsw without saturating: 2 * 127 * 127 < 2^15. Wide ones are made
// signed (u - 128) and go through |w| * sign(w) x, at most 2 * 128 * 127 < 2^15.
template <bool kWide>
PENSIEVE_AVX2 inline __m256i dot4(__m256i sum, __m256i w, __m256i x) {
  const __m256i pairs = kWide ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
                              : _mm256_maddubs_epi16(w, x);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

PENSIEVE_AVX2 inline __m256i broadcast4(const std::int8_t* x) {
  std::int32_t word;
  std::memcpy(&word, x, 4);
  return _mm256_set1_epi32(word);
}

template <bool kWide, bool kAffine, bool kHalves>
PENSIEVE_AVX2 void dot_panel(int zero,
                             const Int8Panel& panel,
                             int first_group,
                             int n_groups,
                             const Int8Rows& x,
                             int first_token,
                             int n_tokens,
                             float* acc) {
  // With signed weights the sum lacks 128 * sum(x) and still holds zero * sum(x) too much.
  const int correction = (kWide ? 128 : 0) - zero;
  for (int g = 0; g < n_groups; ++g) {
    const auto at =
        static_cast<std::size_t>(first_group + g) * static_cast<std::size_t>(x.n_tokens) +
        static_cast<std::size_t>(first_token);
    for (int half = 0; half < 2; ++half) {
      __m256i w[8];
      for (int k = 0; k < 8; ++k) {
        w[k] = load32(panel.q + g * 512 + k * 64 + half * 32);
        if (kWide) w[k] = _mm256_xor_si256(w[k], _mm256_set1_epi8(static_cast<char>(0x80)));
      }
      const __m256 scale0 = _mm256_loadu_ps(panel.scale + g * 32 + half * 8);
      const __m256 scale1 =
          kHalves ? _mm256_loadu_ps(panel.scale + g * 32 + 16 + half * 8) : scale0;
      const float* const offsets = panel.offset + g * 32 + half * 8;
      const __m256 offset0 = kAffine ? _mm256_loadu_ps(offsets) : scale0;
      const __m256 offset1 = kAffine && kHalves ? _mm256_loadu_ps(offsets + 16) : scale0;
      for (int t = 0; t < n_tokens; ++t) {
        const std::size_t i = at + static_cast<std::size_t>(t);
        const std::int8_t* q = x.q + i * kGroupColumns;
        float* out = acc + t * kBlockRows + half * 8;
        __m256 sum = _mm256_loadu_ps(out);
        const __m256 x_scale = _mm256_set1_ps(x.scale[i]);
        if constexpr (kHalves) {
          const std::int32_t first = x.half_sum[i], second = x.sum[i] - first;
          __m256i s0 = _mm256_set1_epi32(correction * first);
          __m256i s1 = _mm256_set1_epi32(correction * second);
          for (int k = 0; k < 4; ++k) {
            s0 = dot4<kWide>(s0, w[k], broadcast4(q + k * 4));
            s1 = dot4<kWide>(s1, w[k + 4], broadcast4(q + 16 + k * 4));
          }
          sum = _mm256_fmadd_ps(_mm256_mul_ps(scale0, x_scale), _mm256_cvtepi32_ps(s0), sum);
          sum = _mm256_fmadd_ps(_mm256_mul_ps(scale1, x_scale), _mm256_cvtepi32_ps(s1), sum);
          if constexpr (kAffine) {
            const __m256 x0 = _mm256_set1_ps(x.scale[i] * static_cast<float>(first));
            const __m256 x1 = _mm256_set1_ps(x.scale[i] * static_cast<float>(second));
            sum = _mm256_fmadd_ps(offset0, x0, sum);
            sum = _mm256_fmadd_ps(offset1, x1, sum);
          }
        } else {
          __m256i s0 = _mm256_set1_epi32(correction * x.sum[i]), s1 = _mm256_setzero_si256();
          for (int k = 0; k < 8; k += 2) {
            s0 = dot4<kWide>(s0, w[k], broadcast4(q + k * 4));
            s1 = dot4<kWide>(s1, w[k + 1], broadcast4(q + k * 4 + 4));
          }
          sum = _mm256_fmadd_ps(
              _mm256_mul_ps(scale0, x_scale), _mm256_cvtepi32_ps(_mm256_add_epi32(s0, s1)), sum);
          if constexpr (kAffine) {
            sum = _mm256_fmadd_ps(offset0, _mm256_set1_ps(x.scaled_sum[i]), sum);
          }
        }
        _mm256_storeu_ps(out, sum);
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
  x86::pack_int8(view, first_row, first_group, n_groups, scratch);
  dot_int8(panel_format(view.type), scratch, first_group, n_groups, x, first_token, n_tokens, acc);
}

// Tiles of four tokens: 8 accumulators, the two panel vectors, one broadcast.
PENSIEVE_AVX2 void dot_f32(const float* panel,
                           int n_columns,
                           const float* x,
                           std::size_t stride,
                           int n_tokens,
                           float* acc) {
  int t = 0;
  for (; t + 4 <= n_tokens; t += 4) {
    const float* x0 = x + static_cast<std::size_t>(t) * stride;
    __m256 s[4][2];
    for (int i = 0; i < 4; ++i) {
      s[i][0] = _mm256_loadu_ps(acc + (t + i) * kBlockRows);
      s[i][1] = _mm256_loadu_ps(acc + (t + i) * kBlockRows + 8);
    }
    for (int k = 0; k < n_columns; ++k) {
      const __m256 w0 = _mm256_loadu_ps(panel + k * kBlockRows);
      const __m256 w1 = _mm256_loadu_ps(panel + k * kBlockRows + 8);
      for (int i = 0; i < 4; ++i) {
        const __m256 v =
            _mm256_set1_ps(x0[static_cast<std::size_t>(i) * stride + static_cast<std::size_t>(k)]);
        s[i][0] = _mm256_fmadd_ps(w0, v, s[i][0]);
        s[i][1] = _mm256_fmadd_ps(w1, v, s[i][1]);
      }
    }
    for (int i = 0; i < 4; ++i) {
      _mm256_storeu_ps(acc + (t + i) * kBlockRows, s[i][0]);
      _mm256_storeu_ps(acc + (t + i) * kBlockRows + 8, s[i][1]);
    }
  }
  for (; t < n_tokens; ++t) {
    const float* xt = x + static_cast<std::size_t>(t) * stride;
    __m256 s0 = _mm256_loadu_ps(acc + t * kBlockRows),
           s1 = _mm256_loadu_ps(acc + t * kBlockRows + 8);
    for (int k = 0; k < n_columns; ++k) {
      const __m256 v = _mm256_set1_ps(xt[k]);
      s0 = _mm256_fmadd_ps(_mm256_loadu_ps(panel + k * kBlockRows), v, s0);
      s1 = _mm256_fmadd_ps(_mm256_loadu_ps(panel + k * kBlockRows + 8), v, s1);
    }
    _mm256_storeu_ps(acc + t * kBlockRows, s0);
    _mm256_storeu_ps(acc + t * kBlockRows + 8, s1);
  }
}

PENSIEVE_AVX2 void swiglu(float* out, const float* gate, const float* up, int n) {
  const __m256 one = _mm256_set1_ps(1.0f), sign = _mm256_set1_ps(-0.0f);
  int i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 g = _mm256_loadu_ps(gate + i);
    const __m256 e = exp8(_mm256_xor_ps(g, sign));
    _mm256_storeu_ps(
        out + i, _mm256_mul_ps(_mm256_div_ps(g, _mm256_add_ps(one, e)), _mm256_loadu_ps(up + i)));
  }
  for (; i < n; ++i) out[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

PENSIEVE_AVX2 inline __m256 int8_as_f32(const std::byte* at) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at))));
}

// Eight bytes as the eight numbers in their low and in their high halves.
struct NibblesF32 {
  __m256 low, high;
};
PENSIEVE_AVX2 inline NibblesF32 nibbles_as_f32(const std::byte* at) {
  const __m256i both = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
  return {_mm256_cvtepi32_ps(_mm256_and_si256(both, _mm256_set1_epi32(15))),
          _mm256_cvtepi32_ps(_mm256_srli_epi32(both, 4))};
}

PENSIEVE_AVX2 void load_halves(const std::byte* in, int n, float* out) {
  for (int i = 0; i < n; i += 8) {
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(x86::load16(in + i * 2)));
  }
}

PENSIEVE_AVX2 void load_keys(KvType type, const std::byte* keys, int head_dim, float* out) {
  const int n = head_dim * kPageTokens;
  if (type == KvType::F32) {
    std::memcpy(out, keys, static_cast<std::size_t>(n) * 4);
  } else if (type == KvType::F16) {
    load_halves(keys, n, out);
  } else if (type == KvType::Q8) {
    for (int dim = 0; dim < head_dim; ++dim) {
      const std::byte* scales = keys + n + (dim / 32) * kPageTokens * 2;
      for (int slot = 0; slot < kPageTokens; slot += 8) {
        const __m256 scale = _mm256_cvtph_ps(x86::load16(scales + slot * 2));
        const int at = dim * kPageTokens + slot;
        _mm256_storeu_ps(out + at, _mm256_mul_ps(scale, int8_as_f32(keys + at)));
      }
    }
  } else {
    const int n_groups = head_dim / 32;
    for (int g = 0; g < n_groups; ++g) {
      const std::byte* pairs = keys + g * 16 * kPageTokens;
      const std::byte* scales = keys + n / 2 + g * kPageTokens * 2;
      const std::byte* minima = scales + n_groups * kPageTokens * 2;
      for (int slot = 0; slot < kPageTokens; slot += 8) {
        const __m256 scale = _mm256_cvtph_ps(x86::load16(scales + slot * 2));
        const __m256 minimum = _mm256_cvtph_ps(x86::load16(minima + slot * 2));
        float* to = out + g * 32 * kPageTokens + slot;
        for (int i = 0; i < 16; ++i) {
          const auto [low, high] = nibbles_as_f32(pairs + i * kPageTokens + slot);
          _mm256_storeu_ps(to + i * kPageTokens, _mm256_fmadd_ps(scale, low, minimum));
          _mm256_storeu_ps(to + (i + 16) * kPageTokens, _mm256_fmadd_ps(scale, high, minimum));
        }
      }
    }
  }
}

PENSIEVE_AVX2 void load_values(KvType type, const std::byte* values, int head_dim, float* out) {
  const int n = head_dim * kPageTokens;
  if (type == KvType::F32) {
    std::memcpy(out, values, static_cast<std::size_t>(n) * 4);
  } else if (type == KvType::F16) {
    load_halves(values, n, out);
  } else if (type == KvType::Q8) {
    for (int i = 0; i < n; i += 32) {
      const __m256 scale = _mm256_set1_ps(x86::half_at(values + n + (i / 32) * 2));
      for (int j = i; j < i + 32; j += 8) {
        _mm256_storeu_ps(out + j, _mm256_mul_ps(scale, int8_as_f32(values + j)));
      }
    }
  } else {
    for (int g = 0; g < n / 32; ++g) {
      const __m256 scale = _mm256_set1_ps(x86::half_at(values + n / 2 + g * 2));
      const __m256 minimum = _mm256_set1_ps(x86::half_at(values + n / 2 + n / 32 * 2 + g * 2));
      for (int i = 0; i < 16; i += 8) {
        const auto [low, high] = nibbles_as_f32(values + g * 16 + i);
        _mm256_storeu_ps(out + g * 32 + i, _mm256_fmadd_ps(scale, low, minimum));
        _mm256_storeu_ps(out + g * 32 + 16 + i, _mm256_fmadd_ps(scale, high, minimum));
      }
    }
  }
}

PENSIEVE_AVX2 void attend_page(
    const float* keys, const float* values, int head_dim, AttentionRow* rows, int n_rows) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  for (int n = 0; n < n_rows; ++n) {
    AttentionRow& row = rows[n];
    if (row.begin >= row.end) continue;
    __m256 s[8];
    for (auto& v : s) v = _mm256_setzero_ps();
    for (int i = 0; i < head_dim; ++i) {
      const __m256 q = _mm256_set1_ps(row.query[i]);
      for (int j = 0; j < 8; ++j)
        s[j] = _mm256_fmadd_ps(_mm256_loadu_ps(keys + i * kPageTokens + j * 8), q, s[j]);
    }
    const __m256i begin = _mm256_set1_epi32(row.begin - 1), end = _mm256_set1_epi32(row.end);
    __m256 seen[8];
    __m256 most = _mm256_set1_ps(row.max);
    for (int j = 0; j < 8; ++j) {
      const __m256i slot = _mm256_add_epi32(lanes, _mm256_set1_epi32(j * 8));
      seen[j] = _mm256_castsi256_ps(
          _mm256_and_si256(_mm256_cmpgt_epi32(slot, begin), _mm256_cmpgt_epi32(end, slot)));
      s[j] =
          _mm256_blendv_ps(_mm256_set1_ps(-std::numeric_limits<float>::infinity()), s[j], seen[j]);
      most = _mm256_max_ps(most, s[j]);
    }
    const float max = x86::max8(most);
    alignas(32) float p[kPageTokens];
    __m256 total = _mm256_setzero_ps();
    for (int j = 0; j < 8; ++j) {
      const __m256 e = _mm256_and_ps(exp8(_mm256_sub_ps(s[j], _mm256_set1_ps(max))), seen[j]);
      _mm256_store_ps(p + j * 8, e);
      total = _mm256_add_ps(total, e);
    }
    const float keep = std::exp(row.max - max);
    row.sum = row.sum * keep + x86::sum8(total);
    row.max = max;
    for (int c = 0; c < head_dim; c += 32) {
      __m256 o[4];
      for (int j = 0; j < 4; ++j)
        o[j] = _mm256_mul_ps(_mm256_loadu_ps(row.out + c + j * 8), _mm256_set1_ps(keep));
      for (int t = row.begin; t < row.end; ++t) {
        const __m256 weight = _mm256_set1_ps(p[t]);
        const float* v = values + t * head_dim + c;
        for (int j = 0; j < 4; ++j)
          o[j] = _mm256_fmadd_ps(weight, _mm256_loadu_ps(v + j * 8), o[j]);
      }
      for (int j = 0; j < 4; ++j) _mm256_storeu_ps(row.out + c + j * 8, o[j]);
    }
  }
}

constexpr Kernels kAvx2{.name = "avx2",
                        .rmsnorm = x86::rmsnorm,
                        .quantize_row = x86::quantize_row,
                        .pack_int8 = x86::pack_int8,
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

const Kernels* avx2_kernels() {
  return &kAvx2;
}

}  // namespace pensieve::compute

#endif  // __x86_64__
