// The rolling numbers, compared with a plain list of everything that ever happened.
#include "application/server/internal/performance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace pensieve::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = PerformanceMonitor::Clock;

const Clock::time_point kStart = Clock::time_point(std::chrono::hours(1000));

RequestRecord ended(Clock::time_point end, Clock::duration latency, Outcome outcome) {
  RequestRecord record;
  record.begin = end - latency;
  record.end = end;
  record.outcome = outcome;
  record.asks_model = true;
  return record;
}

double in_seconds(Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

// Nearest rank, by its definition: the smallest value that at least 95 % of the list are not above.
double p95(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (static_cast<double>(i + 1) >= 0.95 * static_cast<double>(values.size())) return values[i];
  }
  return values.back();
}

void expect_near(const std::optional<double>& value,
                 const std::vector<double>& list,
                 bool is_mean) {
  ASSERT_EQ(value.has_value(), !list.empty());
  if (value) {
    EXPECT_NEAR(*value, is_mean ? mean(list) : p95(list), 1e-9);
  }
}

TEST(Performance, IsWhatAListOfEverythingGives) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto ms = [&](int most) {
      return milliseconds(std::uniform_int_distribution(1, most)(random));
    };
    PerformanceMonitor monitor(kStart);
    std::vector<RequestRecord> all;
    std::vector<std::pair<Clock::time_point, int>> tokens;
    Clock::time_point now = kStart;
    for (int i = 0; i < 400; ++i) {
      now += ms(3000);
      RequestRecord record = ended(now, ms(5000), static_cast<Outcome>(random() % kOutcomes));
      if (random() % 4 != 0) {
        record.first_token = ms(4000);
        record.prefill = ms(3000);
        record.decode = ms(9000);
        record.hit_tokens = static_cast<int>(random() % 100);
        record.missed_tokens = static_cast<int>(1 + random() % 1000);
        record.output_tokens = static_cast<int>(1 + random() % 100);
        record.peak_resident_bytes = random();
      }
      monitor.record(record);
      all.push_back(record);
      tokens.emplace_back(now, static_cast<int>(random() % 20));
      monitor.output(tokens.back().second, now);
      if (i % 20 != 19) continue;

      const seconds window = random() % 2 == 0 ? kShortWindow : kLongWindow;
      const Performance seen = monitor.over(window, now);
      std::vector<double> latencies, first_tokens;
      std::array<int, kOutcomes> outcomes{};
      int n = 0;
      std::uint64_t peak = 0;
      double missed = 0, prefill_s = 0, decoded = 0, decode_s = 0, output = 0;
      for (const RequestRecord& one : all) {
        if (one.end <= now - window) continue;
        ++n;
        ++outcomes[static_cast<std::size_t>(one.outcome)];
        if (one.outcome == Outcome::Answered) latencies.push_back(in_seconds(one.end - one.begin));
        if (!one.first_token) continue;
        first_tokens.push_back(in_seconds(*one.first_token));
        missed += one.missed_tokens;
        prefill_s += in_seconds(*one.prefill);
        peak = std::max(peak, one.peak_resident_bytes);
        if (one.output_tokens < 2) continue;
        decoded += one.output_tokens - 1;
        decode_s += in_seconds(*one.decode);
      }
      // Tokens are counted in whole seconds.
      const auto second = [](Clock::time_point at) {
        return std::chrono::duration_cast<seconds>(at - kStart);
      };
      for (const auto& [at, count] : tokens) {
        if (second(at) > second(now) - window) output += count;
      }
      const double lived_s = std::min(in_seconds(window), in_seconds(now - kStart));
      EXPECT_EQ(seen.window, window);
      EXPECT_EQ(seen.requests, n);
      EXPECT_EQ(seen.by_outcome, outcomes);
      EXPECT_NEAR(seen.requests_per_s, n / lived_s, 1e-9);
      EXPECT_NEAR(seen.output_tokens_per_s, output / lived_s, 1e-9);
      EXPECT_EQ(seen.peak_resident_bytes, peak);
      EXPECT_EQ(seen.first_tokens, static_cast<int>(first_tokens.size()));
      EXPECT_EQ(static_cast<double>(seen.decoded_tokens), decoded);
      EXPECT_NEAR(
          seen.prefill_tokens_per_s.value_or(0), prefill_s > 0 ? missed / prefill_s : 0, 1e-6);
      EXPECT_NEAR(
          seen.decode_tokens_per_s.value_or(0), decode_s > 0 ? decoded / decode_s : 0, 1e-6);
      expect_near(seen.latency_mean_s, latencies, true);
      expect_near(seen.latency_p95_s, latencies, false);
      expect_near(seen.first_token_mean_s, first_tokens, true);
      expect_near(seen.first_token_p95_s, first_tokens, false);
    }
  }
}

TEST(Performance, OfNothingIsNothing) {
  const PerformanceMonitor monitor(kStart);
  const Performance seen = monitor.over(kShortWindow, kStart + seconds(1000));
  EXPECT_EQ(seen.requests, 0);
  EXPECT_EQ(seen.requests_per_s, 0);
  EXPECT_EQ(seen.output_tokens_per_s, 0);
  EXPECT_FALSE(seen.latency_p95_s || seen.first_token_p95_s || seen.error_rate);
  EXPECT_FALSE(seen.prefill_tokens_per_s || seen.decode_tokens_per_s);
}

TEST(Performance, KeepsARateWhenItsRingIsFull) {
  PerformanceMonitor monitor(kStart);
  Clock::time_point now = kStart;
  for (std::size_t i = 0; i < 5 * PerformanceMonitor::kRecords; ++i) {  // 100 a second, for 51 s
    now += milliseconds(10);
    monitor.record(ended(now, milliseconds(5), Outcome::Answered));
  }
  const Performance seen = monitor.over(kShortWindow, now);
  EXPECT_EQ(seen.requests, static_cast<int>(PerformanceMonitor::kRecords));
  EXPECT_NEAR(seen.requests_per_s, 100, 0.2);
}

TEST(Performance, ErrorsAreMeasuredAgainstWhatTheServerCouldHaveAnswered) {
  PerformanceMonitor monitor(kStart);
  const auto now = kStart + seconds(10);
  for (const Outcome outcome : {Outcome::Answered,
                                Outcome::Answered,
                                Outcome::Answered,
                                Outcome::Failed,
                                Outcome::Refused,
                                Outcome::Refused,
                                Outcome::Left}) {
    monitor.record(ended(now, seconds(1), outcome));
  }
  EXPECT_EQ(monitor.over(kShortWindow, now).error_rate, 0.25);
  EXPECT_FALSE(monitor.over(kShortWindow, now + kShortWindow).error_rate);
}

TEST(Performance, OutcomesFollowStatusAndEnd) {
  RequestRecord record;
  record.asks_model = true;
  EXPECT_EQ(outcome_of(record), Outcome::Left) << "no head left";
  record.status = 200;
  EXPECT_EQ(outcome_of(record), Outcome::Left) << "in the middle of its stream";
  record.complete = true;
  EXPECT_EQ(outcome_of(record), Outcome::Answered);
  record.broken = true;
  EXPECT_EQ(outcome_of(record), Outcome::Failed) << "an error event in a stream";
  record = {};
  record.status = 400;
  record.asks_model = true;
  EXPECT_EQ(outcome_of(record), Outcome::Refused);
  for (const int status : {500, 503, 529}) {
    record.status = status;
    EXPECT_EQ(outcome_of(record), Outcome::Failed) << status;
  }
  record = {};
  record.status = 200;
  EXPECT_EQ(outcome_of(record), Outcome::Answered) << "nobody asked the model";
}

}  // namespace
}  // namespace pensieve::server
