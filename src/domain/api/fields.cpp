#include "domain/api/fields.h"

#include <cmath>
#include <utility>
#include <vector>

namespace pensieve::api {
namespace {

std::string bounds_sentence(std::string_view kind, const std::string& min, const std::string& max) {
  std::string sentence = "must be ";
  sentence += kind;
  sentence += " from " + min + " to " + max;
  return sentence;
}

std::string number_text(double value) {
  return compact(Json(value));
}

}  // namespace

std::string Path::to_string() const {
  std::vector<const Path*> steps;
  for (const Path* step = this; step->parent_ != nullptr; step = step->parent_) {
    steps.push_back(step);
  }
  if (steps.empty()) return "body";
  std::string text;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    if (!text.empty()) text += '.';
    if ((*step)->name_.empty()) {
      text += std::to_string((*step)->index_);
    } else {
      text += (*step)->name_;
    }
  }
  return text;
}

Error refuse(const Path& path, std::string_view what) {
  std::string sentence = path.to_string();
  sentence += ": ";
  sentence += what;
  return Error{.kind = ErrorKind::InvalidRequest, .message = std::move(sentence)};
}

std::string describe(const Json& value) {
  if (value.is_null() || value.is_boolean() || value.is_number()) return compact(value);
  if (value.is_string()) return "a string";
  return value.is_array() ? "an array" : "an object";
}

Json* find(Json& object, std::string_view name) {
  const auto field = object.find(name);
  return field == object.end() || field->is_null() ? nullptr : &*field;
}

Result<Json*> require(Json& object, const Path& path, std::string_view name) {
  const auto field = object.find(name);
  if (field == object.end()) return refuse(Path(path, name), "is required");
  if (field->is_null()) return refuse(Path(path, name), "must not be null");
  return &*field;
}

Result<void> expect_object(const Json& value, const Path& path) {
  if (!value.is_object()) return refuse(path, "must be an object, not " + describe(value));
  return {};
}

Result<void> expect_array(const Json& value, const Path& path, std::size_t max_elements) {
  if (!value.is_array()) return refuse(path, "must be an array, not " + describe(value));
  if (value.size() > max_elements) {
    return refuse(path,
                  "has " + std::to_string(value.size()) + " elements, at most " +
                      std::to_string(max_elements) + " are allowed");
  }
  return {};
}

Result<std::string> take_string(Json& value, const Path& path, StringBounds bounds) {
  if (!value.is_string()) return refuse(path, "must be a string, not " + describe(value));
  auto& text = value.get_ref<Json::string_t&>();
  if (text.size() < bounds.min_bytes) return refuse(path, "must not be empty");
  if (text.size() > bounds.max_bytes) {
    return refuse(path,
                  "has " + std::to_string(text.size()) + " bytes, at most " +
                      std::to_string(bounds.max_bytes) + " are allowed");
  }
  return std::move(text);
}

Result<std::int64_t> read_integer(const Json& value,
                                  const Path& path,
                                  std::int64_t min,
                                  std::int64_t max) {
  const auto out_of_range = [&] {
    return refuse(path,
                  bounds_sentence("an integer", std::to_string(min), std::to_string(max)) +
                      ", not " + describe(value));
  };
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    if (!std::in_range<std::int64_t>(number)) return out_of_range();
    const auto whole = static_cast<std::int64_t>(number);
    return whole < min || whole > max ? Result<std::int64_t>(out_of_range()) : whole;
  }
  if (value.is_number_integer()) {
    const auto whole = value.get<std::int64_t>();
    return whole < min || whole > max ? Result<std::int64_t>(out_of_range()) : whole;
  }
  if (value.is_number_float()) {
    const auto number = value.get<double>();
    // Beyond 2^53 a double no longer names one integer, and no bound of ours lies there.
    constexpr double kExact = 9007199254740992.0;
    if (number != std::trunc(number) || std::abs(number) > kExact) return out_of_range();
    const auto whole = static_cast<std::int64_t>(number);
    return whole < min || whole > max ? Result<std::int64_t>(out_of_range()) : whole;
  }
  return out_of_range();
}

Result<double> read_number(const Json& value, const Path& path, double min, double max) {
  const auto number = value.is_number() ? value.get<double>() : std::nan("");
  if (number >= min && number <= max) return number;
  return refuse(
      path,
      bounds_sentence("a number", number_text(min), number_text(max)) + ", not " + describe(value));
}

Result<bool> read_bool(const Json& value, const Path& path) {
  if (!value.is_boolean()) return refuse(path, "must be true or false, not " + describe(value));
  return value.get<bool>();
}

// dump() calls itself for every level of nesting, and a level costs kilobytes of stack in a
// sanitizer build; a body from outside may have 128 of them. So containers are walked here, with
// the open ones on the heap, and dump() sees scalars only.
std::string compact(const Json& value) {
  struct Open {
    const Json* container;
    Json::const_iterator next;
  };
  std::string out;
  std::vector<Open> open;
  const auto append_scalar = [&](const Json& scalar) {
    out += scalar.dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  const auto begin = [&](const Json& item) {
    if (!item.is_structured()) return append_scalar(item);
    out += item.is_array() ? '[' : '{';
    open.push_back({&item, item.cbegin()});
  };
  begin(value);
  while (!open.empty()) {
    const Json* container = open.back().container;
    const auto at = open.back().next;
    if (at == container->cend()) {
      out += container->is_array() ? ']' : '}';
      open.pop_back();
      continue;
    }
    ++open.back().next;
    if (at != container->cbegin()) out += ',';
    if (container->is_object()) {
      append_scalar(Json(at.key()));
      out += ':';
    }
    begin(*at);
  }
  return out;
}

}  // namespace pensieve::api
