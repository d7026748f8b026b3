// How the readers of tokenizer.json look into it: a member that is missing, null or of another type
// is nothing. Heavy (JSON): include it from .cpp files only.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "foundation/json.h"
#include "foundation/result.h"

namespace pensieve::tokenizer {

// "tokenizer.json: …", of kind BadFile.
inline Error bad_json(std::string message) {
  return Error{.kind = ErrorKind::BadFile, .message = "tokenizer.json: " + std::move(message)};
}

// Null if there is none.
inline const Json* member(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

// Empty if there is none.
inline std::string_view string_member(const Json& object, const char* key) {
  const Json* value = member(object, key);
  return value != nullptr && value->is_string() ? value->get_ref<const std::string&>()
                                                : std::string_view();
}

inline bool true_member(const Json& object, const char* key) {
  const Json* value = member(object, key);
  return value != nullptr && value->is_boolean() && value->get<bool>();
}

}  // namespace pensieve::tokenizer
