// The sampler against a slow, obvious model: probabilities in double with libm, filters by sorting
// the whole vocabulary, and draws compared with those probabilities by a chi-square statistic.
#include "domain/compute/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <vector>

namespace pensieve::compute {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> random_logits(std::size_t vocab, unsigned seed, float spread) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(vocab);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

std::vector<std::uint32_t> bitmask(std::size_t vocab, const std::set<TokenId>& tokens) {
  std::vector<std::uint32_t> mask((vocab + 31) / 32);
  for (const TokenId token : tokens)
    mask[static_cast<std::size_t>(token) / 32] |= 1u << (static_cast<unsigned>(token) % 32);
  return mask;
}

bool is_allowed(std::span<const std::uint32_t> allowed, std::size_t token) {
  return allowed.empty() || (allowed[token / 32] >> (token % 32) & 1) != 0;
}

// The probability of every token, step by step as sampling.h names the steps.
std::vector<double> model_probabilities(std::span<const float> logits,
                                        const SamplingParameters& p,
                                        std::span<const TokenId> seen,
                                        std::span<const std::uint32_t> allowed) {
  std::vector<double> scores(logits.begin(), logits.end());
  for (const TokenId token : std::set<TokenId>(seen.begin(), seen.end())) {
    double& score = scores[static_cast<std::size_t>(token)];
    score = score > 0 ? score / double{p.repetition_penalty} : score * double{p.repetition_penalty};
  }
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < scores.size(); ++i)
    if (is_allowed(allowed, i)) order.push_back(i);
  std::stable_sort(
      order.begin(), order.end(), [&](auto a, auto b) { return scores[a] > scores[b]; });
  const double top = scores[order.front()];
  const auto weight = [&](std::size_t i) {
    return std::exp((scores[i] - top) / double{p.temperature});
  };
  if (p.top_k > 0) order.resize(std::min(order.size(), static_cast<std::size_t>(p.top_k)));
  while (order.size() > 1 && weight(order.back()) < double{p.min_p}) order.pop_back();
  const auto sum = [&] {
    double total = 0;
    for (const std::size_t i : order) total += weight(i);
    return total;
  };
  if (p.top_p < 1) {
    const double wanted = sum() * double{p.top_p};
    double reached = 0;
    std::size_t n = 0;
    while (n < order.size() && (n == 0 || reached < wanted)) reached += weight(order[n++]);
    order.resize(n);
  }
  std::vector<double> probabilities(scores.size());
  const double total = sum();
  for (const std::size_t i : order) probabilities[i] = weight(i) / total;
  return probabilities;
}

// The chance that a chi-square variable of `degrees` degrees exceeds mean + 6 sigma is below 1e-6
// for the sizes used here; the seeds are fixed, so that a pass stays a pass.
void expect_draws_follow(const std::vector<double>& expected, const std::vector<int>& counts) {
  const int n = std::accumulate(counts.begin(), counts.end(), 0);
  double chi_square = 0;
  int degrees = -1;
  double rare_expected = 0, rare_count = 0;  // cells under five expected draws are put together
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i << " was filtered out";
    } else if (expected[i] * n < 5) {
      rare_expected += expected[i] * n;
      rare_count += counts[i];
    } else {
      chi_square += std::pow(counts[i] - expected[i] * n, 2) / (expected[i] * n);
      ++degrees;
    }
  }
  if (rare_expected >= 5) {
    chi_square += std::pow(rare_count - rare_expected, 2) / rare_expected;
    ++degrees;
  }
  if (degrees <= 0) return;
  EXPECT_LT(chi_square, degrees + 6 * std::sqrt(2.0 * degrees) + 6);
}

void expect_model(const std::vector<float>& logits,
                  SamplingParameters parameters,
                  const std::vector<TokenId>& seen = {},
                  const std::vector<std::uint32_t>& allowed = {},
                  int n_draws = 4000) {
  const auto expected = model_probabilities(logits, parameters, seen, allowed);
  std::vector<int> counts(logits.size());
  for (int position = 0; position < n_draws; ++position) {
    std::vector<float> scratch = logits;
    const Choice choice =
        sample(scratch, parameters, seen, allowed, static_cast<std::uint64_t>(position));
    ASSERT_GE(choice.token, 0);
    ASSERT_LT(static_cast<std::size_t>(choice.token), logits.size());
    ++counts[static_cast<std::size_t>(choice.token)];
  }
  expect_draws_follow(expected, counts);
}

TEST(Sampling, DrawsFollowThePlainSoftmax) {
  for (const unsigned seed : {1u, 2u, 3u}) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    expect_model(random_logits(40, seed, 1.5f), {.seed = seed}, {}, {}, 20'000);
  }
}

TEST(Sampling, TemperatureFlattensAndSharpens) {
  const auto logits = random_logits(30, 7, 1.0f);
  for (const float temperature : {0.01f, 0.3f, 0.8f, 1.7f, 100.0f}) {
    SCOPED_TRACE(testing::Message() << "temperature " << temperature);
    expect_model(logits, {.temperature = temperature, .seed = 5});
  }
}

TEST(Sampling, EachFilterKeepsWhatTheModelKeeps) {
  for (unsigned seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const auto logits = random_logits(50 + seed, seed, 2.0f);
    for (const int top_k : {1, 2, 7, 50, 1000})
      expect_model(logits, {.top_k = top_k, .seed = seed});
    for (const float top_p : {1e-6f, 0.2f, 0.5f, 0.9f, 0.999f})
      expect_model(logits, {.top_p = top_p, .seed = seed});
    for (const float min_p : {0.01f, 0.1f, 0.6f, 1.0f})
      expect_model(logits, {.min_p = min_p, .seed = seed});
  }
}

// Every combination of random parameters, a random mask and random seen tokens.
TEST(Sampling, AllStepsTogetherFollowTheModel) {
  for (unsigned seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const auto real = [&](float low, float high) {
      return std::uniform_real_distribution<float>(low, high)(random);
    };
    const std::size_t vocab = 33 + random() % 100;
    const auto logits = random_logits(vocab, seed + 100, real(0.5f, 4.0f));
    std::set<TokenId> open;
    for (std::size_t i = 0; i < 1 + vocab / 2; ++i)
      open.insert(static_cast<TokenId>(random() % vocab));
    std::vector<TokenId> seen;
    for (int i = 0; i < 40; ++i) seen.push_back(static_cast<TokenId>(random() % vocab));
    const SamplingParameters parameters{.temperature = real(0.2f, 2.0f),
                                        .top_k = static_cast<int>(random() % 30),
                                        .top_p = real(0.3f, 1.2f),
                                        .min_p = random() % 2 ? real(0.0f, 0.2f) : 0.0f,
                                        .repetition_penalty = real(0.7f, 1.8f),
                                        .seed = random()};
    expect_model(logits, parameters, seen, bitmask(vocab, open), 1500);
  }
}

// Few draws, so this is about the kept set: nothing the model filtered out is ever drawn.
TEST(Sampling, FiltersHoldAtTheSizeOfARealVocabulary) {
  const auto logits = random_logits(32'064, 11, 3.0f);
  for (const SamplingParameters& parameters :
       {SamplingParameters{.top_k = 40, .seed = 1},
        SamplingParameters{.temperature = 0.7f, .top_p = 0.9f, .seed = 2},
        SamplingParameters{.top_k = 100, .top_p = 0.95f, .min_p = 0.05f, .seed = 3}}) {
    expect_model(logits, parameters, {}, {}, 300);
  }
}

TEST(Sampling, AtTemperatureZeroTakesTheLowestIdAmongTheBest) {
  std::vector<float> logits = {1, 5, 3, 5, 5, -2};
  for (std::uint64_t position = 0; position < 5; ++position) {
    auto scratch = logits;
    EXPECT_EQ(sample(scratch, {.temperature = 0, .seed = position}, {}, {}, position).token, 1);
  }
  auto scratch = logits;
  EXPECT_EQ(sample(scratch, {.temperature = 0}, {}, bitmask(6, {0, 3, 4}), 0).token, 3);
}

TEST(Sampling, TopKKeepsTheLowestIdsAmongEquals) {
  std::set<TokenId> drawn;
  for (std::uint64_t position = 0; position < 200; ++position) {
    std::vector<float> logits = {0, 2, 1, 2, 2, 2};
    drawn.insert(sample(logits, {.top_k = 3}, {}, {}, position).token);
  }
  EXPECT_EQ(drawn, (std::set<TokenId>{1, 3, 4}));
}

TEST(Sampling, PenaltyAppliesOncePerTokenAndToNegativeScoresToo) {
  const SamplingParameters greedy{.temperature = 0, .repetition_penalty = 2.0f};
  const std::vector<TokenId> twice = {0, 0, 0};
  std::vector<float> logits = {6, 2.5f};  // 6 / 2 = 3 stays ahead; dividing again would not
  EXPECT_EQ(sample(logits, greedy, twice, {}, 0).token, 0);
  logits = {-1, -1.5f};  // -1 * 2 = -2 falls behind
  EXPECT_EQ(sample(logits, greedy, twice, {}, 0).token, 1);
  logits = {6, 2.5f};  // a second call starts afresh
  EXPECT_EQ(sample(logits, greedy, twice, {}, 0).token, 0);
}

TEST(Sampling, LogprobIsOfTheUnmodifiedSoftmaxOverAllowedTokens) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const auto logits = random_logits(1000 + seed, seed, 4.0f);
    const auto allowed =
        seed % 2 ? std::vector<std::uint32_t>{} : bitmask(logits.size(), {3, 5, 64, 900});
    const std::vector<TokenId> seen = {3, 5, 7, 64};
    auto scratch = logits;
    const Choice choice = sample(
        scratch,
        {.temperature = 0.5f, .top_k = 9, .top_p = 0.9f, .repetition_penalty = 1.3f, .seed = seed},
        seen,
        allowed,
        seed);
    double sum = 0;
    for (std::size_t i = 0; i < logits.size(); ++i)
      if (is_allowed(allowed, i)) sum += std::exp(double{logits[i]});
    const double expected = double{logits[static_cast<std::size_t>(choice.token)]} - std::log(sum);
    EXPECT_NEAR(choice.logprob, expected, 1e-5);  // f32 scores near 10, weights within 3e-7
  }
}

TEST(Sampling, TheDrawDependsOnSeedAndPositionAlone) {
  const auto logits = random_logits(500, 3, 1.0f);
  const auto pick = [&](std::uint64_t seed, std::uint64_t position) {
    auto scratch = logits;
    return sample(scratch, {.seed = seed}, {}, {}, position).token;
  };
  int equal_across_seeds = 0, equal_across_positions = 0, equal_when_shifted = 0;
  for (std::uint64_t i = 0; i < 300; ++i) {
    EXPECT_EQ(pick(9, i), pick(9, i));
    equal_across_seeds += pick(9, i) == pick(10, i);
    equal_across_positions += pick(9, i) == pick(9, i + 1);
    equal_when_shifted += pick(9, i + 1) == pick(10, i);
  }
  // Independent draws coincide with the sum of squared probabilities, about e / 500 here.
  EXPECT_LT(equal_across_seeds, 12);
  EXPECT_LT(equal_across_positions, 12);
  EXPECT_LT(equal_when_shifted, 12);
}

TEST(Sampling, SurvivesScoresThatAreNotNumbers) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float temperature : {0.0f, 1.0f}) {
    const SamplingParameters parameters{
        .temperature = temperature, .top_k = 3, .top_p = 0.9f, .repetition_penalty = 1.1f};
    const std::vector<TokenId> seen = {0, 2};
    std::vector<float> logits = {nan, -kInfinity, 1, nan};
    EXPECT_EQ(sample(logits, parameters, seen, {}, 0).token, 2);
    logits = {nan, kInfinity, 1e38f, -kInfinity};
    EXPECT_EQ(sample(logits, parameters, seen, {}, 0).token, 1);
    logits = {nan, nan, -kInfinity, nan};
    EXPECT_EQ(sample(logits, parameters, seen, bitmask(4, {2, 3}), 0).token, 2);
    logits = {nan, nan, 0, nan};  // what is masked stays out even if nothing else is possible
    EXPECT_EQ(sample(logits, parameters, seen, bitmask(4, {1, 3}), 0).token, 1);
  }
}

TEST(Sampling, NeverDrawsOutsideTheMask) {
  for (unsigned seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    const std::size_t vocab = 1 + random() % 200;
    std::set<TokenId> open;
    for (int i = 0; i < 3; ++i) open.insert(static_cast<TokenId>(random() % vocab));
    auto logits = random_logits(vocab, seed, 10.0f);
    const Choice choice = sample(
        logits, {.temperature = 5.0f, .top_p = 0.99f, .seed = seed}, {}, bitmask(vocab, open), 0);
    EXPECT_TRUE(open.contains(choice.token)) << "seed " << seed;
  }
}

TEST(Sampling, TellsTheMostProbableTokensInOrder) {
  for (unsigned seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const std::size_t vocab = 1 + random() % 300;
    auto logits = random_logits(vocab, seed, 4.0f);
    if (vocab > 3) logits[3] = logits[1];  // equals
    std::vector<std::uint32_t> allowed;
    if (seed % 2 == 0) {
      std::set<TokenId> open;
      for (int i = 0; i < 30; ++i) open.insert(static_cast<TokenId>(random() % vocab));
      allowed = bitmask(vocab, open);
    }
    std::vector<std::size_t> order;
    double sum = 0;
    for (std::size_t i = 0; i < vocab; ++i) {
      if (!is_allowed(allowed, i)) continue;
      order.push_back(i);
      sum += std::exp(double{logits[i]});
    }
    std::stable_sort(
        order.begin(), order.end(), [&](auto a, auto b) { return logits[a] > logits[b]; });
    const auto choices = most_probable(logits, allowed, 20);
    ASSERT_EQ(choices.size(), std::min<std::size_t>(order.size(), 20));
    for (std::size_t i = 0; i < choices.size(); ++i) {
      EXPECT_EQ(choices[i].token, static_cast<TokenId>(order[i]));
      // exp_nonpositive() is exact to 3e-7, and log carries that over.
      EXPECT_NEAR(choices[i].logprob, double{logits[order[i]]} - std::log(sum), 2e-5);
    }
  }
  EXPECT_TRUE(most_probable({}, {}, 5).empty());
  EXPECT_TRUE(most_probable(random_logits(5, 1, 1), {}, 0).empty());
}

}  // namespace
}  // namespace pensieve::compute
