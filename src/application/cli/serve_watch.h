// Whether a server makes progress, for a watchdog that ends one that does not. Knows counters and
// time, both given. Must not know sockets or engines.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace pensieve::cli {

// What is looked at, each time.
struct ServerPulse {
  bool io_responds = true;   // the io threads take up work
  int running = 0;           // requests under way or waiting
  std::uint64_t counts = 0;  // of everything the engine counts; any change is progress
};

class ProgressWatch {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // `patience`: how long the engine may have requests and count nothing. A request without progress
  // ends after 120 s by itself, so that longer than that the engine itself is stuck.
  explicit ProgressWatch(std::chrono::seconds patience = std::chrono::seconds(180))
      : patience_(patience) {}

  // Whether the server is well at `now`. Times must not go back.
  bool is_well(const ServerPulse& pulse, Time now);

 private:
  std::chrono::seconds patience_;
  std::uint64_t last_counts_ = 0;
  std::optional<Time> since_;  // requests and no progress
};

}  // namespace pensieve::cli
