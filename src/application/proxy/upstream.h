// Answers from another server that speaks OpenAI's chat API (vLLM, SGLang, llama.cpp, another
// Pensieve, a hosted one), behind the same claude::Service as a model of ours: what lies above sees
// no difference. Knows addresses and keys. Must not know who asks.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "foundation/result.h"

#include "domain/claude/service.h"

namespace pensieve::proxy {

struct UpstreamOptions {
  std::string url{};       // http or https; without a path, /v1 is meant: "http://10.0.0.7:8000"
  std::string key{};       // bearer token; empty: none is sent
  std::string model{};     // empty: the first of GET /models
  int context_length = 0;  // tokens; 0: what GET /models says, if it does
  std::chrono::milliseconds quiet_limit{120'000};  // without a byte; then the request ends
  std::chrono::milliseconds start_limit{10'000};   // for GET /models
};

// Requests go on at once, their number bounded; nothing is queued here. Differences to a model of
// ours, all of them the other server's to decide: what is cached, and whether a schema, a seed or
// top_k is obeyed. Token counts in usage are the upstream's. message_start says nothing about them,
// message_delta all.
class Upstream : public claude::Service {
 public:
  // Asks the upstream which models it has; that decides model() and context_length(), and proves
  // that it is there. Blocks for `start_limit` at most. Errors, one sentence with the address:
  // InvalidRequest for a URL or key that cannot be used; Unavailable when it cannot be reached,
  // does not take the key, or has no model and none was named. When a model was named the list is
  // not needed, and its absence only logged.
  static Result<std::unique_ptr<Upstream>> create(const UpstreamOptions& options);

  // As claude::Service has them, and:
  // - answer() and complete() give back at once; the upstream's refusal comes out of poll(), before
  //   any event.
  // - count_tokens() is an estimate, because OpenAI's API has no such call: bytes over the bytes
  // per
  //   token that the answers so far had, 3.5 before the first. It costs no request.
  // - encode() is NotImplemented.
  virtual const std::string& model() const = 0;
  virtual int context_length() const = 0;  // tokens; 0: unknown
  virtual const std::string& url() const = 0;
};

}  // namespace pensieve::proxy
