// Reading one GGUF value: as a number, a text, or something to show.
#include <algorithm>
#include <cstdio>
#include <utility>

#include "foundation/check.h"
#include "foundation/text.h"

#include "domain/model/internal/cursor.h"
#include "domain/model/internal/gguf.h"

namespace pensieve::model {
namespace {

constexpr std::size_t kShownElements = 6;
constexpr std::size_t kShownText = 200;

std::string printed_real(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.7g", value);
  return text;
}

// The number at `at`, whose type is not String or Array.
std::string printed_number(GgufType type, const std::byte* at) {
  switch (type) {
    case GgufType::U8:
      return std::to_string(load_number<std::uint8_t>(at));
    case GgufType::I8:
      return std::to_string(load_number<std::int8_t>(at));
    case GgufType::U16:
      return std::to_string(load_number<std::uint16_t>(at));
    case GgufType::I16:
      return std::to_string(load_number<std::int16_t>(at));
    case GgufType::U32:
      return std::to_string(load_number<std::uint32_t>(at));
    case GgufType::I32:
      return std::to_string(load_number<std::int32_t>(at));
    case GgufType::U64:
      return std::to_string(load_number<std::uint64_t>(at));
    case GgufType::I64:
      return std::to_string(load_number<std::int64_t>(at));
    case GgufType::F32:
      return printed_real(load_number<float>(at));
    case GgufType::F64:
      return printed_real(load_number<double>(at));
    case GgufType::Bool:
      return load_number<std::uint8_t>(at) != 0 ? "true" : "false";
    case GgufType::String:
    case GgufType::Array:
      break;
  }
  CHECK(false);
  return {};
}

}  // namespace

std::string_view to_string(GgufType type) {
  constexpr std::array<std::string_view, kGgufTypes> kNames = {"u8",
                                                               "i8",
                                                               "u16",
                                                               "i16",
                                                               "u32",
                                                               "i32",
                                                               "f32",
                                                               "bool",
                                                               "string",
                                                               "array",
                                                               "u64",
                                                               "i64",
                                                               "f64"};
  return kNames[static_cast<std::size_t>(type)];
}

std::optional<std::int64_t> GgufValue::integer() const {
  const std::byte* at = bytes.data();
  switch (type) {
    case GgufType::U8:
      return load_number<std::uint8_t>(at);
    case GgufType::I8:
      return load_number<std::int8_t>(at);
    case GgufType::U16:
      return load_number<std::uint16_t>(at);
    case GgufType::I16:
      return load_number<std::int16_t>(at);
    case GgufType::U32:
      return load_number<std::uint32_t>(at);
    case GgufType::I32:
      return load_number<std::int32_t>(at);
    case GgufType::I64:
      return load_number<std::int64_t>(at);
    case GgufType::U64: {
      const auto value = load_number<std::uint64_t>(at);
      if (value > static_cast<std::uint64_t>(INT64_MAX)) return std::nullopt;
      return static_cast<std::int64_t>(value);
    }
    default:
      return std::nullopt;
  }
}

std::optional<double> GgufValue::real() const {
  if (type == GgufType::F32) return load_number<float>(bytes.data());
  if (type == GgufType::F64) return load_number<double>(bytes.data());
  return std::nullopt;
}

std::optional<bool> GgufValue::boolean() const {
  if (type != GgufType::Bool) return std::nullopt;
  return load_number<std::uint8_t>(bytes.data()) != 0;
}

std::optional<std::string_view> GgufValue::text() const {
  if (type != GgufType::String) return std::nullopt;
  return as_text(bytes);
}

std::vector<std::string_view> GgufValue::texts() const {
  CHECK(is_array_of(GgufType::String));
  std::vector<std::string_view> all;
  all.reserve(count);  // each took eight bytes of the file at least
  Cursor cursor(bytes);
  for (std::uint64_t i = 0; i < count; ++i) {
    std::uint64_t length = 0;
    std::span<const std::byte> text;
    CHECK(cursor.read(&length) && cursor.take(length, &text));  // the parser walked it before
    all.push_back(as_text(text));
  }
  return all;
}

std::string GgufValue::printed() const {
  if (type == GgufType::String) return printable(as_text(bytes), kShownText);
  if (type != GgufType::Array) return printed_number(type, bytes.data());
  std::string line = "[" + std::to_string(count) + " " + std::string(to_string(element)) + "]";
  const auto shown = static_cast<std::size_t>(std::min<std::uint64_t>(count, kShownElements));
  Cursor cursor(bytes);
  const std::size_t width = element == GgufType::String || count == 0 ? 0 : bytes.size() / count;
  for (std::size_t i = 0; i < shown; ++i) {
    line += i == 0 ? " " : ", ";
    if (element == GgufType::String) {
      std::uint64_t length = 0;
      std::span<const std::byte> text;
      CHECK(cursor.read(&length) && cursor.take(length, &text));
      line += printable(as_text(text), 40);
    } else {
      line += printed_number(element, bytes.data() + i * width);
    }
  }
  if (count > shown) line += ", …";
  return line;
}

}  // namespace pensieve::model
