// Parts of a request that other APIs' bodies share with the Messages API, field for field. Knows
// field names and bounds. Heavy (JSON): include it from .cpp files only.
#pragma once

#include "foundation/json.h"
#include "foundation/result.h"

#include "domain/api/fields.h"
#include "domain/api/messages.h"

namespace pensieve::api {

// temperature, top_p, top_k, min_p, repeat_penalty or repetition_penalty, and seed of `body` into
// `request`; what is missing or null stays unset, and a seed of -1 asks for a random one. Errors:
// InvalidRequest, naming the field. REQUIRES: body.is_object().
Result<void> read_sampling(Json& body, const Path& root, MessagesRequest& request);

}  // namespace pensieve::api
