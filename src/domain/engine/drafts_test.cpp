// Drafts: the index against a search through the whole text, the policy against its own promises,
// and engines that draft against the slow model: same tokens, same ends, fewer steps.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "domain/engine/engine.h"
#include "domain/engine/internal/draft_index.h"
#include "domain/engine/internal/draft_policy.h"
#include "domain/engine/internal/engine_test_support.h"

namespace pensieve::engine {
namespace {

// ---- the index

// How many tokens before `place` and before the text's end agree.
int suffix_at(std::span<const TokenId> text, std::size_t place) {
  int n = 0;
  while (n < static_cast<int>(place) && n < DraftIndex::kLongest &&
         text[place - 1 - static_cast<std::size_t>(n)] ==
             text[text.size() - 1 - static_cast<std::size_t>(n)])
    ++n;
  return n;
}

int longest_by_search(std::span<const TokenId> text) {
  int longest = 0;
  for (std::size_t place = 1; place < text.size(); ++place)
    longest = std::max(longest, suffix_at(text, place));
  return longest < DraftIndex::kShortest ? 0 : longest;
}

// Whether `guesses` is what followed some place with the longest match, repeated to its length.
bool follows_a_longest_match(std::span<const TokenId> text, const Tokens& guesses) {
  const int longest = longest_by_search(text);
  for (std::size_t place = 1; place < text.size(); ++place) {
    if (suffix_at(text, place) != longest) continue;
    Tokens all(text.begin(), text.end());
    for (std::size_t i = 0; i < guesses.size(); ++i) all.push_back(all[place + i]);
    if (std::equal(guesses.begin(), guesses.end(), all.end() - std::ssize(guesses))) return true;
  }
  return false;
}

// Random pieces, some of them copied from before; few enough places for each pair of tokens that
// the index sees them all.
Tokens text_with_repeats(std::mt19937& random) {
  Tokens text;
  while (text.size() < 250) {
    const std::size_t n = 1 + random() % 20;
    if (text.size() < 30 || random() % 2 == 0) {
      for (std::size_t i = 0; i < n; ++i) text.push_back(static_cast<TokenId>(random() % 12));
    } else {
      const std::size_t from = random() % (text.size() - 1);
      for (std::size_t i = 0; i < n; ++i) text.push_back(text[from + i]);
    }
  }
  return text;
}

TEST(DraftIndex, FindsTheLongestMatchAndGuessesWhatFollowedIt) {
  for (unsigned seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const Tokens text = text_with_repeats(random);
    DraftIndex index(text.size());
    Tokens guesses;
    for (std::size_t n = 0; n < text.size();) {
      n += random() % 4 == 0 ? std::min<std::size_t>(1 + random() % 9, text.size() - n) : 1;
      const auto so_far = std::span(text).first(n);
      index.extend(so_far);
      ASSERT_EQ(index.match(), longest_by_search(so_far)) << "after " << n;
      index.guess(so_far, 7, guesses);
      if (index.match() == 0) {
        EXPECT_TRUE(guesses.empty());
        EXPECT_EQ(index.next(so_far), kNoToken);
        continue;
      }
      ASSERT_EQ(guesses.size(), 7u);
      EXPECT_EQ(index.next(so_far), guesses.front());
      EXPECT_TRUE(follows_a_longest_match(so_far, guesses)) << "after " << n;
    }
  }
}

TEST(DraftIndex, ARunGuessesItself) {
  DraftIndex index(8);
  const Tokens text{7, 1, 2, 1, 2};
  index.extend(text);
  EXPECT_EQ(index.match(), 2);
  Tokens guesses;
  index.guess(text, 5, guesses);
  EXPECT_EQ(guesses, (Tokens{1, 2, 1, 2, 1}));
}

// ---- the policy

AddedCost in_proportion(double row_cost) {
  AddedCost added;
  for (std::size_t i = 0; i < added.size(); ++i) added[i] = row_cost * static_cast<double>(i + 1);
  return added;
}

TEST(DraftPolicy, DraftsGrowWithAcceptanceAndShrinkWithCost) {
  Acceptance sure, doubtful;
  for (int i = 0; i < 200; ++i) {
    sure.learn(DraftIndex::kLongest, true);
    doubtful.learn(DraftIndex::kLongest, i % 2 == 0);
  }
  const auto length = [](const Acceptance& acceptance, int limit, double row_cost) {
    return best_draft(acceptance, DraftIndex::kLongest, limit, in_proportion(row_cost)).n_tokens;
  };
  EXPECT_EQ(length(sure, kMaxDraft, 0.0), kMaxDraft);
  EXPECT_EQ(length(sure, 4, 0.0), 4);
  EXPECT_EQ(length(sure, kMaxDraft, 1.0), 0) << "a row costs a whole step";
  EXPECT_GT(length(doubtful, kMaxDraft, 0.02), length(doubtful, kMaxDraft, 0.2));
  EXPECT_GT(length(doubtful, kMaxDraft, 0.2), 0);
  EXPECT_EQ(length(doubtful, kMaxDraft, 0.6), 0);
}

// With guesses right with probability p and a row at a share c, n drafts give (1 - p^(n+1)) / (1 -
// p) tokens for 1 + c n (Leviathan et al., arXiv:2211.17192, theorem 3.8): the best n by that.
TEST(DraftPolicy, TheLengthIsTheBestOfTheFormula) {
  for (const int percent : {30, 50, 70, 90}) {
    Acceptance acceptance;
    std::mt19937 random(5);
    for (int i = 0; i < 2000; ++i) acceptance.learn(32, static_cast<int>(random() % 100) < percent);
    const double p = acceptance.probability(32);
    EXPECT_NEAR(p, percent / 100.0, 0.2);
    for (const double c : {0.01, 0.05, 0.1, 0.2, 0.3, 0.5}) {
      int best = 0;
      double best_speed = 1.05;
      for (int n = 1; n <= kMaxDraft; ++n) {
        const double speed = (1 - std::pow(p, n + 1)) / (1 - p) / (1 + c * n);
        if (speed > best_speed) {
          best_speed = speed;
          best = n;
        }
      }
      EXPECT_EQ(best_draft(acceptance, 32, kMaxDraft, in_proportion(c)).n_tokens, best)
          << p << " " << c;
    }
  }
}

// Kernels that take eight rows in the time of two: seven drafts or none.
TEST(DraftPolicy, DraftsFillWhatTheKernelsTakeAtOnce) {
  Acceptance acceptance;
  for (int i = 0; i < 200; ++i) acceptance.learn(32, i % 10 != 0);
  AddedCost added;
  for (std::size_t i = 0; i < added.size(); ++i) added[i] = i < 7 ? 0.5 : 1.4;
  EXPECT_EQ(best_draft(acceptance, 32, kMaxDraft, added).n_tokens, 7);
}

TEST(DraftPolicy, WrongGuessesEndDraftsAndRightOnesBringThemBack) {
  Acceptance acceptance;
  const AddedCost added = in_proportion(0.15);
  for (int i = 0; i < 12; ++i) acceptance.learn(2, false);
  EXPECT_EQ(best_draft(acceptance, 2, kMaxDraft, added).n_tokens, 0);
  for (int i = 0; i < 12; ++i) acceptance.learn(2, true);
  EXPECT_GT(best_draft(acceptance, 2, kMaxDraft, added).n_tokens, 0);
}

// A machine on which a plain step takes 1,000 us and n drafted rows 300 us and `row_us` each more.
TEST(DraftPolicy, WhatRowsCostIsMeasuredForTheRequestsThatRun) {
  const auto step_us = [](int n, int row_us) {
    return static_cast<std::uint64_t>(1000 + (n > 0 ? 300 + n * row_us : 0));
  };
  for (const int row_us : {0, 30, 250, 900}) {
    SCOPED_TRACE(row_us);
    StepCosts costs;
    costs.begin(1, 1);
    EXPECT_FALSE(costs.added().has_value());
    int plain = 0;
    for (int step = 0; step < 400; ++step) {
      const int n = costs.added() ? 4 + step % 9 : 0;  // 4..12
      costs.learn(n, step_us(n, row_us));
      if (n == 0) ++plain;
    }
    EXPECT_LT(plain, 20) << "plain steps that only measure";
    EXPECT_GT(plain, 5) << "a step grows with the context, so it must be measured again";
    while (!costs.added()) costs.learn(0, 1000);
    const AddedCost added = *costs.added();
    for (int n = 4; n <= 12; ++n) {
      const double truth = 0.3 + n * row_us / 1000.0;
      EXPECT_NEAR(added[static_cast<std::size_t>(n) - 1], truth, 0.05 * truth) << n;
    }
    // Not tried: in proportion, on the low side below and on the high side above.
    EXPECT_NEAR(added[1], added[3] / 2, 1e-9);
    EXPECT_NEAR(added[14], added[11] * 15 / 12, 1e-9);

    costs.begin(2, 1);
    EXPECT_FALSE(costs.added().has_value()) << "another request has other steps";
    costs.learn(0, 1000);
    costs.learn(0, 1000);
    EXPECT_NEAR((*costs.added())[3], added[3], 0.01 + 0.01 * added[3])
        << "but rows cost what they cost";
    costs.begin(3, 2);
    costs.learn(0, 1000);
    costs.learn(0, 1000);
    EXPECT_LT((*costs.added())[3], 0.5) << "of two requests nothing is known";
  }
}

// A cost that was measured too high by chance must not keep drafts off for ever.
TEST(DraftPolicy, AHighCostFadesWhileNothingIsDrafted) {
  StepCosts costs;
  costs.begin(1, 1);
  for (int i = 0; i < 5; ++i) costs.learn(0, 1000);
  for (int i = 0; i < 5; ++i) costs.learn(1, 3000);
  const double high = (*costs.added())[0];
  EXPECT_GT(high, 1);
  for (int i = 0; i < 1500; ++i) costs.learn(0, 1000);
  EXPECT_LT((*costs.added())[0], 0.1 * high);
}

TEST(DraftPolicy, NobodyPaysForANeighboursDraft) {
  EXPECT_TRUE(worth_it_for_all(0.0, 0.0));
  EXPECT_TRUE(worth_it_for_all(0.0, 0.02));
  EXPECT_FALSE(worth_it_for_all(0.0, 0.1));
  EXPECT_TRUE(worth_it_for_all(2.0, 1.0));
}

// ---- engines that draft

struct DraftingEngine : TestEngine {
  std::vector<int> samples_of_steps;
  explicit DraftingEngine(Speculation speculation = Speculation::Always) {
    options.speculation = speculation;
    control.on_submit = [this](std::span<const compute::Step> steps) -> Result<void> {
      int n = 0;
      for (const auto& step : steps)
        if (step.sample != nullptr) n += step.n_samples;
      samples_of_steps.push_back(n);
      return {};
    };
  }
};

TEST(Drafts, ARepeatingAnswerTakesFewStepsAndKeepsItsTokens) {
  DraftingEngine test;
  test.start();
  int tokens = 0;
  for (unsigned seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Request request = greedy(random_tokens(40, seed), 200);
    if (seed % 2 == 1) request.sampling = {.temperature = 1, .seed = seed};
    test.expect_answer(request, test.answer(request));
    tokens += 200;
  }
  const EngineStats stats = test.engine->stats();
  EXPECT_EQ(stats.output_tokens, static_cast<std::uint64_t>(tokens));
  EXPECT_GT(stats.accepted_tokens, 0u);
  // Every step of an answer gives one token and those of its guesses that came true; a prompt takes
  // one step, which gives one too.
  EXPECT_EQ(test.control.steps + static_cast<int>(stats.accepted_tokens), tokens);
  EXPECT_LT(test.control.steps, tokens * 2 / 3);
  test.stop();
}

// Ends in the middle of a draft: at every possible number of tokens, and at stop tokens. What is
// kept of the sequence is then a prefix for the next request.
TEST(Drafts, AnAnswerEndsInTheMiddleOfADraft) {
  DraftingEngine test;
  test.start();
  const Tokens prompt = random_tokens(40, 3);
  const Tokens all = test.expected(greedy(prompt, 90)).tokens;
  for (int n = 1; n <= 90; ++n) {
    const Request request = greedy(prompt, n);
    test.expect_answer(request, test.answer(request));
  }
  for (const TokenId stop : all) {
    const Request request = greedy(prompt, 90, {stop});
    test.expect_answer(request, test.answer(request));
    const Request next = greedy(joined(joined(prompt, all), {1, 2, 3}), 30);
    test.expect_answer(next, test.answer(next));
  }
  test.stop();
}

TEST(Drafts, UnderAConstraintTheMasksLookAhead) {
  DraftingEngine test;
  test.start();
  for (unsigned seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const Request request = constrained(greedy(random_tokens(30, seed), 200), seed, 100);
    test.expect_answer(request, test.answer(request));
  }
  EXPECT_GT(test.engine->stats().accepted_tokens, 100u);
  test.stop();
}

// A lagging reader and an arena of few pages, all of them taken: drafts take what is left.
TEST(Drafts, TakeOnlyWhatIsLeft) {
  DraftingEngine test;
  test.options.token_queue = 3;
  test.options.max_requests = 3;
  test.control.options.n_pages = 7;
  test.control.options.max_tokens = 16;
  test.control.options.max_samples = 5;
  test.start();
  std::vector<Request> requests;
  std::vector<std::unique_ptr<Generation>> generations;
  for (unsigned i = 0; i < 3; ++i) {
    requests.push_back(greedy(random_tokens(30, i), 250));
    generations.push_back(test.submit(requests.back()));
  }
  for (unsigned i = 0; i < 3; ++i) test.expect_answer(requests[i], read_all(*generations[i]));
  test.engine.reset();
  EXPECT_LE(*std::max_element(test.samples_of_steps.begin(), test.samples_of_steps.end()), 5);
}

// The samples of a drafted row are not told with their rivals, so such requests do without.
TEST(Drafts, NoneWhereTheMostProbableTokensAreTold) {
  DraftingEngine test;
  test.start();
  Request request = greedy(random_tokens(40, 1), 100);
  request.top_logprobs = 2;
  test.answer(request);
  EXPECT_EQ(test.engine->stats().drafted_tokens, 0u);
  test.stop();
}

// Auto on a clock that says what each row costs: with free rows it drafts, with dear ones it does
// not, and beside a stream that would pay for it neither.
TEST(Drafts, AutoFollowsTheClock) {
  for (const bool dear : {false, true}) {
    SCOPED_TRACE(dear ? "dear rows" : "free rows");
    DraftingEngine test(Speculation::Auto);
    std::uint64_t now = 0;
    int rows = 0;
    test.control.on_submit = [&](std::span<const compute::Step> steps) -> Result<void> {
      rows = 0;
      for (const auto& step : steps) rows += static_cast<int>(step.tokens.size());
      return {};
    };
    test.control.on_collect = [&]() -> Result<void> {
      now += 1000 + static_cast<std::uint64_t>(dear ? 1500 * (rows - 1) : 0);
      return {};
    };
    test.options.clock_us = [&] { return now; };
    test.start();
    const Request request = greedy(random_tokens(40, 2), 400);
    test.expect_answer(request, test.answer(request));
    const EngineStats stats = test.engine->stats();
    if (dear) {
      EXPECT_LT(stats.drafted_tokens, 10u);
    } else {
      EXPECT_GT(stats.accepted_tokens, 200u);
    }
    test.stop();
  }
}

}  // namespace
}  // namespace pensieve::engine
