// JSON with bounds. The value type is nlohmann's ordered_json (key order is kept: prompts depend on
// it). Heavy: include it from .cpp files only.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string_view>

#include "foundation/result.h"

namespace pensieve {

using Json = nlohmann::ordered_json;

struct JsonLimits {
  int max_depth = 128;
  std::size_t max_keys_per_object = 10'000;
};

// Parses one complete JSON text (RFC 8259). Refused: nesting or objects beyond the limits, invalid
// UTF-8, a lone surrogate escape, NUL anywhere (raw or escaped), a duplicate key, a byte order
// mark, bytes behind the value, numbers beyond double. The stack needed does not depend on the
// text. Errors: InvalidRequest, one short printable sentence with the byte offset in it.
Result<Json> parse_json(std::string_view text, const JsonLimits& limits = {});

}  // namespace pensieve
