// What the server itself notes of one answer of the model while it is drawn: where the prompt's
// tokens came from, for the header X-Pensieve-Cache, the log and the metrics, and how long its
// phases took.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "domain/claude/service.h"

#include "application/http/message.h"
#include "application/server/internal/context.h"
#include "application/server/internal/request_record.h"
#include "application/server/internal/running_requests.h"

namespace pensieve::server {

class AnswerWatch {
 public:
  // Context and answer outlive it; what it sees goes into `record`, which has the request's id,
  // route and begin.
  AnswerWatch(Context& context,
              std::shared_ptr<RequestRecord> record,
              const claude::Answer& answer);

  // After every poll() of the answer. Writes one line to the log if a long beginning of the prompt
  // had to be computed again and parts from one that was kept.
  void look();

  // The answer ended with an error.
  void broke() { record_->broken = true; }

  // "X-Pensieve-Cache: hit=N miss=M restored=K", in prompt tokens, once the engine has begun.
  std::vector<http::Header> headers() const;

 private:
  using Clock = RequestRecord::Clock;
  void look_at_memory(Clock::time_point now);
  void log_miss() const;

  Context& context_;
  const std::shared_ptr<RequestRecord> record_;
  const claude::Answer& answer_;
  RunningRequests::Entry running_;
  std::optional<claude::CacheReport> report_;
  Clock::time_point begun_;
  Clock::time_point first_token_;
  Clock::time_point memory_at_;
};

}  // namespace pensieve::server
