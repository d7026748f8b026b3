// An engine that lets another one do the work and keeps what passes: the prompt that was submitted
// and the tokens that came back. For `trace`, which shows the steps of the very code that serves.
#pragma once

#include <memory>
#include <vector>

#include "domain/engine/engine.h"

namespace pensieve::cli {

// What passed for the last request.
struct Tapped {
  int prompt_tokens = 0;
  int cached_tokens = 0;
  std::vector<TokenId> tokens;  // of the answer, in order
};

// `inner` and `tapped` outlive the engine and its generations. One request at a time; `tapped`
// changes on the thread that reads the generation.
std::unique_ptr<engine::Engine> make_tap_engine(engine::Engine& inner, Tapped& tapped);

}  // namespace pensieve::cli
