// The engine: one thread that owns the backend and every sequence, and runs the scheduler loop
// (continuous batching: each step holds the decode rows of all running requests and one chunk of
// prefill). Jobs go in and tokens come out through bounded queues.
// Knows token ids, counts and bytes. Must not know text, JSON, HTTP or files.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "foundation/ids.h"
#include "foundation/result.h"
#include "foundation/system_memory.h"

#include "domain/compute/backend.h"
#include "domain/engine/kv_tier.h"

namespace pensieve::engine {

// Whether tokens are guessed from what the text says already and checked several in one step. An
// answer has the same tokens either way. Auto: as far as it measurably makes answers faster.
// Always: wherever there is something to guess from, whatever it costs; for tests.
enum class Speculation : std::uint8_t { Auto, Off, Always };

struct EngineOptions {
  int max_requests = 10;    // running or waiting; one more is refused as Overloaded
  int prefill_chunk = 256;  // tokens of prefill in one step, at most

  // While answers stream, prefill chunks shrink until a step takes this long, so that the gap
  // between two tokens of a stream stays near it where the hardware allows.
  int step_target_ms = 100;

  // Tokens of prompt and answer together; 0: the backend's. Never more than the KV arena holds, so
  // that every accepted request can run to its end when it is alone.
  int context_length = 0;

  // LongRoPE: prompt + max_tokens up to here opens Short; 0: always Short.
  int original_context_length = 0;

  int token_queue = 256;    // tokens a slow reader may lag behind before its request pauses
  int idle_sequences = 48;  // finished sequences kept for their prefix

  Speculation speculation = Speculation::Auto;

  // Where full KV pages are kept beside the arena; outlives the engine. None: nowhere.
  KvTier* tier = nullptr;
  // When the engine stops, so long is waited at most for pages that have not been offered yet.
  std::uint64_t save_timeout_ms = 5'000;

  // A request ends as Failed when its reader has not made room for so long, or when it waited while
  // the engine did nothing at all for so long.
  std::uint64_t progress_timeout_ms = 120'000;

  // Monotonic, called on the engine thread; none: the steady clock.
  std::function<std::uint64_t()> clock_us = nullptr;
};

// What an answer may be made of, from its first token on. Made, called and destroyed on the engine
// thread, between two steps: a call may take microseconds, not milliseconds.
class Constraint {
 public:
  virtual ~Constraint() = default;

  // The tokens that may come next, stop tokens among them, as bits of `mask` ((vocabulary + 31) /
  // 32 words, all overwritten); or false: every token may, and `mask` is as it was. Without a
  // single bit the answer ends here. `n_left` >= 1: tokens the answer may still have, this one
  // included.
  virtual bool allowed(std::span<std::uint32_t> mask, int n_left) = 0;

  // The answer went on with `token`, which was allowed. Not called for stop tokens.
  virtual void accept(TokenId token) = 0;

  // Appends tokens to `tokens` that are the only ones that can come next, at most `limit`, and goes
  // on with them. They are computed without being sampled.
  virtual void force(std::vector<TokenId>& tokens, int limit) = 0;

  // Whether nothing but the end can come. Then, whether the answer was bent towards its end because
  // it could have no more tokens: it finishes as one that was cut off.
  virtual bool complete() const = 0;
  virtual bool cut_short() const = 0;

  // Another one in the same place, which then goes its own way: what guessed tokens lead to is
  // looked at with it. As quick as the other calls.
  virtual std::unique_ptr<Constraint> clone() const = 0;
};

struct Request {
  std::vector<TokenId> prompt;  // at least one token
  int max_tokens = 0;           // >= 1; clamped to what the window leaves (then: ContextFull)
  compute::SamplingParameters sampling;
  std::vector<TokenId> stop_tokens;  // ends the answer; not given out as text
  std::string group;                 // session id of the client, for fairness and logs only
  int top_logprobs = 0;              // how many of the most probable tokens to tell beside each
  // Called once, when the engine accepts the request; none: every token may come.
  std::function<std::unique_ptr<Constraint>()> make_constraint = nullptr;
};

enum class FinishReason { StopToken, MaxTokens, ContextFull, Cancelled, Failed };

// Where a prompt parts from the sequence in the arena that begins most like it, or, where none has
// a page in common with it, from one of the same group.
struct Divergence {
  int n_common = 0;         // tokens before the first that differs
  TokenId kept = kNoToken;  // what the sequence has there
  TokenId now = kNoToken;   // what the prompt has
  bool same_group = false;
};

// Prompts of which so many tokens have to be computed come with a Divergence, if there is one.
inline constexpr int kLongMiss = 1024;

struct TokenEvent {
  enum class Kind { Started, Token, Finished } kind = Kind::Token;
  TokenId token = kNoToken;               // Token
  float logprob = 0;                      // Token; 0 for one that was forced
  std::vector<compute::Choice> top = {};  // Token: the most probable, none for one that was forced
  int cached_tokens = 0;    // Started: prompt tokens whose KV was already there, or was restored
  int restored_tokens = 0;  // Started: those of them that the tier gave back
  std::optional<Divergence> divergence = std::nullopt;  // Started
  FinishReason reason = FinishReason::StopToken;        // Finished
  std::optional<Error> error = std::nullopt;            // Finished, reason Failed
};

struct Progress {
  int prompt_tokens = 0;
  int prefilled_tokens = 0;  // including cached ones
  int output_tokens = 0;
};

// The reading end of one request. One reader; its calls may come from any one thread at a time.
// Destroying it cancels the request: the engine drops it before its next step.
class Generation {
 public:
  virtual ~Generation() = default;
  // The next event if there is one. Exactly one Finished comes, last.
  virtual std::optional<TokenEvent> try_next() = 0;
  // Waits for the next event; nothing after Finished has been read.
  virtual std::optional<TokenEvent> next() = 0;
  // `ready` is called (from the engine thread, so it must only post) whenever events may have
  // become available. Set it before the first try_next(); it is called at once if something is
  // there.
  virtual void on_ready(std::function<void()> ready) = 0;
  virtual void cancel() = 0;
  virtual Progress progress() const = 0;  // any thread, beside the reader's
};

struct EngineStats {
  int running = 0;
  int waiting = 0;
  int idle_sequences = 0;
  std::uint64_t requests = 0;
  std::uint64_t prompt_tokens = 0;
  std::uint64_t cached_tokens = 0;  // of the prompts, restored ones among them
  // Of the prompts that were begun: found in the arena, given back by the tier, left to compute.
  // The sum is all of their tokens.
  std::uint64_t hit_tokens = 0;
  std::uint64_t restored_tokens = 0;
  std::uint64_t missed_tokens = 0;
  std::uint64_t output_tokens = 0;
  std::uint64_t drafted_tokens = 0;   // guessed and computed
  std::uint64_t accepted_tokens = 0;  // of those, what came; of the answers' tokens, the cheap ones
  std::uint64_t steps = 0;            // forward passes that ended well
  std::size_t reserved_kv_bytes = 0;  // what accepted requests may come to hold, all together
  compute::BackendMemory memory;
};

// What the machine can give.
struct MemoryPressure {
  MemoryLevel level = MemoryLevel::Safe;
  std::uint64_t room_bytes = UINT64_MAX;  // beyond what is held now
};

class Engine {
 public:
  // `make_backend` runs on the engine thread, which then owns what it made. Errors: of the maker.
  static Result<std::unique_ptr<Engine>> create(
      std::function<Result<std::unique_ptr<compute::Backend>>()> make_backend,
      const EngineOptions& options);

  virtual ~Engine() = default;  // stops the thread; running requests finish as Cancelled

  // Any thread. Errors: Overloaded (queue full), InvalidRequest (empty prompt, token id out of
  // range, prompt does not fit: "prompt is too long: N tokens > M maximum"), Unavailable
  // (draining; or memory is short, see set_pressure()).
  virtual Result<std::unique_ptr<Generation>> submit(Request request) = 0;

  virtual int context_length() const = 0;
  virtual compute::Capabilities capabilities() const = 0;
  virtual EngineStats stats() const = 0;  // any thread

  // No new requests from now on; those in flight go on.
  virtual void drain() = 0;

  // What the machine can give, told again and again by whoever watches it. Any thread. From the
  // first time on, a request is refused as Unavailable if the KV of its prompt and max_tokens, on
  // top of what all others may come to, would leave the machine Critical. And the worse the level,
  // the less is held, from the engine's next step on:
  // - Caution: finished sequences make room before any memory is taken.
  // - Warning: half of them go, and new requests have half the window (4,096 tokens at least).
  // - Critical: all of them go, and new requests are refused.
  // What goes is offered to the tier first, and its memory is given back to the system.
  virtual void set_pressure(const MemoryPressure&) {}
};

}  // namespace pensieve::engine
