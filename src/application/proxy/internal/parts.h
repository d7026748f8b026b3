// The turns of a chat completion request -> turns of the Messages API. Knows roles, content parts
// and tool calls in OpenAI's shape. Must not know the rest of a request.
#pragma once

#include <string>
#include <vector>

#include "foundation/json.h"
#include "foundation/result.h"

#include "domain/api/fields.h"
#include "domain/api/messages.h"

namespace pensieve::proxy {

// `list`: the field `messages`, at `path`; its texts are taken out. Appends to `request.system` and
// `request.messages`. Errors: InvalidRequest, naming the field.
Result<void> take_turns(Json& list, const api::Path& path, api::MessagesRequest& request);

}  // namespace pensieve::proxy
