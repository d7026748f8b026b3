// Goal: a request of which much has to be computed again learns where it parts from what was kept,
// and no other does. Method: prompts that are made to differ at a known token.
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>

#include "domain/engine/internal/engine_test_support.h"
#include "domain/engine/internal/fake_tier.h"

namespace pensieve::engine {
namespace {

TokenEvent begin_of(TestEngine& test, Tokens prompt, std::string group = {}) {
  Request request = greedy(std::move(prompt), 4);
  request.group = std::move(group);
  const auto generation = test.submit(std::move(request));
  const auto event = generation->next();
  EXPECT_TRUE(event && event->kind == TokenEvent::Kind::Started);
  while (generation->next()) {
  }
  return event.value_or(TokenEvent{});
}

Tokens changed_at(Tokens tokens, std::size_t at) {
  tokens[at] = (tokens[at] + 1) % 100;
  return tokens;
}

TEST(Divergence, TellsTheFirstTokenThatDiffersFromTheNearestSequence) {
  TestEngine test;
  test.start();
  const Tokens prompt = random_tokens(1600, 1);
  EXPECT_FALSE(begin_of(test, prompt).divergence) << "there was nothing to differ from";
  begin_of(test, changed_at(prompt, 70));  // shares less with the third than the first does
  const Tokens third = changed_at(prompt, 300);
  const TokenEvent event = begin_of(test, third);
  EXPECT_EQ(event.cached_tokens, 300);
  ASSERT_TRUE(event.divergence.has_value());
  EXPECT_EQ(event.divergence->n_common, 300);
  EXPECT_EQ(event.divergence->kept, prompt[300]);
  EXPECT_EQ(event.divergence->now, third[300]);
  EXPECT_FALSE(event.divergence->same_group);
}

TEST(Divergence, SaysNothingOfShortMissesNorOfPromptsThatGoOn) {
  TestEngine test;
  test.start();
  const Tokens prompt = random_tokens(1600, 1);
  begin_of(test, prompt);
  // One token less than a long miss, and just that.
  EXPECT_FALSE(begin_of(test, changed_at(prompt, 1600 - kLongMiss + 1)).divergence);
  EXPECT_TRUE(begin_of(test, changed_at(prompt, 1600 - kLongMiss)).divergence);
}

TEST(Divergence, SaysNothingWhereTheKeptSequenceEnds) {
  TestEngine test;
  test.start();
  const Tokens prompt = random_tokens(200, 1);
  const Answer answer = test.answer(greedy(prompt, 4));
  const Tokens next = joined(joined(prompt, answer.tokens), random_tokens(1500, 2));
  const TokenEvent event = begin_of(test, next);
  EXPECT_GE(event.cached_tokens, 203);
  EXPECT_FALSE(event.divergence.has_value());
}

// Everything begins with the same few tokens, so less than a page in common says nothing, unless
// the same client's last prompt was the other one.
TEST(Divergence, ComparesStrangersFromAPageOnAndASessionWithItself) {
  TestEngine test;
  test.start();
  const Tokens prompt = random_tokens(1600, 1);
  begin_of(test, prompt, "one");
  EXPECT_FALSE(begin_of(test, changed_at(prompt, 20), "other").divergence);
  const TokenEvent same = begin_of(test, changed_at(prompt, 10), "one");
  ASSERT_TRUE(same.divergence.has_value());
  EXPECT_EQ(same.divergence->n_common, 10);
  EXPECT_TRUE(same.divergence->same_group);
}

// What comes back from the tier agrees with the prompt beyond what the arena has, so the arena's
// sequence is no explanation.
TEST(Divergence, SaysNothingOfASequenceThatTheTierWentBeyond) {
  FakeTier tier(1, 0);
  const Tokens prompt = random_tokens(1600, 1);
  TestEngine test;
  test.options.tier = &tier;
  test.options.idle_sequences = 1;
  test.start();
  begin_of(test, prompt);
  begin_of(test, changed_at(prompt, 100));  // the first one leaves the arena
  const TokenEvent event = begin_of(test, changed_at(prompt, 400));
  EXPECT_EQ(event.cached_tokens, 384);
  EXPECT_EQ(event.restored_tokens, 384 - 64);
  EXPECT_FALSE(event.divergence.has_value());
  const EngineStats stats = test.engine->stats();
  EXPECT_EQ(stats.hit_tokens + stats.restored_tokens + stats.missed_tokens, stats.prompt_tokens);
}

}  // namespace
}  // namespace pensieve::engine
