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
  using Four = float __attribute__((vector_size(16)));
  constexpr Four kNorm = {
      0.17677669529663687f, 0.17677669529663687f, 0.17677669529663687f, 0.17677669529663687f};
  for (float* group = x; group < x + dim; group += 32) {
    Four v[8];
    std::memcpy(v, group, sizeof v);
    for (Four& four : v) {  // neighbours, then pairs of them, inside a vector
      four = __builtin_shufflevector(four, four, 0, 0, 2, 2) +
             __builtin_shufflevector(four, four, 1, 1, 3, 3) * Four{1, -1, 1, -1};
      four = __builtin_shufflevector(four, four, 0, 1, 0, 1) +
             __builtin_shufflevector(four, four, 2, 3, 2, 3) * Four{1, 1, -1, -1};
      four *= kNorm;
    }
    for (int apart = 1; apart < 8; apart *= 2) {  // then whole vectors
      for (int i = 0; i < 8; ++i) {
        if ((i & apart) != 0) continue;
        const Four a = v[i], b = v[i + apart];
        v[i] = a + b;
        v[i + apart] = a - b;
      }
    }
    std::memcpy(group, v, sizeof v);
  }
}

// Least and largest of 32 numbers, in eight lanes.
struct Extremes {
  float least, most;
};
inline Extremes extremes_of_group(const float* x) {
  float least[8], most[8];
  for (int j = 0; j < 8; ++j) least[j] = most[j] = x[j];
  for (int i = 8; i < 32; i += 8) {
    for (int j = 0; j < 8; ++j) {
      least[j] = x[i + j] < least[j] ? x[i + j] : least[j];
      most[j] = x[i + j] > most[j] ? x[i + j] : most[j];
    }
  }
  for (int j = 1; j < 8; ++j) {
    least[0] = least[j] < least[0] ? least[j] : least[0];
    most[0] = most[j] > most[0] ? most[j] : most[0];
  }
  return {least[0], most[0]};
}

// 32 numbers as 8-bit integers and a scale (f16).
struct Q8Group {
  std::int8_t q[32];
  std::uint16_t scale;
};
inline Q8Group quantize_q8_group(const float* x) {
  Q8Group out;
  const Extremes range = extremes_of_group(x);
  // The scale is rounded to f16 first, so that q is the best integer for the scale that is kept.
  out.scale = float_to_half((-range.least > range.most ? -range.least : range.most) / 127.0f);
  const float kept = half_to_float(out.scale);
  const float inverse = kept > 0 ? 1.0f / kept : 0.0f;
  for (int i = 0; i < 32; ++i) {
    float r = x[i] * inverse;
    r = r > -127.0f ? r : -127.0f;  // what is not a number too
    r = r < 127.0f ? r : 127.0f;
    // To the nearest integer, halves to the even one: 1.5 * 2^23 leaves no bits below one.
    out.q[i] = static_cast<std::int8_t>(static_cast<int>((r + 12582912.0f) - 12582912.0f));
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
  float u[32];  // whole numbers
  const auto round_to = [&](float scale, float minimum) {
    const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
    for (int i = 0; i < 32; ++i) {
      float r = (turned[i] - minimum) * inverse;
      r = r > 0.0f ? r : 0.0f;  // what is not a number becomes 0 here
      r = r < 15.0f ? r : 15.0f;
      u[i] = (r + 12582912.0f) - 12582912.0f;
    }
  };
  const Extremes range = extremes_of_group(turned);
  float scale = (range.most - range.least) / 15.0f, minimum = range.least;
  round_to(scale, minimum);
  // The line that fits these integers best in the mean of squares, then the integers again.
  float lanes[4][8] = {};
  for (int i = 0; i < 32; i += 8) {
    for (int j = 0; j < 8; ++j) {
      const float v = u[i + j], t = turned[i + j];
      lanes[0][j] += v;
      lanes[1][j] += v * v;
      lanes[2][j] += t;
      lanes[3][j] += v * t;
    }
  }
  float sums[4] = {};
  for (int k = 0; k < 4; ++k) {
    for (int j = 0; j < 8; ++j) sums[k] += lanes[k][j];
  }
  const auto [sum_u, sum_uu, sum_x, sum_ux] = sums;
  const float spread = 32.0f * sum_uu - sum_u * sum_u;  // whole numbers, exact; 0 if all are equal
  if (spread > 0) {
    scale = (32.0f * sum_ux - sum_u * sum_x) / spread;
    minimum = (sum_x - scale * sum_u) / 32.0f;
  }
  Q4Group out;
  out.scale = float_to_half(scale);
  out.minimum = float_to_half(minimum);
  round_to(half_to_float(out.scale), half_to_float(out.minimum));
  for (int i = 0; i < 16; ++i)
    out.pairs[i] = static_cast<std::uint8_t>(static_cast<int>(u[i] + 16.0f * u[i + 16]));
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
