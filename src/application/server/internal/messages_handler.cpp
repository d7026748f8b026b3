// POST /v1/messages and its count_tokens: between HTTP and the Claude service, nothing else. Knows
// when the first byte leaves. Must not know tokens, prompts or models.
#include <utility>

#include "foundation/log.h"
#include "foundation/text.h"

#include "domain/api/messages.h"

#include "application/http/response_writer.h"
#include "application/server/internal/answer_watch.h"
#include "application/server/internal/routes.h"

namespace pensieve::server {
namespace {

std::string frame(const api::Event& event) {
  return http::sse_event(event.name, event.json);
}

// stream: false. The answer is drawn as it grows, so that the engine never waits for us.
class PendingMessage final : public http::Pending {
 public:
  PendingMessage(Call& call, std::unique_ptr<claude::Answer> answer)
      : context_(call.context),
        request_id_(call.request_id),
        origin_(call.origin()),
        answer_(std::move(answer)),
        watch_(call.context, call.record, *answer_) {}

  void on_ready(std::function<void()> ready) override { answer_->on_ready(std::move(ready)); }

  std::optional<http::Response> poll() override {
    const auto events = answer_->poll();
    watch_.look();
    if (!events) watch_.broke();
    if (events && !answer_->finished()) return std::nullopt;
    http::Response response =
        events
            ? make_response(context_, 200, api::to_json(answer_->message()), request_id_, origin_)
            : make_error(context_, events.error(), request_id_, origin_);
    for (http::Header& header : watch_.headers()) response.headers.push_back(std::move(header));
    return response;
  }

 private:
  Context& context_;
  const std::string request_id_;
  const std::string origin_;
  const std::unique_ptr<claude::Answer> answer_;
  AnswerWatch watch_;
};

// stream: true. Exactly one terminal event: message_stop, or error.
class MessageStream final : public http::EventStream {
 public:
  MessageStream(Call& call, std::unique_ptr<claude::Answer> answer)
      : context_(call.context),
        request_id_(call.request_id),
        origin_(call.origin()),
        answer_(std::move(answer)),
        watch_(call.context, call.record, *answer_) {}

  void on_ready(std::function<void()> ready) override { answer_->on_ready(std::move(ready)); }

  http::StreamPiece poll() override {
    const auto events = answer_->poll();
    watch_.look();
    if (!events) {
      watch_.broke();
      log_warning("a stream ended with an error: " + events.error().message, request_id_);
      return {.bytes = frame(api::error_event(events.error(), request_id_)),
              .finished = true,
              .close = true,
              .instead = make_error(context_, events.error(), request_id_, origin_)};
    }
    http::StreamPiece piece{.bytes = {}, .finished = answer_->finished()};
    for (const api::Event& event : *events) piece.bytes += frame(event);
    if (!std::exchange(begun_, begun_ || !piece.bytes.empty())) piece.headers = watch_.headers();
    return piece;
  }

  void head_leaves() override { answer_->begin(); }

  std::string ping() override { return frame(api::ping()); }

  std::string cut_off(const Error& error) override {
    watch_.broke();
    return frame(api::error_event(error, request_id_));
  }
  std::string emergency() override { return frame(api::error_event(out_of_memory(), request_id_)); }

 private:
  Context& context_;
  const std::string request_id_;
  const std::string origin_;
  const std::unique_ptr<claude::Answer> answer_;
  AnswerWatch watch_;
  bool begun_ = false;
};

}  // namespace

http::Reply post_messages(Call& call) {
  const auto fail = [&](const Error& error) {
    return make_error(call.context, error, call.request_id, call.origin());
  };
  auto request = api::parse_messages_request(call.request.body);
  if (!request) return fail(request.error());
  std::string().swap(call.request.body);  // the parsed request holds all of it
  if (const auto refused = refused_for_memory(call.context)) return fail(*refused);
  auto answer = call.context.service.answer(*request, call.group());
  if (!answer) return fail(answer.error());
  if (!request->stream) return std::make_unique<PendingMessage>(call, *std::move(answer));
  http::StreamReply stream{
      .head = make_response(call.context, 200, {}, call.request_id, call.origin()),
      .events = std::make_unique<MessageStream>(call, *std::move(answer)),
      .head_wait = call.context.options.stream_head_wait};
  stream.head.content_type = "text/event-stream; charset=utf-8";
  return stream;
}

http::Reply post_count_tokens(Call& call) {
  const auto fail = [&](const Error& error) {
    return make_error(call.context, error, call.request_id, call.origin());
  };
  const auto request = api::parse_count_tokens_request(call.request.body);
  if (!request) return fail(request.error());
  const auto count = call.context.service.count_tokens(*request);
  if (!count) return fail(count.error());
  return make_response(
      call.context, 200, api::count_tokens_json(*count), call.request_id, call.origin());
}

}  // namespace pensieve::server
