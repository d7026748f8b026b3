#include "domain/compute/weights.h"

#include <bit>
#include <cstring>

#include "foundation/check.h"

#include "domain/compute/internal/block_bits.h"
#include "domain/compute/internal/half.h"

namespace pensieve::compute {
namespace {

template <typename T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

void dequantize_block(WeightType type, const std::byte* b, float* out) {
  switch (type) {
    case WeightType::F32:
      out[0] = load<float>(b);
      return;
    case WeightType::F16:
      out[0] = half_to_float(load<std::uint16_t>(b));
      return;
    case WeightType::BF16:
      out[0] = bfloat_to_float(load<std::uint16_t>(b));
      return;
    case WeightType::Q4_0: {
      const float d = half_to_float(load<std::uint16_t>(b));
      for (int i = 0; i < 16; ++i) {
        out[i] = d * static_cast<float>(nibble_low(b[2 + i]) - 8);
        out[i + 16] = d * static_cast<float>(nibble_high(b[2 + i]) - 8);
      }
      return;
    }
    case WeightType::Q4_1: {
      const float d = half_to_float(load<std::uint16_t>(b));
      const float m = half_to_float(load<std::uint16_t>(b + 2));
      for (int i = 0; i < 16; ++i) {
        out[i] = d * static_cast<float>(nibble_low(b[4 + i])) + m;
        out[i + 16] = d * static_cast<float>(nibble_high(b[4 + i])) + m;
      }
      return;
    }
    case WeightType::Q5_0: {
      const float d = half_to_float(load<std::uint16_t>(b));
      const auto high = load<std::uint32_t>(b + 2);
      for (int i = 0; i < 16; ++i) {
        const int h0 = static_cast<int>((high >> i) & 1) << 4;
        const int h1 = static_cast<int>((high >> (i + 16)) & 1) << 4;
        out[i] = d * static_cast<float>((nibble_low(b[6 + i]) | h0) - 16);
        out[i + 16] = d * static_cast<float>((nibble_high(b[6 + i]) | h1) - 16);
      }
      return;
    }
    case WeightType::Q5_1: {
      const float d = half_to_float(load<std::uint16_t>(b));
      const float m = half_to_float(load<std::uint16_t>(b + 2));
      const auto high = load<std::uint32_t>(b + 4);
      for (int i = 0; i < 16; ++i) {
        const int h0 = static_cast<int>((high >> i) & 1) << 4;
        const int h1 = static_cast<int>((high >> (i + 16)) & 1) << 4;
        out[i] = d * static_cast<float>(nibble_low(b[8 + i]) | h0) + m;
        out[i + 16] = d * static_cast<float>(nibble_high(b[8 + i]) | h1) + m;
      }
      return;
    }
    case WeightType::Q8_0: {
      const float d = half_to_float(load<std::uint16_t>(b));
      for (int i = 0; i < 32; ++i) {
        out[i] = d * static_cast<float>(static_cast<std::int8_t>(b[2 + i]));
      }
      return;
    }
    case WeightType::Q2_K: {
      const float d = half_to_float(load<std::uint16_t>(b + 80));
      const float dmin = half_to_float(load<std::uint16_t>(b + 82));
      for (int i = 0; i < 256; ++i) {
        const std::byte scale_and_min = b[i / 16];
        const std::byte four = b[16 + i / 128 * 32 + i % 32];
        const int q = (std::to_integer<int>(four) >> (i / 32 % 4 * 2)) & 3;
        const float ds = d * static_cast<float>(nibble_low(scale_and_min));
        out[i] = ds * static_cast<float>(q) - dmin * static_cast<float>(nibble_high(scale_and_min));
      }
      return;
    }
    case WeightType::Q3_K: {
      const float d = half_to_float(load<std::uint16_t>(b + 108));
      for (int i = 0; i < 256; ++i) {
        const std::byte four = b[32 + i / 128 * 32 + i % 32];
        const int low = (std::to_integer<int>(four) >> (i / 32 % 4 * 2)) & 3;
        const int high = (std::to_integer<int>(b[i % 32]) >> (i / 32)) & 1;
        out[i] = d * static_cast<float>(scale_q3k(b + 96, i / 16)) *
                 static_cast<float>((low | (high << 2)) - 4);
      }
      return;
    }
    case WeightType::Q4_K: {
      const float d = half_to_float(load<std::uint16_t>(b));
      const float dmin = half_to_float(load<std::uint16_t>(b + 2));
      for (int g = 0; g < 8; ++g) {
        int scale = 0, min = 0;
        scale_and_min(b + 4, g, &scale, &min);
        const float ds = d * static_cast<float>(scale), m = dmin * static_cast<float>(min);
        const std::byte* q = b + 16 + (g / 2) * 32;
        for (int i = 0; i < 32; ++i) {
          const int v = g % 2 == 0 ? nibble_low(q[i]) : nibble_high(q[i]);
          out[g * 32 + i] = ds * static_cast<float>(v) - m;
        }
      }
      return;
    }
    case WeightType::Q5_K: {
      const float d = half_to_float(load<std::uint16_t>(b));
      const float dmin = half_to_float(load<std::uint16_t>(b + 2));
      const std::byte* high = b + 16;
      for (int g = 0; g < 8; ++g) {
        int scale = 0, min = 0;
        scale_and_min(b + 4, g, &scale, &min);
        const float ds = d * static_cast<float>(scale), m = dmin * static_cast<float>(min);
        const std::byte* q = b + 48 + (g / 2) * 32;
        for (int i = 0; i < 32; ++i) {
          const int low = g % 2 == 0 ? nibble_low(q[i]) : nibble_high(q[i]);
          const int bit = (std::to_integer<int>(high[i]) >> g) & 1;
          out[g * 32 + i] = ds * static_cast<float>(low | (bit << 4)) - m;
        }
      }
      return;
    }
    case WeightType::Q6_K: {
      const float d = half_to_float(load<std::uint16_t>(b + 208));
      for (int half = 0; half < 2; ++half) {
        const std::byte* low = b + half * 64;
        const std::byte* high = b + 128 + half * 32;
        const std::byte* scales = b + 192 + half * 8;
        for (int i = 0; i < 128; ++i) {
          const int part = i / 32, l = i % 32;
          const std::byte byte = low[l + (part % 2) * 32];
          const int four = part < 2 ? nibble_low(byte) : nibble_high(byte);
          const int two = (std::to_integer<int>(high[l]) >> (2 * part)) & 3;
          const int scale = static_cast<std::int8_t>(scales[i / 16]);
          out[half * 128 + i] =
              d * static_cast<float>(scale) * static_cast<float>((four | (two << 4)) - 32);
        }
      }
      return;
    }
    default:
      break;
  }
  CHECK(false);
}

}  // namespace

std::string_view to_string(Architecture architecture) {
  switch (architecture) {
    case Architecture::Phi3:
      return "phi3";
    case Architecture::Llama:
      return "llama";
    case Architecture::Qwen2:
      return "qwen2";
    case Architecture::Qwen3:
      return "qwen3";
  }
  return "?";
}

std::string_view to_string(WeightType type) {
  switch (type) {
    case WeightType::F32:
      return "F32";
    case WeightType::F16:
      return "F16";
    case WeightType::BF16:
      return "BF16";
    case WeightType::Q4_0:
      return "Q4_0";
    case WeightType::Q4_1:
      return "Q4_1";
    case WeightType::Q5_0:
      return "Q5_0";
    case WeightType::Q5_1:
      return "Q5_1";
    case WeightType::Q8_0:
      return "Q8_0";
    case WeightType::Q2_K:
      return "Q2_K";
    case WeightType::Q3_K:
      return "Q3_K";
    case WeightType::Q4_K:
      return "Q4_K";
    case WeightType::Q5_K:
      return "Q5_K";
    case WeightType::Q6_K:
      return "Q6_K";
    case WeightType::Mlx2:
      return "MLX 2-bit";
    case WeightType::Mlx3:
      return "MLX 3-bit";
    case WeightType::Mlx4:
      return "MLX 4-bit";
    case WeightType::Mlx5:
      return "MLX 5-bit";
    case WeightType::Mlx6:
      return "MLX 6-bit";
    case WeightType::Mlx8:
      return "MLX 8-bit";
  }
  return "unknown";
}

BlockShape block_shape(WeightType type) {
  switch (type) {
    case WeightType::F32:
      return {1, 4};
    case WeightType::F16:
    case WeightType::BF16:
      return {1, 2};
    case WeightType::Q4_0:
      return {32, 18};
    case WeightType::Q4_1:
      return {32, 20};
    case WeightType::Q5_0:
      return {32, 22};
    case WeightType::Q5_1:
      return {32, 24};
    case WeightType::Q8_0:
      return {32, 34};
    case WeightType::Q2_K:
      return {256, 84};
    case WeightType::Q3_K:
      return {256, 110};
    case WeightType::Q4_K:
      return {256, 144};
    case WeightType::Q5_K:
      return {256, 176};
    case WeightType::Q6_K:
      return {256, 210};
    case WeightType::Mlx2:
    case WeightType::Mlx3:
    case WeightType::Mlx4:
    case WeightType::Mlx5:
    case WeightType::Mlx6:
    case WeightType::Mlx8:
      return {32, 4 * mlx_bits(type)};
  }
  return {1, 4};
}

std::size_t WeightView::total_bytes() const {
  if (empty()) return 0;
  std::size_t bytes = row_bytes() * static_cast<std::size_t>(rows);
  if (scales != nullptr) {
    const auto groups =
        static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols / group_size);
    bytes += 2 * groups * static_cast<std::size_t>(block_shape(scale_type).bytes);
  }
  return bytes;
}

void dequantize_row(const WeightView& view, int row, float* out) {
  CHECK(row >= 0 && row < view.rows);
  const std::byte* data = view.data + static_cast<std::size_t>(row) * view.row_bytes();
  if (const int bits = mlx_bits(view.type); bits != 0) {
    const int n_groups = view.cols / view.group_size;
    const auto scale_bytes = static_cast<std::size_t>(block_shape(view.scale_type).bytes);
    for (int g = 0; g < n_groups; ++g) {
      const auto at = (static_cast<std::size_t>(row) * static_cast<std::size_t>(n_groups) +
                       static_cast<std::size_t>(g)) *
                      scale_bytes;
      float scale = 0, bias = 0;
      dequantize_block(view.scale_type, view.scales + at, &scale);
      dequantize_block(view.scale_type, view.biases + at, &bias);
      for (int i = g * view.group_size; i < (g + 1) * view.group_size; ++i) {
        out[i] = scale * static_cast<float>(bits_at(data, i, bits)) + bias;
      }
    }
    return;
  }
  const BlockShape block = block_shape(view.type);
  for (int at = 0; at < view.cols; at += block.elements, data += block.bytes) {
    dequantize_block(view.type, data, out + at);
  }
}

}  // namespace pensieve::compute
