// The second tier of the KV cache: what was computed once comes back, whatever happened to the
// arena.
#include <gtest/gtest.h>

#include "domain/engine/engine.h"
#include "domain/engine/internal/engine_test_support.h"
#include "domain/engine/internal/fake_tier.h"

namespace pensieve::engine {
namespace {

// What Started said of the request, and its answer.
struct Outcome {
  int cached = 0;
  int restored = 0;
  Answer answer;
};

Outcome run(TestEngine& test, const Request& request) {
  const auto generation = test.submit(request);
  Outcome outcome;
  while (const auto event = generation->next()) {
    if (event->kind == TokenEvent::Kind::Started) {
      outcome.cached = event->cached_tokens;
      outcome.restored = event->restored_tokens;
    }
    if (event->kind == TokenEvent::Kind::Token) outcome.answer.tokens.push_back(event->token);
    if (event->kind == TokenEvent::Kind::Finished) outcome.answer.reason = event->reason;
  }
  test.expect_answer(request, outcome.answer);
  return outcome;
}

TEST(Tier, APromptSurvivesTheEngine) {
  FakeTier tier(1, 0);
  const Tokens prompt = random_tokens(300, 1);
  const Request request = greedy(prompt, 30);
  Tokens answer;
  {
    TestEngine first;
    first.options.tier = &tier;
    first.start();
    const Outcome cold = run(first, request);
    EXPECT_EQ(cold.cached, 0);
    answer = cold.answer.tokens;
    first.stop();
  }
  EXPECT_EQ(tier.taken, (300 + 29) / compute::kPageTokens) << "every full page, once";

  TestEngine second;
  second.options.tier = &tier;
  second.start();
  const Outcome warm = run(second, request);
  EXPECT_EQ(warm.cached, 256);
  EXPECT_EQ(warm.restored, 256);
  EXPECT_EQ(warm.answer.tokens, answer);
  EXPECT_EQ(second.control.tokens_computed, 300 - 256 + 29);
  EXPECT_EQ(second.engine->stats().restored_tokens, 256u);
  EXPECT_EQ(second.engine->stats().hit_tokens, 0u);
  EXPECT_EQ(second.engine->stats().missed_tokens, 300u - 256u);

  // The next turn: what is in the arena now is not read again.
  const Request next = greedy(joined(joined(prompt, answer), random_tokens(20, 2)), 10);
  const Outcome turn = run(second, next);
  EXPECT_EQ(turn.restored, 0);
  EXPECT_GE(turn.cached, 329);
  second.stop();
}

TEST(Tier, AnotherRopeVariantIsAnotherHistory) {
  FakeTier tier(1, 0);
  const Tokens prompt = random_tokens(300, 1);
  TestEngine test;
  test.options.tier = &tier;
  test.options.idle_sequences = 0;
  test.options.original_context_length = 400;
  test.start();
  run(test, greedy(prompt, 30));
  const auto generation = test.submit(greedy(prompt, 200));
  const auto started = generation->next();
  ASSERT_TRUE(started.has_value());
  EXPECT_EQ(started->cached_tokens, 0);
  generation->cancel();
}

TEST(Tier, AShortPrefixIsComputedAndNotRead) {
  FakeTier tier(1, 0);
  TestEngine test;
  test.options.tier = &tier;
  test.options.idle_sequences = 0;
  test.start();
  const Tokens base = random_tokens(127, 3);
  run(test, greedy(base, 1));
  EXPECT_EQ(run(test, greedy(joined(base, {1, 2}), 1)).restored, 0);
  const Tokens longer = random_tokens(129, 4);
  run(test, greedy(longer, 1));
  EXPECT_EQ(run(test, greedy(joined(longer, {1, 2}), 1)).restored, 128);
}

TEST(Tier, WhatIsEvictedIsOfferedFirst) {
  FakeTier tier(1, 0);
  TestEngine test;
  test.control.options.n_pages = 8;
  test.options.tier = &tier;
  test.start();
  const Request first = greedy(random_tokens(400, 5), 2), other = greedy(random_tokens(400, 6), 2);
  run(test, first);
  run(test, other);  // needs the first one's pages
  EXPECT_EQ(run(test, first).restored, 384);
  EXPECT_EQ(run(test, other).restored, 384);
}

TEST(Tier, OfTwoThatNeedTheSamePagesOneReads) {
  FakeTier tier(1, 0);
  const Tokens prompt = random_tokens(640, 7);
  {
    TestEngine first;
    first.options.tier = &tier;
    first.start();
    run(first, greedy(prompt, 1));
  }
  TestEngine test;
  test.options.tier = &tier;
  Gate gate;
  test.control.on_submit = [&](auto) -> Result<void> {
    gate.pass();
    return {};
  };
  gate.close();
  test.start();
  const auto blocker = test.submit(greedy(random_tokens(5, 8), 1));
  gate.wait_for_arrivals(1);  // the two that follow are admitted together
  const Request one = greedy(joined(prompt, {1}), 3), two = greedy(joined(prompt, {2}), 3);
  const auto a = test.submit(one), b = test.submit(two);
  gate.open();
  test.expect_answer(one, read_all(*a));
  test.expect_answer(two, read_all(*b));
  EXPECT_EQ(test.engine->stats().restored_tokens, 640u);
  read_all(*blocker);
}

TEST(Tier, ARequestThatLeavesWhilePagesComeLeavesNothingBehind) {
  FakeTier tier(3, 20);  // it makes the reader wait now and then
  const Tokens prompt = random_tokens(1'000, 9);
  for (int i = 0; i < 30; ++i) {
    TestEngine test;
    test.options.tier = &tier;
    test.options.save_timeout_ms = 50;
    test.start();
    auto generation = test.submit(greedy(prompt, 5));
    if (i % 3 == 0) read_all(*generation);
    if (i % 3 == 1) generation->cancel();
    generation.reset();
    test.stop();
  }
  EXPECT_GT(tier.given, 0);
}

}  // namespace
}  // namespace pensieve::engine
