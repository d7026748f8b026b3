#include "application/proxy/internal/upstream_answer.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <utility>

#include "application/proxy/internal/sse_reader.h"
#include "application/proxy/internal/upstream_reply.h"

namespace pensieve::proxy {
namespace {

constexpr std::size_t kMaxEventBytes = std::size_t{16} << 20;
constexpr std::size_t kMaxErrorBytes = 64 * 1024;
constexpr int kOk = 200;

class UpstreamAnswer final : public claude::Answer {
 public:
  UpstreamAnswer(UpstreamAnswerSetup setup, std::unique_ptr<Transfer> transfer)
      : setup_(std::move(setup)),
        transfer_(std::move(transfer)),
        events_reader_(kMaxEventBytes),
        reply_(message_, setup_.stop_sequences, setup_.upstream) {
    message_.id = api::make_id("msg_");
    message_.model = setup_.model;
  }

  Result<std::vector<api::Event>> poll() override {
    if (finished_) return std::vector<api::Event>{};
    auto events = take(transfer_->take());
    if (!events) finished_ = true;
    const api::Usage& usage = message_.usage;
    prompt_tokens_ = usage.input_tokens + usage.cache_read_input_tokens;
    output_tokens_ = usage.output_tokens;
    return events;
  }

  bool finished() const override { return finished_; }

  void on_ready(std::function<void()> ready) override {
    ready_ = ready;
    transfer_->on_ready(std::move(ready));
  }

  void wait(int limit_ms) override {
    if (!finished_) transfer_->wait(std::chrono::milliseconds(limit_ms));
  }

  const api::Message& message() const override { return message_; }

  std::vector<claude::TokenScore> take_scores() override { return reply_.take_scores(); }

  engine::Progress progress() const override {
    return {
        .prompt_tokens = prompt_tokens_, .prefilled_tokens = 0, .output_tokens = output_tokens_};
  }

 private:
  Result<std::vector<api::Event>> take(Received received) {
    std::vector<api::Event> events;
    if (received.status != 0 && received.status != kOk) return take_refusal(received);
    if (received.status == kOk) {
      if (!std::exchange(started_, true)) {
        setup_.again = nullptr;  // it holds the whole request
        events.push_back(api::message_start(message_.id, message_.model, message_.usage));
      }
      PENSIEVE_TRY(take_bytes(received, events));
    }
    if (received.over && !reply_.over()) {
      if (received.error) return *std::move(received.error);
      PENSIEVE_TRY(reply_.finish(events));
    }
    if (reply_.over()) finish();
    return events;
  }

  Result<void> take_bytes(const Received& received, std::vector<api::Event>& events) {
    if (!received.is_events) {  // a server that does not stream: one object, read when complete
      whole_ += received.bytes;
      if (whole_.size() > UpstreamReply::kMaxAnswerBytes) {
        return Error{.kind = ErrorKind::Internal,
                     .message = "the upstream " + setup_.upstream.url + " sent too long an answer"};
      }
      if (received.over && !received.error) return reply_.take(whole_, events);
      return {};
    }
    std::vector<std::string> chunks;
    PENSIEVE_TRY(events_reader_.push(received.bytes, chunks));
    for (const std::string& chunk : chunks) PENSIEVE_TRY(reply_.take(chunk, events));
    return {};
  }

  // A status other than 200: its body says why.
  Result<std::vector<api::Event>> take_refusal(const Received& received) {
    const auto room = kMaxErrorBytes - std::min(kMaxErrorBytes, whole_.size());
    whole_ += std::string_view(received.bytes).substr(0, room);
    const bool enough = received.over || whole_.size() >= kMaxErrorBytes;
    if (!enough) return std::vector<api::Event>{};
    if (received.status == 400 && setup_.again) {
      if (const auto room_left = room_for_answer(whole_)) return ask_again(*room_left);
    }
    return upstream_status_error(setup_.upstream, received.status, received.retry_after_s, whole_);
  }

  Result<std::vector<api::Event>> ask_again(int max_tokens) {
    const auto again = std::exchange(setup_.again, nullptr);
    PENSIEVE_TRY(auto transfer, again(max_tokens));
    transfer_ = std::move(transfer);
    whole_.clear();
    transfer_->on_ready(ready_);
    return std::vector<api::Event>{};
  }

  void finish() {
    finished_ = true;
    if (reply_.has_usage() && setup_.counted) {
      setup_.counted(message_.usage.input_tokens + message_.usage.cache_read_input_tokens);
    }
  }

  UpstreamAnswerSetup setup_;
  std::unique_ptr<Transfer> transfer_;
  std::function<void()> ready_;
  SseReader events_reader_;
  api::Message message_;
  UpstreamReply reply_;
  std::string whole_;  // a refusal, or an answer that is no stream
  bool started_ = false;
  bool finished_ = false;
  std::atomic<int> prompt_tokens_{0};  // as of the last poll()
  std::atomic<int> output_tokens_{0};
};

}  // namespace

std::unique_ptr<claude::Answer> make_upstream_answer(UpstreamAnswerSetup setup,
                                                     std::unique_ptr<Transfer> transfer) {
  return std::make_unique<UpstreamAnswer>(std::move(setup), std::move(transfer));
}

}  // namespace pensieve::proxy
