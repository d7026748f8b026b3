// Alerts: each limit from both sides, rising at once, falling late, never flapping. The expected
// levels are written out; time is made up.
#include "application/server/internal/alerts.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "application/server/internal/alert_limits.h"

namespace pensieve::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = Alerts::Clock;

constexpr SystemMemory kPlenty{
    .total_bytes = 16 * kGiB, .available_bytes = 8 * kGiB, .known = true};
const Clock::time_point kStart = Clock::time_point(std::chrono::hours(1000));

// Numbers that nobody worries about.
Performance healthy() {
  Performance seen;
  seen.window = kLongWindow;
  seen.requests = 100;
  seen.by_outcome[static_cast<std::size_t>(Outcome::Answered)] = 100;
  seen.first_tokens = 100;
  seen.first_token_p95_s = 1;
  seen.decode_tokens_per_s = 20;
  seen.decoded_tokens = 1000;
  seen.error_rate = 0;
  return seen;
}

Performance first_token(double p95_s) {
  Performance seen = healthy();
  seen.first_token_p95_s = p95_s;
  return seen;
}
Performance decode(double tokens_per_s) {
  Performance seen = healthy();
  seen.decode_tokens_per_s = tokens_per_s;
  return seen;
}
Performance failed(int n, int of) {
  Performance seen = healthy();
  seen.by_outcome[static_cast<std::size_t>(Outcome::Failed)] = n;
  seen.by_outcome[static_cast<std::size_t>(Outcome::Answered)] = of - n;
  seen.error_rate = static_cast<double>(n) / of;
  return seen;
}
SystemMemory available(double gib) {
  return {.total_bytes = 16 * kGiB,
          .available_bytes = static_cast<std::uint64_t>(gib * static_cast<double>(kGiB)),
          .known = true};
}

// As a monitor that has just begun would have it.
std::vector<AlertChange> update(Alerts& alerts,
                                const Performance& seen,
                                const SystemMemory& memory,
                                Clock::time_point now) {
  return alerts.update(seen, memory, level_of(memory), now);
}

AlertLevel level_at_once(AlertKind kind,
                         const Performance& seen,
                         const SystemMemory& memory = kPlenty) {
  Alerts alerts;
  update(alerts, seen, memory, kStart);
  return alerts.level(kind);
}

TEST(Alerts, KnowTheirLimits) {
  using enum AlertKind;
  using enum AlertLevel;
  for (const auto& [value, level] : {std::pair{10.0, None},
                                     {10.1, Info},
                                     {60.0, Info},
                                     {60.1, Warning},
                                     {300.0, Warning},
                                     {300.1, Critical}}) {
    EXPECT_EQ(level_at_once(HighLatency, first_token(value)), level) << value;
  }
  for (const auto& [value, level] : {std::pair{6.0, None},
                                     {5.9, Info},
                                     {2.0, Info},
                                     {1.9, Warning},
                                     {0.5, Warning},
                                     {0.4, Critical}}) {
    EXPECT_EQ(level_at_once(LowThroughput, decode(value)), level) << value;
  }
  for (const auto& [n, level] : {std::pair{10, None},
                                 {11, Info},
                                 {50, Info},
                                 {51, Warning},
                                 {250, Warning},
                                 {251, Critical}}) {
    EXPECT_EQ(level_at_once(HighErrorRate, failed(n, 1000)), level) << n;
  }
  for (const auto& [gib, level] :
       {std::pair{3.5, None}, {2.5, Info}, {1.5, Warning}, {0.75, Critical}, {0.25, Critical}}) {
    EXPECT_EQ(level_at_once(HighMemory, healthy(), available(gib)), level) << gib;
  }
  EXPECT_EQ(level_at_once(HighMemory, healthy(), {}), Warning) << "unknown is never plenty";
}

TEST(Alerts, JudgeNothingBeforeEnoughIsKnown) {
  Performance seen = first_token(1000);
  seen.first_tokens = kLeastFirstTokens - 1;
  EXPECT_EQ(level_at_once(AlertKind::HighLatency, seen), AlertLevel::None);
  seen = decode(0.1);
  seen.decoded_tokens = kLeastDecodedTokens - 1;
  EXPECT_EQ(level_at_once(AlertKind::LowThroughput, seen), AlertLevel::None);
  EXPECT_EQ(level_at_once(AlertKind::HighErrorRate, failed(2, 2)), AlertLevel::None);
  EXPECT_EQ(level_at_once(AlertKind::HighErrorRate, failed(3, 3)), AlertLevel::Critical);
  Alerts alerts;
  EXPECT_TRUE(update(alerts, {}, kPlenty, kStart).empty()) << "nobody has asked anything";
}

TEST(Alerts, RiseAtOnceAndSaySoOnce) {
  Alerts alerts;
  Clock::time_point now = kStart;
  EXPECT_TRUE(update(alerts, healthy(), kPlenty, now).empty());
  auto changes = update(alerts, first_token(61), kPlenty, now += milliseconds(1));
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].before, AlertLevel::None);
  EXPECT_EQ(changes[0].now.kind, AlertKind::HighLatency);
  EXPECT_EQ(changes[0].now.level, AlertLevel::Warning);
  EXPECT_NE(changes[0].now.message.find("61.0 s"), std::string::npos) << changes[0].now.message;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(update(alerts, first_token(61), kPlenty, now += seconds(1)).empty());
  }
  changes = update(alerts, first_token(400), kPlenty, now += seconds(1));
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].before, AlertLevel::Warning);
  EXPECT_EQ(changes[0].now.level, AlertLevel::Critical);
  const auto raised = alerts.raised();
  ASSERT_EQ(raised.size(), 1u);
  EXPECT_EQ(raised[0].since, now);
}

// A level goes when the value has been better by a fifth for half a minute, not before.
TEST(Alerts, FallLate) {
  Alerts alerts;
  Clock::time_point now = kStart;
  update(alerts, first_token(61), kPlenty, now);
  // Below the limit, but not by enough: for ever.
  for (int i = 0; i < 100; ++i) update(alerts, first_token(49), kPlenty, now += seconds(1));
  EXPECT_EQ(alerts.level(AlertKind::HighLatency), AlertLevel::Warning);
  // Good for 29 s, bad for a moment, good again: the time counts anew.
  for (int i = 0; i < 30; ++i) update(alerts, first_token(1), kPlenty, now += seconds(1));
  update(alerts, first_token(59), kPlenty, now += seconds(1));
  for (int i = 0; i < 30; ++i) {
    EXPECT_TRUE(update(alerts, first_token(1), kPlenty, now += seconds(1)).empty()) << i;
  }
  const auto changes = update(alerts, first_token(1), kPlenty, now += seconds(1));
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].now.level, AlertLevel::None);
  EXPECT_TRUE(alerts.raised().empty());
}

TEST(Alerts, FallToTheWorstOfTheQuietTime) {
  Alerts alerts;
  Clock::time_point now = kStart;
  update(alerts, decode(0.1), kPlenty, now);
  update(alerts, decode(30), kPlenty, now += seconds(1));
  update(alerts, decode(1.9), kPlenty, now += seconds(15));
  update(alerts, decode(30), kPlenty, now += seconds(10));
  EXPECT_EQ(alerts.level(AlertKind::LowThroughput), AlertLevel::Critical);
  update(alerts, decode(30), kPlenty, now += seconds(5));
  EXPECT_EQ(alerts.level(AlertKind::LowThroughput), AlertLevel::Warning);
  update(alerts, decode(30), kPlenty, now += seconds(1));
  update(alerts, decode(30), kPlenty, now += seconds(30));
  EXPECT_EQ(alerts.level(AlertKind::LowThroughput), AlertLevel::None);
}

// A value that swings by 5 % about each limit, twice a second for ten minutes.
TEST(Alerts, DoNotFlapAboutALimit) {
  const auto changes_of = [](const std::function<Performance(double)>& seen, double limit) {
    Alerts alerts;
    int changes = 0;
    for (int i = 0; i < 1200; ++i) {
      const double swing = 1 + 0.05 * std::sin(i * 0.9);
      changes += static_cast<int>(
          update(alerts, seen(limit * swing), kPlenty, kStart + milliseconds(500 * i)).size());
    }
    return changes;
  };
  for (const double limit : kFirstTokenS) EXPECT_LE(changes_of(first_token, limit), 2) << limit;
  for (const double limit : kDecodeTokensPerS) EXPECT_LE(changes_of(decode, limit), 2) << limit;
  for (const double limit : kErrorRate) {
    EXPECT_LE(
        changes_of([](double rate) { return failed(static_cast<int>(rate * 1e6), 1'000'000); },
                   limit),
        2)
        << limit;
  }
}

TEST(Alerts, ShowTheMostSevereFirst) {
  Alerts alerts;
  update(alerts, first_token(20), available(0.7), kStart);
  const auto raised = alerts.raised();
  ASSERT_EQ(raised.size(), 2u);
  EXPECT_EQ(raised[0].kind, AlertKind::HighMemory);
  EXPECT_EQ(raised[1].kind, AlertKind::HighLatency);
}

}  // namespace
}  // namespace pensieve::server
