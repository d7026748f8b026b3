// Whether somebody uses the server, and since when not: a use lasts from a request that brought the
// token to the end of its answer. Knows time. Must not know routes.
#pragma once

#include <atomic>
#include <chrono>
#include <utility>

namespace pensieve::server {

// Any thread.
class UseClock {
 public:
  using Clock = std::chrono::steady_clock;

  void begin() { ++running_; }
  void end() {
    last_ = Clock::now();
    --running_;
  }
  // 0 while a use lasts.
  std::chrono::milliseconds idle() const {
    if (running_.load() > 0) return {};
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - last_.load());
  }

 private:
  std::atomic<int> running_{0};
  std::atomic<Clock::time_point> last_{Clock::now()};
};

// One use, from construction to destruction. The clock outlives it.
class Use {
 public:
  explicit Use(UseClock& clock) : clock_(&clock) { clock_->begin(); }
  Use(Use&& other) noexcept : clock_(std::exchange(other.clock_, nullptr)) {}
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  ~Use() {
    if (clock_ != nullptr) clock_->end();
  }

 private:
  UseClock* clock_;
};

}  // namespace pensieve::server
