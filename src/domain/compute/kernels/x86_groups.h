// Reading groups of quantised weights with AVX2: the steps that the AVX2 and AVX-512 variants
// share.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "domain/compute/kernels/groups_scalar.h"
#include "domain/compute/kernels/kernels.h"
#include "domain/compute/weights.h"

#define PENSIEVE_AVX2 [[gnu::target("avx2,fma,f16c")]]

namespace pensieve::compute::x86 {

PENSIEVE_AVX2 inline float half_at(const std::byte* at) {
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(load_u16(at))));
}

PENSIEVE_AVX2 inline __m256i load32(const void* at) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(at));
}
PENSIEVE_AVX2 inline __m128i load16(const void* at) {
  return _mm_loadu_si128(static_cast<const __m128i*>(at));
}

// 16 bytes of nibbles: elements 0-15 are the low ones, 16-31 the high ones.
PENSIEVE_AVX2 inline __m256i split_nibbles(const std::byte* q) {
  const __m128i bytes = load16(q);
  const __m256i both =
      _mm256_inserti128_si256(_mm256_castsi128_si256(bytes), _mm_srli_epi16(bytes, 4), 1);
  return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

// The bits of a 32-bit word as bytes: 16 where bit i is set, at byte i.
PENSIEVE_AVX2 inline __m256i fifth_bits(const std::byte* word) {
  std::int32_t bits;
  std::memcpy(&bits, word, 4);
  const __m256i spread = _mm256_shuffle_epi8(
      _mm256_set1_epi32(bits),
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
  const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ULL));
  const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
  return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

// 32 elements of `kBits` bits each from 4 * kBits bytes of a little-endian stream. An element lies
// within two bytes: each pair of bytes goes to a 16-bit lane of its own, is shifted up until the
// element is on top, and down again.
template <int kBits>
PENSIEVE_AVX2 inline __m256i unpack_stream(const std::byte* stream) {
  static_assert(kBits == 2 || kBits == 3 || kBits == 5 || kBits == 6);
  struct Tables {
    alignas(32) std::int32_t loaded[8];  // the stream's dwords: no byte behind it is touched
    alignas(32) std::uint8_t pairs[2][32];
    alignas(32) std::uint16_t up[2][16];
  };
  // Elements 16-31 begin 2 * kBits bytes in: kSkip dwords, and two bytes more where that is odd.
  constexpr int kSkip = kBits * 2 / 4;
  static constexpr Tables kTables = [] {
    Tables t{};
    for (int i = 0; i < kBits; ++i) t.loaded[i] = -1;
    for (int half = 0; half < 2; ++half) {
      for (int i = 0; i < 16; ++i) {
        const int bit = i * kBits + half * (kBits * 2 % 4) * 8;
        t.pairs[half][2 * i] = static_cast<std::uint8_t>(bit / 8);
        t.pairs[half][2 * i + 1] = static_cast<std::uint8_t>(bit / 8 + 1);
        t.up[half][i] = static_cast<std::uint16_t>(1 << (16 - kBits - bit % 8));
      }
    }
    return t;
  }();
  const __m256i all =
      _mm256_maskload_epi32(reinterpret_cast<const int*>(stream), load32(kTables.loaded));
  const __m256i halves[2] = {
      _mm256_permute2x128_si256(all, all, 0),
      _mm256_permutevar8x32_epi32(
          all,
          _mm256_setr_epi32(
              kSkip, kSkip + 1, kSkip + 2, kSkip + 3, kSkip, kSkip + 1, kSkip + 2, kSkip + 3))};
  __m256i wide[2];
  for (int half = 0; half < 2; ++half) {
    const __m256i pairs = _mm256_shuffle_epi8(halves[half], load32(kTables.pairs[half]));
    wide[half] = _mm256_srli_epi16(_mm256_mullo_epi16(pairs, load32(kTables.up[half])), 16 - kBits);
  }
  return _mm256_permute4x64_epi64(_mm256_packus_epi16(wide[0], wide[1]), 0xD8);
}

struct VectorGroup {
  __m256i u;
  float scale0, scale1, offset0, offset1;
};

// As read_group(), for one format. `row` is needed for MLX's separate scales alone.
template <WeightType kType>
PENSIEVE_AVX2 inline VectorGroup read_group(const WeightView& view,
                                            const std::byte* data,
                                            int row,
                                            int g) {
  VectorGroup out{};
  if constexpr (kType == WeightType::Q4_0) {
    const std::byte* b = data + g * 18;
    out.scale0 = half_at(b);
    out.u = split_nibbles(b + 2);
  } else if constexpr (kType == WeightType::Q4_1) {
    const std::byte* b = data + g * 20;
    out.scale0 = half_at(b);
    out.offset0 = half_at(b + 2);
    out.u = split_nibbles(b + 4);
  } else if constexpr (kType == WeightType::Q5_0) {
    const std::byte* b = data + g * 22;
    out.scale0 = half_at(b);
    out.u = _mm256_or_si256(split_nibbles(b + 6), fifth_bits(b + 2));
  } else if constexpr (kType == WeightType::Q5_1) {
    const std::byte* b = data + g * 24;
    out.scale0 = half_at(b);
    out.offset0 = half_at(b + 2);
    out.u = _mm256_or_si256(split_nibbles(b + 8), fifth_bits(b + 4));
  } else if constexpr (kType == WeightType::Q8_0) {
    const std::byte* b = data + g * 34;
    out.scale0 = half_at(b);
    out.u = _mm256_xor_si256(load32(b + 2), _mm256_set1_epi8(static_cast<char>(0x80)));
  } else if constexpr (kType == WeightType::Q2_K) {
    const std::byte* b = data + (g / 8) * 84;
    const int half = (g % 8) / 4, part = g % 4;
    const float d = half_at(b + 80), dmin = half_at(b + 82);
    const std::byte* both = b + (g % 8) * 2;
    out.scale0 = d * static_cast<float>(nibble_low(both[0]));
    out.scale1 = d * static_cast<float>(nibble_low(both[1]));
    out.offset0 = -(dmin * static_cast<float>(nibble_high(both[0])));
    out.offset1 = -(dmin * static_cast<float>(nibble_high(both[1])));
    out.u =
        _mm256_and_si256(_mm256_srl_epi16(load32(b + 16 + half * 32), _mm_cvtsi32_si128(2 * part)),
                         _mm256_set1_epi8(3));
    return out;
  } else if constexpr (kType == WeightType::Q3_K) {
    const std::byte* b = data + (g / 8) * 110;
    const int half = (g % 8) / 4, part = g % 4;
    const float d = half_at(b + 108);
    out.scale0 = d * static_cast<float>(scale_q3k(b + 96, (g % 8) * 2));
    out.scale1 = d * static_cast<float>(scale_q3k(b + 96, (g % 8) * 2 + 1));
    const __m256i two =
        _mm256_and_si256(_mm256_srl_epi16(load32(b + 32 + half * 32), _mm_cvtsi32_si128(2 * part)),
                         _mm256_set1_epi8(3));
    const __m256i bit = _mm256_set1_epi8(static_cast<char>(1 << (g % 8)));
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(load32(b), bit), bit);
    out.u = _mm256_or_si256(two, _mm256_and_si256(set, _mm256_set1_epi8(4)));
    return out;
  } else if constexpr (kType == WeightType::Q4_K || kType == WeightType::Q5_K) {
    constexpr bool kFive = kType == WeightType::Q5_K;
    const std::byte* b = data + (g / 8) * (kFive ? 176 : 144);
    const int part = g % 8;
    int scale = 0, min = 0;
    scale_and_min(b + 4, part, &scale, &min);
    out.scale0 = half_at(b) * static_cast<float>(scale);
    out.offset0 = -(half_at(b + 2) * static_cast<float>(min));
    const __m256i q = load32(b + (kFive ? 48 : 16) + (part / 2) * 32);
    const __m256i low = _mm256_set1_epi8(15);
    out.u = _mm256_and_si256(part % 2 == 0 ? q : _mm256_srli_epi16(q, 4), low);
    if constexpr (kFive) {
      const __m256i bit = _mm256_set1_epi8(static_cast<char>(1 << part));
      const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(load32(b + 16), bit), bit);
      out.u = _mm256_or_si256(out.u, _mm256_and_si256(set, _mm256_set1_epi8(16)));
    }
  } else if constexpr (kType == WeightType::Q6_K) {
    const std::byte* b = data + (g / 8) * 210;
    const int half = (g % 8) / 4, part = g % 4;
    const float d = half_at(b + 208);
    const std::byte* scales = b + 192 + half * 8 + part * 2;
    out.scale0 = d * static_cast<float>(static_cast<std::int8_t>(scales[0]));
    out.scale1 = d * static_cast<float>(static_cast<std::int8_t>(scales[1]));
    const __m256i q = load32(b + half * 64 + (part % 2) * 32);
    const __m256i four =
        _mm256_and_si256(part < 2 ? q : _mm256_srli_epi16(q, 4), _mm256_set1_epi8(15));
    const __m256i h = load32(b + 128 + half * 32);
    const __m256i two =
        _mm256_and_si256(_mm256_srl_epi16(h, _mm_cvtsi32_si128(2 * part)), _mm256_set1_epi8(3));
    out.u = _mm256_or_si256(four, _mm256_slli_epi16(two, 4));
    return out;
  } else if constexpr (mlx_bits(kType) != 0) {
    const auto index =
        static_cast<std::size_t>(row) * static_cast<std::size_t>(view.cols / view.group_size) +
        static_cast<std::size_t>(g * 32 / view.group_size);
    if (view.scale_type == WeightType::F16) {
      out.scale0 = half_at(view.scales + index * 2);
      out.offset0 = half_at(view.biases + index * 2);
    } else {
      out.scale0 = load_scale(view.scale_type, view.scales, index);
      out.offset0 = load_scale(view.scale_type, view.biases, index);
    }
    if constexpr (kType == WeightType::Mlx8) {
      out.u = load32(data + g * 32);
    } else if constexpr (kType != WeightType::Mlx4) {
      out.u = unpack_stream<mlx_bits(kType)>(data + g * mlx_bits(kType) * 4);
    } else {  // element 2 i is the low nibble of byte i, 2 i + 1 the high one
      const __m128i bytes = load16(data + g * 16);
      const __m128i mask = _mm_set1_epi8(15);
      const __m128i even = _mm_and_si128(bytes, mask);
      const __m128i odd = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask);
      out.u = _mm256_inserti128_si256(
          _mm256_castsi128_si256(_mm_unpacklo_epi8(even, odd)), _mm_unpackhi_epi8(even, odd), 1);
    }
  }
  out.scale1 = out.scale0;
  out.offset1 = out.offset0;
  return out;
}

// Transposes 8 rows of 8 dwords in place.
PENSIEVE_AVX2 inline void transpose8x8(__m256i v[8]) {
  __m256i a[8], b[8];
  for (int i = 0; i < 4; ++i) {
    a[2 * i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
    a[2 * i + 1] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    b[4 * i] = _mm256_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 1] = _mm256_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 2] = _mm256_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
    b[4 * i + 3] = _mm256_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
    v[i + 4] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
  }
}

// 16 rows of one group into one group of an Int8Panel.
template <WeightType kType>
PENSIEVE_AVX2 inline void pack_group(const WeightView& view,
                                     const std::byte* const rows[kBlockRows],
                                     const int* row_index,
                                     int g,
                                     std::uint8_t* q,
                                     float* scale,
                                     float* offset) {
  const PanelFormat format = panel_format(kType);
  for (int half = 0; half < 2; ++half) {
    __m256i v[8];
    for (int i = 0; i < 8; ++i) {
      const int r = half * 8 + i;
      const VectorGroup group = read_group<kType>(view, rows[r], row_index[r], g);
      v[i] = group.u;
      scale[r] = group.scale0;
      if (format.halves) scale[16 + r] = group.scale1;
      if (format.affine) offset[r] = group.offset0;
      if (format.affine && format.halves) offset[16 + r] = group.offset1;
    }
    transpose8x8(v);
    for (int k = 0; k < 8; ++k) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(q + k * 64 + half * 32), v[k]);
    }
  }
}

template <WeightType kType>
PENSIEVE_AVX2 inline void pack_groups(
    const WeightView& view, int first_row, int first_group, int n_groups, const Int8Panel& panel) {
  const std::byte* rows[kBlockRows];
  int index[kBlockRows];
  for (int r = 0; r < kBlockRows; ++r) {
    index[r] = first_row + r < view.rows ? first_row + r : view.rows - 1;
    rows[r] = view.data + static_cast<std::size_t>(index[r]) * view.row_bytes();
  }
  for (int g = 0; g < n_groups; ++g) {
    pack_group<kType>(view,
                      rows,
                      index,
                      first_group + g,
                      panel.q + g * Int8Panel::kBytesPerGroup,
                      panel.scale + g * Int8Panel::kScalesPerGroup,
                      panel.offset + g * Int8Panel::kOffsetsPerGroup);
  }
}

PENSIEVE_AVX2 inline void pack_int8(
    const WeightView& view, int first_row, int first_group, int n_groups, const Int8Panel& panel) {
  switch (view.type) {
#define PENSIEVE_CASE(type) \
  case WeightType::type:    \
    return pack_groups<WeightType::type>(view, first_row, first_group, n_groups, panel)
    PENSIEVE_CASE(Q4_0);
    PENSIEVE_CASE(Q4_1);
    PENSIEVE_CASE(Q5_0);
    PENSIEVE_CASE(Q5_1);
    PENSIEVE_CASE(Q8_0);
    PENSIEVE_CASE(Q2_K);
    PENSIEVE_CASE(Q3_K);
    PENSIEVE_CASE(Q4_K);
    PENSIEVE_CASE(Q5_K);
    PENSIEVE_CASE(Q6_K);
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

// Columns [8 c, 8 c + 8) of group `g` of a plain row.
template <WeightType kType>
PENSIEVE_AVX2 inline __m256 load_plain(const std::byte* row, int g, int c) {
  static_assert(is_plain(kType));
  if constexpr (kType == WeightType::F32) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(row + g * 128 + c * 32));
  } else {
    const __m128i bits = load16(row + g * 64 + c * 16);
    return kType == WeightType::F16
               ? _mm256_cvtph_ps(bits)
               : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
}

// 16 rows of one group as f32 in panel order; see Kernels::pack_f32.
PENSIEVE_AVX2 inline void store_transposed(const __m256 in[8], float* panel, int column, int half) {
  __m256i v[8];
  for (int i = 0; i < 8; ++i) v[i] = _mm256_castps_si256(in[i]);
  transpose8x8(v);
  for (int c = 0; c < 8; ++c) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(panel + (column + c) * kBlockRows + half * 8),
                       v[c]);
  }
}

template <WeightType kType>
PENSIEVE_AVX2 inline void pack_f32_group(const WeightView& view,
                                         const std::byte* const rows[kBlockRows],
                                         const int* index,
                                         int g,
                                         float* panel) {
  constexpr bool kPlain = is_plain(kType);
  const __m256i zero = _mm256_set1_epi32(panel_format(kType).zero);
  for (int half = 0; half < 2; ++half) {
    __m256 v[4][8];
    for (int i = 0; i < 8; ++i) {
      const int r = half * 8 + i;
      if constexpr (kPlain) {
        for (int c = 0; c < 4; ++c) v[c][i] = load_plain<kType>(rows[r], g, c);
      } else {
        const VectorGroup group = read_group<kType>(view, rows[r], index[r], g);
        alignas(32) std::uint8_t u[32];
        _mm256_store_si256(reinterpret_cast<__m256i*>(u), group.u);
        for (int c = 0; c < 4; ++c) {
          const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(u + c * 8));
          const __m256 value =
              _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_cvtepu8_epi32(bytes), zero));
          const __m256 scale = _mm256_set1_ps(c < 2 ? group.scale0 : group.scale1);
          const __m256 offset = _mm256_set1_ps(c < 2 ? group.offset0 : group.offset1);
          v[c][i] = _mm256_add_ps(_mm256_mul_ps(scale, value), offset);
        }
      }
    }
    for (int c = 0; c < 4; ++c) store_transposed(v[c], panel, c * 8, half);
  }
}

template <WeightType kType>
PENSIEVE_AVX2 inline void pack_f32_groups(
    const WeightView& view, int first_row, int first_group, int n_groups, float* panel) {
  const std::byte* rows[kBlockRows];
  int index[kBlockRows];
  for (int r = 0; r < kBlockRows; ++r) {
    index[r] = first_row + r < view.rows ? first_row + r : view.rows - 1;
    rows[r] = view.data + static_cast<std::size_t>(index[r]) * view.row_bytes();
  }
  for (int g = 0; g < n_groups; ++g) {
    pack_f32_group<kType>(
        view, rows, index, first_group + g, panel + g * kGroupColumns * kBlockRows);
  }
}

PENSIEVE_AVX2 inline void pack_f32(
    const WeightView& view, int first_row, int first_group, int n_groups, float* panel) {
  switch (view.type) {
#define PENSIEVE_CASE(type) \
  case WeightType::type:    \
    return pack_f32_groups<WeightType::type>(view, first_row, first_group, n_groups, panel)
    PENSIEVE_CASE(F32);
    PENSIEVE_CASE(F16);
    PENSIEVE_CASE(BF16);
    PENSIEVE_CASE(Q4_0);
    PENSIEVE_CASE(Q4_1);
    PENSIEVE_CASE(Q5_0);
    PENSIEVE_CASE(Q5_1);
    PENSIEVE_CASE(Q8_0);
    PENSIEVE_CASE(Q2_K);
    PENSIEVE_CASE(Q3_K);
    PENSIEVE_CASE(Q4_K);
    PENSIEVE_CASE(Q5_K);
    PENSIEVE_CASE(Q6_K);
    PENSIEVE_CASE(Mlx2);
    PENSIEVE_CASE(Mlx3);
    PENSIEVE_CASE(Mlx4);
    PENSIEVE_CASE(Mlx5);
    PENSIEVE_CASE(Mlx6);
    PENSIEVE_CASE(Mlx8);
#undef PENSIEVE_CASE
  }
}

// exp(x) for x <= 88, to about 2 ulp: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (the scheme
// and coefficients of Cephes' expf, S. Moshier). Below -87 it returns exp(-87), some 1e-38.
PENSIEVE_AVX2 inline __m256 exp8(__m256 x) {
  x = _mm256_max_ps(_mm256_min_ps(x, _mm256_set1_ps(88.0f)), _mm256_set1_ps(-87.0f));
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504088896341f)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
  __m256 p = _mm256_set1_ps(1.9875691500e-4f);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999507e-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519073e-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665795894e-2f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665459e-1f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001201e-1f));
  p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), _mm256_add_ps(r, _mm256_set1_ps(1.0f)));
  const __m256i power =
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_mul_ps(p, _mm256_castsi256_ps(power));
}

PENSIEVE_AVX2 inline float sum8(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  s = _mm_add_ss(s, _mm_movehdup_ps(s));
  return _mm_cvtss_f32(s);
}
PENSIEVE_AVX2 inline float max8(__m256 v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  s = _mm_max_ss(s, _mm_movehdup_ps(s));
  return _mm_cvtss_f32(s);
}

PENSIEVE_AVX2 inline void rmsnorm(
    float* out, const float* x, const float* weight, int dim, float eps) {
  // Sums in double: the same result to the last bit or two as the definition, at no visible cost.
  __m256d s0 = _mm256_setzero_pd(), s1 = _mm256_setzero_pd();
  int i = 0;
  for (; i + 8 <= dim; i += 8) {
    const __m256d a = _mm256_cvtps_pd(_mm_loadu_ps(x + i)),
                  b = _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4));
    s0 = _mm256_fmadd_pd(a, a, s0);
    s1 = _mm256_fmadd_pd(b, b, s1);
  }
  alignas(32) double parts[4];
  _mm256_store_pd(parts, _mm256_add_pd(s0, s1));
  double sum = (parts[0] + parts[1]) + (parts[2] + parts[3]);
  for (; i < dim; ++i) sum += double{x[i]} * x[i];
  const auto scale = static_cast<float>(1.0 / __builtin_sqrt(sum / dim + double{eps}));
  const __m256 vs = _mm256_set1_ps(scale);
  for (i = 0; i + 8 <= dim; i += 8) {
    _mm256_storeu_ps(
        out + i,
        _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i), vs), _mm256_loadu_ps(weight + i)));
  }
  for (; i < dim; ++i) out[i] = x[i] * scale * weight[i];
}

template <WeightType kType>
PENSIEVE_AVX2 inline bool quantize_q8_0_row(const std::byte* row, int cols, std::byte* out) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  const __m256 infinity = _mm256_set1_ps(__builtin_inff());
  for (int g = 0; g < cols / kGroupColumns; ++g, out += 34) {
    __m256 v[4];
    __m256 most = _mm256_setzero_ps(), bad = most;
    for (int i = 0; i < 4; ++i) {
      v[i] = load_plain<kType>(row, g, i);
      const __m256 magnitude = _mm256_andnot_ps(sign, v[i]);
      bad = _mm256_or_ps(bad, _mm256_cmp_ps(magnitude, infinity, _CMP_NLT_UQ));
      most = _mm256_max_ps(most, magnitude);
    }
    if (_mm256_movemask_ps(bad) != 0) return false;
    const float d = max8(most) / 127.0f;
    const std::uint16_t stored = float_to_half(d);
    if (stored == 0x7C00) return false;
    const __m256 inverse = _mm256_set1_ps(d >= 0x1p-126f ? 1.0f / d : 0.0f);
    std::memcpy(out, &stored, 2);
    // Half away from zero: the largest float below one half, with the sign, then towards zero.
    const __m256 half = _mm256_set1_ps(0x1.fffffep-2f);
    __m256i q[4];
    for (int i = 0; i < 4; ++i) {
      const __m256 x = _mm256_mul_ps(v[i], inverse);
      q[i] = _mm256_cvttps_epi32(_mm256_add_ps(x, _mm256_or_ps(_mm256_and_ps(x, sign), half)));
    }
    const __m256i ab = _mm256_packs_epi32(q[0], q[1]), cd = _mm256_packs_epi32(q[2], q[3]);
    const __m256i packed = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(ab, cd),
                                                       _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 2), packed);
  }
  return true;
}

PENSIEVE_AVX2 inline bool quantize_q8_0(const WeightView& plain, int row, std::byte* out) {
  const std::byte* data = plain.data + static_cast<std::size_t>(row) * plain.row_bytes();
  return plain.type == WeightType::F32 ? quantize_q8_0_row<WeightType::F32>(data, plain.cols, out)
         : plain.type == WeightType::F16
             ? quantize_q8_0_row<WeightType::F16>(data, plain.cols, out)
             : quantize_q8_0_row<WeightType::BF16>(data, plain.cols, out);
}

PENSIEVE_AVX2 inline void quantize_row(const float* x, int dim, int token, const Int8Rows& rows) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  for (int g = 0; g < dim / kGroupColumns; ++g) {
    __m256 v[4];
    __m256 most = _mm256_setzero_ps();
    for (int i = 0; i < 4; ++i) {
      v[i] = _mm256_loadu_ps(x + g * kGroupColumns + i * 8);
      most = _mm256_max_ps(most, _mm256_andnot_ps(sign, v[i]));
    }
    const float max = max8(most);
    const auto at = static_cast<std::size_t>(g) * static_cast<std::size_t>(rows.n_tokens) +
                    static_cast<std::size_t>(token);
    const __m256 inverse = _mm256_set1_ps(max > 0 ? 127.0f / max : 0.0f);
    __m256i q[4];
    for (int i = 0; i < 4; ++i) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
    const __m256i ab = _mm256_packs_epi32(q[0], q[1]), cd = _mm256_packs_epi32(q[2], q[3]);
    const __m256i packed = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(ab, cd),
                                                       _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(rows.q + at * kGroupColumns), packed);
    // Sums of columns 0-15 in the first two elements, of 16-31 in the others.
    const __m256i pairs =
        _mm256_hadd_epi32(_mm256_add_epi32(q[0], q[1]), _mm256_add_epi32(q[2], q[3]));
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    s = _mm_hadd_epi32(s, s);
    const int half_sum = _mm_cvtsi128_si32(s), sum = half_sum + _mm_extract_epi32(s, 1);
    rows.scale[at] = max / 127.0f;
    rows.sum[at] = sum;
    rows.half_sum[at] = half_sum;
    rows.scaled_sum[at] = rows.scale[at] * static_cast<float>(sum);
  }
}

}  // namespace pensieve::compute::x86

#endif  // __x86_64__
