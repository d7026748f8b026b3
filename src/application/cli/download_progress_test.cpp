// The line that says how far a download is: what it says, how wide it is, and how often it comes.
#include "application/cli/download_progress.h"

#include <gtest/gtest.h>

#include <string>

namespace pensieve::cli {
namespace {

using std::chrono::milliseconds;
constexpr std::uint64_t kMiB = 1 << 20, kPhi3Mini = 2'150'000'000;

TEST(ProgressText, SaysHowFarHowFastAndHowLong) {
  const std::string text = progress_text(512 * kMiB, 2048 * kMiB, 24.0 * kMiB, 120);
  EXPECT_EQ(text,
            "[######..................]  25 %  512 MiB of 2.0 GiB  24.0 MiB/s  1 min 04 s left");
  EXPECT_EQ(progress_text(0, 0, 0, 80), "0 bytes");
  EXPECT_EQ(progress_text(3 * kMiB, 0, 1.0 * kMiB, 80), "3.0 MiB  1.0 MiB/s");
  EXPECT_EQ(progress_text(5 * kMiB, 4 * kMiB, 0, 80),
            "[########################] 100 %  4.0 MiB of 4.0 MiB");
  EXPECT_EQ(progress_text(0, 7200 * kMiB, 1.0 * kMiB, 50),
            "  0 %  0 bytes of 7.0 GiB  2 h 00 min left");
}

TEST(ProgressText, NeverFillsALineOfTheTerminal) {
  for (int columns = 40; columns <= 200; ++columns) {
    for (const std::uint64_t done : {kMiB - kMiB, 1023 * kMiB, kPhi3Mini - 1, kPhi3Mini}) {
      for (const double speed : {0.0, 1.0, 1023.0 * 1024, 1e9}) {
        const std::string text = progress_text(done, kPhi3Mini, speed, columns);
        EXPECT_LT(text.size(), static_cast<std::size_t>(columns)) << text;
        EXPECT_NE(text.find(" of 2.0 GiB"), std::string::npos);
      }
    }
  }
}

TEST(LinePace, SpeaksAtEveryTenthButOnlyOnceASecond) {
  const auto begin = LinePace::Time();
  LinePace pace(begin, 0, 1000);
  EXPECT_FALSE(pace.due(begin + milliseconds(500), 900, 1000)) << "too soon";
  EXPECT_TRUE(pace.due(begin + milliseconds(1000), 900, 1000));
  EXPECT_FALSE(pace.due(begin + milliseconds(3000), 999, 1000)) << "no tenth further";
  EXPECT_TRUE(pace.due(begin + milliseconds(3001), 1000, 1000));
}

TEST(LinePace, SpeaksAtLeastTwiceAMinute) {
  const auto begin = LinePace::Time();
  for (const std::uint64_t total : {0u, 1'000'000u}) {
    LinePace pace(begin, 0, total);
    EXPECT_FALSE(pace.due(begin + milliseconds(29'999), 1, total));
    EXPECT_TRUE(pace.due(begin + milliseconds(30'000), 1, total));
    EXPECT_FALSE(pace.due(begin + milliseconds(59'999), 2, total));
    EXPECT_TRUE(pace.due(begin + milliseconds(60'000), 2, total));
  }
}

TEST(LinePace, ContinuesBehindWhatWasThere) {
  LinePace pace(LinePace::Time(), 550, 1000);
  EXPECT_FALSE(pace.due(LinePace::Time() + milliseconds(2000), 599, 1000));
  EXPECT_TRUE(pace.due(LinePace::Time() + milliseconds(2001), 600, 1000));
}

}  // namespace
}  // namespace pensieve::cli
