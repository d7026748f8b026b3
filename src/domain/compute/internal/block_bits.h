// Small integers out of packed bytes: the packings that more than one reader of weights needs. What
// they mean is in docs/formats/weights.md.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pensieve::compute {

inline int nibble_low(std::byte b) {
  return std::to_integer<int>(b) & 15;
}
inline int nibble_high(std::byte b) {
  return std::to_integer<int>(b) >> 4;
}

// The 6-bit scale and minimum of group `g` of 8 in a Q4_K or Q5_K super-block, packed in 12 bytes.
inline void scale_and_min(const std::byte* packed, int g, int* scale, int* min) {
  const auto at = [&](int i) { return std::to_integer<int>(packed[i]); };
  if (g < 4) {
    *scale = at(g) & 63;
    *min = at(g + 4) & 63;
  } else {
    *scale = (at(g + 4) & 15) | ((at(g - 4) >> 6) << 4);
    *min = (at(g + 4) >> 4) | ((at(g) >> 6) << 4);
  }
}

// The signed 6-bit scale of group `g` of 16 in a Q3_K super-block, packed in 12 bytes: four low
// bits in halves of the first eight, two high bits in quarters of the last four.
inline int scale_q3k(const std::byte* packed, int g) {
  const int low = g < 8 ? nibble_low(packed[g]) : nibble_high(packed[g - 8]);
  const int high = (std::to_integer<int>(packed[8 + g % 4]) >> (2 * (g / 4))) & 3;
  return (low | (high << 4)) - 32;
}

// Element i of a little-endian stream of `bits` <= 8 bits each. Reads no byte that holds none of
// it.
inline int bits_at(const std::byte* stream, int i, int bits) {
  const auto first = static_cast<std::size_t>(i) * static_cast<std::size_t>(bits);
  const int shift = static_cast<int>(first % 8);
  int window = std::to_integer<int>(stream[first / 8]) >> shift;
  if (shift + bits > 8) window |= std::to_integer<int>(stream[first / 8 + 1]) << (8 - shift);
  return window & ((1 << bits) - 1);
}

}  // namespace pensieve::compute
