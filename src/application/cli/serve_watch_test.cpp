// When a server counts as well: time and counters are given.
#include "application/cli/serve_watch.h"

#include <gtest/gtest.h>

namespace pensieve::cli {
namespace {

using std::chrono::seconds;

ProgressWatch::Time at(int second) {
  return ProgressWatch::Time(seconds(second));
}

TEST(ProgressWatch, LeavesAnIdleServerAlone) {
  ProgressWatch watch(seconds(180));
  for (int second = 0; second < 10'000; second += 30)
    EXPECT_TRUE(watch.is_well({.running = 0, .counts = 7}, at(second)));
}

TEST(ProgressWatch, TakesAnyCountForProgress) {
  ProgressWatch watch(seconds(180));
  for (int second = 0; second < 10'000; second += 170) {
    EXPECT_TRUE(
        watch.is_well({.running = 3, .counts = static_cast<std::uint64_t>(second)}, at(second)));
  }
}

TEST(ProgressWatch, LosesPatienceWithRequestsThatGetNowhere) {
  ProgressWatch watch(seconds(180));
  EXPECT_TRUE(watch.is_well({.running = 1, .counts = 5}, at(1000)));  // 5 is new
  EXPECT_TRUE(watch.is_well({.running = 1, .counts = 5}, at(1030)));
  EXPECT_TRUE(watch.is_well({.running = 1, .counts = 5}, at(1209)));
  EXPECT_FALSE(watch.is_well({.running = 1, .counts = 5}, at(1210)));
  EXPECT_FALSE(watch.is_well({.running = 1, .counts = 5}, at(1240)));
  EXPECT_TRUE(watch.is_well({.running = 1, .counts = 6}, at(1270)));  // it moved after all
  EXPECT_TRUE(watch.is_well({.running = 0, .counts = 6}, at(1300)));
  EXPECT_TRUE(watch.is_well({.running = 1, .counts = 6}, at(2000)));  // the time starts anew
}

TEST(ProgressWatch, NeedsTheIoThreads) {
  ProgressWatch watch;
  EXPECT_FALSE(watch.is_well({.io_responds = false}, at(0)));
  EXPECT_TRUE(watch.is_well({.io_responds = true}, at(30)));
}

}  // namespace
}  // namespace pensieve::cli
