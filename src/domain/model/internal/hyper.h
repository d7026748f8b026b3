// What hyper-parameters must satisfy whatever file they come from: the bounds of this room, and how
// they fit each other.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/result.h"

#include "domain/compute/weights.h"

namespace pensieve::model {

struct IntegerBounds {
  std::int64_t low;
  std::int64_t high;
};
// With these no shape overflows an int: (n_heads + 2 * n_kv_heads) * head_dim, 2 * ffn, vocab.
inline constexpr IntegerBounds kLayerBounds{1, 1024};
inline constexpr IntegerBounds kHiddenBounds{1, 1 << 17};
inline constexpr IntegerBounds kHeadBounds{1, 1024};
inline constexpr IntegerBounds kHeadDimBounds{2, 1024};
inline constexpr IntegerBounds kFfnBounds{1, 1 << 20};
inline constexpr IntegerBounds kVocabBounds{1, 1 << 22};
inline constexpr IntegerBounds kContextBounds{2, 1 << 27};
inline constexpr IntegerBounds kWindowBounds{0, std::int64_t{1} << 31};

// The value as an int. Errors: BadFile naming `where`, e.g. `key "phi3.block_count" at byte 120`.
Result<int> bounded(std::int64_t value, IntegerBounds bounds, const std::string& where);

// The value as a float. Errors: BadFile naming `where` when it is no number or outside [low, high].
Result<float> bounded_real(double value, double low, double high, const std::string& where);

// How the fields are called where they came from, for sentences.
struct HyperNames {
  std::string n_kv_heads, rope_dims, rope_short, rope_long;
};

// How the fields fit each other: the KV heads divide the heads; rotated dimensions are even and
// within a head; LongRoPE factors come in pairs, rope_dims / 2 of them, finite and positive.
// REQUIRES: every field is within its bounds. Errors: BadFile.
Result<void> check_consistency(const compute::HyperParameters& hyper, const HyperNames& names);

// LongRoPE's factor on cos and sin: sqrt(1 + ln(context / original) / ln(original)) for a model
// made longer than it was trained, else 1. REQUIRES: both within kContextBounds.
// Source: Ding et al., arXiv:2402.13753; transformers applies it to both variants.
float longrope_attention_scale(double context, double original);

// The architecture of that name, in either kind of file ("llama"), or none.
std::optional<compute::Architecture> architecture_named(std::string_view name);
// "llama, phi3, qwen2 and qwen3 models can be run"
std::string runnable_architectures();

// The ways to stretch rotary frequencies that are the same for every length of a prompt. Each fills
// both variants of the factors, and YaRN the attention scale. REQUIRES: rope_dims and rope_theta
// are set and checked; factor >= 1.
// All positions divided by `factor` (Chen et al., arXiv:2306.15595).
void scale_rope_linear(compute::HyperParameters& hyper, double factor);

// Long wavelengths divided by `factor`, short ones kept, a ramp between. Source: Llama 3.1's
// rope_scaling of type "llama3", as transformers computes it.
struct Llama3Scaling {
  double factor = 8, low_freq_factor = 1, high_freq_factor = 4, original_context = 8192;
};
void scale_rope_llama3(compute::HyperParameters& hyper, const Llama3Scaling& scaling);

// Peng et al., arXiv:2309.00071, section 3.4; `attention_factor` replaces 0.1 ln(factor) + 1.
struct YarnScaling {
  double factor = 1, original_context = 4096, beta_fast = 32, beta_slow = 1;
  std::optional<double> attention_factor = std::nullopt;
};
void scale_rope_yarn(compute::HyperParameters& hyper, const YarnScaling& scaling);

// A window as long as the context hides nothing: 0 then.
int effective_window(int window, int context);

// Every element of a norm vector is a finite number. Errors: BadFile naming `where` and the index.
Result<void> check_finite(const compute::WeightView& vector, const std::string& where);

}  // namespace pensieve::model
