// What the engine's tests share: an engine over the fake backend, the slow model of what it must
// answer, and ways to read an answer to its end.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "domain/engine/engine.h"
#include "domain/engine/internal/fake_backend.h"

namespace pensieve::engine {

using Tokens = std::vector<TokenId>;

inline Tokens random_tokens(std::size_t n, unsigned seed, int vocab = 100) {
  std::mt19937 random(seed);
  Tokens tokens(n);
  for (TokenId& token : tokens)
    token = static_cast<TokenId>(random() % static_cast<unsigned>(vocab));
  return tokens;
}

inline Tokens joined(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

inline Request greedy(Tokens prompt, int max_tokens, Tokens stop_tokens = {}) {
  Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  request.stop_tokens = std::move(stop_tokens);
  return request;
}

// A made-up grammar that depends on every token of the answer so far: now and then everything may
// come, a part of the vocabulary, one token alone, nothing, or the end.
class FakeConstraint final : public Constraint {
 public:
  FakeConstraint(std::uint64_t seed, int vocab) : state_(mixed(seed)), vocab_(vocab) {}

  bool allowed(std::span<std::uint32_t> mask, int n_left) override {
    EXPECT_GE(n_left, 1);
    EXPECT_EQ(mask.size(), (static_cast<std::size_t>(vocab_) + 31) / 32);
    if (!forces()) bent_ = n_left % 2 == 0;  // making a mask may leave something behind
    if (state_ % 4 > 1) return false;
    std::fill(mask.begin(), mask.end(), 0u);
    for (int token = 0; token < vocab_; ++token) {
      const bool fits = forces() ? token == forced_token() : may_come(token);
      if (fits) mask[static_cast<std::size_t>(token) / 32] |= 1u << (token % 32);
    }
    return true;
  }
  void accept(TokenId token) override { state_ = mixed(state_ + static_cast<unsigned>(token) + 1); }
  void force(Tokens& tokens, int limit) override {
    while (static_cast<int>(tokens.size()) < limit && forces() && !complete()) {
      tokens.push_back(forced_token());
      accept(tokens.back());
    }
  }
  bool complete() const override { return state_ % 97 == 0; }
  bool cut_short() const override { return bent_; }
  std::unique_ptr<Constraint> clone() const override {
    return std::make_unique<FakeConstraint>(*this);
  }

 private:
  static std::uint64_t mixed(std::uint64_t value) {
    value *= 0x9e3779b97f4a7c15u;
    return value ^ (value >> 29);
  }
  bool forces() const { return state_ % 4 == 0; }
  TokenId forced_token() const {
    return static_cast<TokenId>(mixed(state_) % static_cast<unsigned>(vocab_));
  }
  // Behind some texts, none may.
  bool may_come(int token) const {
    return mixed(state_ + static_cast<unsigned>(token)) % 8 == 0 && state_ % 53 != 0;
  }

  std::uint64_t state_;
  int vocab_;
  bool bent_ = false;
};

inline Request constrained(Request request, std::uint64_t seed, int vocab) {
  request.make_constraint = [seed, vocab] { return std::make_unique<FakeConstraint>(seed, vocab); };
  return request;
}

// An answer as read to its end.
struct Answer {
  Tokens tokens;
  int cached = -1;  // of Started
  FinishReason reason = FinishReason::Failed;
  std::optional<Error> error = std::nullopt;
};

inline Answer read_all(Generation& generation) {
  Answer answer;
  int finished = 0;
  while (const auto event = generation.next()) {
    EXPECT_EQ(finished, 0) << "an event after Finished";
    switch (event->kind) {
      case TokenEvent::Kind::Started:
        EXPECT_EQ(answer.cached, -1) << "started twice";
        EXPECT_TRUE(answer.tokens.empty());
        answer.cached = event->cached_tokens;
        break;
      case TokenEvent::Kind::Token:
        EXPECT_GE(answer.cached, 0) << "a token before Started";
        answer.tokens.push_back(event->token);
        break;
      case TokenEvent::Kind::Finished:
        ++finished;
        answer.reason = event->reason;
        answer.error = event->error;
        break;
    }
  }
  EXPECT_EQ(finished, 1);
  return answer;
}

// What the engine must answer, one token after the other from the whole text.
inline Answer model_answer(const Request& request,
                           int window,
                           int vocab,
                           compute::RopeVariant rope = compute::RopeVariant::Short) {
  Answer answer;
  Tokens text = request.prompt;
  const int room = window - static_cast<int>(request.prompt.size());
  const auto constraint =
      request.make_constraint ? request.make_constraint() : std::unique_ptr<Constraint>();
  std::vector<std::uint32_t> mask((static_cast<std::size_t>(vocab) + 31) / 32);
  for (int i = 0;; ++i) {
    if (i > 0 && constraint && constraint->complete()) {
      answer.reason = !constraint->cut_short()    ? FinishReason::StopToken
                      : request.max_tokens > room ? FinishReason::ContextFull
                                                  : FinishReason::MaxTokens;
      return answer;
    }
    if (i == request.max_tokens) {
      answer.reason = FinishReason::MaxTokens;
      return answer;
    }
    if (i == room) {
      answer.reason = FinishReason::ContextFull;
      return answer;
    }
    const int left = std::min(request.max_tokens, room) - i;
    const bool masked = constraint && constraint->allowed(mask, left);
    const bool dead_end = masked && std::count(mask.begin(), mask.end(), 0u) ==
                                        static_cast<std::ptrdiff_t>(mask.size());
    const TokenId token = dead_end
                              ? kNoToken
                              : fake_next_token(text,
                                                rope,
                                                request.sampling,
                                                vocab,
                                                masked ? mask : std::span<const std::uint32_t>());
    if (dead_end || std::count(request.stop_tokens.begin(), request.stop_tokens.end(), token) > 0) {
      answer.reason = FinishReason::StopToken;
      return answer;
    }
    text.push_back(token);
    answer.tokens.push_back(token);
    if (constraint) constraint->accept(token);
  }
}

// Lets a test hold the engine thread before a step and let it go on.
class Gate {
 public:
  void close() { set(false); }
  void open() { set(true); }
  void pass() {  // engine thread
    std::unique_lock lock(mutex_);
    ++arrived_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
  }
  void wait_for_arrivals(int n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return arrived_ >= n; });
  }

 private:
  void set(bool open) {
    const std::lock_guard lock(mutex_);
    open_ = open;
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  int arrived_ = 0;
};

// An engine over a fake backend. Fill `control` and `options`, then start().
struct TestEngine {
  FakeControl control;
  EngineOptions options{.speculation = Speculation::Off};  // what a step holds depends on no clock
  std::unique_ptr<Engine> engine;

  void start() {
    auto made = Engine::create(
        [this]() -> Result<std::unique_ptr<compute::Backend>> {
          return std::unique_ptr<compute::Backend>(std::make_unique<FakeBackend>(control));
        },
        options);
    ASSERT_TRUE(made.has_value());
    engine = std::move(*made);
  }

  // Ends the engine; the backend must be as empty as it began.
  void stop() {
    engine.reset();
    EXPECT_EQ(control.pages_in_use, 0);
    EXPECT_EQ(control.sequences, 0);
  }

  std::unique_ptr<Generation> submit(Request request) {
    auto generation = engine->submit(std::move(request));
    if (!generation) {
      ADD_FAILURE() << generation.error().message;
      return nullptr;
    }
    return std::move(*generation);
  }
  Answer answer(Request request) { return read_all(*submit(std::move(request))); }
  Answer expected(const Request& request,
                  compute::RopeVariant rope = compute::RopeVariant::Short) const {
    return model_answer(request, engine->context_length(), control.options.vocab, rope);
  }
  void expect_answer(const Request& request,
                     const Answer& answer,
                     compute::RopeVariant rope = compute::RopeVariant::Short) const {
    const Answer model = expected(request, rope);
    EXPECT_EQ(answer.tokens, model.tokens);
    EXPECT_EQ(answer.reason, model.reason);
    EXPECT_FALSE(answer.error.has_value());
  }
};

}  // namespace pensieve::engine
