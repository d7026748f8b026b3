// How the server does: the last requests to the model in a fixed ring, and what they come to over
// the last minutes. Knows records and time, which it is given. Must not know routes or clients.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "application/server/internal/request_record.h"

namespace pensieve::server {

// What one moment and one conversation look like; whether something is wrong.
inline constexpr std::chrono::seconds kShortWindow{60};
inline constexpr std::chrono::seconds kLongWindow{300};

// Over one window. Times and speeds are missing where nothing gave one.
struct Performance {
  std::chrono::seconds window{0};
  int requests = 0;  // that ended in it
  std::array<int, kOutcomes> by_outcome{};
  double requests_per_s = 0;
  double output_tokens_per_s = 0;              // of all answers together, unfinished ones too
  std::optional<double> prefill_tokens_per_s;  // computed prompt tokens, while a prompt was read
  std::optional<double> decode_tokens_per_s;   // of one answer, behind its first token
  std::uint64_t decoded_tokens = 0;            // that the number above is made of
  std::optional<double> latency_mean_s, latency_p95_s;          // of answered requests
  std::optional<double> first_token_mean_s, first_token_p95_s;  // from a request's last byte
  int first_tokens = 0;                                         // that these are made of
  std::optional<double> error_rate;  // failed ones of the answered and failed ones
  std::uint64_t peak_resident_bytes = 0;

  int count(Outcome outcome) const { return by_outcome[static_cast<std::size_t>(outcome)]; }
};

// Any thread. `now` never goes back.
class PerformanceMonitor {
 public:
  using Clock = RequestRecord::Clock;

  // More requests than a window sees at three a second. Older ones are forgotten then, and rates
  // are taken over the time that the rest covers.
  static constexpr std::size_t kRecords = 1024;

  explicit PerformanceMonitor(Clock::time_point start) : start_(start) {}

  // A request is over; `record.asks_model`.
  void record(const RequestRecord& record);

  // An answer has grown by so many tokens.
  void output(int n_tokens, Clock::time_point now);

  // REQUIRES: window <= kLongWindow. Rates count from the start of the server where that is less
  // long ago. p95 is the nearest rank: the smallest value that 95 % are not above.
  Performance over(std::chrono::seconds window, Clock::time_point now) const;

 private:
  // The numbers of a record, without its words.
  struct Entry {
    Clock::time_point end;
    Outcome outcome;
    Clock::duration latency;
    std::optional<Clock::duration> prefill, first_token, decode;
    int missed_tokens, output_tokens;
    std::uint64_t peak_resident_bytes;
  };
  struct Second {
    std::int64_t number = -1;  // since the start
    std::uint64_t n_tokens = 0;
  };

  std::int64_t second_of(Clock::time_point now) const;

  const Clock::time_point start_;
  mutable std::mutex mutex_;
  std::vector<Entry> ring_;  // grows to kRecords once, then the oldest is overwritten
  std::size_t next_ = 0;
  std::array<Second, static_cast<std::size_t>(kLongWindow.count()) + 1> seconds_{};
};

}  // namespace pensieve::server
