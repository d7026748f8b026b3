// What another server's refusals mean here: its status and body -> an Error with a sentence that
// names it. Pure. A key never stands in one, whatever the upstream repeats.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "foundation/json.h"
#include "foundation/result.h"

namespace pensieve::proxy {

struct UpstreamName {
  std::string url;  // as the user gave it
  std::string key;  // replaced wherever it would show; may be empty
};

// An answer with a status other than 200. `retry_after_s`: its Retry-After, or 0.
//   400, 409, 422     InvalidRequest with the upstream's own sentence; a prompt beyond its window
//   in
//                     the words clients act on: "prompt is too long: N tokens > M maximum"
//   401, 403          Unavailable for good: it is our key it does not take, not the client's
//   404               NotFound, with its sentence        413  TooLarge
//   408, 504          Unavailable, again in a moment     429  RateLimited, with its Retry-After
//   503, 529          Overloaded                         other 5xx  Internal
//   3xx               Unavailable for good: redirects are not followed, the key would go along
Error upstream_status_error(const UpstreamName& upstream,
                            int status,
                            int retry_after_s,
                            std::string_view body);

// The error of a chunk {"error": …} in the middle of a stream. REQUIRES: chunk.is_object().
std::optional<Error> upstream_chunk_error(const UpstreamName& upstream, const Json& chunk);

// How much room the sentence of a 400 says there is, when it is the answer's length and not the
// prompt's that does not fit: window minus prompt, in tokens. Nothing when it says no such thing.
// The sentences are vLLM's, SGLang's, llama.cpp's and OpenAI's.
std::optional<int> room_for_answer(std::string_view body);

}  // namespace pensieve::proxy
