// The queue between two threads.
#include "foundation/bounded_queue.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace pensieve {
namespace {

TEST(BoundedQueue, GivesOutWhatCameInInOrder) {
  BoundedQueue<int> queue(3);
  EXPECT_FALSE(queue.try_pop());
  EXPECT_TRUE(queue.try_push(1));
  EXPECT_TRUE(queue.try_push(2));
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_EQ(queue.try_pop(), 1);
  EXPECT_EQ(queue.wait_pop(), 2);
  EXPECT_FALSE(queue.try_pop());
}

TEST(BoundedQueue, AFullOneLeavesTheValueWithTheCaller) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  EXPECT_TRUE(queue.try_push(std::make_unique<int>(1)));
  auto kept = std::make_unique<int>(2);
  EXPECT_FALSE(queue.try_push(std::move(kept)));
  ASSERT_NE(kept, nullptr);
  EXPECT_EQ(*kept, 2);
  EXPECT_EQ(**queue.try_pop(), 1);
  EXPECT_TRUE(queue.try_push(std::move(kept)));
}

TEST(BoundedQueue, AClosedOneRefusesButDrains) {
  BoundedQueue<int> queue(2);
  EXPECT_TRUE(queue.try_push(1));
  queue.close();
  EXPECT_TRUE(queue.closed());
  EXPECT_FALSE(queue.try_push(2));
  EXPECT_EQ(queue.wait_pop(), 1);
  EXPECT_FALSE(queue.wait_pop());
  EXPECT_FALSE(queue.wait_pop_for(std::chrono::hours(1))) << "does not wait for what cannot come";
}

TEST(BoundedQueue, ClosingWakesEveryWaiter) {
  BoundedQueue<int> queue(1);
  std::vector<std::jthread> waiters;
  for (int i = 0; i < 3; ++i) waiters.emplace_back([&] { EXPECT_FALSE(queue.wait_pop()); });
  queue.close();
}

TEST(BoundedQueue, AWaitWithALimitEnds) {
  BoundedQueue<int> queue(1);
  EXPECT_FALSE(queue.wait_pop_for(std::chrono::milliseconds(1)));
}

// Two producers, two consumers: every number arrives exactly once, and each producer's in order.
TEST(BoundedQueue, LosesAndDoublesNothingBetweenThreads) {
  constexpr int kEach = 20'000;
  BoundedQueue<int> queue(16);
  std::vector<int> received[2];
  {
    std::vector<std::jthread> consumers;
    for (auto& mine : received) {
      consumers.emplace_back([&queue, &mine] {
        while (const auto item = queue.wait_pop()) mine.push_back(*item);
      });
    }
    {
      std::vector<std::jthread> producers;
      for (int p = 0; p < 2; ++p) {
        producers.emplace_back([&queue, p] {
          for (int i = 0; i < kEach; ++i) {
            while (!queue.try_push(p * kEach + i)) std::this_thread::yield();
          }
        });
      }
    }
    queue.close();
  }
  std::vector<int> seen(2 * kEach);
  for (const auto& mine : received) {
    int last[2] = {-1, -1};
    for (const int item : mine) {
      ++seen[item];
      EXPECT_GT(item, last[item / kEach]);
      last[item / kEach] = item;
    }
  }
  for (int i = 0; i < 2 * kEach; ++i) EXPECT_EQ(seen[i], 1) << i;
}

}  // namespace
}  // namespace pensieve
