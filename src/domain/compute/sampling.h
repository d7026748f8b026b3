// From the scores of one position to one token. Pure functions: the same logits, parameters and
// draw give the same token on every machine and in every batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "foundation/ids.h"

namespace pensieve::compute {

// Neutral by default: plain softmax at temperature 1.
struct SamplingParameters {
  float temperature = 1.0f;         // 0: greedy, the lowest id among equals
  int top_k = 0;                    // 0: off
  float top_p = 1.0f;               // (0, 1]
  float min_p = 0.0f;               // [0, 1]: drop tokens below min_p * the most probable one's
  float repetition_penalty = 1.0f;  // > 0; scores of tokens seen before are divided (or multiplied
                                    // when negative) by it. Keskar et al., arXiv:1909.05858
  std::uint64_t seed = 0;
};

struct Choice {
  TokenId token = kNoToken;
  float logprob = 0;  // natural log, of the unmodified softmax over allowed tokens
};

// logits: [vocab] f32, overwritten as scratch. `seen`: the tokens the penalty applies to.
// `allowed`: empty, or a bitmask of (vocab + 31) / 32 words; at least one bit is set. `position`
// together with the seed makes the draw, so a request's text does not depend on its neighbours.
// Order: mask, penalty, temperature, top_k, min_p, top_p (the usual order of llama.cpp's samplers
// is penalty, top_k, top_p, min_p, temperature; applying temperature first is Hugging Face's).
Choice sample(std::span<float> logits,
              const SamplingParameters& parameters,
              std::span<const TokenId> seen,
              std::span<const std::uint32_t> allowed,
              std::uint64_t position);

// The `n` most probable tokens, best first, the lowest id first among equals; fewer if fewer are
// allowed. logits: [vocab] f32; `allowed` as above; logprobs as in Choice.
std::vector<Choice> most_probable(std::span<const float> logits,
                                  std::span<const std::uint32_t> allowed,
                                  int n);

}  // namespace pensieve::compute
