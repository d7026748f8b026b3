// What is wrong at the moment: four alerts, each with a level that rises at once and falls late.
// Knows numbers, limits and time, which it is given. Must not know where the numbers come from.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/system_memory.h"

#include "application/server/internal/performance.h"

namespace pensieve::server {

enum class AlertKind : std::uint8_t { HighLatency, LowThroughput, HighMemory, HighErrorRate };
inline constexpr int kAlertKinds = 4;
std::string_view to_string(AlertKind kind);  // "high_latency"

enum class AlertLevel : std::uint8_t { None, Info, Warning, Critical };
std::string_view to_string(AlertLevel level);  // "none"

struct Alert {
  AlertKind kind = AlertKind::HighLatency;
  AlertLevel level = AlertLevel::None;
  std::string message;                            // a sentence with the last numbers there were
  std::chrono::steady_clock::time_point since{};  // it has this level
};

struct AlertChange {
  AlertLevel before = AlertLevel::None;
  Alert now;
};

// Any thread. `now` never goes back.
class Alerts {
 public:
  using Clock = std::chrono::steady_clock;

  // Judges the numbers (of kLongWindow), and memory by the level it has; gives what changed. What
  // too little is known of counts as good.
  std::vector<AlertChange> update(const Performance& performance,
                                  const SystemMemory& memory,
                                  MemoryLevel memory_level,
                                  Clock::time_point now);

  // Those with a level, the most severe first.
  std::vector<Alert> raised() const;
  AlertLevel level(AlertKind kind) const;

 private:
  struct Judgement {
    AlertLevel level = AlertLevel::None;  // by the limits themselves
    AlertLevel held = AlertLevel::None;   // by those that an alert has to get below: >= level
    std::string message;
  };
  struct State {
    Alert alert;
    std::optional<Clock::time_point> better_since;
    AlertLevel worst_since = AlertLevel::None;  // the highest `held` since then
  };
  static Judgement judge(AlertKind kind,
                         const Performance& performance,
                         const SystemMemory& memory,
                         MemoryLevel memory_level);
  static std::optional<AlertChange> step(State& state, Judgement judgement, Clock::time_point now);

  mutable std::mutex mutex_;
  std::array<State, kAlertKinds> states_{};
};

}  // namespace pensieve::server
