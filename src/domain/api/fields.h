// Reading typed values out of a JSON body, with an error that names the field. Knows JSON kinds and
// bounds. Must not know which fields a request has: that is request.cpp and blocks.cpp here, and
// other rooms that read bodies of their own. Heavy (JSON): include it from .cpp files only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "foundation/json.h"
#include "foundation/result.h"

namespace pensieve::api {

// Where a value stands in the body. A chain of steps that lives on the stack and is written out
// only when an error needs it, so that a hundred thousand good messages cost no strings. REQUIRES:
// the parent and the name outlive the path.
class Path {
 public:
  Path() = default;
  Path(const Path& parent, std::string_view name) : parent_(&parent), name_(name) {}
  Path(const Path& parent, std::size_t index) : parent_(&parent), index_(index) {}
  Path(const Path&) = delete;
  Path& operator=(const Path&) = delete;

  // "messages.0.content"; "body" for the body itself.
  std::string to_string() const;

 private:
  const Path* parent_ = nullptr;
  std::string_view name_;
  std::size_t index_ = 0;
};

// InvalidRequest with the sentence "<path>: <what>".
Error refuse(const Path& path, std::string_view what);

// Names a value's kind for a sentence: "null", "a string", "an array", "-1", "true".
std::string describe(const Json& value);

// The field of `object`, or null if it is missing or JSON null. REQUIRES: object.is_object().
Json* find(Json& object, std::string_view name);

// As find(). Errors: "<path>.<name>: is required" when missing, and a sentence of its own for null.
Result<Json*> require(Json& object, const Path& path, std::string_view name);

Result<void> expect_object(const Json& value, const Path& path);
Result<void> expect_array(const Json& value, const Path& path, std::size_t max_elements);

inline constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();
struct StringBounds {
  std::size_t min_bytes = 0;
  std::size_t max_bytes = kNoLimit;
};
// Takes the text out of `value`, which is left empty: bodies have up to 32 MiB.
Result<std::string> take_string(Json& value, const Path& path, StringBounds bounds = {});

// A whole number in [min, max]; 5.0 counts as 5.
Result<std::int64_t> read_integer(const Json& value,
                                  const Path& path,
                                  std::int64_t min,
                                  std::int64_t max);
// A number in [min, max].
Result<double> read_number(const Json& value, const Path& path, double min, double max);
Result<bool> read_bool(const Json& value, const Path& path);

// The value as compact JSON text, key order kept.
std::string compact(const Json& value);

}  // namespace pensieve::api
