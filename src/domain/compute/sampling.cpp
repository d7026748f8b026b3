// The sampler: mask, penalty, temperature, top_k, min_p, top_p, draw. Every decision is made with
// sums, products and comparisons in a fixed order (no libm, no library sort order), so the token is
// the same on every machine. Time is linear in the vocabulary; nothing is allocated after the first
// calls of a thread.
#include "domain/compute/sampling.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "foundation/check.h"

namespace pensieve::compute {
namespace {

constexpr float kImpossible = -std::numeric_limits<float>::infinity();

// One token with its score; `better` is the order of every filter: higher score, then lower id.
struct Candidate {
  float score = 0;
  TokenId token = kNoToken;
};
bool better(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score > b.score : a.token < b.token;
}

struct Scratch {
  std::vector<Candidate> candidates;
  std::vector<Candidate> unpenalised;    // tokens the penalty changed, with their scores before it
  std::vector<std::uint32_t> penalised;  // bitmask over the vocabulary, all zero between calls
};

// e^x for x <= 0, relative error below 3e-7; 0 below the smallest normal number. Range reduction to
// |r| <= ln 2 / 2 by Cody and Waite, then the series of e^r to the sixth power.
inline float exp_nonpositive(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding and subtracting it rounds to integers
  const bool vanishes = !(x > -87.0f);
  const float in_range = vanishes ? 0.0f : x;
  const float k = (in_range * 1.44269504f + kRound) - kRound;
  const float r = (in_range - k * 0.693359375f) - k * -2.12194440e-4f;
  float series = 1.0f / 720;
  series = series * r + 1.0f / 120;
  series = series * r + 1.0f / 24;
  series = series * r + 1.0f / 6;
  series = series * r + 0.5f;
  series = series * r + 1.0f;
  series = series * r + 1.0f;
  const float power = std::bit_cast<float>((static_cast<std::int32_t>(k) + 127) << 23);
  return vanishes ? 0.0f : series * power;
}

// The sum of e^((score - top) / temperature), in eight interleaved partial sums.
double sum_of_weights(std::span<const float> scores, float top, float temperature) {
  constexpr std::size_t kLanes = 8;
  double lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= scores.size(); i += kLanes) {
    float weights[kLanes];
    for (std::size_t lane = 0; lane < kLanes; ++lane)
      weights[lane] = exp_nonpositive((scores[i + lane] - top) / temperature);
    for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += weights[lane];
  }
  for (; i < scores.size(); ++i) lanes[0] += exp_nonpositive((scores[i] - top) / temperature);
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

// Makes every score a number that the steps below can take: masked tokens and NaN become
// impossible, +infinity the largest finite number. Returns the lowest allowed id.
TokenId mask_scores(std::span<float> logits, std::span<const std::uint32_t> allowed) {
  for (float& score : logits) {
    if (std::isnan(score)) score = kImpossible;
    score = std::min(score, std::numeric_limits<float>::max());
  }
  if (allowed.empty()) return 0;
  CHECK(allowed.size() == (logits.size() + 31) / 32);
  TokenId lowest = kNoToken;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if ((allowed[i / 32] >> (i % 32) & 1) == 0) {
      logits[i] = kImpossible;
    } else if (lowest == kNoToken) {
      lowest = static_cast<TokenId>(i);
    }
  }
  CHECK(lowest != kNoToken);
  return lowest;
}

// Divides positive scores of tokens in `seen` by `penalty` and multiplies negative ones, once per
// token however often it was seen.
void apply_penalty(std::span<float> logits,
                   float penalty,
                   std::span<const TokenId> seen,
                   Scratch& scratch) {
  scratch.penalised.resize(std::max(scratch.penalised.size(), (logits.size() + 31) / 32));
  for (const TokenId token : seen) {
    if (token < 0 || static_cast<std::size_t>(token) >= logits.size()) continue;
    const auto index = static_cast<std::size_t>(token);
    std::uint32_t& word = scratch.penalised[index / 32];
    const std::uint32_t bit = std::uint32_t{1} << (index % 32);
    if ((word & bit) != 0) continue;
    word |= bit;
    scratch.unpenalised.push_back({logits[index], token});
    const float score = logits[index];
    if (score == kImpossible) continue;
    logits[index] = std::clamp(score > 0 ? score / penalty : score * penalty,
                               std::numeric_limits<float>::lowest(),
                               std::numeric_limits<float>::max());
  }
  for (const Candidate& changed : scratch.unpenalised)
    scratch.penalised[static_cast<std::size_t>(changed.token) / 32] = 0;
}

// The possible token with the highest score, the lowest id among equals; or kNoToken.
TokenId best_token(std::span<const float> scores) {
  float best = kImpossible;
  for (const float score : scores) best = std::max(best, score);
  if (best == kImpossible) return kNoToken;
  return static_cast<TokenId>(std::find(scores.begin(), scores.end(), best) - scores.begin());
}

// A token's probability before normalising, in units of 2^-40 of the best token's. Sums of integers
// are exact, so that no result depends on the order in which a filter left its candidates.
std::int64_t units(float score, float top, float temperature) {
  return static_cast<std::int64_t>(exp_nonpositive((score - top) / temperature) * 0x1p40f);
}

// The worst of the best candidates that together reach `share` of the whole. Partitions as
// quickselect does, summing weights instead of counting: linear time on average, no sort.
Candidate last_within_share(std::span<Candidate> candidates,
                            double share,
                            float top,
                            float temperature) {
  std::int64_t total = 0;
  for (const Candidate& c : candidates) total += units(c.score, top, temperature);
  auto wanted = static_cast<std::int64_t>(std::ceil(share * static_cast<double>(total)));
  wanted = std::clamp<std::int64_t>(wanted, 1, total);  // the best token always stays
  for (;;) {
    // The pivot waits in front while the others are parted into better and worse.
    std::swap(candidates.front(), candidates[candidates.size() / 2]);
    const Candidate pivot = candidates.front();
    const auto others = candidates.subspan(1);
    const auto middle = std::partition(
        others.begin(), others.end(), [&](const Candidate& c) { return better(c, pivot); });
    const auto n_better = static_cast<std::size_t>(middle - others.begin());
    std::int64_t passed = 0;
    for (const Candidate& c : others.first(n_better)) passed += units(c.score, top, temperature);
    if (passed >= wanted) {
      candidates = others.first(n_better);
      continue;
    }
    wanted -= passed + units(pivot.score, top, temperature);
    if (wanted <= 0) return pivot;
    candidates = others.subspan(n_better);
  }
}

// The worst candidate that top_k, min_p and top_p, applied in this order, leave in.
Candidate last_kept(std::span<const float> scores,
                    const SamplingParameters& parameters,
                    float top,
                    std::vector<Candidate>& candidates) {
  candidates.clear();
  for (std::size_t i = 0; i < scores.size(); ++i) {
    // Both top_k and min_p cut the same order somewhere, so min_p may come first: the same tokens
    // stay, and the list is short.
    if (scores[i] == kImpossible) continue;
    if (scores[i] != top &&
        exp_nonpositive((scores[i] - top) / parameters.temperature) < parameters.min_p)
      continue;
    candidates.push_back({scores[i], static_cast<TokenId>(i)});
  }
  std::span<Candidate> kept = candidates;
  const auto top_k = static_cast<std::size_t>(std::max(parameters.top_k, 0));
  if (top_k > 0 && top_k < kept.size()) {
    std::nth_element(
        kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(top_k), kept.end(), better);
    kept = kept.first(top_k);
  }
  if (parameters.top_p >= 1) return *std::max_element(kept.begin(), kept.end(), better);
  return last_within_share(kept, parameters.top_p, top, parameters.temperature);
}

// The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
// generators", OOPSLA 2014, with the constants of Stafford's variant 13).
constexpr std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// A number in [0, 1) that depends on seed and position alone: output `position` of the SplitMix64
// generator whose starting state is the mixed seed, so that neighbouring seeds share no outputs.
constexpr double uniform(std::uint64_t seed, std::uint64_t position) {
  constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15u;
  const std::uint64_t bits = mix(mix(seed + kGolden) + (position + 1) * kGolden);
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

// Draws among the tokens not worse than `last`, in the order of their ids.
TokenId draw(std::span<const float> scores,
             const Candidate& last,
             float top,
             float temperature,
             double fraction) {
  const auto share = [&](std::size_t i) {
    if (better(last, {scores[i], static_cast<TokenId>(i)})) return std::int64_t{0};
    return units(scores[i], top, temperature);
  };
  std::int64_t total = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) total += share(i);
  std::int64_t left =
      std::min(static_cast<std::int64_t>(fraction * static_cast<double>(total)), total - 1);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    left -= share(i);
    if (left < 0) return static_cast<TokenId>(i);
  }
  return last.token;  // not reached: the shares add up to more than what was drawn
}

}  // namespace

Choice sample(std::span<float> logits,
              const SamplingParameters& parameters,
              std::span<const TokenId> seen,
              std::span<const std::uint32_t> allowed,
              std::uint64_t position) {
  CHECK(!logits.empty());
  thread_local Scratch scratch;
  const TokenId lowest_allowed = mask_scores(logits, allowed);
  const TokenId unmodified_best = best_token(logits);
  if (unmodified_best == kNoToken) return {lowest_allowed, 0.0f};  // nothing is possible: no scores
  const float unmodified_top = logits[static_cast<std::size_t>(unmodified_best)];
  const double unmodified_sum = sum_of_weights(logits, unmodified_top, 1.0f);

  scratch.unpenalised.clear();
  TokenId best = unmodified_best;
  if (parameters.repetition_penalty != 1.0f && !seen.empty()) {
    apply_penalty(logits, parameters.repetition_penalty, seen, scratch);
    best = best_token(logits);
  }

  TokenId chosen = best;
  if (parameters.temperature > 0 && parameters.top_k != 1) {
    const float top = logits[static_cast<std::size_t>(best)];
    const bool filtered = parameters.top_k > 0 || parameters.top_p < 1 || parameters.min_p > 0;
    const Candidate last = filtered ? last_kept(logits, parameters, top, scratch.candidates)
                                    : Candidate{kImpossible, std::numeric_limits<TokenId>::max()};
    chosen = draw(logits, last, top, parameters.temperature, uniform(parameters.seed, position));
  }

  float score = logits[static_cast<std::size_t>(chosen)];
  for (const Candidate& before : scratch.unpenalised)
    if (before.token == chosen) score = before.score;
  return {chosen, static_cast<float>(double{score} - unmodified_top - std::log(unmodified_sum))};
}

std::vector<Choice> most_probable(std::span<const float> logits,
                                  std::span<const std::uint32_t> allowed,
                                  int n) {
  std::vector<Choice> choices;
  if (n <= 0 || logits.empty()) return choices;
  std::vector<float> scores(logits.begin(), logits.end());
  mask_scores(scores, allowed);
  std::vector<Candidate> candidates;
  candidates.reserve(scores.size());
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] > kImpossible) candidates.push_back({scores[i], static_cast<TokenId>(i)});
  }
  if (candidates.empty()) return choices;
  const std::size_t kept = std::min(candidates.size(), static_cast<std::size_t>(n));
  const auto end = candidates.begin() + static_cast<std::ptrdiff_t>(kept);
  std::partial_sort(candidates.begin(), end, candidates.end(), better);
  const float top = candidates.front().score;
  const double log_sum = std::log(sum_of_weights(scores, top, 1.0f));
  for (auto candidate = candidates.begin(); candidate != end; ++candidate) {
    const double logprob = double{candidate->score} - top - log_sum;
    choices.push_back({candidate->token, static_cast<float>(logprob)});
  }
  return choices;
}

}  // namespace pensieve::compute
