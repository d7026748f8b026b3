#include "domain/compute/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <vector>

namespace pensieve::compute::cpu {
namespace {

TEST(ThreadPool, RunsEveryItemOnceOnAThreadOfItsOwn) {
  for (const int n_threads : {1, 2, 3, 8}) {
    ThreadPool pool(n_threads);
    for (int round = 0; round < 300; ++round) {
      const int n_items = round % 37;
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(n_items));
      std::vector<std::atomic<int>> inside(static_cast<std::size_t>(n_threads));
      std::atomic<bool> overlapped{false};
      pool.run(n_items, [&](int item, int thread) {
        if (inside[static_cast<std::size_t>(thread)].fetch_add(1) != 0) overlapped = true;
        ++runs[static_cast<std::size_t>(item)];
        --inside[static_cast<std::size_t>(thread)];
      });
      for (const auto& count : runs) ASSERT_EQ(count.load(), 1);
      ASSERT_FALSE(overlapped.load());
    }
  }
}

TEST(ThreadPool, WakesWorkersThatHaveGoneToSleep) {
  ThreadPool pool(3);
  std::atomic<int> done{0};
  for (int round = 0; round < 5; ++round) {
    // Longer than any spin: the workers are in the kernel when the next run comes.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    pool.run(50, [&](int, int) { ++done; });
  }
  EXPECT_EQ(done.load(), 250);
}

TEST(PhysicalCores, IsBetweenOneAndTheLogicalCount) {
  EXPECT_GE(physical_cores(), 1);
  EXPECT_LE(physical_cores(), static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace
}  // namespace pensieve::compute::cpu
