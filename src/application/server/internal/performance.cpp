#include "application/server/internal/performance.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "foundation/check.h"

namespace pensieve::server {
namespace {

using Clock = PerformanceMonitor::Clock;

double to_seconds(Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

// Mean and 95th percentile of a list that may be empty.
void summarise(std::vector<double>& values,
               std::optional<double>& mean,
               std::optional<double>& p95) {
  if (values.empty()) return;
  mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  const auto rank = (values.size() * 95 + 99) / 100;  // the ceiling, from 1
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(rank - 1);
  std::nth_element(values.begin(), at, values.end());
  p95 = *at;
}

// Tokens and the time they took, of several requests.
struct Speed {
  std::uint64_t n_tokens = 0;
  Clock::duration time{};

  void add(int n, Clock::duration taken) {
    if (n <= 0 || taken <= Clock::duration::zero()) return;
    n_tokens += static_cast<std::uint64_t>(n);
    time += taken;
  }
  std::optional<double> per_s() const {
    if (n_tokens == 0) return std::nullopt;
    return static_cast<double>(n_tokens) / to_seconds(time);
  }
};

}  // namespace

void PerformanceMonitor::record(const RequestRecord& record) {
  const Entry entry{.end = record.end,
                    .outcome = record.outcome,
                    .latency = record.end - record.begin,
                    .prefill = record.prefill,
                    .first_token = record.first_token,
                    .decode = record.decode,
                    .missed_tokens = record.missed_tokens,
                    .output_tokens = record.output_tokens,
                    .peak_resident_bytes = record.peak_resident_bytes};
  const std::lock_guard lock(mutex_);
  if (ring_.size() < kRecords) {
    ring_.push_back(entry);
    return;
  }
  ring_[next_] = entry;
  next_ = (next_ + 1) % kRecords;
}

std::int64_t PerformanceMonitor::second_of(Clock::time_point now) const {
  return std::chrono::duration_cast<std::chrono::seconds>(now - start_).count();
}

void PerformanceMonitor::output(int n_tokens, Clock::time_point now) {
  const std::int64_t number = second_of(now);
  const std::lock_guard lock(mutex_);
  Second& second = seconds_[static_cast<std::size_t>(number) % seconds_.size()];
  if (second.number != number) second = {.number = number, .n_tokens = 0};
  second.n_tokens += static_cast<std::uint64_t>(n_tokens);
}

Performance PerformanceMonitor::over(std::chrono::seconds window, Clock::time_point now) const {
  CHECK(window.count() > 0 && window <= kLongWindow);
  Performance sum;
  sum.window = window;
  std::vector<double> latencies, first_tokens;
  Speed prefill, decode;
  std::uint64_t n_output = 0;
  Clock::time_point since = std::max(start_, now - window);
  {
    const std::lock_guard lock(mutex_);
    // Requests that were forgotten would make the rate too low.
    if (ring_.size() == kRecords) since = std::max(since, ring_[next_].end);
    for (const Entry& entry : ring_) {
      if (entry.end <= now - window || entry.end > now) continue;
      ++sum.requests;
      ++sum.by_outcome[static_cast<std::size_t>(entry.outcome)];
      if (entry.outcome == Outcome::Answered) latencies.push_back(to_seconds(entry.latency));
      if (entry.first_token) first_tokens.push_back(to_seconds(*entry.first_token));
      if (entry.prefill) prefill.add(entry.missed_tokens, *entry.prefill);
      if (entry.decode) decode.add(entry.output_tokens - 1, *entry.decode);
      sum.peak_resident_bytes = std::max(sum.peak_resident_bytes, entry.peak_resident_bytes);
    }
    const std::int64_t last = second_of(now);
    for (const Second& second : seconds_) {
      const bool in_window = second.number > last - window.count() && second.number <= last;
      if (second.number >= 0 && in_window) n_output += second.n_tokens;
    }
  }
  // Whatever came in less than a second is counted over one.
  const double covered_s = std::max(1.0, to_seconds(now - since));
  const double lived_s = std::clamp(to_seconds(now - start_), 1.0, to_seconds(window));
  sum.requests_per_s = sum.requests / covered_s;
  sum.output_tokens_per_s = static_cast<double>(n_output) / lived_s;
  sum.prefill_tokens_per_s = prefill.per_s();
  sum.decode_tokens_per_s = decode.per_s();
  sum.decoded_tokens = decode.n_tokens;
  sum.first_tokens = static_cast<int>(first_tokens.size());
  summarise(latencies, sum.latency_mean_s, sum.latency_p95_s);
  summarise(first_tokens, sum.first_token_mean_s, sum.first_token_p95_s);
  const int judged = sum.count(Outcome::Answered) + sum.count(Outcome::Failed);
  if (judged > 0) sum.error_rate = static_cast<double>(sum.count(Outcome::Failed)) / judged;
  return sum;
}

}  // namespace pensieve::server
