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

// Byte columns [4 j, 4 j + 4) of 16 rows in t[j], for 16 bytes at rows[r] + offset.
struct Columns {
  __m512i t[4];
};

PENSIEVE_AVX512 inline Columns load_columns(const std::byte* const rows[kBlockRows],
                                            std::ptrdiff_t offset) {
  __m512i z[4];  // z[i]: rows i, 4 + i, 8 + i, 12 + i, one to a 128-bit lane
  for (int i = 0; i < 4; ++i) {
    __m512i v = _mm512_castsi128_si512(load16(rows[i] + offset));
    v = _mm512_inserti32x4(v, load16(rows[4 + i] + offset), 1);
    v = _mm512_inserti32x4(v, load16(rows[8 + i] + offset), 2);
    z[i] = _mm512_inserti32x4(v, load16(rows[12 + i] + offset), 3);
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

// The f16 numbers at rows[r] + offset as f32.
PENSIEVE_AVX512 inline __m512 halves_at(const std::byte* const rows[kBlockRows],
                                        std::ptrdiff_t offset) {
  alignas(32) std::uint16_t bits[kBlockRows];
  for (int r = 0; r < kBlockRows; ++r) bits[r] = load_u16(rows[r] + offset);
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(bits)));
}

// The quants of one group in order; `data` lies behind the block's header of `kHeader` bytes.
template <int kBlockBytes, int kHeader>
PENSIEVE_AVX512 inline void nibble_group(const std::byte* const rows[kBlockRows],
                                         int g,
                                         std::uint8_t* q) {
  const Columns c = load_columns(rows, static_cast<std::ptrdiff_t>(g) * kBlockBytes + kHeader);
  for (int j = 0; j < 4; ++j) {
    store_columns(q, j, low_nibbles(c.t[j]));
    store_columns(q, 4 + j, high_nibbles(c.t[j]));
  }
}

PENSIEVE_AVX512 inline void byte_group(const std::byte* const rows[kBlockRows],
                                       std::ptrdiff_t offset,
                                       __m512i flip,
                                       std::uint8_t* q) {
  for (int half = 0; half < 2; ++half) {
    const Columns c = load_columns(rows, offset + half * 16);
    for (int j = 0; j < 4; ++j) store_columns(q, half * 4 + j, _mm512_xor_si512(c.t[j], flip));
  }
}

// MLX: element 2 i in the low, 2 i + 1 in the high nibble of byte i, so a dword holds 8 columns.
PENSIEVE_AVX512 inline void mlx4_group(const std::byte* const rows[kBlockRows],
                                       int g,
                                       std::uint8_t* q) {
  const Columns c = load_columns(rows, static_cast<std::ptrdiff_t>(g) * 16);
  for (int j = 0; j < 4; ++j) {
    const __m512i low = low_nibbles(c.t[j]), high = high_nibbles(c.t[j]);
    // Per lane: rows 0 and 1, then rows 2 and 3, eight columns each.
    const __m512 a = _mm512_castsi512_ps(_mm512_unpacklo_epi8(low, high));
    const __m512 b = _mm512_castsi512_ps(_mm512_unpackhi_epi8(low, high));
    store_columns(q, 2 * j, _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0x88)));
    store_columns(q, 2 * j + 1, _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0xDD)));
  }
}

// One super-block of Q4_K or Q5_K: eight groups.
template <bool kFive>
PENSIEVE_AVX512 inline void k_block(const std::byte* const rows[kBlockRows],
                                    int block,
                                    const Int8Panel& panel) {
  constexpr std::ptrdiff_t kBytes = kFive ? 176 : 144;
  const std::ptrdiff_t base = block * kBytes;
  const __m512 d = halves_at(rows, base), dmin = halves_at(rows, base + 2);
  alignas(64) std::int32_t scale[8][kBlockRows], min[8][kBlockRows];
  for (int r = 0; r < kBlockRows; ++r) {
    for (int g = 0; g < 8; ++g) {
      int s = 0, m = 0;
      scale_and_min(rows[r] + base + 4, g, &s, &m);
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

// One super-block of Q6_K: eight groups in two halves of four.
PENSIEVE_AVX512 inline void q6k_block(const std::byte* const rows[kBlockRows],
                                      int block,
                                      const Int8Panel& panel) {
  const std::ptrdiff_t base = static_cast<std::ptrdiff_t>(block) * 210;
  const __m512 d = halves_at(rows, base + 208);
  const Columns s = load_columns(rows, base + 192);  // 16 signed scales a row
  for (int i = 0; i < 16; ++i) {
    // Byte i % 4 of every dword, sign-extended.
    const __m512i byte = _mm512_sll_epi32(s.t[i / 4], _mm_cvtsi32_si128(24 - 8 * (i % 4)));
    const __m512 scale = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_srai_epi32(byte, 24)));
    _mm512_store_ps(panel.scale + (i / 2) * Int8Panel::kScalesPerGroup + (i % 2) * kBlockRows,
                    scale);
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

// Hints the lines that the next call for these rows will read.
PENSIEVE_AVX512 inline void prefetch_rows(const std::byte* const rows[kBlockRows],
                                          std::ptrdiff_t from,
                                          std::ptrdiff_t bytes) {
  for (int r = 0; r < kBlockRows; ++r) {
    for (std::ptrdiff_t at = 0; at < bytes; at += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(rows[r] + from + at), _MM_HINT_T0);
    }
  }
}

PENSIEVE_AVX512 inline void pack_int8_512(
    const WeightView& view, int first_row, int first_group, int n_groups, const Int8Panel& panel) {
  const bool super_blocks = view.type == WeightType::Q4_K || view.type == WeightType::Q5_K ||
                            view.type == WeightType::Q6_K;
  if (view.type == WeightType::Q5_0 || view.type == WeightType::Q5_1 ||
      (super_blocks && (first_group % 8 != 0 || n_groups % 8 != 0))) {
    return pack_int8(view, first_row, first_group, n_groups, panel);
  }
  const std::byte* rows[kBlockRows];
  int index[kBlockRows];
  for (int r = 0; r < kBlockRows; ++r) {
    index[r] = first_row + r < view.rows ? first_row + r : view.rows - 1;
    rows[r] = view.data + static_cast<std::size_t>(index[r]) * view.row_bytes();
  }
  const BlockShape shape = block_shape(view.type);
  const std::ptrdiff_t slab_bytes =
      static_cast<std::ptrdiff_t>(n_groups) * 32 / shape.elements * shape.bytes;
  const std::ptrdiff_t next =
      static_cast<std::ptrdiff_t>(first_group + n_groups) * 32 / shape.elements * shape.bytes;
  prefetch_rows(rows, next + 64, slab_bytes);

  if (super_blocks) {
    for (int block = 0; block < n_groups / 8; ++block) {
      const Int8Panel at{.q = panel.q + block * 8 * Int8Panel::kBytesPerGroup,
                         .scale = panel.scale + block * 8 * Int8Panel::kScalesPerGroup,
                         .offset = panel.offset + block * 8 * Int8Panel::kOffsetsPerGroup};
      const int b = first_group / 8 + block;
      if (view.type == WeightType::Q4_K) k_block<false>(rows, b, at);
      if (view.type == WeightType::Q5_K) k_block<true>(rows, b, at);
      if (view.type == WeightType::Q6_K) q6k_block(rows, b, at);
    }
    return;
  }
  // The scales of all groups first: sixteen 2-byte stores and the 32-byte load that needs them
  // would wait for each other inside one group, but not eight groups apart.
  if (view.type == WeightType::Q4_0 || view.type == WeightType::Q4_1 ||
      view.type == WeightType::Q8_0) {
    constexpr int kMost = 16;
    alignas(32) std::uint16_t bits[2][kMost][kBlockRows];
    for (int from = 0; from < n_groups; from += kMost) {
      const int n = n_groups - from < kMost ? n_groups - from : kMost;
      for (int r = 0; r < kBlockRows; ++r) {
        const std::byte* at =
            rows[r] + static_cast<std::ptrdiff_t>(first_group + from) * shape.bytes;
        for (int i = 0; i < n; ++i, at += shape.bytes) {
          bits[0][i][r] = load_u16(at);
          if (view.type == WeightType::Q4_1) bits[1][i][r] = load_u16(at + 2);
        }
      }
      for (int i = 0; i < n; ++i) {
        const auto* const b = reinterpret_cast<const __m256i*>(bits[0][i]);
        _mm512_store_ps(panel.scale + (from + i) * Int8Panel::kScalesPerGroup,
                        _mm512_cvtph_ps(_mm256_load_si256(b)));
        if (view.type == WeightType::Q4_1) {
          const auto* const o = reinterpret_cast<const __m256i*>(bits[1][i]);
          _mm512_store_ps(panel.offset + (from + i) * Int8Panel::kOffsetsPerGroup,
                          _mm512_cvtph_ps(_mm256_load_si256(o)));
        }
      }
    }
  }
  const __m512i none = _mm512_setzero_si512(), top = _mm512_set1_epi8(static_cast<char>(0x80));
  for (int i = 0; i < n_groups; ++i) {
    const int g = first_group + i;
    std::uint8_t* const q = panel.q + i * Int8Panel::kBytesPerGroup;
    float* const scale = panel.scale + i * Int8Panel::kScalesPerGroup;
    float* const offset = panel.offset + i * Int8Panel::kOffsetsPerGroup;
    switch (view.type) {
      case WeightType::Q4_0:
        nibble_group<18, 2>(rows, g, q);
        break;
      case WeightType::Q4_1:
        nibble_group<20, 4>(rows, g, q);
        break;
      case WeightType::Q8_0:
        byte_group(rows, static_cast<std::ptrdiff_t>(g) * 34 + 2, top, q);
        break;
      default: {  // MLX: scales and biases lie in arrays of their own, one for 1, 2 or 4 groups
        if (i > 0 && g * 32 % view.group_size != 0) {
          _mm512_store_ps(scale, _mm512_load_ps(scale - Int8Panel::kScalesPerGroup));
          _mm512_store_ps(offset, _mm512_load_ps(offset - Int8Panel::kOffsetsPerGroup));
        } else {
          const auto per_row = static_cast<std::size_t>(view.cols / view.group_size);
          const auto column = static_cast<std::size_t>(g * 32 / view.group_size);
          for (int r = 0; r < kBlockRows; ++r) {
            const std::size_t at = static_cast<std::size_t>(index[r]) * per_row + column;
            if (view.scale_type == WeightType::F16) {
              scale[r] = half_at(view.scales + at * 2);
              offset[r] = half_at(view.biases + at * 2);
            } else {
              scale[r] = load_scale(view.scale_type, view.scales, at);
              offset[r] = load_scale(view.scale_type, view.biases, at);
            }
          }
        }
        if (view.type == WeightType::Mlx4) {
          mlx4_group(rows, g, q);
        } else {
          byte_group(rows, static_cast<std::ptrdiff_t>(g) * 32, none, q);
        }
      }
    }
  }
}

}  // namespace pensieve::compute::x86

#endif  // __x86_64__
