#include "domain/claude/internal/answer.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <iterator>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "foundation/text.h"

#include "domain/claude/reply_writer.h"
#include "domain/engine/stop_sequences.h"

namespace pensieve::claude {
namespace {

// Carries the engine thread's "something is there" to a reader that posts (on_ready) or waits.
// Shared with the callback the engine holds, so that neither side has to outlive the other.
class Bell {
 public:
  void ring() {
    const std::lock_guard lock(mutex_);
    rung_ = true;
    rang_.notify_all();
    if (ready_) ready_();
  }
  // Once this returned, the function set before is neither running nor will be called.
  void on_ring(std::function<void()> ready) {
    const std::lock_guard lock(mutex_);
    ready_ = std::move(ready);
    if (rung_ && ready_) ready_();
  }
  void silence() {
    const std::lock_guard lock(mutex_);
    rung_ = false;
  }
  void wait(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    rang_.wait_for(lock, limit, [this] { return rung_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable rang_;
  std::function<void()> ready_;
  bool rung_ = false;
};

class StreamedAnswer : public Answer {
 public:
  StreamedAnswer(AnswerSetup setup,
                 std::unique_ptr<engine::Generation> generation,
                 const tokenizer::Tokenizer& tokenizer,
                 const chat::ChatFormat& format)
      : setup_(std::move(setup)),
        tokenizer_(tokenizer),
        generation_(std::move(generation)),
        decoder_(tokenizer, setup_.at_start),
        stops_(setup_.stop_sequences),
        interpreter_(format.interpreter(setup_.mode)),
        writer_(message_.content, events_),
        bell_(std::make_shared<Bell>()) {
    message_.id = api::make_id("msg_");
    message_.model = setup_.model;
    message_.usage.input_tokens = setup_.prompt_tokens;
    generation_->on_ready([bell = bell_] { bell->ring(); });
  }

  ~StreamedAnswer() override { bell_->on_ring(nullptr); }

  Result<std::vector<api::Event>> poll() override {
    // Before reading: what comes after the last try_next() rings again.
    bell_->silence();
    if (hurried_) announce();
    while (!finished_) {
      const auto event = generation_->try_next();
      if (!event) break;
      if (auto taken = take(*event); !taken) {
        finished_ = true;
        events_.clear();
        return taken.error();
      }
    }
    return std::exchange(events_, {});
  }

  bool finished() const override { return finished_; }
  void begin() override { hurried_ = true; }
  const CacheReport* cache() const override { return report_ ? &*report_ : nullptr; }
  void on_ready(std::function<void()> ready) override { bell_->on_ring(std::move(ready)); }
  void wait(int limit_ms) override {
    if (!finished_) bell_->wait(std::chrono::milliseconds(limit_ms));
  }
  const api::Message& message() const override { return message_; }
  std::vector<TokenScore> take_scores() override { return std::exchange(scores_, {}); }
  engine::Progress progress() const override { return generation_->progress(); }

 private:
  Result<void> take(const engine::TokenEvent& event) {
    using Kind = engine::TokenEvent::Kind;
    switch (event.kind) {
      case Kind::Started:
        take_start(event);
        announce();
        return {};
      case Kind::Token:
        announce();
        ++message_.usage.output_tokens;
        if (setup_.memory != nullptr) tokens_.push_back(event.token);
        if (setup_.top_logprobs) take_score(event);
        take_token(event.token);
        return {};
      case Kind::Finished:
        return take_end(event);
    }
    return {};
  }

  void announce() {
    if (std::exchange(announced_, true)) return;
    events_.push_back(api::message_start(message_.id, message_.model, message_.usage));
  }

  void take_start(const engine::TokenEvent& event) {
    const int missed = setup_.prompt_tokens - event.cached_tokens;
    api::Usage& usage = message_.usage;
    usage.cache_read_input_tokens = event.cached_tokens;
    usage.cache_creation_input_tokens =
        std::clamp(setup_.marked_tokens - event.cached_tokens, 0, missed);
    usage.input_tokens = missed - usage.cache_creation_input_tokens;
    report_ = CacheReport{.hit = event.cached_tokens - event.restored_tokens,
                          .restored = event.restored_tokens,
                          .missed = missed,
                          .miss = std::nullopt};
    if (event.divergence) {
      const auto& [n_common, kept, now, same_group] = *event.divergence;
      report_->miss = PrefixMiss{.n_common = n_common,
                                 .part = setup_.map.name_at(n_common),
                                 .now = text_of(now),
                                 .kept = text_of(kept),
                                 .same_session = same_group};
    }
    setup_.map = {};
  }

  // Of one token, as a person reads it.
  std::string text_of(TokenId token) const {
    constexpr std::size_t kTokenBytes = 40;
    if (token < 0 || token >= tokenizer_.size()) return {};
    const std::string_view bytes = tokenizer_.bytes(token);
    return printable(bytes.empty() ? tokenizer_.piece(token) : bytes, kTokenBytes);
  }

  // Held until its text is known to be text and no tool call. The space that stands before a text
  // in the vocabulary alone is no part of it, as the decoder has it.
  void take_score(const engine::TokenEvent& event) {
    const bool first = message_.usage.output_tokens == 1;
    const bool strips = first && setup_.at_start && tokenizer_.add_space_prefix();
    const auto bytes = [&](TokenId token) {
      std::string_view text = tokenizer_.bytes(token);
      if (strips && text.starts_with(' ')) text.remove_prefix(1);
      return std::string(text);
    };
    TokenScore& score = held_scores_.emplace_back();
    score.bytes = bytes(event.token);
    score.logprob = event.logprob;
    for (const compute::Choice& other : event.top) {
      score.top.push_back({.bytes = bytes(other.token), .logprob = other.logprob});
    }
    // Nothing else could come.
    if (event.top.empty() && *setup_.top_logprobs > 0) score.top.push_back({score.bytes, 0});
  }

  void release_scores() {
    std::move(held_scores_.begin(), held_scores_.end(), std::back_inserter(scores_));
    held_scores_.clear();
  }

  void take_token(TokenId token) {
    // A model may have more rows than its tokenizer has tokens; those stand for no text.
    if (token >= 0 && token < tokenizer_.size()) take_text(decoder_.push(token));
  }

  void take_text(std::string_view text) {
    if (!text.empty()) take_parts(interpreter_->push(text));
  }

  void take_parts(const std::vector<chat::ReplyPart>& parts) {
    using Kind = chat::ReplyPart::Kind;
    for (const chat::ReplyPart& part : parts) {
      if (finished_) return;
      // Stop sequences concern what the user reads: a match inside a tool's input would break it.
      if (part.kind == Kind::Text) {
        release_scores();
        take_visible(part.text);
        continue;
      }
      held_scores_.clear();
      flush_visible();
      switch (part.kind) {
        case Kind::Thinking:
          writer_.thinking(part.text);
          break;
        case Kind::ToolUseStart:
          writer_.start_tool_use(part.text);
          break;
        case Kind::ToolUseInput:
          writer_.tool_input(part.text);
          break;
        case Kind::ToolUseEnd:
          writer_.close_block();
          if (setup_.one_tool_use) end(api::StopReason::ToolUse);
          break;
        case Kind::Text:
          break;
      }
    }
  }

  void take_visible(std::string_view text) {
    writer_.text(stops_.push(text));
    if (!stops_.matched()) return;
    message_.stop_sequence = setup_.stop_sequences[*stops_.matched()];
    end(api::StopReason::StopSequence);
  }

  void flush_visible() { writer_.text(stops_.flush()); }

  Result<void> take_end(const engine::TokenEvent& event) {
    using Reason = engine::FinishReason;
    if (event.reason == Reason::Failed) {
      return event.error ? *event.error
                         : Error{.kind = ErrorKind::Internal, .message = "The engine failed."};
    }
    if (event.reason == Reason::Cancelled) {
      return Error{.kind = ErrorKind::Cancelled,
                   .message = "The server is shutting down; try again in a moment.",
                   .retry_after_s = 5};
    }
    announce();
    take_text(decoder_.flush());
    take_parts(interpreter_->finish());
    if (finished_) return {};  // a stop sequence or a tool call in what was held back
    flush_visible();
    end(stop_reason(event.reason));
    return {};
  }

  api::StopReason stop_reason(engine::FinishReason reason) const {
    if (reason == engine::FinishReason::MaxTokens) return api::StopReason::MaxTokens;
    if (reason == engine::FinishReason::ContextFull) {
      return api::StopReason::ModelContextWindowExceeded;
    }
    return writer_.has_tool_use() ? api::StopReason::ToolUse : api::StopReason::EndTurn;
  }

  // The last events; whatever the engine still has is not wanted.
  void end(api::StopReason reason) {
    writer_.close_block();
    message_.stop_reason = reason;
    events_.push_back(api::message_delta(reason, message_.stop_sequence, message_.usage));
    events_.push_back(api::message_stop());
    finished_ = true;
    generation_->cancel();
    // What a stop sequence cut off stands in the tokens, but not in what the client has.
    if (setup_.memory != nullptr && reason != api::StopReason::StopSequence) {
      tokens_.insert(tokens_.begin(), setup_.lead.begin(), setup_.lead.end());
      setup_.memory->remember(chat::answer_key(message_.content), std::move(tokens_));
    }
  }

  AnswerSetup setup_;
  const tokenizer::Tokenizer& tokenizer_;
  std::unique_ptr<engine::Generation> generation_;
  tokenizer::StreamDecoder decoder_;
  engine::StopSequenceFilter stops_;
  std::unique_ptr<chat::ReplyInterpreter> interpreter_;
  api::Message message_;
  std::vector<api::Event> events_;  // since the last poll()
  std::vector<TokenId> tokens_;     // of the whole answer
  std::vector<TokenScore> held_scores_, scores_;
  ReplyWriter writer_;
  std::shared_ptr<Bell> bell_;
  std::optional<CacheReport> report_;
  bool hurried_ = false;    // message_start waits for nothing
  bool announced_ = false;  // it was given out
  bool finished_ = false;
};

}  // namespace

std::unique_ptr<Answer> make_answer(AnswerSetup setup,
                                    std::unique_ptr<engine::Generation> generation,
                                    const tokenizer::Tokenizer& tokenizer,
                                    const chat::ChatFormat& format) {
  return std::make_unique<StreamedAnswer>(
      std::move(setup), std::move(generation), tokenizer, format);
}

}  // namespace pensieve::claude
