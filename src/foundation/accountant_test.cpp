// The accountant and the buffers that are held through it.
#include "foundation/accountant.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "foundation/buffer.h"

namespace pensieve {
namespace {

TEST(Accountant, CountsWhatIsHeldByUseAndInTotal) {
  Accountant accountant;
  {
    const auto weights = accountant.reserve(MemoryUse::Weights, 100);
    const auto kv = accountant.reserve(MemoryUse::Kv, 20);
    ASSERT_TRUE(weights && kv);
    EXPECT_EQ(weights->bytes(), 100u);
    EXPECT_EQ(accountant.held(MemoryUse::Weights), 100u);
    EXPECT_EQ(accountant.held(MemoryUse::Kv), 20u);
    EXPECT_EQ(accountant.held(MemoryUse::Cache), 0u);
    EXPECT_EQ(accountant.total(), 120u);
  }
  EXPECT_EQ(accountant.total(), 0u);
}

TEST(Accountant, GivesExactlyTheLimitAndNotAByteMore) {
  Accountant accountant(100);
  auto first = accountant.reserve(MemoryUse::Kv, 60);
  ASSERT_TRUE(first);
  const auto over = accountant.reserve(MemoryUse::Scratch, 41);
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().kind, ErrorKind::Unavailable);
  EXPECT_GT(over.error().retry_after_s, 0);
  EXPECT_EQ(accountant.total(), 60u) << "a refusal holds nothing";
  EXPECT_TRUE(accountant.reserve(MemoryUse::Scratch, 40));
  first->release();
  EXPECT_TRUE(accountant.reserve(MemoryUse::Kv, 100));
}

TEST(Accountant, ASumBeyondSizeTypeIsRefusedNotWrapped) {
  for (const std::size_t limit : {std::size_t{0}, SIZE_MAX, std::size_t{100}}) {
    Accountant accountant(limit);
    const auto first = accountant.reserve(MemoryUse::Kv, 10);
    ASSERT_TRUE(first);
    EXPECT_FALSE(accountant.reserve(MemoryUse::Kv, SIZE_MAX));
    EXPECT_FALSE(accountant.reserve(MemoryUse::Kv, SIZE_MAX - 9));
    EXPECT_EQ(accountant.total(), 10u);
  }
}

TEST(Accountant, MovingAReservationMovesTheDebt) {
  Accountant accountant;
  auto first = accountant.reserve(MemoryUse::Cache, 10);
  auto second = accountant.reserve(MemoryUse::Cache, 5);
  ASSERT_TRUE(first && second);
  *second = std::move(*first);
  EXPECT_EQ(accountant.total(), 10u) << "what it held before went back";
  EXPECT_EQ(second->bytes(), 10u);
  Reservation third(std::move(*second));
  second->release();
  EXPECT_EQ(accountant.total(), 10u);
  third.release();
  third.release();
  EXPECT_EQ(accountant.total(), 0u);
}

// Against the obvious model: a sum. Four threads, fixed seeds, and every byte back at the end.
TEST(Accountant, ThreadsNeverPassTheLimitAndGiveEverythingBack) {
  constexpr std::size_t kLimit = 1000;
  Accountant accountant(kLimit);
  std::vector<std::jthread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      std::mt19937 random(seed);
      std::vector<Reservation> held;
      for (int i = 0; i < 5000; ++i) {
        if (auto more = accountant.reserve(static_cast<MemoryUse>(random() % kMemoryUses),
                                           random() % 400)) {
          held.push_back(*std::move(more));
        }
        EXPECT_LE(accountant.total(), kLimit);
        if (held.size() > 3) held.erase(held.begin() + random() % held.size());
      }
    });
  }
  threads.clear();
  EXPECT_EQ(accountant.total(), 0u);
  for (std::size_t use = 0; use < kMemoryUses; ++use) {
    EXPECT_EQ(accountant.held(static_cast<MemoryUse>(use)), 0u);
  }
}

TEST(Buffer, IsZeroedAlignedWritableAndCounted) {
  Accountant accountant;
  {
    auto buffer = Buffer::create(accountant, MemoryUse::Scratch, 10'000'001);
    ASSERT_TRUE(buffer);
    EXPECT_EQ(accountant.held(MemoryUse::Scratch), 10'000'001u);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->data()) % 4096, 0u);
    const auto words = buffer->as<std::uint32_t>(4096, 1000);
    for (auto& word : words) {
      EXPECT_EQ(word, 0u);
      word = 7;
    }
    Buffer moved = *std::move(buffer);
    EXPECT_EQ(moved.data()[4096], std::byte{7});
    EXPECT_EQ(accountant.total(), 10'000'001u);
  }
  EXPECT_EQ(accountant.total(), 0u);
}

TEST(Buffer, ARefusalLeavesNothingHeld) {
  Accountant accountant(1000);
  EXPECT_FALSE(Buffer::create(accountant, MemoryUse::Kv, 1001));
  EXPECT_EQ(accountant.total(), 0u);
  Accountant unbounded;  // the system says no: more than any address space
  EXPECT_FALSE(Buffer::create(unbounded, MemoryUse::Kv, SIZE_MAX / 2));
  EXPECT_EQ(unbounded.total(), 0u);
}

TEST(BufferDeathTest, AViewBeyondTheEndIsABug) {
  Accountant accountant;
  auto buffer = Buffer::create(accountant, MemoryUse::Scratch, 4096);
  ASSERT_TRUE(buffer);
  EXPECT_EQ(buffer->as<std::uint64_t>(8, 511).size(), 511u);
  EXPECT_DEATH(buffer->as<std::uint64_t>(8, 512), "CHECK failed");
  EXPECT_DEATH(buffer->as<std::uint64_t>(4, 1), "CHECK failed");
}

TEST(Accountant, KnowsWhatOfAReservationTakesMemory) {
  Accountant accountant;
  auto pages = accountant.reserve(MemoryUse::Kv, 1000);
  auto other = accountant.reserve(MemoryUse::Kv, 50);
  ASSERT_TRUE(pages && other);
  EXPECT_EQ(accountant.touched(MemoryUse::Kv), 1050u);
  pages->set_touched(0);
  EXPECT_EQ(accountant.touched(MemoryUse::Kv), 50u);
  pages->set_touched(300);
  EXPECT_EQ(accountant.touched(MemoryUse::Kv), 350u);
  EXPECT_EQ(accountant.held(MemoryUse::Kv), 1050u);
  Reservation moved = *std::move(pages);
  EXPECT_EQ(accountant.touched(MemoryUse::Kv), 350u);
  moved.release();
  EXPECT_EQ(accountant.touched(MemoryUse::Kv), 50u);
  EXPECT_EQ(accountant.held(MemoryUse::Kv), 50u);
}

}  // namespace
}  // namespace pensieve
