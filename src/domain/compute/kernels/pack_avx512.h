// pack_int8 with AVX-512 for the formats that matter most: 16 bytes of 16 rows are transposed while
// the weights are still packed, so that unpacking costs a few instructions for 16 rows at once.
// What takes 190 cycles a group through pack_groups() takes about 30 here, below the time of its
// bytes.
#pragma once

#if defined(__x86_64__)
#include "domain/compute/kernels/x86_groups.h"

#define PENSIEVE_AVX512 \
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]]

namespace pensieve::compute::x86 {

// The same place in 16 consecutive rows. Base and stride, not 16 pointers: the addresses then cost
// no loads of their own.
struct Rows {
  const std::byte* base;
  std::ptrdiff_t stride;
  const std::byte* at(int row, std::ptrdiff_t offset) const { return base + row * stride + offset; }
};

// Byte columns [4 j, 4 j + 4) of 16 rows in t[j], for 16 bytes at `offset` in each row.
struct Columns {
  __m512i t[4];
};

// 16 bytes, or the first kDwords dwords of them: what lies behind those is not touched.
template <int kDwords>
PENSIEVE_AVX512 inline __m128i load_dwords(const std::byte* at) {
  return kDwords == 4 ? load16(at)
                      : _mm_maskz_loadu_epi32(static_cast<__mmask8>((1 << kDwords) - 1), at);
}

template <int kDwords = 4>
PENSIEVE_AVX512 inline Columns load_columns(const Rows& rows, std::ptrdiff_t offset) {
  __m512i z[4];  // z[i]: rows i, 4 + i, 8 + i, 12 + i, one to a 128-bit lane
  for (int i = 0; i < 4; ++i) {
    const __m256i low =
        _mm256_inserti128_si256(_mm256_castsi128_si256(load_dwords<kDwords>(rows.at(i, offset))),
                                load_dwords<kDwords>(rows.at(4 + i, offset)),
                                1);
    const __m256i high = _mm256_inserti128_si256(
        _mm256_castsi128_si256(load_dwords<kDwords>(rows.at(8 + i, offset))),
        load_dwords<kDwords>(rows.at(12 + i, offset)),
        1);
    z[i] = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
  }
  const __m512i a = _mm512_unpacklo_epi32(z[0], z[1]), b = _mm512_unpackhi_epi32(z[0], z[1]);
  const __m512i c = _mm512_unpacklo_epi32(z[2], z[3]), d = _mm512_unpackhi_epi32(z[2], z[3]);
  return {{_mm512_unpacklo_epi64(a, c),
           _mm512_unpackhi_epi64(a, c),
           _mm512_unpacklo_epi64(b, d),
           _mm512_unpackhi_epi64(b, d)}};
}

PENSIEVE_AVX512 inline __m512i low_nibbles(__m512i v) {
  return _mm512_and_si512(v, _mm512_set1_epi8(15));
}
PENSIEVE_AVX512 inline __m512i high_nibbles(__m512i v) {
  return low_nibbles(_mm512_srli_epi16(v, 4));
}

PENSIEVE_AVX512 inline void store_columns(std::uint8_t* q, int k, __m512i v) {
  _mm512_store_si512(q + k * 64, v);
}

// The f16 numbers at `offset` of 16 rows, as bits. Four to a word: single 2-byte stores would take
// 16 cycles and stall the load behind them.
inline void halves_bits(const Rows& rows, std::ptrdiff_t offset, std::uint64_t bits[4]) {
  for (int i = 0; i < 4; ++i) {
    bits[i] = std::uint64_t{load_u16(rows.at(4 * i, offset))} |
              std::uint64_t{load_u16(rows.at(4 * i + 1, offset))} << 16 |
              std::uint64_t{load_u16(rows.at(4 * i + 2, offset))} << 32 |
              std::uint64_t{load_u16(rows.at(4 * i + 3, offset))} << 48;
  }
}
PENSIEVE_AVX512 inline __m512 halves(const std::uint64_t bits[4]) {
  return _mm512_cvtph_ps(load32(bits));
}
PENSIEVE_AVX512 inline __m512 halves_at(const Rows& rows, std::ptrdiff_t offset) {
  alignas(32) std::uint64_t bits[4];
  halves_bits(rows, offset, bits);
  return halves(bits);
}

// One group of 16 rows in registers: w[k] holds columns [4 k, 4 k + 4).
struct Unpacked {
  __m512i w[8];
};

// 32 elements of 16 rows, 2, 3, 5 or 6 bits each, from 4 * kBits bytes of a little-endian stream in
// each row. Four neighbours take at most 24 bits: a shift brings them to the bottom of a row's
// dword, three more give each its byte.
template <int kBits>
PENSIEVE_AVX512 inline Unpacked unpack_stream16(const Rows& rows, std::ptrdiff_t offset) {
  static_assert(kBits == 2 || kBits == 3 || kBits == 5 || kBits == 6);
  constexpr int kLoaded = kBits < 4 ? kBits : 4;
  __m512i t[6];  // dword j of the stream, a row to a lane
  const Columns c = load_columns<kLoaded>(rows, offset);
  for (int j = 0; j < kLoaded; ++j) t[j] = c.t[j];
  if constexpr (kBits > 4) {
    const Columns d = load_columns(rows, offset + (kBits - 4) * 4);
    for (int j = 4; j < kBits; ++j) t[j] = d.t[j - (kBits - 4)];
  }
  constexpr int kMask = (1 << kBits) - 1;
  Unpacked out;
  for (int k = 0; k < 8; ++k) {
    const int first = 4 * k * kBits, dword = first / 32, shift = first % 32;
    __m512i four = _mm512_srli_epi32(t[dword], static_cast<unsigned>(shift));
    if (shift + 4 * kBits > 32) {
      four =
          _mm512_or_si512(four, _mm512_slli_epi32(t[dword + 1], static_cast<unsigned>(32 - shift)));
    }
    __m512i bytes = _mm512_and_si512(four, _mm512_set1_epi32(kMask));
    for (int i = 1; i < 4; ++i) {
      const __m512i moved = _mm512_slli_epi32(four, static_cast<unsigned>(i * (8 - kBits)));
      bytes = _mm512_or_si512(bytes, _mm512_and_si512(moved, _mm512_set1_epi32(kMask << (8 * i))));
    }
    out.w[k] = bytes;
  }
  return out;
}

// Formats whose groups stand alone: everything but the K-quants' super-blocks and the 5-bit types.
template <WeightType kType>
PENSIEVE_AVX512 inline Unpacked unpack_group(const Rows& rows, int g) {
  constexpr int kBits = mlx_bits(kType);
  if constexpr (kBits != 0 && kBits != 4 && kBits != 8) {
    return unpack_stream16<kBits>(rows, static_cast<std::ptrdiff_t>(g) * kBits * 4);
  }
  constexpr bool kBytes = kType == WeightType::Q8_0 || kType == WeightType::Mlx8;
  constexpr int kGroupBytes = kType == WeightType::Q4_0   ? 18
                              : kType == WeightType::Q4_1 ? 20
                              : kType == WeightType::Q8_0 ? 34
                              : kType == WeightType::Mlx4 ? 16
                                                          : 32;
  constexpr int kHeader = kType == WeightType::Q4_1                                ? 4
                          : kType == WeightType::Q4_0 || kType == WeightType::Q8_0 ? 2
                                                                                   : 0;
  const std::ptrdiff_t offset = static_cast<std::ptrdiff_t>(g) * kGroupBytes + kHeader;
  Unpacked out;
  const Columns c = load_columns(rows, offset);
  if constexpr (kBytes) {
    const __m512i flip = _mm512_set1_epi8(static_cast<char>(kType == WeightType::Q8_0 ? 0x80 : 0));
    const Columns d = load_columns(rows, offset + 16);
    for (int j = 0; j < 4; ++j) {
      out.w[j] = _mm512_xor_si512(c.t[j], flip);
      out.w[4 + j] = _mm512_xor_si512(d.t[j], flip);
    }
  } else if constexpr (kType == WeightType::Mlx4) {
    // Element 2 i in the low, 2 i + 1 in the high nibble of byte i, so a dword holds 8 columns.
    for (int j = 0; j < 4; ++j) {
      const __m512i low = low_nibbles(c.t[j]), high = high_nibbles(c.t[j]);
      // Per lane: rows 0 and 1, then rows 2 and 3, eight columns each.
      const __m512 a = _mm512_castsi512_ps(_mm512_unpacklo_epi8(low, high));
      const __m512 b = _mm512_castsi512_ps(_mm512_unpackhi_epi8(low, high));
      out.w[2 * j] = _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0x88));
      out.w[2 * j + 1] = _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0xDD));
    }
  } else {
    for (int j = 0; j < 4; ++j) {
      out.w[j] = low_nibbles(c.t[j]);
      out.w[4 + j] = high_nibbles(c.t[j]);
    }
  }
  return out;
}

// Scales and offsets of up to 8 groups from `first_group` on: 16 of each, so many floats apart.
template <WeightType kType>
PENSIEVE_AVX512 inline void load_scales(const WeightView& view,
                                        const Rows& rows,
                                        int first_row,
                                        int first_group,
                                        int n_groups,
                                        std::uint64_t bits[8][4],
                                        std::uint64_t more[8][4],
                                        float* scale,
                                        int scale_stride,
                                        float* offset,
                                        int offset_stride) {
  if constexpr (mlx_bits(kType) != 0) {
    const auto per_row = static_cast<std::size_t>(view.cols / view.group_size);
    for (int i = 0; i < n_groups; ++i) {
      const int g = first_group + i;
      float* const s = scale + i * scale_stride;
      float* const o = offset + i * offset_stride;
      if (i > 0 && g * kGroupColumns % view.group_size != 0) {
        _mm512_store_ps(s, _mm512_load_ps(s - scale_stride));
        _mm512_store_ps(o, _mm512_load_ps(o - offset_stride));
        continue;
      }
      const std::size_t at = static_cast<std::size_t>(first_row) * per_row +
                             static_cast<std::size_t>(g * kGroupColumns / view.group_size);
      if (view.scale_type == WeightType::F16) {
        const auto stride = static_cast<std::ptrdiff_t>(per_row) * 2;
        _mm512_store_ps(s,
                        halves_at({.base = view.scales, .stride = stride},
                                  static_cast<std::ptrdiff_t>(at) * 2));
        _mm512_store_ps(o,
                        halves_at({.base = view.biases, .stride = stride},
                                  static_cast<std::ptrdiff_t>(at) * 2));
      } else {
        for (int r = 0; r < kBlockRows; ++r) {
          s[r] =
              load_scale(view.scale_type, view.scales, at + static_cast<std::size_t>(r) * per_row);
          o[r] =
              load_scale(view.scale_type, view.biases, at + static_cast<std::size_t>(r) * per_row);
        }
      }
    }
  } else {
    constexpr int kBlock = kType == WeightType::Q4_0 ? 18 : kType == WeightType::Q4_1 ? 20 : 34;
    for (int i = 0; i < n_groups; ++i) {
      halves_bits(rows, static_cast<std::ptrdiff_t>(first_group + i) * kBlock, bits[i]);
      if constexpr (kType == WeightType::Q4_1) {
        halves_bits(rows, static_cast<std::ptrdiff_t>(first_group + i) * kBlock + 2, more[i]);
      }
    }
    for (int i = 0; i < n_groups; ++i) {
      _mm512_store_ps(scale + i * scale_stride, halves(bits[i]));
      if constexpr (kType == WeightType::Q4_1)
        _mm512_store_ps(offset + i * offset_stride, halves(more[i]));
    }
  }
}

template <WeightType kType>
PENSIEVE_AVX512 inline void pack_plain(const WeightView& view,
                                       const Rows& rows,
                                       int first_row,
                                       int first_group,
                                       int n_groups,
                                       const Int8Panel& panel) {
  alignas(32) std::uint64_t bits[8][4], more[8][4];
  for (int from = 0; from < n_groups; from += 8) {
    const int n = n_groups - from < 8 ? n_groups - from : 8;
    load_scales<kType>(view,
                       rows,
                       first_row,
                       first_group + from,
                       n,
                       bits,
                       more,
                       panel.scale + from * Int8Panel::kScalesPerGroup,
                       Int8Panel::kScalesPerGroup,
                       panel.offset + from * Int8Panel::kOffsetsPerGroup,
                       Int8Panel::kOffsetsPerGroup);
    for (int i = from; i < from + n; ++i) {
      const Unpacked u = unpack_group<kType>(rows, first_group + i);
      for (int k = 0; k < 8; ++k)
        _mm512_store_si512(panel.q + i * Int8Panel::kBytesPerGroup + k * 64, u.w[k]);
    }
  }
}

// One super-block of Q4_K or Q5_K: eight groups.
template <bool kFive>
PENSIEVE_AVX512 inline void k_block(const Rows& rows, int block, const Int8Panel& panel) {
  constexpr std::ptrdiff_t kBytes = kFive ? 176 : 144;
  const std::ptrdiff_t base = block * kBytes;
  const __m512 d = halves_at(rows, base), dmin = halves_at(rows, base + 2);
  alignas(64) std::int32_t scale[8][kBlockRows], min[8][kBlockRows];
  for (int r = 0; r < kBlockRows; ++r) {
    for (int g = 0; g < 8; ++g) {
      int s = 0, m = 0;
      scale_and_min(rows.at(r, base + 4), g, &s, &m);
      scale[g][r] = s;
      min[g][r] = m;
    }
  }
  for (int g = 0; g < 8; ++g) {
    _mm512_store_ps(panel.scale + g * Int8Panel::kScalesPerGroup,
                    _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_load_si512(scale[g]))));
    const __m512 offset = _mm512_mul_ps(dmin, _mm512_cvtepi32_ps(_mm512_load_si512(min[g])));
    _mm512_store_ps(panel.offset + g * Int8Panel::kOffsetsPerGroup,
                    _mm512_xor_ps(offset, _mm512_set1_ps(-0.0f)));
  }
  for (int half = 0; half < 2; ++half) {
    Columns fifth{};
    if constexpr (kFive) fifth = load_columns(rows, base + 16 + half * 16);
    for (int pair = 0; pair < 4; ++pair) {
      const Columns c = load_columns(rows, base + (kFive ? 48 : 16) + pair * 32 + half * 16);
      std::uint8_t* const even = panel.q + 2 * pair * Int8Panel::kBytesPerGroup;
      std::uint8_t* const odd = even + Int8Panel::kBytesPerGroup;
      for (int j = 0; j < 4; ++j) {
        __m512i low = low_nibbles(c.t[j]), high = high_nibbles(c.t[j]);
        if constexpr (kFive) {
          const __m512i bit = _mm512_set1_epi8(16), value = bit;
          const __m512i low_set = _mm512_set1_epi8(static_cast<char>(1 << (2 * pair)));
          const __m512i high_set = _mm512_set1_epi8(static_cast<char>(2 << (2 * pair)));
          low = _mm512_mask_add_epi8(low, _mm512_test_epi8_mask(fifth.t[j], low_set), low, value);
          high =
              _mm512_mask_add_epi8(high, _mm512_test_epi8_mask(fifth.t[j], high_set), high, value);
        }
        store_columns(even, half * 4 + j, low);
        store_columns(odd, half * 4 + j, high);
      }
    }
  }
}

// Byte i of 16 bytes of 16 rows, as a number in each row's dword.
PENSIEVE_AVX512 inline __m512i byte_column(const Columns& c, int i) {
  return _mm512_and_si512(_mm512_srl_epi32(c.t[i / 4], _mm_cvtsi32_si128(8 * (i % 4))),
                          _mm512_set1_epi32(255));
}

// Where the 16 scales, or offsets, of columns 16 i to 16 i + 15 of a super-block go.
inline float* half_scales(const Int8Panel& panel, int i) {
  return panel.scale + (i / 2) * Int8Panel::kScalesPerGroup + (i % 2) * kBlockRows;
}
inline float* half_offsets(const Int8Panel& panel, int i) {
  return panel.offset + (i / 2) * Int8Panel::kOffsetsPerGroup + (i % 2) * kBlockRows;
}

// The two-bit fields of a super-block of Q2_K or Q3_K, four groups to a byte. In Q3_K
// the third bits of all eight groups stand in 32 bytes at `high_at`, a group to a bit.
template <bool kThree>
PENSIEVE_AVX512 inline void two_bit_groups(const Rows& rows,
                                           std::ptrdiff_t at,
                                           std::ptrdiff_t high_at,
                                           const Int8Panel& panel) {
  const __m512i three = _mm512_set1_epi8(3), four = _mm512_set1_epi8(4);
  for (int quarter = 0; quarter < 2; ++quarter) {  // columns 0-15, then 16-31, of eight groups
    Columns high{};
    if constexpr (kThree) high = load_columns(rows, high_at + quarter * 16);
    for (int half = 0; half < 2; ++half) {
      const Columns low = load_columns(rows, at + half * 32 + quarter * 16);
      for (int j = 0; j < 4; ++j) {
        for (int part = 0; part < 4; ++part) {
          const int group = half * 4 + part;
          __m512i u =
              _mm512_and_si512(_mm512_srl_epi16(low.t[j], _mm_cvtsi32_si128(2 * part)), three);
          if constexpr (kThree) {
            const __m512i bit = _mm512_set1_epi8(static_cast<char>(1 << group));
            u = _mm512_mask_add_epi8(u, _mm512_test_epi8_mask(high.t[j], bit), u, four);
          }
          store_columns(panel.q + group * Int8Panel::kBytesPerGroup, quarter * 4 + j, u);
        }
      }
    }
  }
}

// One super-block of Q2_K: a byte holds the scale (low) and the minimum of 16 columns.
PENSIEVE_AVX512 inline void q2k_block(const Rows& rows, int block, const Int8Panel& panel) {
  const std::ptrdiff_t base = static_cast<std::ptrdiff_t>(block) * 84;
  const __m512 d = halves_at(rows, base + 80), dmin = halves_at(rows, base + 82);
  const Columns both = load_columns(rows, base);
  for (int i = 0; i < 16; ++i) {
    const __m512i byte = byte_column(both, i);
    const __m512i scale = _mm512_and_si512(byte, _mm512_set1_epi32(15));
    const __m512i min = _mm512_srli_epi32(byte, 4);
    _mm512_store_ps(half_scales(panel, i), _mm512_mul_ps(d, _mm512_cvtepi32_ps(scale)));
    _mm512_store_ps(
        half_offsets(panel, i),
        _mm512_xor_ps(_mm512_mul_ps(dmin, _mm512_cvtepi32_ps(min)), _mm512_set1_ps(-0.0f)));
  }
  two_bit_groups<false>(rows, base + 16, 0, panel);
}

// One super-block of Q3_K: scales as scale_q3k() says.
PENSIEVE_AVX512 inline void q3k_block(const Rows& rows, int block, const Int8Panel& panel) {
  const std::ptrdiff_t base = static_cast<std::ptrdiff_t>(block) * 110;
  const __m512 d = halves_at(rows, base + 108);
  // The 12 bytes of scales with two bytes of integers before them, so that no load leaves the
  // block.
  const Columns packed = load_columns(rows, base + 94);
  for (int i = 0; i < 16; ++i) {
    const __m512i low = byte_column(packed, 2 + i % 8), high = byte_column(packed, 10 + i % 4);
    const __m512i low4 =
        i < 8 ? _mm512_and_si512(low, _mm512_set1_epi32(15)) : _mm512_srli_epi32(low, 4);
    const __m512i high2 = _mm512_and_si512(_mm512_srl_epi32(high, _mm_cvtsi32_si128(2 * (i / 4))),
                                           _mm512_set1_epi32(3));
    const __m512i scale =
        _mm512_sub_epi32(_mm512_or_si512(low4, _mm512_slli_epi32(high2, 4)), _mm512_set1_epi32(32));
    _mm512_store_ps(half_scales(panel, i), _mm512_mul_ps(d, _mm512_cvtepi32_ps(scale)));
  }
  two_bit_groups<true>(rows, base + 32, base, panel);
}

// One super-block of Q6_K: eight groups in two halves of four.
PENSIEVE_AVX512 inline void q6k_block(const Rows& rows, int block, const Int8Panel& panel) {
  const std::ptrdiff_t base = static_cast<std::ptrdiff_t>(block) * 210;
  const __m512 d = halves_at(rows, base + 208);
  const Columns s = load_columns(rows, base + 192);  // 16 signed scales a row
  for (int i = 0; i < 16; ++i) {
    // Byte i % 4 of every dword, sign-extended.
    const __m512i byte = _mm512_sll_epi32(s.t[i / 4], _mm_cvtsi32_si128(24 - 8 * (i % 4)));
    const __m512 scale = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_srai_epi32(byte, 24)));
    _mm512_store_ps(half_scales(panel, i), scale);
  }
  for (int half = 0; half < 2; ++half) {
    for (int quarter = 0; quarter < 2; ++quarter) {  // columns 0-15, then 16-31, of four groups
      const Columns a = load_columns(rows, base + half * 64 + quarter * 16);
      const Columns b = load_columns(rows, base + half * 64 + 32 + quarter * 16);
      const Columns h = load_columns(rows, base + 128 + half * 32 + quarter * 16);
      const __m512i two_bits = _mm512_set1_epi8(0x30);
      for (int j = 0; j < 4; ++j) {
        const __m512i u[4] = {
            _mm512_or_si512(low_nibbles(a.t[j]),
                            _mm512_and_si512(_mm512_slli_epi16(h.t[j], 4), two_bits)),
            _mm512_or_si512(low_nibbles(b.t[j]),
                            _mm512_and_si512(_mm512_slli_epi16(h.t[j], 2), two_bits)),
            _mm512_or_si512(high_nibbles(a.t[j]), _mm512_and_si512(h.t[j], two_bits)),
            _mm512_or_si512(high_nibbles(b.t[j]),
                            _mm512_and_si512(_mm512_srli_epi16(h.t[j], 2), two_bits))};
        for (int part = 0; part < 4; ++part) {
          store_columns(
              panel.q + (half * 4 + part) * Int8Panel::kBytesPerGroup, quarter * 4 + j, u[part]);
        }
      }
    }
  }
}

PENSIEVE_AVX512 inline bool stands_alone(WeightType type) {
  return type == WeightType::Q4_0 || type == WeightType::Q4_1 || type == WeightType::Q8_0 ||
         mlx_bits(type) != 0;
}

inline Rows rows_of(const WeightView& view, int first_row) {
  return {.base = view.data + static_cast<std::size_t>(first_row) * view.row_bytes(),
          .stride = static_cast<std::ptrdiff_t>(view.row_bytes())};
}

PENSIEVE_AVX512 inline void pack_int8_512(
    const WeightView& view, int first_row, int first_group, int n_groups, const Int8Panel& panel) {
  const bool super_blocks = block_shape(view.type).elements == 256;
  const bool whole = first_row + kBlockRows <= view.rows;
  if (!whole ||
      !(stands_alone(view.type) || (super_blocks && first_group % 8 == 0 && n_groups % 8 == 0))) {
    return pack_int8(view, first_row, first_group, n_groups, panel);
  }
  const Rows rows = rows_of(view, first_row);
  switch (view.type) {
#define PENSIEVE_CASE(type) \
  case WeightType::type:    \
    return pack_plain<WeightType::type>(view, rows, first_row, first_group, n_groups, panel)
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
  for (int block = 0; block < n_groups / 8; ++block) {
    const Int8Panel at{.q = panel.q + block * 8 * Int8Panel::kBytesPerGroup,
                       .scale = panel.scale + block * 8 * Int8Panel::kScalesPerGroup,
                       .offset = panel.offset + block * 8 * Int8Panel::kOffsetsPerGroup};
    const int b = first_group / 8 + block;
    if (view.type == WeightType::Q2_K) q2k_block(rows, b, at);
    if (view.type == WeightType::Q3_K) q3k_block(rows, b, at);
    if (view.type == WeightType::Q4_K) k_block<false>(rows, b, at);
    if (view.type == WeightType::Q5_K) k_block<true>(rows, b, at);
    if (view.type == WeightType::Q6_K) q6k_block(rows, b, at);
  }
}

}  // namespace pensieve::compute::x86

#endif  // __x86_64__
