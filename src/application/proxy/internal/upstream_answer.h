// One answer that another server writes. Knows transfers and chunks. Must not know who asks.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "domain/claude/service.h"

#include "application/proxy/internal/transfers.h"
#include "application/proxy/internal/upstream_error.h"

namespace pensieve::proxy {

struct UpstreamAnswerSetup {
  std::string model;  // as the request named it
  std::vector<std::string> stop_sequences;
  UpstreamName upstream;
  // Asks again with so many tokens for the answer; called once at most, when the upstream says that
  // prompt and max_tokens together are beyond its window.
  std::function<Result<std::unique_ptr<Transfer>>(int max_tokens)> again;
  // Called once, when the upstream has counted the prompt.
  std::function<void(int prompt_tokens)> counted;
};

std::unique_ptr<claude::Answer> make_upstream_answer(UpstreamAnswerSetup setup,
                                                     std::unique_ptr<Transfer> transfer);

}  // namespace pensieve::proxy
