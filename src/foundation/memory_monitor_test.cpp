// The watch with readings and a clock of the test's own.
#include "foundation/memory_monitor.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <future>
#include <string>
#include <thread>

#include "foundation/log.h"

namespace pensieve {
namespace {

constexpr std::array<MemoryLevel, kMemoryLevels> kAll = {MemoryLevel::Safe,
                                                         MemoryLevel::Caution,
                                                         MemoryLevel::Warning,
                                                         MemoryLevel::Critical,
                                                         MemoryLevel::Emergency};

// Bytes that are each level, far from its lines.
std::uint64_t bytes_of(MemoryLevel level) {
  constexpr std::array<std::uint64_t, kMemoryLevels> kBytes = {
      8 * kGiB, 5 * kGiB / 2, 3 * kGiB / 2, 7 * kGiB / 8, kGiB / 4};
  return kBytes[static_cast<std::size_t>(level)];
}

// A monitor over one number, and what it told.
struct Watched {
  explicit Watched(MemoryLevel level) : bytes(bytes_of(level)) {
    monitor.sample();  // an emergency needs two
  }
  // Samples for so long.
  void pass(std::uint64_t ms) {
    for (; ms >= 250; ms -= 250) {
      now_ms += 250;
      monitor.sample();
    }
  }

  std::uint64_t bytes;
  std::uint64_t now_ms = 77;
  MemoryMonitor monitor{{.read =
                             [this] {
                               return SystemMemory{.total_bytes = 16 * kGiB,
                                                   .available_bytes = bytes,
                                                   .known = true,
                                                   .source = MemorySource::Host};
                             },
                         .now_ms = [this] { return now_ms; }}};
};

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

// RELIABILITY, case 51: all 20 ways from one level to another.
TEST(MemoryMonitor, TellsEachChangeOnceInTheLogAndInTheCounts) {
  configure_log(LogLevel::Info, LogFormat::Text);
  for (const MemoryLevel from : kAll) {
    for (const MemoryLevel to : kAll) {
      if (from == to) continue;
      SCOPED_TRACE(std::string(to_string(from)) + " -> " + std::string(to_string(to)));
      Watched watched(from);
      ASSERT_EQ(watched.monitor.state().level, from);
      const auto before = watched.monitor.state().changes_to;
      watched.bytes = bytes_of(to);
      testing::internal::CaptureStderr();
      if (to == MemoryLevel::Emergency && from < MemoryLevel::Critical) {
        // On its way through Critical, one sample before.
        watched.pass(250);
        EXPECT_EQ(watched.monitor.state().level, MemoryLevel::Critical);
        EXPECT_EQ(watched.monitor.state().changes_to[3], before[3] + 1);
      }
      watched.pass(10'000);
      const std::string log = testing::internal::GetCapturedStderr();
      const MemoryState state = watched.monitor.state();
      EXPECT_EQ(state.level, to);
      EXPECT_EQ(state.changes_to[static_cast<std::size_t>(to)],
                before[static_cast<std::size_t>(to)] + 1);
      EXPECT_EQ(count(log, "-> " + std::string(to_string(to)) + ", "), 1u) << log;
      EXPECT_EQ(count(log, "\n"),
                to == MemoryLevel::Emergency && from < MemoryLevel::Critical ? 2u : 1u)
          << log;
      EXPECT_NE(log.find(std::to_string(bytes_of(to) >> 20) + " MiB available (host)"),
                std::string::npos)
          << log;
    }
  }
}

TEST(MemoryMonitor, ItsThreadTellsSamplesAndThenTheEmergencyInTheirPlace) {
  std::atomic<std::uint64_t> bytes{8 * kGiB};
  std::promise<MemoryState> sampled, emergency;
  std::atomic<int> n_samples{0}, n_emergencies{0}, samples_in_emergency{0};
  MemoryMonitor monitor(
      {.read =
           [&] {
             return SystemMemory{.total_bytes = 16 * kGiB, .available_bytes = bytes, .known = true};
           },
       .interval = std::chrono::milliseconds(1)});
  EXPECT_EQ(monitor.state().level, MemoryLevel::Safe);
  ASSERT_TRUE(monitor.start(
      [&](const MemoryState& state) {
        if (++n_samples == 3) sampled.set_value(state);
        if (state.level == MemoryLevel::Emergency) ++samples_in_emergency;
      },
      [&](const MemoryState& state) {
        if (++n_emergencies == 1) emergency.set_value(state);
      }));
  EXPECT_EQ(sampled.get_future().get().level, MemoryLevel::Safe);
  bytes = 0;
  const MemoryState state = emergency.get_future().get();
  EXPECT_EQ(state.level, MemoryLevel::Emergency);
  EXPECT_EQ(state.memory.available_bytes, 0u);
  const auto samples = monitor.state().samples;
  while (monitor.state().samples < samples + 3) std::this_thread::yield();
  EXPECT_EQ(n_emergencies, 1);
  EXPECT_EQ(samples_in_emergency, 0);
}

}  // namespace
}  // namespace pensieve
