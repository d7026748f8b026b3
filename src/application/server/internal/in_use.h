// Whether somebody uses the server, and since when not: a use lasts from a request that brought the
// token to the end of its answer. Knows time and the life of answers. Must not know routes.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "application/http/handler.h"

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

// The same answer, whose use ends with it.
inline http::Reply until_answered(http::Reply reply, Use use) {
  class UsedPending final : public http::Pending {
   public:
    UsedPending(std::unique_ptr<http::Pending> inner, Use use)
        : use_(std::move(use)), inner_(std::move(inner)) {}
    void on_ready(std::function<void()> ready) override { inner_->on_ready(std::move(ready)); }
    std::optional<http::Response> poll() override { return inner_->poll(); }

   private:
    Use use_;
    std::unique_ptr<http::Pending> inner_;
  };
  class UsedStream final : public http::EventStream {
   public:
    UsedStream(std::unique_ptr<http::EventStream> inner, Use use)
        : use_(std::move(use)), inner_(std::move(inner)) {}
    void on_ready(std::function<void()> ready) override { inner_->on_ready(std::move(ready)); }
    http::StreamPiece poll() override { return inner_->poll(); }
    void head_leaves() override { inner_->head_leaves(); }
    std::string ping() override { return inner_->ping(); }
    std::string cut_off() override { return inner_->cut_off(); }

   private:
    Use use_;
    std::unique_ptr<http::EventStream> inner_;
  };
  if (auto* pending = std::get_if<std::unique_ptr<http::Pending>>(&reply)) {
    return std::make_unique<UsedPending>(std::move(*pending), std::move(use));
  }
  if (auto* stream = std::get_if<http::StreamReply>(&reply)) {
    stream->events = std::make_unique<UsedStream>(std::move(stream->events), std::move(use));
  }
  return reply;
}

}  // namespace pensieve::server
