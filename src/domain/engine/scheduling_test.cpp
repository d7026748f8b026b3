// How requests share the engine: steps, pages, prefixes and time. Goal: nothing that happens to one
// request changes another's text, and each rule of who waits for whom is seen in the steps.
#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "domain/engine/engine.h"
#include "domain/engine/internal/engine_test_support.h"

namespace pensieve::engine {
namespace {

// What the backend was asked to do, step by step: tokens of each sequence.
struct StepLog {
  struct Row {
    compute::SequenceId sequence{};
    int n_tokens = 0;
  };
  std::vector<std::vector<Row>> steps;

  void add(std::span<const compute::Step> batch) {
    auto& rows = steps.emplace_back();
    for (const auto& step : batch)
      rows.push_back({step.sequence, static_cast<int>(step.tokens.size())});
  }
};

// Logs every step and holds the first one back until all requests of a test are there.
struct GatedEngine : TestEngine {
  Gate gate;
  StepLog log;
  GatedEngine() {
    control.on_submit = [this](std::span<const compute::Step> batch) -> Result<void> {
      log.add(batch);
      gate.pass();
      return {};
    };
  }
};

TEST(Scheduling, ANewRequestJoinsWithoutStoppingTheOthers) {
  GatedEngine test;
  test.options.prefill_chunk = 32;
  test.start();
  test.gate.close();
  const Request first = greedy(random_tokens(20, 1), 60),
                second = greedy(random_tokens(100, 2), 30);
  const auto a = test.submit(first);
  test.gate.wait_for_arrivals(1);
  const auto b = test.submit(second);
  test.gate.open();
  test.expect_answer(first, read_all(*a));
  test.expect_answer(second, read_all(*b));
  test.engine.reset();

  // From its second step on, `a` has a row in every step until it is done; `b` prefills beside it.
  ASSERT_GE(test.log.steps.size(), 60u);
  const auto first_sequence = test.log.steps[0][0].sequence;
  int mixed = 0;
  for (std::size_t i = 1; i < 60; ++i) {
    int own = 0, chunk = 0;
    for (const auto& row : test.log.steps[i]) {
      if (row.sequence == first_sequence) own = row.n_tokens;
      if (row.sequence != first_sequence) chunk = row.n_tokens;
    }
    EXPECT_EQ(own, 1) << "step " << i;
    EXPECT_LE(chunk, 32) << "step " << i;
    mixed += chunk > 1;
  }
  EXPECT_EQ(mixed, 4);  // 100 tokens in chunks of 32
}

TEST(Scheduling, PrefillingRequestsTakeTurns) {
  GatedEngine test;
  test.options.prefill_chunk = 16;
  test.start();
  test.gate.close();
  std::vector<Request> requests;
  std::vector<std::unique_ptr<Generation>> generations;
  for (unsigned i = 0; i < 3; ++i) {
    requests.push_back(greedy(random_tokens(160, i), 1));
    generations.push_back(test.submit(requests.back()));
    if (i == 0) test.gate.wait_for_arrivals(1);
  }
  test.gate.open();
  for (std::size_t i = 0; i < 3; ++i) test.expect_answer(requests[i], read_all(*generations[i]));
  test.engine.reset();
  // One chunk a step, and from the second step on three sequences in a fixed turn.
  ASSERT_EQ(test.log.steps.size(), 30u);
  for (const auto& rows : test.log.steps) EXPECT_EQ(rows.size(), 1u);
  for (std::size_t i = 1; i + 3 < 28; ++i) {
    EXPECT_EQ(test.log.steps[i][0].sequence, test.log.steps[i + 3][0].sequence);
    EXPECT_NE(test.log.steps[i][0].sequence, test.log.steps[i + 1][0].sequence);
  }
}

TEST(Scheduling, TheSameTokensAloneBatchedWithSevenOthersAndCached) {
  TestEngine test;
  test.options.prefill_chunk = 48;
  test.start();
  const Request request = greedy(random_tokens(150, 42), 80);
  const Answer alone = test.answer(request);
  test.expect_answer(request, alone);
  const Answer cached = test.answer(request);
  EXPECT_EQ(cached.cached, 149);
  EXPECT_EQ(cached.tokens, alone.tokens);
  test.stop();

  test.start();
  std::vector<std::unique_ptr<Generation>> others;
  for (unsigned i = 0; i < 7; ++i)
    others.push_back(test.submit(greedy(random_tokens(60 + 10 * i, i), 100)));
  EXPECT_EQ(test.answer(request).tokens, alone.tokens);
  for (const auto& other : others) read_all(*other);
  test.stop();
}

TEST(Scheduling, ASlowReaderPausesItselfAlone) {
  TestEngine test;
  test.options.token_queue = 8;
  test.start();
  const Request slow = greedy(random_tokens(30, 1), 100), quick = greedy(random_tokens(30, 2), 200);
  const auto unread = test.submit(slow);
  test.expect_answer(quick, test.answer(quick));
  EXPECT_EQ(unread->progress().output_tokens, 8);
  test.expect_answer(slow, read_all(*unread));
  test.stop();
}

TEST(Scheduling, AReaderThatStaysAwayEndsAsTimeout) {
  std::atomic<std::uint64_t> now_us{1'000'000};
  TestEngine test;
  test.options.token_queue = 4;
  test.options.clock_us = [&] { return now_us.load(); };
  test.start();
  const auto unread = test.submit(greedy(random_tokens(30, 1), 100));
  while (unread->progress().output_tokens < 4) std::this_thread::yield();
  // Another request's progress is not this one's.
  now_us += 119'000'000;
  test.answer(greedy(random_tokens(30, 2), 4));
  EXPECT_EQ(test.engine->stats().running, 1);
  now_us += 2'000'000;
  test.answer(greedy(random_tokens(30, 3), 4));
  const Answer answer = read_all(*unread);
  EXPECT_EQ(answer.reason, FinishReason::Failed);
  ASSERT_TRUE(answer.error.has_value());
  EXPECT_EQ(answer.error->kind, ErrorKind::Timeout);
  EXPECT_EQ(answer.tokens.size(), 4u);
  test.stop();
}

TEST(Scheduling, WhoWaitsForAReaderThatStaysAwayIsServedThen) {
  std::atomic<std::uint64_t> now_us{1'000'000};
  TestEngine test;
  test.control.options.n_pages = 8;
  test.options.token_queue = 4;
  test.options.clock_us = [&] { return now_us.load(); };
  test.start();
  const auto unread = test.submit(greedy(random_tokens(400, 1), 100));
  while (unread->progress().output_tokens < 4) std::this_thread::yield();
  const Request request = greedy(random_tokens(200, 2), 50);
  const auto waiting = test.submit(request);
  while (test.engine->stats().waiting == 0) std::this_thread::yield();
  now_us += 121'000'000;
  test.expect_answer(request, read_all(*waiting));
  EXPECT_EQ(read_all(*unread).reason, FinishReason::Failed);
  test.stop();
}

TEST(Scheduling, ARequestThatMakesProgressHasNoTimeLimit) {
  std::atomic<std::uint64_t> now_us{1'000'000};
  TestEngine test;
  test.options.clock_us = [&] { return now_us.load(); };
  test.control.on_collect = [&]() -> Result<void> {
    now_us += 100'000'000;  // 100 s a step
    return {};
  };
  test.start();
  const Request one = greedy(random_tokens(300, 1), 20), two = greedy(random_tokens(300, 2), 20);
  const auto a = test.submit(one), b = test.submit(two);
  test.expect_answer(one, read_all(*a));
  test.expect_answer(two, read_all(*b));
  test.stop();
}

TEST(Scheduling, ChunksShrinkBesideAStreamUntilAStepMeetsItsTarget) {
  std::atomic<std::uint64_t> now_us{1};
  GatedEngine test;
  test.options.clock_us = [&] { return now_us.load(); };
  test.options.step_target_ms = 100;
  test.control.on_collect = [&]() -> Result<void> {
    int tokens = 0;
    for (const auto& row : test.log.steps.back()) tokens += row.n_tokens;
    now_us += static_cast<std::uint64_t>(tokens) * 1000;  // 1 ms a token
    return {};
  };
  test.start();
  test.gate.close();
  const auto stream = test.submit(greedy(random_tokens(200, 1), 100));
  test.gate.wait_for_arrivals(1);
  const auto other = test.submit(greedy(random_tokens(1000, 2), 1));
  test.gate.open();
  read_all(*other);
  read_all(*stream);
  test.engine.reset();
  int largest = 0;
  for (const auto& rows : test.log.steps) {
    if (rows.size() < 2) continue;
    for (const auto& row : rows) largest = std::max(largest, row.n_tokens);
  }
  EXPECT_GT(largest, 16);
  EXPECT_LE(largest, 100);
}

// ---- prefixes

TEST(PrefixReuse, TheNextTurnComputesOnlyWhatIsNew) {
  TestEngine test;
  test.start();
  const Request first = greedy(random_tokens(500, 1), 40);
  const Answer answer = test.answer(first);
  const Tokens so_far = joined(first.prompt, answer.tokens);
  const Request second = greedy(joined(so_far, random_tokens(30, 2)), 40);
  const int computed = test.control.tokens_computed;
  const Answer next = test.answer(second);
  test.expect_answer(second, next);
  EXPECT_EQ(next.cached, 539);  // all but the last token of the answer, which nobody computed
  EXPECT_EQ(test.control.tokens_computed - computed, 31 + 39);
  EXPECT_EQ(test.control.forks, 0) << "a finished turn goes on in its own sequence";
  test.stop();
}

TEST(PrefixReuse, ForksFromThePlaceWhereTwoPromptsPart) {
  TestEngine test;
  test.start();
  const Tokens shared = random_tokens(333, 1);
  for (unsigned i = 0; i < 4; ++i) {
    const Request request =
        greedy(joined(shared, joined({static_cast<TokenId>(i)}, random_tokens(50, 9 + i))), 20);
    const Answer answer = test.answer(request);
    test.expect_answer(request, answer);
    EXPECT_EQ(answer.cached, i == 0 ? 0 : 333);
  }
  test.stop();
}

TEST(PrefixReuse, TwoEqualRequestsInFlightShareOnePrefill) {
  GatedEngine test;
  test.options.prefill_chunk = 64;
  test.start();
  test.gate.close();
  const Request request = greedy(random_tokens(1000, 1), 20);
  const auto a = test.submit(request);
  test.gate.wait_for_arrivals(1);
  const auto b = test.submit(request);
  test.gate.open();
  test.expect_answer(request, read_all(*a));
  const Answer second = read_all(*b);
  test.expect_answer(request, second);
  EXPECT_EQ(second.cached, 999);
  EXPECT_EQ(test.control.tokens_computed, 1000 + 19 + 1 + 19);
  test.stop();
}

TEST(PrefixReuse, WhoWaitedForACancelledPrefillGoesOnAlone) {
  GatedEngine test;
  test.options.prefill_chunk = 64;
  test.start();
  test.gate.close();
  const Request request = greedy(random_tokens(1000, 1), 20);
  auto a = test.submit(request);
  test.gate.wait_for_arrivals(1);
  const auto b = test.submit(request);
  a.reset();
  test.gate.open();
  const Answer second = read_all(*b);
  test.expect_answer(request, second);
  EXPECT_EQ(second.cached, 64) << "what the cancelled one had computed is not lost";
  test.stop();
}

TEST(PrefixReuse, ManyShortRequestsDoNotPushALongPrefixOut) {
  TestEngine test;
  test.options.idle_sequences = 4;
  test.control.options.max_context = 8192;
  test.start();
  const Request conversation = greedy(random_tokens(5000, 1), 10);
  test.answer(conversation);
  for (unsigned i = 0; i < 40; ++i) test.answer(greedy(random_tokens(100, 100 + i), 10));
  EXPECT_EQ(test.engine->stats().idle_sequences, 4);
  EXPECT_EQ(test.answer(conversation).cached, 4999);
  // But not for ever, even if everyone else is shorter.
  for (unsigned i = 0; i < 20; ++i) test.answer(greedy(random_tokens(2000, 200 + i), 10));
  EXPECT_EQ(test.answer(conversation).cached, 0);
  test.stop();
}

TEST(PrefixReuse, RepeatedRequestsKeepOneSequence) {
  TestEngine test;
  test.start();
  for (int i = 0; i < 5; ++i) test.answer(greedy(random_tokens(100, 1), 30));
  EXPECT_EQ(test.engine->stats().idle_sequences, 1);
  test.stop();
}

TEST(PrefixReuse, ALongerAnswerTakesThePlaceOfAShorterOne) {
  TestEngine test;
  test.start();
  for (const int n_answer : {10, 30, 20}) test.answer(greedy(random_tokens(100, 1), n_answer));
  EXPECT_EQ(test.engine->stats().idle_sequences, 1);
  test.stop();
}

TEST(PrefixReuse, NothingIsKeptWhereNothingMayBe) {
  TestEngine test;
  test.options.idle_sequences = 0;
  test.start();
  test.answer(greedy(random_tokens(100, 1), 30));
  EXPECT_EQ(test.control.pages_in_use, 0);
  EXPECT_EQ(test.answer(greedy(random_tokens(100, 1), 30)).cached, 0);
  test.stop();
}

// ---- pages

TEST(Pages, IdleSequencesMakeWayForRequests) {
  TestEngine test;
  test.control.options.n_pages = 12;
  test.start();
  for (unsigned i = 0; i < 10; ++i) {
    const Request request = greedy(random_tokens(300, i), 100);
    test.expect_answer(request, test.answer(request));
  }
  test.stop();
}

TEST(Pages, ReusesAPrefixEvenWhenNoPageIsLeftToForkIt) {
  TestEngine test;
  test.control.options.n_pages = 8;
  test.options.context_length = 512;
  test.start();
  const Tokens shared = random_tokens(480, 1);
  test.answer(greedy(joined(shared, {1}), 30));  // fills all eight pages
  const Request request = greedy(joined(shared, {2}), 20);
  const Answer answer = test.answer(request);
  test.expect_answer(request, answer);
  EXPECT_GE(answer.cached, 448);
  test.stop();
}

// Two fit in together, three do not, and nobody computes a token twice.
TEST(Pages, ARequestWithoutRoomWaitsForTheOthersToFinish) {
  TestEngine test;
  test.control.options.n_pages = 15;
  test.options.idle_sequences = 0;
  test.start();
  std::vector<Request> requests;
  std::vector<std::unique_ptr<Generation>> generations;
  for (unsigned i = 0; i < 6; ++i) {
    requests.push_back(greedy(random_tokens(300, i), 100));
    generations.push_back(test.submit(requests.back()));
  }
  for (std::size_t i = 0; i < 6; ++i) test.expect_answer(requests[i], read_all(*generations[i]));
  EXPECT_EQ(test.control.tokens_computed, 6 * (300 + 99));
  test.stop();
}

// Four prompts of 10 pages fit into 16 together, as nine pages are the same.
TEST(Pages, SharedPagesCountOnce) {
  GatedEngine test;
  test.control.options.n_pages = 16;
  test.options.idle_sequences = 0;
  test.start();
  test.gate.close();
  const Tokens shared = random_tokens(576, 1);
  std::vector<Request> requests;
  std::vector<std::unique_ptr<Generation>> generations;
  for (TokenId i = 0; i < 4; ++i) {
    requests.push_back(greedy(joined(shared, {i, i, i}), 50));
    generations.push_back(test.submit(requests.back()));
    if (i == 0) test.gate.wait_for_arrivals(1);
  }
  test.gate.open();
  for (std::size_t i = 0; i < 4; ++i) test.expect_answer(requests[i], read_all(*generations[i]));
  test.engine.reset();
  std::size_t widest = 0;
  for (const auto& rows : test.log.steps) widest = std::max(widest, rows.size());
  EXPECT_EQ(widest, 4u);
}

// Each of eight answers needs 10 of 24 pages in the end, but starts with 2 and the allowance.
TEST(Pages, TheYoungestGiveWayWhenAnswersGrowAndNoTextChanges) {
  GatedEngine test;
  test.control.options.n_pages = 24;
  test.start();
  test.gate.close();
  std::vector<Request> requests;
  std::vector<std::unique_ptr<Generation>> generations;
  for (unsigned i = 0; i < 8; ++i) {
    requests.push_back(greedy(random_tokens(70, i), 560));
    requests.back().sampling = {.temperature = 1.0f, .seed = i};
    generations.push_back(test.submit(requests.back()));
    if (i == 0) test.gate.wait_for_arrivals(1);
  }
  test.gate.open();
  std::vector<std::thread> readers;
  for (std::size_t i = 0; i < requests.size(); ++i)
    readers.emplace_back([&, i] { test.expect_answer(requests[i], read_all(*generations[i])); });
  for (auto& reader : readers) reader.join();
  EXPECT_GT(test.control.tokens_computed, 8 * (70 + 559)) << "nobody was preempted";
  std::size_t widest = 0;
  for (const auto& rows : test.log.steps) widest = std::max(widest, rows.size());
  EXPECT_GE(widest, 3u) << "reserving whole answers would let two run";
  test.stop();
}

TEST(Pages, AFullSequenceTableIsNoError) {
  TestEngine test;
  test.control.options.max_sequences = 2;
  test.options.token_queue = 1000;
  test.start();
  std::vector<Request> requests;
  std::vector<std::unique_ptr<Generation>> generations;
  for (unsigned i = 0; i < 6; ++i) {
    requests.push_back(greedy(random_tokens(70, i), 50));
    generations.push_back(test.submit(requests.back()));
  }
  for (std::size_t i = 0; i < 6; ++i) test.expect_answer(requests[i], read_all(*generations[i]));
  test.stop();
}

// ---- constraints

TEST(Constraints, AnAnswerIsMadeOfAllowedTokensAlone) {
  TestEngine test;
  test.start();
  int ended_early = 0;
  for (unsigned seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const Request request = constrained(greedy(random_tokens(30, seed), 200), seed, 100);
    const Answer answer = test.answer(request);
    test.expect_answer(request, answer);
    if (answer.reason == FinishReason::StopToken) ++ended_early;
  }
  EXPECT_GT(ended_early, 30);
  test.stop();
}

// One long forced stretch: the answer is computed in chunks, not token by token, and a stream
// beside it keeps its row in every step.
TEST(Constraints, ForcedTokensAreComputedTogether) {
  class Forcing final : public Constraint {
   public:
    bool allowed(std::span<std::uint32_t> mask, int) override {
      if (n_ == 0) return false;
      std::fill(mask.begin(), mask.end(), 0u);
      mask[0] = 1u << (n_ % 7);
      return true;
    }
    void accept(TokenId) override { ++n_; }
    void force(Tokens& tokens, int limit) override {
      while (static_cast<int>(tokens.size()) < limit && n_ < 120) {
        tokens.push_back(static_cast<TokenId>(n_ % 7));
        ++n_;
      }
    }
    bool complete() const override { return n_ >= 120; }
    bool cut_short() const override { return false; }
    std::unique_ptr<Constraint> clone() const override { return std::make_unique<Forcing>(*this); }

   private:
    int n_ = 0;
  };
  GatedEngine test;
  test.start();
  test.gate.close();
  const Request beside = greedy(random_tokens(20, 1), 60);
  Request forced = greedy(random_tokens(20, 2), 200);
  forced.make_constraint = [] { return std::make_unique<Forcing>(); };
  const auto a = test.submit(beside);
  const auto b = test.submit(forced);
  test.gate.open();
  test.expect_answer(beside, read_all(*a));
  const Answer answer = read_all(*b);
  EXPECT_EQ(answer.reason, FinishReason::StopToken);
  EXPECT_EQ(answer.tokens.size(), 120u);
  for (std::size_t i = 1; i < answer.tokens.size(); ++i) {
    EXPECT_EQ(answer.tokens[i], static_cast<TokenId>(i % 7));
  }
  test.engine.reset();

  // Behind the first sampled token 119 were forced; what is computed of them took few steps.
  std::map<compute::SequenceId, int> n_steps;
  for (const auto& rows : test.log.steps)
    for (const auto& row : rows) ++n_steps[row.sequence];
  ASSERT_EQ(n_steps.size(), 2u);
  const int fewer = std::min(n_steps.begin()->second, n_steps.rbegin()->second);
  EXPECT_LE(fewer, 1 + 120 / 32 + 1);
  EXPECT_LE(test.log.steps.size(), 63u);
}

// A reader that lags: forced tokens never overfill its queue.
TEST(Constraints, ForcedTokensWaitForTheReader) {
  TestEngine test;
  test.options.token_queue = 3;
  test.start();
  for (unsigned seed = 0; seed < 20; ++seed) {
    const Request request = constrained(greedy(random_tokens(10, seed), 150), seed, 100);
    test.expect_answer(request, test.answer(request));
  }
  test.stop();
}

}  // namespace
}  // namespace pensieve::engine
