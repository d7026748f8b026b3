// Where the keys and values of one head of one layer lie inside a KV page of 64 tokens, and how a
// token is written. A block holds the keys, then the values:
//   F32, F16: keys [head_dim][64], values [64][head_dim]
//   Q8: keys int8 [head_dim][64], scales f16 [head_dim / 32][64]; values int8 [64][head_dim],
//   scales
//       f16 [64][head_dim / 32]; x = scale * q, scale = max |x| of 32 dimensions / 127
// Keys are transposed so that one vector holds the same dimension of neighbouring tokens.
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
  }
  return 0;
}
inline std::size_t kv_block_bytes(KvType type, int head_dim) {
  return 2 * kv_half_block_bytes(type, head_dim);
}

// Writes key and value [head_dim] of one head for the token in `slot` (0..63) of the page.
inline void store_kv(
    KvType type, std::byte* block, int head_dim, int slot, const float* key, const float* value) {
  std::byte* value_block = block + kv_half_block_bytes(type, head_dim);
  const auto at = [](std::byte* base, auto example, int index) {
    return base + static_cast<std::ptrdiff_t>(index) * static_cast<std::ptrdiff_t>(sizeof example);
  };
  if (type == KvType::F32) {
    for (int i = 0; i < head_dim; ++i) {
      std::memcpy(at(block, float{}, i * kPageTokens + slot), &key[i], 4);
    }
    std::memcpy(
        at(value_block, float{}, slot * head_dim), value, static_cast<std::size_t>(head_dim) * 4);
    return;
  }
  if (type == KvType::F16) {
    for (int i = 0; i < head_dim; ++i) {
      const std::uint16_t k = float_to_half(key[i]), v = float_to_half(value[i]);
      std::memcpy(at(block, k, i * kPageTokens + slot), &k, 2);
      std::memcpy(at(value_block, v, slot * head_dim + i), &v, 2);
    }
    return;
  }
  const int n_groups = head_dim / 32;
  std::byte* key_scales = block + static_cast<std::ptrdiff_t>(head_dim) * kPageTokens;
  std::byte* value_scales = value_block + static_cast<std::ptrdiff_t>(head_dim) * kPageTokens;
  const auto store_group = [](const float* x, std::int8_t* q) {
    float max = 0;
    for (int i = 0; i < 32; ++i) max = std::fmax(max, std::fabs(x[i]));
    // The scale is rounded to f16 first, so that q is the best integer for the scale that is kept.
    const std::uint16_t scale = float_to_half(max / 127.0f);
    const float kept = half_to_float(scale);
    const float inverse = kept > 0 ? 1.0f / kept : 0.0f;
    for (int i = 0; i < 32; ++i) {
      const float r = std::nearbyint(x[i] * inverse);
      q[i] = static_cast<std::int8_t>(std::fmin(127.0f, std::fmax(-127.0f, r)));
    }
    return scale;
  };
  for (int g = 0; g < n_groups; ++g) {
    std::int8_t q[32];
    const std::uint16_t key_scale = store_group(key + g * 32, q);
    for (int i = 0; i < 32; ++i) {
      block[(g * 32 + i) * kPageTokens + slot] = static_cast<std::byte>(q[i]);
    }
    std::memcpy(at(key_scales, key_scale, g * kPageTokens + slot), &key_scale, 2);
    const std::uint16_t value_scale = store_group(value + g * 32, q);
    std::memcpy(value_block + slot * head_dim + g * 32, q, 32);
    std::memcpy(at(value_scales, value_scale, slot * n_groups + g), &value_scale, 2);
  }
}

}  // namespace pensieve::compute
