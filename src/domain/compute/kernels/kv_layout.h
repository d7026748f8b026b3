// Where the keys and values of one head of one layer lie inside a KV page of 64 tokens, and how a
// token is written. A block holds the keys, then the values; the two may be of different types:
//   F32, F16: keys [head_dim][64], values [64][head_dim]
//   Q8: keys int8 [head_dim][64], scales f16 [head_dim / 32][64]; values int8 [64][head_dim],
//       scales f16 [64][head_dim / 32]; x = scale * q, scale = max |x| of 32 dimensions / 127
//   Q4: x = scale * u + minimum, u in 0..15, of a group of 32 dimensions turned by rotate_groups().
//       The byte i of a group holds u[i] in its low half and u[i + 16] in its high half.
//       Keys: bytes [head_dim / 32][16][64], scales f16 [head_dim / 32][64], minima likewise;
//       values: bytes [64][head_dim / 32][16], scales f16 [64][head_dim / 32], minima likewise
// Keys are transposed so that one vector holds the same dimension of neighbouring tokens.
// Why Q4 is what it is: docs/decisions/0017-kv-in-four-bits.md.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "domain/compute/backend.h"
#include "domain/compute/internal/half.h"

namespace pensieve::compute {

// Bytes of the keys (or of the values) of one head in one page.
inline std::size_t kv_half_block_bytes(KvType type, int head_dim) {
  const auto n = static_cast<std::size_t>(head_dim) * kPageTokens;
  switch (type) {
    case KvType::F32:
      return n * 4;
    case KvType::F16:
      return n * 2;
    case KvType::Q8:
      return n + n / 32 * 2;
    case KvType::Q4:
      return n / 2 + n / 32 * 4;
  }
  return 0;
}
inline std::size_t kv_block_bytes(KvTypes types, int head_dim) {
  return kv_half_block_bytes(types.keys, head_dim) + kv_half_block_bytes(types.values, head_dim);
}

// Whether keys (or values) of this type are kept turned by rotate_groups(). Scores are then those
// of a query that is turned likewise, and a weighted sum of values has to be turned back.
inline bool is_rotated(KvType type) {
  return type == KvType::Q4;
}

// Multiplies each group of 32 of x [dim] by the Hadamard matrix of order 32 over sqrt(32), which is
// orthogonal and its own inverse. It spreads a dimension that outgrows its group over all of them
// (Ashkboos et al., QuaRot, arXiv:2404.00456). dim % 32 == 0.
inline void rotate_groups(float* x, int dim) {
  for (float* group = x; group < x + dim; group += 32) {
    for (int apart = 1; apart < 32; apart *= 2) {
      for (int first = 0; first < 32; first += 2 * apart) {
        for (int i = first; i < first + apart; ++i) {
          const float a = group[i], b = group[i + apart];
          group[i] = a + b;
          group[i + apart] = a - b;
        }
      }
    }
    for (int i = 0; i < 32; ++i) group[i] *= 0.17677669529663687f;  // 1 / sqrt(32)
  }
}

// 32 numbers as 8-bit integers and a scale (f16).
struct Q8Group {
  std::int8_t q[32];
  std::uint16_t scale;
};
inline Q8Group quantize_q8_group(const float* x) {
  Q8Group out;
  float max = 0;
  for (int i = 0; i < 32; ++i) max = std::fmax(max, std::fabs(x[i]));
  // The scale is rounded to f16 first, so that q is the best integer for the scale that is kept.
  out.scale = float_to_half(max / 127.0f);
  const float kept = half_to_float(out.scale);
  const float inverse = kept > 0 ? 1.0f / kept : 0.0f;
  for (int i = 0; i < 32; ++i) {
    const float r = std::nearbyint(x[i] * inverse);
    out.q[i] = static_cast<std::int8_t>(std::fmin(127.0f, std::fmax(-127.0f, r)));
  }
  return out;
}

// 32 numbers as 4-bit integers, two to a byte, with scale and minimum (f16).
struct Q4Group {
  std::uint8_t pairs[16];
  std::uint16_t scale, minimum;
};
inline Q4Group quantize_q4_group(const float* x) {
  float turned[32];
  std::memcpy(turned, x, sizeof turned);
  rotate_groups(turned, 32);
  std::uint8_t u[32];
  const auto round_to = [&](float scale, float minimum) {
    const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
    for (int i = 0; i < 32; ++i) {
      float r = (turned[i] - minimum) * inverse;
      r = r > 0.0f ? r : 0.0f;  // what is not a number becomes 0 here
      r = r < 15.0f ? r : 15.0f;
      u[i] = static_cast<std::uint8_t>(static_cast<int>(r + 0.5f));
    }
  };
  float least = turned[0], most = turned[0];
  for (int i = 1; i < 32; ++i) {
    least = turned[i] < least ? turned[i] : least;
    most = turned[i] > most ? turned[i] : most;
  }
  float scale = (most - least) / 15.0f, minimum = least;
  round_to(scale, minimum);
  // The line that fits these integers best in the mean of squares, then the integers again.
  float sum_u = 0, sum_uu = 0, sum_x = 0, sum_ux = 0;
  for (int i = 0; i < 32; ++i) {
    const auto v = static_cast<float>(u[i]);
    sum_u += v;
    sum_uu += v * v;
    sum_x += turned[i];
    sum_ux += v * turned[i];
  }
  const float spread = 32.0f * sum_uu - sum_u * sum_u;  // whole numbers, exact; 0 if all are equal
  if (spread > 0) {
    scale = (32.0f * sum_ux - sum_u * sum_x) / spread;
    minimum = (sum_x - scale * sum_u) / 32.0f;
  }
  Q4Group out;
  out.scale = float_to_half(scale);
  out.minimum = float_to_half(minimum);
  round_to(half_to_float(out.scale), half_to_float(out.minimum));
  for (int i = 0; i < 16; ++i) out.pairs[i] = static_cast<std::uint8_t>(u[i] | u[i + 16] << 4);
  return out;
}

// Writes the key [head_dim] of the token in `slot` (0..63) into the keys of one head's block.
inline void store_key(KvType type, std::byte* keys, int head_dim, int slot, const float* key) {
  const auto put = [&](std::ptrdiff_t index, auto value) {
    std::memcpy(keys + index * static_cast<std::ptrdiff_t>(sizeof value), &value, sizeof value);
  };
  switch (type) {
    case KvType::F32:
      for (int i = 0; i < head_dim; ++i) put(i * kPageTokens + slot, key[i]);
      return;
    case KvType::F16:
      for (int i = 0; i < head_dim; ++i) put(i * kPageTokens + slot, float_to_half(key[i]));
      return;
    case KvType::Q8:
      for (int g = 0; g < head_dim / 32; ++g) {
        const Q8Group group = quantize_q8_group(key + g * 32);
        for (int i = 0; i < 32; ++i) put((g * 32 + i) * kPageTokens + slot, group.q[i]);
        put((head_dim / 2 + g) * kPageTokens + slot, group.scale);
      }
      return;
    case KvType::Q4:
      for (int g = 0; g < head_dim / 32; ++g) {
        const Q4Group group = quantize_q4_group(key + g * 32);
        for (int i = 0; i < 16; ++i) put((g * 16 + i) * kPageTokens + slot, group.pairs[i]);
        put((head_dim / 4 + g) * kPageTokens + slot, group.scale);
        put((head_dim / 4 + head_dim / 32 + g) * kPageTokens + slot, group.minimum);
      }
      return;
  }
}

// Writes the value [head_dim] of the token in `slot` (0..63) into the values of one head's block.
inline void store_value(
    KvType type, std::byte* values, int head_dim, int slot, const float* value) {
  const int n_groups = head_dim / 32;
  const auto put = [&](std::ptrdiff_t index, auto x) {
    std::memcpy(values + index * static_cast<std::ptrdiff_t>(sizeof x), &x, sizeof x);
  };
  switch (type) {
    case KvType::F32:
      for (int i = 0; i < head_dim; ++i) put(slot * head_dim + i, value[i]);
      return;
    case KvType::F16:
      for (int i = 0; i < head_dim; ++i) put(slot * head_dim + i, float_to_half(value[i]));
      return;
    case KvType::Q8:
      for (int g = 0; g < n_groups; ++g) {
        const Q8Group group = quantize_q8_group(value + g * 32);
        std::memcpy(values + slot * head_dim + g * 32, group.q, sizeof group.q);
        put(head_dim / 2 * kPageTokens + slot * n_groups + g, group.scale);
      }
      return;
    case KvType::Q4:
      for (int g = 0; g < n_groups; ++g) {
        const Q4Group group = quantize_q4_group(value + g * 32);
        std::memcpy(values + slot * head_dim / 2 + g * 16, group.pairs, sizeof group.pairs);
        put((head_dim / 4) * kPageTokens + slot * n_groups + g, group.scale);
        put((head_dim / 4 + n_groups) * kPageTokens + slot * n_groups + g, group.minimum);
      }
      return;
  }
}

}  // namespace pensieve::compute
