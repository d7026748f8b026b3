// One group of 32 columns of one row of a quantised matrix as unsigned integers with scale and
// offset: the definition the vector variants of pack_int8 must match.
#pragma once

#include <cstdint>
#include <cstring>

#include "domain/compute/internal/block_bits.h"
#include "domain/compute/internal/half.h"
#include "domain/compute/kernels/kernels.h"
#include "domain/compute/weights.h"

namespace pensieve::compute {

// u: [32]; scale and offset of the two halves: equal unless the format has halves; offset: 0 unless
// affine.
struct Group {
  std::uint8_t u[32];
  float scale[2];
  float offset[2];
};

inline std::uint16_t load_u16(const std::byte* at) {
  std::uint16_t value;
  std::memcpy(&value, at, 2);
  return value;
}

inline float load_scale(WeightType type, const std::byte* array, std::size_t index) {
  if (type == WeightType::F32) {
    float value;
    std::memcpy(&value, array + index * 4, 4);
    return value;
  }
  const std::uint16_t bits = load_u16(array + index * 2);
  return type == WeightType::F16 ? half_to_float(bits) : bfloat_to_float(bits);
}

inline void read_group(const WeightView& view, int row, int g, Group& out) {
  const std::byte* data = view.data + static_cast<std::size_t>(row) * view.row_bytes();
  const auto low = [](std::byte b) { return static_cast<std::uint8_t>(nibble_low(b)); };
  const auto high = [](std::byte b) { return static_cast<std::uint8_t>(nibble_high(b)); };
  const auto nibbles16 = [&](const std::byte* q) {
    for (int i = 0; i < 16; ++i) {
      out.u[i] = low(q[i]);
      out.u[i + 16] = high(q[i]);
    }
  };
  const auto fifth_bits = [&](const std::byte* word) {
    std::uint32_t bits;
    std::memcpy(&bits, word, 4);
    for (int i = 0; i < 32; ++i) {
      out.u[i] = static_cast<std::uint8_t>(out.u[i] | (((bits >> i) & 1) << 4));
    }
  };
  out.offset[0] = out.offset[1] = 0;
  switch (view.type) {
    case WeightType::Q4_0: {
      const std::byte* b = data + g * 18;
      out.scale[0] = half_to_float(load_u16(b));
      nibbles16(b + 2);
      break;
    }
    case WeightType::Q4_1: {
      const std::byte* b = data + g * 20;
      out.scale[0] = half_to_float(load_u16(b));
      out.offset[0] = half_to_float(load_u16(b + 2));
      nibbles16(b + 4);
      break;
    }
    case WeightType::Q5_0: {
      const std::byte* b = data + g * 22;
      out.scale[0] = half_to_float(load_u16(b));
      nibbles16(b + 6);
      fifth_bits(b + 2);
      break;
    }
    case WeightType::Q5_1: {
      const std::byte* b = data + g * 24;
      out.scale[0] = half_to_float(load_u16(b));
      out.offset[0] = half_to_float(load_u16(b + 2));
      nibbles16(b + 8);
      fifth_bits(b + 4);
      break;
    }
    case WeightType::Q8_0: {
      const std::byte* b = data + g * 34;
      out.scale[0] = half_to_float(load_u16(b));
      for (int i = 0; i < 32; ++i) {
        out.u[i] = static_cast<std::uint8_t>(std::to_integer<int>(b[2 + i]) ^ 0x80);
      }
      break;
    }
    case WeightType::Q2_K: {
      const std::byte* b = data + (g / 8) * 84;
      const int half = (g % 8) / 4, part = g % 4;
      const float d = half_to_float(load_u16(b + 80)), dmin = half_to_float(load_u16(b + 82));
      for (int i = 0; i < 2; ++i) {
        const std::byte both = b[(g % 8) * 2 + i];
        out.scale[i] = d * static_cast<float>(nibble_low(both));
        out.offset[i] = -(dmin * static_cast<float>(nibble_high(both)));
      }
      for (int i = 0; i < 32; ++i) {
        const int four = std::to_integer<int>(b[16 + half * 32 + i]);
        out.u[i] = static_cast<std::uint8_t>((four >> (2 * part)) & 3);
      }
      return;
    }
    case WeightType::Q3_K: {
      const std::byte* b = data + (g / 8) * 110;
      const int half = (g % 8) / 4, part = g % 4;
      const float d = half_to_float(load_u16(b + 108));
      for (int i = 0; i < 2; ++i) {
        out.scale[i] = d * static_cast<float>(scale_q3k(b + 96, (g % 8) * 2 + i));
      }
      for (int i = 0; i < 32; ++i) {
        const int low2 = (std::to_integer<int>(b[32 + half * 32 + i]) >> (2 * part)) & 3;
        const int high1 = (std::to_integer<int>(b[i]) >> (g % 8)) & 1;
        out.u[i] = static_cast<std::uint8_t>(low2 | (high1 << 2));
      }
      return;
    }
    case WeightType::Q4_K:
    case WeightType::Q5_K: {
      const bool five = view.type == WeightType::Q5_K;
      const std::byte* b = data + (g / 8) * (five ? 176 : 144);
      const int part = g % 8;
      int scale = 0, min = 0;
      scale_and_min(b + 4, part, &scale, &min);
      out.scale[0] = half_to_float(load_u16(b)) * static_cast<float>(scale);
      out.offset[0] = -(half_to_float(load_u16(b + 2)) * static_cast<float>(min));
      const std::byte* q = b + (five ? 48 : 16) + (part / 2) * 32;
      for (int i = 0; i < 32; ++i) {
        out.u[i] = part % 2 == 0 ? low(q[i]) : high(q[i]);
        if (five) {
          const int bit = (std::to_integer<int>(b[16 + i]) >> part) & 1;
          out.u[i] = static_cast<std::uint8_t>(out.u[i] | (bit << 4));
        }
      }
      break;
    }
    case WeightType::Q6_K: {
      const std::byte* b = data + (g / 8) * 210;
      const int half = (g % 8) / 4, part = g % 4;
      const float d = half_to_float(load_u16(b + 208));
      for (int i = 0; i < 2; ++i) {
        const int scale = static_cast<std::int8_t>(b[192 + half * 8 + part * 2 + i]);
        out.scale[i] = d * static_cast<float>(scale);
      }
      const std::byte* q = b + half * 64 + (part % 2) * 32;
      for (int i = 0; i < 32; ++i) {
        const int four = part < 2 ? low(q[i]) : high(q[i]);
        const int two = (std::to_integer<int>(b[128 + half * 32 + i]) >> (2 * part)) & 3;
        out.u[i] = static_cast<std::uint8_t>(four | (two << 4));
      }
      return;
    }
    case WeightType::Mlx2:
    case WeightType::Mlx3:
    case WeightType::Mlx4:
    case WeightType::Mlx5:
    case WeightType::Mlx6:
    case WeightType::Mlx8: {
      const auto index =
          static_cast<std::size_t>(row) * static_cast<std::size_t>(view.cols / view.group_size) +
          static_cast<std::size_t>(g * 32 / view.group_size);
      out.scale[0] = load_scale(view.scale_type, view.scales, index);
      out.offset[0] = load_scale(view.scale_type, view.biases, index);
      const int bits = mlx_bits(view.type);
      for (int i = 0; i < 32; ++i) {
        out.u[i] = static_cast<std::uint8_t>(bits_at(data + g * bits * 4, i, bits));
      }
      break;
    }
    default:
      break;  // F32, F16, BF16 are not quantised
  }
  out.scale[1] = out.scale[0];
  out.offset[1] = out.offset[0];
}

// Columns [32 g, 32 g + 32) of a row as f32, any type; rounds as dequantize_row() does.
inline void read_group_f32(const WeightView& view, int row, int g, float* out) {
  const std::byte* data = view.data + static_cast<std::size_t>(row) * view.row_bytes();
  if (view.type == WeightType::F32) {
    std::memcpy(out, data + g * 128, 128);
  } else if (view.type == WeightType::F16) {
    for (int i = 0; i < 32; ++i) out[i] = half_to_float(load_u16(data + g * 64 + i * 2));
  } else if (view.type == WeightType::BF16) {
    for (int i = 0; i < 32; ++i) out[i] = bfloat_to_float(load_u16(data + g * 64 + i * 2));
  } else {
    Group group;
    read_group(view, row, g, group);
    const int zero = panel_format(view.type).zero;
    for (int i = 0; i < 32; ++i) {
      out[i] = group.scale[i / 16] * static_cast<float>(group.u[i] - zero) + group.offset[i / 16];
    }
  }
}

}  // namespace pensieve::compute
