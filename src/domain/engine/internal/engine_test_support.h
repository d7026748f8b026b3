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
  for (int i = 0;; ++i) {
    if (i == request.max_tokens) {
      answer.reason = FinishReason::MaxTokens;
      return answer;
    }
    if (i == room) {
      answer.reason = FinishReason::ContextFull;
      return answer;
    }
    const TokenId token = fake_next_token(text, rope, request.sampling, vocab);
    if (std::count(request.stop_tokens.begin(), request.stop_tokens.end(), token) > 0) {
      answer.reason = FinishReason::StopToken;
      return answer;
    }
    text.push_back(token);
    answer.tokens.push_back(token);
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
  EngineOptions options;
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
