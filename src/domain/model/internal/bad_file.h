// How this room words what is wrong with a file: one sentence that names a key or tensor and the
// byte where it stands. Text from the file enters it escaped and shortened.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "foundation/result.h"
#include "foundation/text.h"

namespace pensieve::model {

inline Error bad_file(std::string sentence) {
  return Error{.kind = ErrorKind::BadFile, .message = std::move(sentence)};
}

inline std::string in_quotes(std::string_view name) {
  return "\"" + printable(name) + "\"";
}

// "key "phi3.block_count" at byte 120"
inline std::string at_byte(std::string_view what, std::string_view name, std::uint64_t offset) {
  return std::string(what) + " " + in_quotes(name) + " at byte " + std::to_string(offset);
}

}  // namespace pensieve::model
