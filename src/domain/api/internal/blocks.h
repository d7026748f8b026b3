// Content blocks of a request: which kinds there are, which fields each has, and in whose turn it
// may stand. Knows the API's block list. Must not know the rest of a request.
#pragma once

#include <vector>

#include "foundation/json.h"
#include "foundation/result.h"

#include "domain/api/fields.h"
#include "domain/api/messages.h"

namespace pensieve::api {

// Whose content is being read.
enum class Holder { UserTurn, AssistantTurn, SystemText, ToolResultContent };

// A string, which becomes one Text block, or an array of blocks. Takes the texts out of `value`.
Result<std::vector<ContentBlock>> take_content(Json& value, const Path& path, Holder holder);

}  // namespace pensieve::api
