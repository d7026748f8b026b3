#include "domain/model/internal/hyper.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "domain/model/internal/bad_file.h"

namespace pensieve::model {
namespace {

std::string shown(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

Result<void> check_factors(const std::vector<float>& factors,
                           int rope_dims,
                           const std::string& where) {
  if (factors.size() != static_cast<std::size_t>(rope_dims / 2)) {
    return bad_file(where + " has " + std::to_string(factors.size()) + " factors; " +
                    std::to_string(rope_dims / 2) + " dimensions are rotated");
  }
  for (std::size_t i = 0; i < factors.size(); ++i) {
    if (!std::isfinite(factors[i]) || factors[i] <= 0) {
      return bad_file(where + " has the factor " + shown(factors[i]) + " at index " +
                      std::to_string(i));
    }
  }
  return {};
}

}  // namespace

Result<int> bounded(std::int64_t value, IntegerBounds bounds, const std::string& where) {
  if (value < bounds.low || value > bounds.high) {
    return bad_file(where + " is " + std::to_string(value) + ", outside " +
                    std::to_string(bounds.low) + " to " + std::to_string(bounds.high));
  }
  return static_cast<int>(value);
}

Result<float> bounded_real(double value, double low, double high, const std::string& where) {
  if (!(value >= low && value <= high)) {
    return bad_file(where + " is " + shown(value) + ", outside " + shown(low) + " to " +
                    shown(high));
  }
  return static_cast<float>(value);
}

Result<void> check_consistency(const compute::HyperParameters& hyper, const HyperNames& names) {
  if (hyper.n_heads % hyper.n_kv_heads != 0) {
    return bad_file(names.n_kv_heads + " is " + std::to_string(hyper.n_kv_heads) +
                    ", which does not divide the " + std::to_string(hyper.n_heads) + " heads");
  }
  if (hyper.rope_dims % 2 != 0 || hyper.rope_dims < 2 || hyper.rope_dims > hyper.head_dim) {
    return bad_file(names.rope_dims + " gives " + std::to_string(hyper.rope_dims) +
                    " rotated dimensions; an even number up to the head's " +
                    std::to_string(hyper.head_dim) + " is possible");
  }
  if (hyper.rope_short.empty() != hyper.rope_long.empty()) {
    return bad_file((hyper.rope_short.empty() ? names.rope_long : names.rope_short) +
                    " is there without " +
                    (hyper.rope_short.empty() ? names.rope_short : names.rope_long));
  }
  if (!hyper.rope_short.empty()) {
    PENSIEVE_TRY(check_factors(hyper.rope_short, hyper.rope_dims, names.rope_short));
    PENSIEVE_TRY(check_factors(hyper.rope_long, hyper.rope_dims, names.rope_long));
  }
  return {};
}

float longrope_attention_scale(double context, double original) {
  if (context <= original) return 1.0f;
  return static_cast<float>(std::sqrt(1.0 + std::log(context / original) / std::log(original)));
}

std::optional<compute::Architecture> architecture_named(std::string_view name) {
  using compute::Architecture;
  for (const auto one :
       {Architecture::Phi3, Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3}) {
    if (compute::to_string(one) == name) return one;
  }
  return std::nullopt;
}

std::string runnable_architectures() {
  return "llama, phi3, qwen2 and qwen3 models can be run";
}

namespace {

// factor_of(i, frequency) for every rotated pair; frequency in radians per position.
template <typename FactorOf>
void set_factors(compute::HyperParameters& hyper, const FactorOf& factor_of) {
  hyper.rope_short.clear();
  for (int i = 0; i < hyper.rope_dims / 2; ++i) {
    const double frequency = std::pow(double{hyper.rope_theta}, -2.0 * i / hyper.rope_dims);
    hyper.rope_short.push_back(static_cast<float>(factor_of(i, frequency)));
  }
  hyper.rope_long = hyper.rope_short;
}

constexpr double kTwoPi = 6.283185307179586;

}  // namespace

void scale_rope_linear(compute::HyperParameters& hyper, double factor) {
  set_factors(hyper, [&](int, double) { return factor; });
}

void scale_rope_llama3(compute::HyperParameters& hyper, const Llama3Scaling& s) {
  set_factors(hyper, [&](int, double frequency) {
    const double wavelength = kTwoPi / frequency;
    if (wavelength < s.original_context / s.high_freq_factor) return 1.0;
    if (wavelength > s.original_context / s.low_freq_factor) return s.factor;
    const double kept = (s.original_context / wavelength - s.low_freq_factor) /
                        (s.high_freq_factor - s.low_freq_factor);
    return 1.0 / ((1.0 - kept) / s.factor + kept);
  });
}

void scale_rope_yarn(compute::HyperParameters& hyper, const YarnScaling& s) {
  // The pair that turns `rotations` times within the original context.
  const auto pair_of = [&](double rotations) {
    return hyper.rope_dims * std::log(s.original_context / (rotations * kTwoPi)) /
           (2.0 * std::log(double{hyper.rope_theta}));
  };
  const double low = std::max(std::floor(pair_of(s.beta_fast)), 0.0);
  const double high =
      std::min(std::ceil(pair_of(s.beta_slow)), static_cast<double>(hyper.rope_dims - 1));
  set_factors(hyper, [&](int i, double) {
    const double width = high > low ? high - low : 0.001;
    const double stretched = std::clamp((i - low) / width, 0.0, 1.0);
    return 1.0 / (stretched / s.factor + (1.0 - stretched));
  });
  hyper.rope_attention_scale =
      static_cast<float>(s.attention_factor.value_or(0.1 * std::log(s.factor) + 1.0));
}

int effective_window(int window, int context) {
  return window >= context ? 0 : window;
}

Result<void> check_finite(const compute::WeightView& vector, const std::string& where) {
  std::vector<float> values(static_cast<std::size_t>(vector.cols));
  compute::dequantize_row(vector, 0, values.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      return bad_file(where + " holds " + shown(values[i]) + " at index " + std::to_string(i));
    }
  }
  return {};
}

}  // namespace pensieve::model
