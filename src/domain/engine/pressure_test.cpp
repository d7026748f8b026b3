// What the engine accepts and holds when memory gets short. A page of the fake backend has 64
// bytes, so that a few bytes of room are a few pages.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "domain/engine/engine.h"
#include "domain/engine/internal/engine_test_support.h"
#include "domain/engine/internal/fake_tier.h"

namespace pensieve::engine {
namespace {

constexpr std::uint64_t kPageBytes = 64;
constexpr int kPage = compute::kPageTokens;

// Room for so many pages more before the machine is Critical.
MemoryPressure room_for(int n_pages, MemoryLevel level = MemoryLevel::Safe) {
  return {.level = level,
          .room_bytes = kWarningAboveBytes + static_cast<std::uint64_t>(n_pages) * kPageBytes + 1};
}
MemoryPressure at(MemoryLevel level) {
  return {.level = level, .room_bytes = 100 * kGiB};
}

template <typename Check>
void eventually(Check check, const char* what) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!check()) {
    ASSERT_LT(std::chrono::steady_clock::now(), end) << what;
    std::this_thread::yield();
  }
}

void expect_refused(TestEngine& test, Request request, const std::string& part) {
  const auto refused = test.engine->submit(std::move(request));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().kind, ErrorKind::Unavailable);
  EXPECT_GE(refused.error().retry_after_s, 1);
  EXPECT_LE(refused.error().retry_after_s, 10);
  EXPECT_NE(refused.error().message.find(part), std::string::npos) << refused.error().message;
}

// 5 pages: prompt and answer together.
Request five_pages(unsigned seed) {
  return greedy(random_tokens(4 * kPage, seed), kPage);
}

TEST(Pressure, WithoutAWatchEverythingIsAccepted) {
  TestEngine test;
  test.start();
  const auto request = five_pages(1);
  test.expect_answer(request, test.answer(request));
  EXPECT_EQ(test.engine->stats().reserved_kv_bytes, 0u);
  test.stop();
}

TEST(Pressure, ARequestThatWouldMakeTheMachineCriticalIsRefusedBeforeAnythingIsTaken) {
  TestEngine test;
  test.start();
  test.engine->set_pressure(room_for(4));
  expect_refused(test, five_pages(1), "320 tokens");
  MemoryPressure to_the_byte = room_for(5);
  to_the_byte.room_bytes -= 1;
  test.engine->set_pressure(to_the_byte);
  expect_refused(test, five_pages(1), "1024 MiB are available");
  EXPECT_EQ(test.engine->stats().reserved_kv_bytes, 0u);
  EXPECT_EQ(test.engine->stats().requests, 0u);
  EXPECT_EQ(test.control.pages_touched, 0);
  test.engine->set_pressure(room_for(5));
  const auto request = five_pages(1);
  test.expect_answer(request, test.answer(request));
  test.stop();
}

TEST(Pressure, AnAnswerCountsAsFarAsTheWindowLetsItGo) {
  TestEngine test;
  test.control.options.max_context = 6 * kPage;
  test.start();
  const auto request = greedy(random_tokens(4 * kPage, 1), 1'000'000);
  test.engine->set_pressure(room_for(5));
  expect_refused(test, request, "384 tokens");
  test.engine->set_pressure(room_for(6));
  test.expect_answer(request, test.answer(request));
  test.stop();
}

// What is in memory already is used again, whoever has it: it needs no room.
TEST(Pressure, PagesInMemoryCostNothing) {
  TestEngine test;
  test.start();
  test.answer(five_pages(1));
  test.engine->set_pressure(room_for(0, MemoryLevel::Caution));
  const auto request = five_pages(2);
  test.expect_answer(request, test.answer(request));
  expect_refused(test, greedy(random_tokens(6 * kPage, 3), 1), "need up to 0 MiB");
  test.stop();
}

// RELIABILITY, case 56. The engine stands still, so that nobody's place comes free meanwhile.
TEST(Pressure, ThirtyTwoAtOnceCannotOversubscribe) {
  constexpr int kRequests = 32, kRoomPages = 52;  // for ten of five pages
  for (unsigned round = 0; round < 5; ++round) {
    TestEngine test;
    test.options.max_requests = kRequests;
    Gate gate;
    test.control.on_submit = [&](auto) -> Result<void> {
      gate.pass();
      return {};
    };
    gate.close();
    test.start();
    test.engine->set_pressure(room_for(kRoomPages));
    std::vector<std::unique_ptr<Generation>> accepted(kRequests);
    std::vector<std::thread> threads;
    for (int i = 0; i < kRequests; ++i) {
      threads.emplace_back([&, i] {
        auto generation = test.engine->submit(five_pages(round * 100 + static_cast<unsigned>(i)));
        if (generation) accepted[static_cast<std::size_t>(i)] = std::move(*generation);
      });
    }
    for (std::thread& thread : threads) thread.join();
    const auto n = std::count_if(
        accepted.begin(), accepted.end(), [](const auto& one) { return one != nullptr; });
    EXPECT_EQ(n, kRoomPages / 5);
    EXPECT_EQ(test.engine->stats().reserved_kv_bytes, static_cast<std::size_t>(n) * 5 * kPageBytes);
    gate.open();
    for (const auto& generation : accepted)
      if (generation) read_all(*generation);
    EXPECT_LE(test.control.pages_touched, kRoomPages);
    EXPECT_EQ(test.engine->stats().reserved_kv_bytes, 0u);
    test.stop();
  }
}

TEST(Pressure, AReservationGoesWithItsRequestHoweverThatEnds) {
  TestEngine test;
  test.start();
  test.engine->set_pressure(room_for(100));
  {
    const auto gone = test.submit(five_pages(1));  // its reader leaves at once
  }
  eventually([&] { return test.engine->stats().reserved_kv_bytes == 0; }, "cancelled");
  test.control.on_submit = [](auto) -> Result<void> {
    return Error{ErrorKind::Internal, "broken"};
  };
  EXPECT_EQ(test.answer(five_pages(2)).reason, FinishReason::Failed);
  EXPECT_EQ(test.engine->stats().reserved_kv_bytes, 0u);
  test.stop();
}

TEST(Pressure, AtCautionWhatIsKeptMakesRoomBeforeMemoryIsTaken) {
  TestEngine test;
  test.start();
  for (unsigned i = 0; i < 4; ++i) test.answer(five_pages(i));
  const int before = test.control.pages_touched;
  EXPECT_GE(before, 4 * 5);
  test.engine->set_pressure(at(MemoryLevel::Caution));
  for (unsigned i = 10; i < 30; ++i) {
    const auto request = five_pages(i);
    test.expect_answer(request, test.answer(request));
    EXPECT_LE(test.control.pages_touched, before);
  }
  EXPECT_GT(test.engine->stats().idle_sequences, 0) << "what fits is kept";

  test.engine->set_pressure(at(MemoryLevel::Safe));
  for (unsigned i = 40; i < 44; ++i) test.answer(five_pages(i));
  EXPECT_GT(test.control.pages_touched, before) << "it may grow again";
  test.stop();
}

TEST(Pressure, AtWarningHalfOfWhatIsKeptGoesAndItsMemoryToo) {
  TestEngine test;
  test.start();
  for (unsigned i = 0; i < 8; ++i) test.answer(five_pages(i));
  const int before = test.control.pages_in_use;
  test.engine->set_pressure(at(MemoryLevel::Warning));
  eventually([&] { return test.control.trims > 0; }, "trimmed");
  EXPECT_LE(test.control.pages_in_use, before / 2);
  EXPECT_GE(test.control.pages_in_use, before / 2 - 5);
  EXPECT_EQ(test.control.pages_touched, test.control.pages_in_use);
  // Once, not again and again.
  const int kept = test.control.pages_in_use;
  test.engine->set_pressure(at(MemoryLevel::Warning));
  test.answer(greedy(random_tokens(5, 99), 2));
  EXPECT_GE(test.control.pages_in_use, kept - 5);
  test.stop();
}

TEST(Pressure, AtWarningNewRequestsHaveHalfTheWindow) {
  TestEngine test;
  test.control.options.max_context = 16384;
  test.control.options.n_pages = 1000;
  test.start();
  ASSERT_EQ(test.engine->context_length(), 16384);
  const Request longer = greedy(random_tokens(8192, 1), 5);
  const Request fills = greedy(random_tokens(8190, 2), 5);
  test.engine->set_pressure(at(MemoryLevel::Warning));
  expect_refused(test, longer, "8192 of 16384 tokens");
  const Answer cut = test.answer(fills);
  EXPECT_EQ(cut.reason, FinishReason::ContextFull);
  EXPECT_EQ(cut.tokens.size(), 2u);
  test.engine->set_pressure(at(MemoryLevel::Caution));
  test.expect_answer(longer, test.answer(longer));
  test.stop();
}

TEST(Pressure, AtCriticalNothingIsAcceptedWhatRunsGoesOnAndWhatIsKeptGoes) {
  TestEngine test;
  Gate gate;
  std::atomic<bool> holds{false};
  test.control.on_submit = [&](auto) -> Result<void> {
    if (holds) gate.pass();
    return {};
  };
  test.start();
  for (unsigned i = 0; i < 4; ++i) test.answer(five_pages(i));
  gate.close();
  holds = true;
  const auto request = five_pages(10);
  const auto running = test.submit(request);
  gate.wait_for_arrivals(1);
  test.engine->set_pressure(at(MemoryLevel::Critical));
  expect_refused(test, greedy({1}, 1), "102400 MiB are available");
  gate.open();
  test.expect_answer(request, read_all(*running));
  eventually([&] { return test.control.pages_touched == 0; }, "all given back");
  EXPECT_EQ(test.control.sequences, 0);

  test.engine->set_pressure(at(MemoryLevel::Safe));
  test.expect_answer(five_pages(11), test.answer(five_pages(11)));
  EXPECT_GT(test.control.sequences, 0);
  test.stop();
}

TEST(Pressure, WhatWentComesBackFromTheTier) {
  for (const unsigned mischief : {0u, 20u}) {
    FakeTier tier(1, mischief);
    TestEngine test;
    test.options.tier = &tier;
    test.start();
    const auto request = five_pages(1);
    const Answer first = test.answer(request);
    test.engine->set_pressure(at(MemoryLevel::Critical));
    eventually([&] { return test.control.pages_touched == 0; }, "all given back");
    if (mischief == 0) {
      EXPECT_EQ(tier.taken, 4) << "every full page";
    }
    test.engine->set_pressure(at(MemoryLevel::Safe));
    const Answer again = test.answer(request);
    EXPECT_EQ(again.tokens, first.tokens);
    if (mischief == 0) {
      EXPECT_EQ(test.engine->stats().restored_tokens, 3u * kPage);
    }
    test.stop();
  }
}

// A tier that never has room.
class FullTier final : public KvTier {
 public:
  void begin(std::string_view, std::size_t, std::function<void()>) override {}
  void end() override {}
  void extend_keys(std::vector<PageKey>& keys,
                   std::span<const TokenId> tokens,
                   compute::RopeVariant) const override {
    keys.resize(tokens.size() / static_cast<std::size_t>(kPage));
  }
  int n_known(std::span<const PageKey>, int) override { return 0; }
  Answer offer(const PageKey&,
               std::span<const TokenId>,
               const std::function<Result<void>(compute::ByteSink&)>&) override {
    ++asked;
    return Answer::Later;
  }
  bool stalled() override { return true; }
  std::unique_ptr<PageReader> read(std::span<const PageKey>,
                                   int,
                                   std::span<const TokenId>) override {
    return nullptr;
  }
  std::atomic<int> asked{0};
};

TEST(Pressure, ATierWithoutRoomIsWaitedForTwoSeconds) {
  FullTier tier;
  TestEngine test;
  std::atomic<std::uint64_t> now_us{1};
  test.options.tier = &tier;
  test.options.clock_us = [&] { return now_us.load(); };
  test.start();
  test.answer(five_pages(1));
  test.engine->set_pressure(at(MemoryLevel::Critical));
  const int asked = tier.asked;
  eventually([&] { return tier.asked > asked + 2; }, "it is asked again");
  EXPECT_EQ(test.control.trims, 0);
  now_us = 1'999'999;
  const int later = tier.asked;
  eventually([&] { return tier.asked > later + 2; }, "it is asked again");
  EXPECT_EQ(test.control.trims, 0);
  now_us = 2'100'001;
  eventually([&] { return test.control.pages_touched == 0; }, "all given back");
  test.stop();
}

}  // namespace
}  // namespace pensieve::engine
