// What a model file gives the backends: hyper-parameters and views of the weights where they lie
// (usually in a mapped file). Nothing is copied and nothing is dequantised here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pensieve::compute {

// How the elements of a weight matrix are stored. GGUF block types as in docs/formats/weights.md;
// Mlx2 to Mlx8 are MLX's affine layout of so many bits, with scales and biases in arrays of their
// own.
enum class WeightType : std::uint8_t {
  F32,
  F16,
  BF16,
  Q4_0,
  Q4_1,
  Q5_0,
  Q5_1,
  Q8_0,
  Q2_K,
  Q3_K,
  Q4_K,
  Q5_K,
  Q6_K,
  Mlx2,
  Mlx3,
  Mlx4,
  Mlx5,
  Mlx6,
  Mlx8
};
inline constexpr WeightType kLastWeightType = WeightType::Mlx8;
std::string_view to_string(WeightType type);

// Bits of an element in MLX's affine layout, or 0 for a type of another layout.
constexpr int mlx_bits(WeightType type) {
  switch (type) {
    case WeightType::Mlx2:
      return 2;
    case WeightType::Mlx3:
      return 3;
    case WeightType::Mlx4:
      return 4;
    case WeightType::Mlx5:
      return 5;
    case WeightType::Mlx6:
      return 6;
    case WeightType::Mlx8:
      return 8;
    default:
      return 0;
  }
}

// F32, F16, BF16: every element stands for itself.
constexpr bool is_plain(WeightType type) {
  return type == WeightType::F32 || type == WeightType::F16 || type == WeightType::BF16;
}

// Elements and bytes of one block of `type`: {1, 4} for F32, {32, 18} for Q4_0, {256, 144} for
// Q4_K. MLX of b bits: {32, 4 b}, the b uint32 words that 32 elements fill.
struct BlockShape {
  int elements;
  int bytes;
};
BlockShape block_shape(WeightType type);

// One matrix [rows, cols], row-major, each row a whole number of blocks; or one vector (rows == 1).
// The view does not own its bytes: the model file outlives every view. GGUF data may lie at any
// alignment (2 at least), MLX words at 4.
struct WeightView {
  WeightType type = WeightType::F32;
  int rows = 0;
  int cols = 0;
  const std::byte* data = nullptr;

  // MLX types only: scales and biases [rows, cols / group_size], w = scale * q + bias.
  const std::byte* scales = nullptr;
  const std::byte* biases = nullptr;
  WeightType scale_type = WeightType::F16;  // F16, BF16 or F32
  int group_size = 0;                       // 32, 64 or 128

  bool empty() const { return data == nullptr; }
  std::size_t row_bytes() const {  // of `data` alone
    const BlockShape block = block_shape(type);
    return static_cast<std::size_t>(cols / block.elements) * static_cast<std::size_t>(block.bytes);
  }
  std::size_t total_bytes() const;  // scales and biases included
};

// Writes row `row` of `view` as f32: [cols]. The definition of what the stored bits mean.
void dequantize_row(const WeightView& view, int row, float* out);

// Matrices with the same columns, one below the other: what one model keeps as one tensor and
// another as several (q, k and v; gate and up), maybe of different types.
class StackedView {
 public:
  StackedView() = default;
  StackedView(const WeightView& whole) : parts_{whole}, n_parts_(1) {}  // NOLINT: a stack of one
  StackedView(const WeightView& a, const WeightView& b) : parts_{a, b}, n_parts_(2) {}
  StackedView(const WeightView& a, const WeightView& b, const WeightView& c)
      : parts_{a, b, c}, n_parts_(3) {}

  std::span<const WeightView> parts() const { return {parts_.data(), n_parts_}; }
  int rows() const {
    int sum = 0;
    for (const WeightView& part : parts()) sum += part.rows;
    return sum;
  }

 private:
  std::array<WeightView, 3> parts_;
  std::size_t n_parts_ = 0;
};

enum class Architecture : std::uint8_t { Phi3, Llama, Qwen2, Qwen3 };
std::string_view to_string(Architecture architecture);  // as GGUF names it: "phi3"

// Every field is checked by whoever fills it (model/): positive, consistent, within the bounds
// there.
struct HyperParameters {
  Architecture architecture = Architecture::Phi3;
  int n_layers = 0;
  int hidden = 0;
  int n_heads = 0;
  int n_kv_heads = 0;
  int head_dim = 0;
  int ffn = 0;
  int vocab = 0;
  int context_length = 0;           // positions the model was made for
  int original_context_length = 0;  // LongRoPE: up to here the short factors apply
  float rms_eps = 1e-5f;
  float rope_theta = 10000.0f;
  int rope_dims = 0;              // rotated dimensions of a head, even, <= head_dim
  std::vector<float> rope_short;  // [rope_dims / 2] divisors of the inverse frequencies, or empty
  std::vector<float> rope_long;   // (all ones)
  float rope_attention_scale = 1.0f;  // multiplies cos and sin, both variants
  bool rope_interleaved = false;      // pairs are neighbours (2 j, 2 j + 1); else (j, j + dims / 2)
  int sliding_window = 0;             // a token sees itself and window - 1 before it; 0: everything
};

struct LayerWeights {
  WeightView attention_norm;  // [hidden] f32
  StackedView qkv;  // [(n_heads + 2 * n_kv_heads) * head_dim, hidden]: all q, then k, then v
  WeightView attention_out;  // [hidden, n_heads * head_dim]
  WeightView ffn_norm;       // [hidden] f32
  StackedView gate_up;       // [2 * ffn, hidden]: all gate rows, then all up rows
  WeightView down;           // [hidden, ffn]

  // Added to q, k and v (Qwen2), together [qkv.rows()], or no parts.
  StackedView qkv_bias{};
  // RMSNorm of each head of q and k before it is rotated (Qwen3), [head_dim], or empty.
  WeightView q_norm{}, k_norm{};
};

struct ModelWeights {
  HyperParameters hyper;
  WeightView token_embedding;  // [vocab, hidden]
  std::vector<LayerWeights> layers;
  WeightView output_norm;       // [hidden]
  WeightView output;            // [vocab, hidden]; the embedding itself when tied
  std::string fingerprint;      // of the model's bytes, hex; part of every KV key
  std::size_t total_bytes = 0;  // of all views
};

}  // namespace pensieve::compute
