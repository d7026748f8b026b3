// What the server itself notes of one answer of the model while it is drawn: where the prompt's
// tokens came from, for the header X-Pensieve-Cache, the log and the metrics, and how long its
// phases took.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "domain/claude/service.h"

#include "application/http/message.h"
#include "application/server/internal/context.h"

namespace pensieve::server {

class AnswerWatch {
 public:
  // The context outlives it.
  AnswerWatch(Context& context, std::string request_id)
      : context_(context), request_id_(std::move(request_id)) {}

  // After every poll() of the answer. Writes one line to the log if a long beginning of the prompt
  // had to be computed again and parts from one that was kept.
  void look(const claude::Answer& answer);

  // "X-Pensieve-Cache: hit=N miss=M restored=K", in prompt tokens, once the engine has begun.
  std::vector<http::Header> headers() const;

 private:
  using Clock = std::chrono::steady_clock;
  void log_miss() const;

  Context& context_;
  const std::string request_id_;
  const Clock::time_point asked_ = Clock::now();
  std::optional<claude::CacheReport> report_;
  Clock::time_point begun_;
  std::optional<Clock::time_point> first_token_;
  bool over_ = false;
};

}  // namespace pensieve::server
