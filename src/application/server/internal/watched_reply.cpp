#include "application/server/internal/watched_reply.h"

#include <functional>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <variant>

#include "foundation/log.h"

namespace pensieve::server {
namespace {

class WatchedPending final : public http::Pending {
 public:
  WatchedPending(std::unique_ptr<http::Pending> inner, Attendance attendance)
      : attendance_(std::move(attendance)), inner_(std::move(inner)) {}
  void on_ready(std::function<void()> ready) override { inner_->on_ready(std::move(ready)); }
  std::optional<http::Response> poll() override {
    const RequestLogScope scope(attendance_.id());
    auto response = inner_->poll();
    if (response) attendance_.answered(response->status);
    return response;
  }

 private:
  Attendance attendance_;  // goes last
  std::unique_ptr<http::Pending> inner_;
};

class WatchedStream final : public http::EventStream {
 public:
  WatchedStream(std::unique_ptr<http::EventStream> inner, int status, Attendance attendance)
      : status_(status), attendance_(std::move(attendance)), inner_(std::move(inner)) {}
  void on_ready(std::function<void()> ready) override { inner_->on_ready(std::move(ready)); }
  http::StreamPiece poll() override {
    const RequestLogScope scope(attendance_.id());
    http::StreamPiece piece = inner_->poll();
    if (!piece.bytes.empty() || piece.finished) {
      attendance_.answered(piece.instead ? piece.instead->status : status_);
    }
    return piece;
  }
  void head_leaves() override {
    attendance_.answered(status_);
    inner_->head_leaves();
  }
  std::string ping() override { return inner_->ping(); }
  std::string cut_off(const Error& error) override { return inner_->cut_off(error); }
  std::string emergency() override { return inner_->emergency(); }

 private:
  const int status_;  // of the head
  Attendance attendance_;
  std::unique_ptr<http::EventStream> inner_;
};

}  // namespace

Attendance::Attendance(Context& context, std::shared_ptr<RequestRecord> record, bool used)
    : context_(&context), record_(std::move(record)) {
  if (used) use_.emplace(context.use);
}

Attendance::Attendance(Attendance&& other) noexcept
    : context_(other.context_), record_(std::move(other.record_)), use_(std::move(other.use_)) {}

Attendance::~Attendance() {
  if (!record_) return;
  try {
    RequestRecord& record = *record_;
    record.end = RequestRecord::Clock::now();
    record.outcome = outcome_of(record);
    if (record.status != 0) {
      context_->metrics.answered(record.route, record.status, record.end - record.begin);
    } else if (!context_->draining.load()) {  // then the connection refuses it, and that counts
      context_->metrics.abandoned(record.route);
    }
    log_request(record);
    if (!record.asks_model) return;
    context_->metrics.ended(record.outcome);
    context_->performance.record(record);
    look_after_alerts(*context_);
  } catch (const std::bad_alloc&) {  // one request goes uncounted
  }
}

void Attendance::answered(int status) {
  if (record_->status == 0) record_->status = status;
}

http::Reply watched(http::Reply reply, Attendance attendance) {
  if (auto* pending = std::get_if<std::unique_ptr<http::Pending>>(&reply)) {
    return std::make_unique<WatchedPending>(std::move(*pending), std::move(attendance));
  }
  if (auto* stream = std::get_if<http::StreamReply>(&reply)) {
    stream->events = std::make_unique<WatchedStream>(
        std::move(stream->events), stream->head.status, std::move(attendance));
    return reply;
  }
  attendance.answered(std::get<http::Response>(reply).status);
  return reply;
}

}  // namespace pensieve::server
