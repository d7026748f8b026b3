// Random bits in every weight format, for tests of kernels: any bit pattern of the integers is
// legal, only the scales need to be sane.
#pragma once

#include <cstring>
#include <random>
#include <vector>

#include "domain/compute/internal/half.h"
#include "domain/compute/weights.h"

namespace pensieve::compute {

// Every type, in the order of the enumeration; the quantised ones among them.
inline std::vector<WeightType> all_types() {
  std::vector<WeightType> all;
  for (int i = 0; i <= static_cast<int>(kLastWeightType); ++i) {
    all.push_back(static_cast<WeightType>(i));
  }
  return all;
}
inline std::vector<WeightType> quantized_types() {
  std::vector<WeightType> all = all_types();
  std::erase_if(all, is_plain);
  return all;
}

// A matrix of `type`; `extreme` sets every integer to its largest magnitude (all bits one, or the
// most negative where the integers are signed). MLX types take groups of 64 and f16 scales on even
// seeds, groups of 32 and f32 scales on odd ones.
struct TestWeights {
  TestWeights(WeightType type, int rows, int cols, unsigned seed, bool extreme = false) {
    std::mt19937 random(seed);
    view.type = type;
    view.rows = rows;
    view.cols = cols;
    data.resize(view.row_bytes() * static_cast<std::size_t>(rows));
    for (auto& b : data) b = static_cast<std::byte>(extreme ? 0xFF : random() & 0xFF);
    const auto small = [&] { return std::uniform_real_distribution<float>(-0.05f, 0.05f)(random); };
    const auto put_half = [&](std::size_t at) {
      const std::uint16_t h = float_to_half(small());
      std::memcpy(data.data() + at, &h, 2);
    };
    const auto block = static_cast<std::size_t>(block_shape(type).bytes);
    for (std::size_t at = 0; at < data.size(); at += block) {
      switch (type) {
        case WeightType::F32: {
          const float v = small();
          std::memcpy(data.data() + at, &v, 4);
          break;
        }
        case WeightType::F16:
          put_half(at);
          break;
        case WeightType::BF16: {
          const auto v = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(small()) >> 16);
          std::memcpy(data.data() + at, &v, 2);
          break;
        }
        case WeightType::Q8_0:
          if (extreme) std::memset(data.data() + at + 2, 0x80, 32);
          put_half(at);
          break;
        case WeightType::Q4_0:
        case WeightType::Q5_0:
          put_half(at);
          break;
        case WeightType::Q4_1:
        case WeightType::Q5_1:
        case WeightType::Q4_K:
        case WeightType::Q5_K:
          put_half(at);
          put_half(at + 2);
          break;
        case WeightType::Q2_K:
          put_half(at + 80);
          put_half(at + 82);
          break;
        case WeightType::Q3_K:
          put_half(at + 108);
          break;
        case WeightType::Q6_K:
          put_half(at + 208);
          break;
        default:  // MLX: scales of their own
          break;
      }
    }
    if (const int bits = mlx_bits(type); bits != 0) {
      view.group_size = seed % 2 == 0 ? 64 : 32;
      view.scale_type = seed % 2 == 0 ? WeightType::F16 : WeightType::F32;
      const auto n =
          static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols / view.group_size);
      const auto put = [&](std::vector<std::byte>& array, float v) {
        const std::uint16_t h = float_to_half(v);
        const bool half = view.scale_type == WeightType::F16;
        const auto* bytes =
            half ? reinterpret_cast<const std::byte*>(&h) : reinterpret_cast<const std::byte*>(&v);
        array.insert(array.end(), bytes, bytes + (half ? 2 : 4));
      };
      // Biases that centre the integers, as a real quantiser's do, with some noise.
      const float middle = 0.5f * static_cast<float>((1 << bits) - 1);
      for (std::size_t i = 0; i < n; ++i) {
        const float scale = small() * 7.5f / middle;
        put(scales, scale);
        put(biases, -middle * scale + small() * 0.1f);
      }
      view.scales = scales.data();
      view.biases = biases.data();
    }
    view.data = data.data();
  }
  TestWeights(const TestWeights&) = delete;
  TestWeights& operator=(const TestWeights&) = delete;

  WeightView view;
  std::vector<std::byte> data, scales, biases;
};

}  // namespace pensieve::compute
