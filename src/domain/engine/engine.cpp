// The engine's front: checks requests on the caller's thread, owns the engine thread and what both
// sides share.
#include "domain/engine/engine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <future>
#include <string>
#include <thread>
#include <utility>

#include "foundation/check.h"

#include "domain/engine/internal/job.h"
#include "domain/engine/internal/kv_gate.h"
#include "domain/engine/internal/scheduler.h"

namespace pensieve::engine {
namespace {

using MakeBackend = std::function<Result<std::unique_ptr<compute::Backend>>()>;

std::uint64_t steady_us() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                        std::chrono::steady_clock::now().time_since_epoch())
                                        .count());
}

Error invalid(std::string message) {
  return {ErrorKind::InvalidRequest, std::move(message)};
}

// Under pressure a new request has so much of the window, but not less than a short conversation.
constexpr int kPressedWindowShare = 2;
constexpr int kPressedWindow = 4096;

// What the sampler requires; the API room has its own, narrower ranges.
Result<void> check_sampling(const compute::SamplingParameters& sampling) {
  if (!(sampling.temperature >= 0) || !std::isfinite(sampling.temperature))
    return invalid("temperature must be a number from 0 on");
  if (!(sampling.top_p > 0)) return invalid("top_p must be above 0");
  if (!(sampling.min_p >= 0 && sampling.min_p <= 1))
    return invalid("min_p must be between 0 and 1");
  if (!(sampling.repetition_penalty > 0) || !std::isfinite(sampling.repetition_penalty))
    return invalid("repetition_penalty must be above 0");
  if (sampling.top_k < 0) return invalid("top_k must not be negative");
  return {};
}

class ThreadedEngine final : public Engine {
 public:
  explicit ThreadedEngine(const EngineOptions& options) : options_(options) {
    options_.max_requests = std::max(options_.max_requests, 1);
    options_.prefill_chunk = std::max(options_.prefill_chunk, 1);
    options_.token_queue = std::max(options_.token_queue, 1);
    options_.idle_sequences = std::max(options_.idle_sequences, 0);
    if (!options_.clock_us) options_.clock_us = steady_us;
    desk_ = std::make_shared<Desk>(options_.max_requests);
  }

  ~ThreadedEngine() override {
    desk_->stop();
    if (thread_.joinable()) thread_.join();
  }

  Result<void> start(MakeBackend make_backend) {
    std::promise<Result<void>> started;
    auto outcome = started.get_future();
    thread_ =
        std::thread([this, promise = std::move(started), make = std::move(make_backend)]() mutable {
          serve(std::move(make), std::move(promise));
        });
    return outcome.get();
  }

  Result<std::unique_ptr<Generation>> submit(Request request) override {
    if (request.prompt.empty()) return invalid("the prompt is empty");
    if (request.max_tokens < 1) return invalid("max_tokens must be at least 1");
    const auto in_vocabulary = [&](TokenId token) {
      return token >= 0 && token < capabilities_.vocab;
    };
    if (!std::all_of(request.prompt.begin(), request.prompt.end(), in_vocabulary))
      return invalid("the prompt has a token id outside of the vocabulary");
    PENSIEVE_TRY(check_sampling(request.sampling));
    const std::size_t window = static_cast<std::size_t>(context_length_);
    if (request.prompt.size() > window)
      return invalid("prompt is too long: " + std::to_string(request.prompt.size()) + " tokens > " +
                     std::to_string(window) + " maximum");
    const int n_prompt = static_cast<int>(request.prompt.size());
    int max_answer = std::min(request.max_tokens, context_length_ - n_prompt);
    // By what was asked for, so that a prompt has the same keys whatever the pressure.
    const bool short_rope = options_.original_context_length <= 0 ||
                            n_prompt + max_answer <= options_.original_context_length;
    if (desk_->gate().level() >= MemoryLevel::Warning) {
      const int pressed = std::max(context_length_ / kPressedWindowShare,
                                   std::min(context_length_, kPressedWindow));
      if (n_prompt >= pressed) return too_long_for_now(n_prompt, pressed);
      max_answer = std::min(max_answer, pressed - n_prompt);
    }
    PENSIEVE_TRY(auto reservation,
                 desk_->gate().reserve(pages_for(n_prompt + max_answer),
                                       n_prompt + max_answer,
                                       backend_->memory().kv_touched_bytes));
    PENSIEVE_TRY(
        auto job,
        desk_->submit(std::move(request),
                      max_answer,
                      short_rope ? compute::RopeVariant::Short : compute::RopeVariant::Long,
                      options_.token_queue,
                      std::move(reservation)));
    return make_generation(std::move(job));
  }

  int context_length() const override { return context_length_; }
  compute::Capabilities capabilities() const override { return capabilities_; }

  EngineStats stats() const override {
    return {.running = counters_.running,
            .waiting = counters_.waiting + desk_->unclaimed(),
            .idle_sequences = counters_.idle_sequences,
            .requests = counters_.requests,
            .prompt_tokens = counters_.prompt_tokens,
            .cached_tokens = counters_.cached_tokens,
            .hit_tokens = counters_.hit_tokens,
            .restored_tokens = counters_.restored_tokens,
            .missed_tokens = counters_.missed_tokens,
            .output_tokens = counters_.output_tokens,
            .drafted_tokens = counters_.drafted_tokens,
            .accepted_tokens = counters_.accepted_tokens,
            .steps = counters_.steps,
            .reserved_kv_bytes = desk_->gate().reserved_bytes(),
            .memory = backend_->memory()};
  }

  void drain() override { desk_->drain(); }

  void set_pressure(const MemoryPressure& pressure) override {
    const MemoryLevel before = desk_->gate().level();
    desk_->gate().set_pressure(pressure, backend_->memory().kv_touched_bytes);
    if (pressure.level != before) desk_->ring();
  }

 private:
  Error too_long_for_now(int n_prompt, int window) const {
    return {.kind = ErrorKind::Unavailable,
            .message = "memory is short: until there is more, requests have " +
                       std::to_string(window) + " of " + std::to_string(context_length_) +
                       " tokens, and this prompt has " + std::to_string(n_prompt),
            .retry_after_s = 5};
  }

  // The engine thread from its first instruction to its last.
  void serve(MakeBackend make_backend, std::promise<Result<void>> started) {
    Result<void> ready = prepare(std::move(make_backend));
    const bool usable = ready.has_value();
    started.set_value(std::move(ready));
    if (usable) Scheduler(*backend_, options_, *desk_, counters_).run();
    backend_.reset();
  }

  Result<void> prepare(MakeBackend make_backend) try {
    PENSIEVE_TRY(backend_, make_backend());
    capabilities_ = backend_->capabilities();
    context_length_ = capabilities_.max_context;
    if (options_.context_length > 0)
      context_length_ = std::min(context_length_, options_.context_length);
    const int in_arena = backend_->free_pages() * compute::kPageTokens;
    context_length_ = std::min(context_length_, in_arena);
    if (context_length_ < 2)
      return Error{ErrorKind::Unavailable, "The KV arena has no room for a single page."};
    desk_->gate().set_arena(capabilities_.page_bytes, backend_->free_pages());
    return {};
  } catch (const std::exception& failure) {
    return Error{ErrorKind::Internal, std::string("The engine could not start: ") + failure.what()};
  }

  EngineOptions options_;
  std::shared_ptr<Desk> desk_;
  std::thread thread_;
  Counters counters_;

  // Written by the engine thread before start() returns, read by all afterwards.
  std::unique_ptr<compute::Backend> backend_;  // used by the engine thread; memory() by all
  compute::Capabilities capabilities_;
  int context_length_ = 0;
};

}  // namespace

Result<std::unique_ptr<Engine>> Engine::create(MakeBackend make_backend,
                                               const EngineOptions& options) {
  auto engine = std::make_unique<ThreadedEngine>(options);
  PENSIEVE_TRY(engine->start(std::move(make_backend)));
  return std::unique_ptr<Engine>(std::move(engine));
}

}  // namespace pensieve::engine
