// POST /v1/chat/completions and /v1/completions: between HTTP and the service, in OpenAI's shapes.
// The same service, limits and order of checks as for Anthropic's routes; the translation itself is
// application/proxy's. Must not know tokens, prompts or models.
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <utility>

#include "foundation/log.h"

#include "domain/api/messages.h"

#include "application/http/response_writer.h"
#include "application/proxy/openai_reply.h"
#include "application/proxy/openai_request.h"
#include "application/server/internal/answer_watch.h"
#include "application/server/internal/routes.h"

namespace pensieve::server {
namespace {

using proxy::ReplyShape;
using proxy::ReplyStamp;
using Scores = std::vector<claude::TokenScore>;

// The two kinds of answers this API has.
struct Form {
  std::unique_ptr<proxy::ChunkWriter> (*chunks)(const ReplyShape&, const ReplyStamp&);
  std::string (*whole)(const api::Message&,
                       std::span<const claude::TokenScore>,
                       const ReplyShape&,
                       const ReplyStamp&);
};
constexpr Form kChat{proxy::chat_chunks, proxy::chat_json};
constexpr Form kCompletion{proxy::completion_chunks, proxy::completion_json};

std::string frame(std::string_view data) {
  std::string bytes = "data: ";
  bytes += data;
  bytes += "\n\n";
  return bytes;
}

// What decides an answer beside the request: program, model, backend (FNV-1a, to be short).
std::string fingerprint(const ServerInfo& info) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const std::string_view part : std::initializer_list<std::string_view>{
           info.version, info.model_id, info.backend, info.kernels}) {
    for (const char c : part) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
    hash = (hash ^ 0xffU) * 1099511628211ULL;
  }
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "fp_%010llx", hash & 0xff'ffff'ffffULL);
  return text.data();
}

ReplyStamp stamp_of(const Context& context) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return {.created_unix_s = std::chrono::duration_cast<std::chrono::seconds>(now).count(),
          .system_fingerprint = fingerprint(context.info)};
}

http::Response error_response(Call& call, const Error& error) {
  return make_error(call.context, error, call.request_id, call.origin(), Surface::OpenAi);
}

class PendingReply final : public http::Pending {
 public:
  PendingReply(Call& call,
               const Form& form,
               ReplyShape shape,
               std::unique_ptr<claude::Answer> answer)
      : context_(call.context),
        request_id_(call.request_id),
        origin_(call.origin()),
        form_(form),
        shape_(std::move(shape)),
        stamp_(stamp_of(call.context)),
        answer_(std::move(answer)),
        watch_(call.context, call.record, *answer_) {}

  void on_ready(std::function<void()> ready) override { answer_->on_ready(std::move(ready)); }

  std::optional<http::Response> poll() override {
    const auto events = answer_->poll();
    watch_.look();
    if (!events) watch_.broke();
    Scores scores = answer_->take_scores();
    std::move(scores.begin(), scores.end(), std::back_inserter(scores_));
    if (events && !answer_->finished()) return std::nullopt;
    http::Response response =
        events ? make_response(context_,
                               200,
                               form_.whole(answer_->message(), scores_, shape_, stamp_),
                               request_id_,
                               origin_)
               : make_error(context_, events.error(), request_id_, origin_, Surface::OpenAi);
    for (http::Header& header : watch_.headers()) response.headers.push_back(std::move(header));
    return response;
  }

 private:
  Context& context_;
  const std::string request_id_;
  const std::string origin_;
  const Form& form_;
  const ReplyShape shape_;
  const ReplyStamp stamp_;
  const std::unique_ptr<claude::Answer> answer_;
  AnswerWatch watch_;
  Scores scores_;
};

// Exactly one end: [DONE], or a chunk with an error.
class ReplyStream final : public http::EventStream {
 public:
  ReplyStream(Call& call,
              const Form& form,
              const ReplyShape& shape,
              std::unique_ptr<claude::Answer> answer)
      : context_(call.context),
        request_id_(call.request_id),
        origin_(call.origin()),
        answer_(std::move(answer)),
        watch_(call.context, call.record, *answer_),
        chunks_(form.chunks(shape, stamp_of(call.context))) {}

  void on_ready(std::function<void()> ready) override { answer_->on_ready(std::move(ready)); }

  http::StreamPiece poll() override {
    const auto events = answer_->poll();
    watch_.look();
    if (!events) {
      watch_.broke();
      log_warning("a stream ended with an error: " + events.error().message, request_id_);
      return {
          .bytes = frame(proxy::error_json(events.error())),
          .finished = true,
          .close = true,
          .instead = make_error(context_, events.error(), request_id_, origin_, Surface::OpenAi)};
    }
    http::StreamPiece piece{.bytes = {}, .finished = answer_->finished()};
    if (!begun_ && events->empty()) return piece;
    if (!std::exchange(begun_, true)) piece.headers = watch_.headers();
    const Scores scores = answer_->take_scores();
    for (const std::string& data : chunks_->take(answer_->message(), scores, piece.finished)) {
      piece.bytes += frame(data);
    }
    if (piece.finished) piece.bytes += frame(proxy::kStreamEnd);
    return piece;
  }

  void head_leaves() override { answer_->begin(); }

  // A comment (WHATWG HTML, 9.2.6): this API has no event that says nothing.
  std::string ping() override { return ": ping\n\n"; }

  std::string cut_off(const Error& error) override {
    watch_.broke();
    return frame(proxy::error_json(error));
  }
  std::string emergency() override { return frame(proxy::error_json(out_of_memory())); }

 private:
  Context& context_;
  const std::string request_id_;
  const std::string origin_;
  const std::unique_ptr<claude::Answer> answer_;
  AnswerWatch watch_;
  const std::unique_ptr<proxy::ChunkWriter> chunks_;
  bool begun_ = false;
};

http::Reply reply(Call& call,
                  const Form& form,
                  ReplyShape shape,
                  bool stream,
                  Result<std::unique_ptr<claude::Answer>> answer) {
  if (!answer) return error_response(call, answer.error());
  if (!stream) {
    return std::make_unique<PendingReply>(call, form, std::move(shape), *std::move(answer));
  }
  http::StreamReply streamed{
      .head = make_response(call.context, 200, {}, call.request_id, call.origin()),
      .events = std::make_unique<ReplyStream>(call, form, shape, *std::move(answer)),
      .head_wait = call.context.options.stream_head_wait};
  streamed.head.content_type = "text/event-stream; charset=utf-8";
  return streamed;
}

}  // namespace

http::Reply post_chat_completions(Call& call) {
  auto chat = proxy::parse_chat_request(call.request.body);
  if (!chat) return error_response(call, chat.error());
  std::string().swap(call.request.body);  // the parsed request holds all of it
  if (const auto refused = refused_for_memory(call.context)) return error_response(call, *refused);
  const bool stream = chat->messages.stream;
  auto answer = call.context.service.answer(chat->messages, call.group());
  return reply(call, kChat, std::move(chat->shape), stream, std::move(answer));
}

http::Reply post_completions(Call& call) {
  auto completion = proxy::parse_completion_request(call.request.body);
  if (!completion) return error_response(call, completion.error());
  std::string().swap(call.request.body);
  if (const auto refused = refused_for_memory(call.context)) return error_response(call, *refused);
  const bool stream = completion->request.stream;
  auto answer =
      call.context.service.complete(completion->request, completion->prompt, call.group());
  return reply(call, kCompletion, std::move(completion->shape), stream, std::move(answer));
}

}  // namespace pensieve::server
