// The engine's contract, line by line, over a fake backend whose next token depends on everything
// its pages hold.
#include "domain/engine/engine.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <thread>

#include "domain/engine/internal/engine_test_support.h"

namespace pensieve::engine {
namespace {

TEST(Engine, AnswersWhatTheModelSays) {
  TestEngine test;
  test.start();
  for (const int n_prompt : {1, 2, 63, 64, 65, 200, 700}) {
    const Request request = greedy(random_tokens(static_cast<std::size_t>(n_prompt), 1), 70);
    test.expect_answer(request, test.answer(request));
  }
  test.stop();
}

TEST(Engine, EndsAtAStopTokenWithoutGivingItOut) {
  TestEngine test;
  test.start();
  const Request open_ended = greedy(random_tokens(50, 2), 500);
  const Answer full = test.answer(open_ended);
  for (const std::size_t at : {0u, 1u, 40u}) {
    Request request = open_ended;
    request.stop_tokens = {full.tokens[at], 99};
    const Answer answer = test.answer(request);
    EXPECT_EQ(answer.reason, FinishReason::StopToken);
    test.expect_answer(request, answer);
  }
}

TEST(Engine, ClampsMaxTokensToTheWindowAndSaysSo) {
  TestEngine test;
  test.options.context_length = 100;
  test.start();
  Request request = greedy(random_tokens(90, 3), 11);
  Answer answer = test.answer(request);
  EXPECT_EQ(answer.reason, FinishReason::ContextFull);
  EXPECT_EQ(answer.tokens.size(), 10u);
  test.expect_answer(request, answer);

  request.max_tokens = 10;  // fills the window, but it is what was asked for
  EXPECT_EQ(test.answer(request).reason, FinishReason::MaxTokens);

  answer = test.answer(greedy(random_tokens(100, 3), 5));
  EXPECT_EQ(answer.reason, FinishReason::ContextFull);
  EXPECT_TRUE(answer.tokens.empty());
}

TEST(Engine, RefusesWhatCanNeverWork) {
  TestEngine test;
  test.options.context_length = 100;
  test.start();
  const auto refusal = [&](const Request& request) -> std::string {
    auto generation = test.engine->submit(request);
    if (generation) return "accepted";
    EXPECT_EQ(generation.error().kind, ErrorKind::InvalidRequest);
    return generation.error().message;
  };
  EXPECT_EQ(refusal(greedy(random_tokens(101, 1), 5)),
            "prompt is too long: 101 tokens > 100 maximum");
  EXPECT_EQ(refusal(greedy({}, 5)), "the prompt is empty");
  EXPECT_NE(refusal(greedy({1, 100}, 5)), "accepted");
  EXPECT_NE(refusal(greedy({1, -1}, 5)), "accepted");
  EXPECT_NE(refusal(greedy({1}, 0)), "accepted");
  Request request = greedy({1}, 5);
  request.sampling.temperature = -1;
  EXPECT_NE(refusal(request), "accepted");
  request.sampling.temperature = 1;
  request.sampling.top_p = std::numeric_limits<float>::quiet_NaN();
  EXPECT_NE(refusal(request), "accepted");
  EXPECT_EQ(refusal(greedy({1}, 5)), "accepted");
}

TEST(Engine, TheWindowIsNoLargerThanTheArena) {
  TestEngine test;
  test.control.options.n_pages = 3;
  test.options.context_length = 1000;
  test.start();
  EXPECT_EQ(test.engine->context_length(), 192);
  const Request request = greedy(random_tokens(100, 1), 1000);
  test.expect_answer(request, test.answer(request));
  test.stop();
}

TEST(Engine, ChoosesTheRopeVariantByPromptAndAnswerTogether) {
  TestEngine test;
  test.options.original_context_length = 128;
  test.start();
  const Request fits = greedy(random_tokens(100, 1), 28);
  test.expect_answer(fits, test.answer(fits), compute::RopeVariant::Short);
  const Request beyond = greedy(random_tokens(100, 1), 29);
  const Answer answer = test.answer(beyond);
  test.expect_answer(beyond, answer, compute::RopeVariant::Long);
  EXPECT_EQ(answer.cached, 0) << "the other variant's keys are of no use";
}

TEST(Engine, RefusesMoreRequestsThanItHasPlacesFor) {
  Gate gate;
  TestEngine test;
  test.options.max_requests = 3;
  test.control.on_submit = [&](auto) -> Result<void> {
    gate.pass();
    return {};
  };
  gate.close();
  test.start();
  std::vector<std::unique_ptr<Generation>> generations;
  for (unsigned i = 0; i < 3; ++i)
    generations.push_back(test.submit(greedy(random_tokens(20, i), 5)));
  gate.wait_for_arrivals(1);
  auto refused = test.engine->submit(greedy({1}, 5));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().kind, ErrorKind::Overloaded);
  EXPECT_GE(refused.error().retry_after_s, 1);
  EXPECT_LE(refused.error().retry_after_s, 10);

  generations.back()->cancel();  // its place is free before the running step has ended
  auto accepted = test.engine->submit(greedy({1}, 5));
  ASSERT_TRUE(accepted.has_value());
  EXPECT_FALSE(test.engine->submit(greedy({1}, 5)).has_value());
  gate.open();
  EXPECT_EQ(read_all(*generations[0]).reason, FinishReason::MaxTokens);
  EXPECT_EQ(read_all(*generations[2]).reason, FinishReason::Cancelled);
  EXPECT_EQ(read_all(**accepted).reason, FinishReason::MaxTokens);
  EXPECT_TRUE(test.engine->submit(greedy({1}, 5)).has_value());
}

// Cancelled requests that the engine has not dropped yet must not pile up either.
TEST(Engine, BoundsCancelledRequestsToo) {
  Gate gate;
  TestEngine test;
  test.options.max_requests = 2;
  test.control.on_submit = [&](auto) -> Result<void> {
    gate.pass();
    return {};
  };
  gate.close();
  test.start();
  const auto running = test.submit(greedy({1}, 5));
  gate.wait_for_arrivals(1);
  int accepted = 0;
  for (int i = 0; i < 50; ++i) accepted += test.engine->submit(greedy({1}, 5)).has_value();
  EXPECT_EQ(accepted, 3);
  gate.open();
  EXPECT_EQ(read_all(*running).reason, FinishReason::MaxTokens);
}

TEST(Engine, DrainingRefusesNewRequestsAndEndsTheOthersInOrder) {
  TestEngine test;
  test.start();
  const Request request = greedy(random_tokens(30, 1), 300);
  const auto running = test.submit(request);
  test.engine->drain();
  auto refused = test.engine->submit(greedy({1}, 5));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().kind, ErrorKind::Unavailable);
  EXPECT_GE(refused.error().retry_after_s, 1);
  test.expect_answer(request, read_all(*running));
}

TEST(Engine, ItsEndCancelsWhatRunsAndReadersOutliveIt) {
  TestEngine test;
  test.options.token_queue = 8;  // none of them can finish unread
  test.start();
  std::vector<std::unique_ptr<Generation>> generations;
  for (unsigned i = 0; i < 5; ++i)
    generations.push_back(test.submit(greedy(random_tokens(40, i), 3000)));
  test.stop();
  for (const auto& generation : generations)
    EXPECT_EQ(read_all(*generation).reason, FinishReason::Cancelled);
}

TEST(Engine, MakesTheBackendOnItsOwnThreadAndPassesOnWhyItCannot) {
  const auto caller = std::this_thread::get_id();
  auto refused = Engine::create(
      [&]() -> Result<std::unique_ptr<compute::Backend>> {
        EXPECT_NE(std::this_thread::get_id(), caller);
        return Error{ErrorKind::Unavailable, "no memory for the arena"};
      },
      {});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().message, "no memory for the arena");

  auto thrown = Engine::create(
      []() -> Result<std::unique_ptr<compute::Backend>> { throw std::runtime_error("boom"); }, {});
  ASSERT_FALSE(thrown.has_value());
  EXPECT_EQ(thrown.error().kind, ErrorKind::Internal);
}

TEST(Engine, CancellationEndsARequestBeforeItsNextStep) {
  Gate gate;
  TestEngine test;
  test.control.on_submit = [&](auto) -> Result<void> {
    gate.pass();
    return {};
  };
  gate.close();
  test.start();
  const auto generation = test.submit(greedy(random_tokens(30, 1), 1000));
  gate.wait_for_arrivals(1);
  generation->cancel();
  gate.open();
  const Answer answer = read_all(*generation);
  EXPECT_EQ(answer.reason, FinishReason::Cancelled);
  EXPECT_LE(answer.tokens.size(), 1u);
  EXPECT_EQ(test.control.steps, 1);
}

TEST(Engine, AGenerationThatGoesCancelsItsRequest) {
  TestEngine test;
  test.options.token_queue = 4;
  test.start();
  test.submit(greedy(random_tokens(30, 1), 3000)).reset();
  const Request request = greedy(random_tokens(30, 2), 10);
  test.expect_answer(request, test.answer(request));
  EXPECT_EQ(test.engine->stats().running, 0);
  EXPECT_EQ(test.engine->stats().waiting, 0);
}

TEST(Engine, TellsTheReaderWhenThereIsSomethingToRead) {
  TestEngine test;
  test.start();
  std::mutex mutex;
  std::condition_variable changed;
  int calls = 0;
  const auto ready = [&] {
    const std::lock_guard lock(mutex);
    ++calls;
    changed.notify_all();
  };
  const Request request = greedy(random_tokens(30, 1), 20);
  const auto generation = test.submit(request);
  generation->on_ready(ready);
  Answer answer;
  for (bool finished = false; !finished;) {
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return calls > 0; });
      calls = 0;
    }
    while (const auto event = generation->try_next()) {
      if (event->kind == TokenEvent::Kind::Token) answer.tokens.push_back(event->token);
      if (event->kind == TokenEvent::Kind::Finished) finished = true;
    }
  }
  EXPECT_EQ(answer.tokens, test.expected(request).tokens);
  EXPECT_FALSE(generation->next().has_value());

  // Set late: called at once, as everything is there already.
  const auto late = test.submit(request);
  while (late->progress().output_tokens < 20) std::this_thread::yield();
  calls = 0;
  late->on_ready(ready);
  const std::lock_guard lock(mutex);
  EXPECT_GE(calls, 1);
}

TEST(Engine, CountsWhatItDid) {
  TestEngine test;
  test.start();
  const auto generation = test.submit(greedy(random_tokens(130, 1), 20));
  const Answer answer = read_all(*generation);
  const Progress progress = generation->progress();
  EXPECT_EQ(progress.prompt_tokens, 130);
  EXPECT_EQ(progress.prefilled_tokens, 130);
  EXPECT_EQ(progress.output_tokens, 20);
  EXPECT_EQ(answer.cached, 0);
  test.answer(greedy(random_tokens(130, 1), 10));
  const EngineStats stats = test.engine->stats();
  EXPECT_EQ(stats.requests, 2u);
  EXPECT_EQ(stats.prompt_tokens, 260u);
  EXPECT_EQ(stats.cached_tokens, 129u);
  EXPECT_EQ(stats.hit_tokens, 129u);
  EXPECT_EQ(stats.restored_tokens, 0u);
  EXPECT_EQ(stats.missed_tokens, 130u + 1u);
  EXPECT_EQ(stats.output_tokens, 30u);
  EXPECT_EQ(stats.running, 0);
  EXPECT_EQ(stats.idle_sequences, 1);
}

TEST(Engine, ABackendErrorEndsTheStepsRequestsAndNoOthers) {
  TestEngine test;
  std::atomic<int> fail_in{-1};
  test.control.on_submit = [&](auto) -> Result<void> {
    if (fail_in-- == 0) return Error{ErrorKind::Internal, "the device is gone"};
    return {};
  };
  test.start();
  const Request request = greedy(random_tokens(30, 1), 40);
  fail_in = 7;
  const Answer failed = test.answer(request);
  EXPECT_EQ(failed.reason, FinishReason::Failed);
  ASSERT_TRUE(failed.error.has_value());
  EXPECT_EQ(failed.error->message, "the device is gone");
  EXPECT_LT(failed.tokens.size(), 10u);
  test.expect_answer(request, test.answer(request));
  test.stop();
}

TEST(Engine, ALostStepEndsItsRequestsAndLeavesNothingToReuse) {
  TestEngine test;
  std::atomic<int> fail_in{-1};
  test.control.on_collect = [&]() -> Result<void> {
    if (fail_in-- == 0) return Error{ErrorKind::Internal, "timeout on the device"};
    return {};
  };
  test.start();
  for (const int steps : {0, 3}) {
    fail_in = steps;
    const Request request = greedy(random_tokens(30, static_cast<unsigned>(steps)), 20);
    EXPECT_EQ(test.answer(request).reason, FinishReason::Failed);
    const Answer again = test.answer(request);
    EXPECT_EQ(again.cached, 0);
    test.expect_answer(request, again);
  }
  test.stop();
}

TEST(Engine, OutlivesAnExceptionInItsLoop) {
  TestEngine test;
  std::atomic<int> mode{0};
  test.control.on_submit = [&](auto) -> Result<void> {
    switch (mode.exchange(0)) {
      case 1:
        throw std::bad_alloc();
      case 2:
        throw std::runtime_error("unexpected");
      case 3:
        throw 5;
    }
    return {};
  };
  test.start();
  const Request request = greedy(random_tokens(30, 1), 5);
  for (const int thrown : {1, 2, 3}) {
    mode = thrown;
    const Answer failed = test.answer(request);
    EXPECT_EQ(failed.reason, FinishReason::Failed);
    ASSERT_TRUE(failed.error.has_value());
    EXPECT_EQ(failed.error->kind, ErrorKind::Internal);
    test.expect_answer(request, test.answer(request));
  }
  test.stop();
}

// The backend may know of a need that the engine's count of pages does not.
// Three refusals in a row need four requests to give way, so the first step waits for all of them.
TEST(Engine, MakesMoreRoomWhenTheBackendFindsNone) {
  TestEngine test;
  Gate gate;
  gate.close();
  std::atomic<int> step{0};
  test.control.on_submit = [&](auto) -> Result<void> {
    gate.pass();
    const int now = ++step;
    if (now == 3 || (now >= 6 && now <= 8))
      return Error{ErrorKind::Unavailable, "no page after all", 1};
    return {};
  };
  test.start();
  std::vector<Request> requests;
  std::vector<std::unique_ptr<Generation>> generations;
  for (unsigned i = 0; i < 4; ++i) {
    requests.push_back(greedy(random_tokens(100, i), 30));
    generations.push_back(test.submit(requests.back()));
  }
  gate.open();
  for (std::size_t i = 0; i < generations.size(); ++i)
    test.expect_answer(requests[i], read_all(*generations[i]));
  test.stop();
}

// Two of three requests cannot be in one step. Whoever was preempted for it must not come back at
// once, or no step would ever succeed.
TEST(Engine, GetsOnWithABackendThatHasRoomForOneRequestOnly) {
  TestEngine test;
  test.control.on_submit = [](std::span<const compute::Step> steps) -> Result<void> {
    if (steps.size() > 1) return Error{ErrorKind::Unavailable, "no page after all", 1};
    return {};
  };
  test.start();
  std::vector<std::unique_ptr<Generation>> generations;
  for (unsigned i = 0; i < 3; ++i)
    generations.push_back(test.submit(greedy(random_tokens(100, i), 10)));
  for (unsigned i = 0; i < 3; ++i)
    test.expect_answer(greedy(random_tokens(100, i), 10), read_all(*generations[i]));
  test.stop();
}

TEST(Engine, ALoneRequestWithoutRoomFailsInTheBackendsWords) {
  TestEngine test;
  test.control.on_submit = [&](auto) -> Result<void> {
    return Error{ErrorKind::Unavailable, "no page after all", 3};
  };
  test.start();
  const Answer failed = test.answer(greedy(random_tokens(100, 9), 30));
  EXPECT_EQ(failed.reason, FinishReason::Failed);
  ASSERT_TRUE(failed.error.has_value());
  EXPECT_EQ(failed.error->message, "no page after all");
  EXPECT_EQ(failed.error->retry_after_s, 3);
  test.stop();
}

}  // namespace
}  // namespace pensieve::engine
