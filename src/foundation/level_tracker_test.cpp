// Levels over a made-up time, in steps of the 250 ms in which the machine is sampled.
#include "foundation/level_tracker.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

namespace pensieve {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kStepMs = 250;

SystemMemory available(std::uint64_t bytes) {
  return {.total_bytes = 64 * kGiB, .available_bytes = bytes, .known = true};
}
const SystemMemory kBlind{};

// A tracker with its clock.
class Machine {
 public:
  explicit Machine(std::uint64_t bytes) { step(bytes); }
  MemoryLevel step(const SystemMemory& memory) {
    now_ms_ += kStepMs;
    return tracker_.update(memory, now_ms_);
  }
  MemoryLevel step(std::uint64_t bytes) { return step(available(bytes)); }
  MemoryLevel stay(std::uint64_t bytes, std::uint64_t ms) {
    for (; ms >= kStepMs; ms -= kStepMs) step(bytes);
    return tracker_.level();
  }

 private:
  LevelTracker tracker_;
  std::uint64_t now_ms_ = 1'000'000;
};

TEST(LevelTracker, WorseCountsAtOnce) {
  Machine machine(8 * kGiB);
  EXPECT_EQ(machine.step(3 * kGiB), MemoryLevel::Caution);
  EXPECT_EQ(machine.step(2 * kGiB), MemoryLevel::Warning);
  EXPECT_EQ(machine.step(1 * kGiB), MemoryLevel::Critical);
}

TEST(LevelTracker, AnEmergencyNeedsTwoReadingsInARow) {
  Machine machine(8 * kGiB);
  EXPECT_EQ(machine.step(kGiB / 2), MemoryLevel::Critical);
  EXPECT_EQ(machine.step(kGiB / 2 + 1), MemoryLevel::Critical);
  EXPECT_EQ(machine.step(kGiB / 2), MemoryLevel::Critical);
  EXPECT_EQ(machine.step(kBlind), MemoryLevel::Critical);
  EXPECT_EQ(machine.step(kGiB / 2), MemoryLevel::Critical);
  EXPECT_EQ(machine.step(kGiB / 2), MemoryLevel::Emergency);
  EXPECT_EQ(Machine(0).step(std::uint64_t{0}), MemoryLevel::Emergency);
}

// Each line on the way back, with the margin the rule names: max(256 MiB, 10 %).
TEST(LevelTracker, BetterCountsAfterFiveSecondsBeyondTheMargin) {
  struct Row {
    MemoryLevel before, after;
    std::uint64_t below, beyond;  // bytes that keep it, and that end it
  };
  const std::uint64_t safe = 3 * kGiB + 3 * kGiB / 10;
  for (const Row& row : std::vector<Row>{
           {MemoryLevel::Caution, MemoryLevel::Safe, safe, safe + 1},
           {MemoryLevel::Warning, MemoryLevel::Caution, 2 * kGiB + 256 * kMiB, 0},
           {MemoryLevel::Critical, MemoryLevel::Warning, 1 * kGiB + 256 * kMiB, 0},
           {MemoryLevel::Emergency, MemoryLevel::Critical, kGiB / 2 + 256 * kMiB, 0},
       }) {
    SCOPED_TRACE(to_string(row.before));
    const std::uint64_t beyond = row.beyond == 0 ? row.below + 1 : row.beyond;
    const std::array<std::uint64_t, kMemoryLevels> inside = {
        4 * kGiB, 3 * kGiB, 2 * kGiB, 1 * kGiB, kGiB / 2};
    Machine machine(inside[static_cast<std::size_t>(row.before)]);
    EXPECT_EQ(machine.step(inside[static_cast<std::size_t>(row.before)]), row.before);
    EXPECT_EQ(machine.stay(row.below, 60'000), row.before);
    EXPECT_EQ(machine.stay(beyond, 5'000), row.before);
    EXPECT_EQ(machine.step(row.below), row.before) << "one reading below begins it anew";
    EXPECT_EQ(machine.stay(beyond, 5'000), row.before);
    EXPECT_EQ(machine.step(beyond), row.after);
  }
}

TEST(LevelTracker, GoesToTheWorstOfTheSecondsInWhichItWasBetter) {
  Machine machine(kGiB);
  EXPECT_EQ(machine.stay(8 * kGiB, 2'500), MemoryLevel::Critical);
  EXPECT_EQ(machine.step(2 * kGiB), MemoryLevel::Critical);
  EXPECT_EQ(machine.stay(8 * kGiB, 2'500), MemoryLevel::Warning);
  EXPECT_EQ(machine.stay(8 * kGiB, 5'250), MemoryLevel::Safe);
}

TEST(LevelTracker, StandsForTwoSecondsWhenNothingCanBeReadAndIsAWarningThen) {
  Machine safe(8 * kGiB);
  for (int i = 0; i < 7; ++i) EXPECT_EQ(safe.step(kBlind), MemoryLevel::Safe);
  EXPECT_EQ(safe.step(kBlind), MemoryLevel::Warning);
  for (int i = 0; i < 240; ++i) EXPECT_EQ(safe.step(kBlind), MemoryLevel::Warning);
  EXPECT_EQ(safe.stay(8 * kGiB, 5'000), MemoryLevel::Warning);
  EXPECT_EQ(safe.step(8 * kGiB), MemoryLevel::Safe);

  LevelTracker never;
  EXPECT_EQ(never.update(kBlind, 5), MemoryLevel::Warning);
}

// RELIABILITY, case 54: +/-5 % around each line, 0.5 Hz, for a minute.
TEST(LevelTracker, ASineAtALineDoesNotMakeItSwing) {
  for (const std::uint64_t line :
       {kSafeAboveBytes, kCautionAboveBytes, kWarningAboveBytes, kCriticalAboveBytes}) {
    for (int phase = 0; phase < 8; ++phase) {
      Machine machine(8 * kGiB);
      MemoryLevel last = MemoryLevel::Safe;
      int n_changes = 0;
      for (int i = 0; i < 240; ++i) {
        const double seconds = 0.25 * i,
                     turn = 2 * std::numbers::pi * (0.5 * seconds + phase / 8.0);
        const double bytes = static_cast<double>(line) * (1 + 0.05 * std::sin(turn));
        const MemoryLevel now = machine.step(static_cast<std::uint64_t>(bytes));
        n_changes += now != last;
        last = now;
      }
      EXPECT_GE(n_changes, 1) << line;
      EXPECT_LE(n_changes, 6) << line;
    }
  }
}

// Wherever between two samples a drop falls, the next one or the one behind it shows it.
TEST(LevelTracker, SeesADropWithinHalfASecond) {
  for (const std::uint64_t line :
       {kSafeAboveBytes, kCautionAboveBytes, kWarningAboveBytes, kCriticalAboveBytes}) {
    Machine machine(8 * kGiB);
    machine.step(line);
    EXPECT_EQ(machine.step(line), level_of(available(line)));
  }
}

}  // namespace
}  // namespace pensieve
