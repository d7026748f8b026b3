#include "domain/chat/internal/json_text.h"

#include <cstddef>
#include <cstdint>

namespace pensieve::chat {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

// The offset behind the string that begins at `at`.
std::size_t end_of_string(std::string_view json, std::size_t at) {
  for (++at; at < json.size() && json[at] != '"'; ++at) at += json[at] == '\\';
  return at + 1 < json.size() ? at + 1 : json.size();
}

std::size_t skip_space(std::string_view json, std::size_t at) {
  while (at < json.size() && is_space(json[at])) ++at;
  return at;
}

// The offset behind the value that begins at `at`: at the comma or bracket that follows, and behind
// white space.
std::size_t end_of_value(std::string_view json, std::size_t at) {
  std::size_t depth = 0;
  while (at < json.size()) {
    const char c = json[at];
    if (c == '"') {
      at = end_of_string(json, at);
      continue;
    }
    if (depth == 0 && (c == ',' || c == '}' || c == ']')) break;
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    ++at;
  }
  return at;
}

}  // namespace

std::string spaced_json(std::string_view json) {
  std::string out;
  out.reserve(json.size() + json.size() / 8);
  for (std::size_t at = 0; at < json.size();) {
    const char c = json[at];
    if (c == '"') {
      const std::size_t end = end_of_string(json, at);
      out += json.substr(at, end - at);
      at = end;
      continue;
    }
    if (!is_space(c)) out += c;
    if (c == ',' || c == ':') out += ' ';
    ++at;
  }
  return out;
}

std::string json_string(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<std::uint8_t>(c) < 0x20) {
          out += "\\u00";
          out += kHex[c >> 4];
          out += kHex[c & 15];
        } else {
          out += c;
        }
    }
  }
  return out + '"';
}

std::string_view member_text(std::string_view object, std::string_view key) {
  std::size_t at = skip_space(object, 0) + 1;  // behind the brace
  for (at = skip_space(object, at); at < object.size() && object[at] == '"';) {
    const std::size_t name = at + 1;
    at = end_of_string(object, at);
    const bool found = object.substr(name, at - 1 - name) == key;
    at = skip_space(object, skip_space(object, at) + 1);  // behind the colon
    std::size_t end = end_of_value(object, at);
    if (found) {
      while (end > at && is_space(object[end - 1])) --end;
      return object.substr(at, end - at);
    }
    at = skip_space(object, end + 1);  // behind the comma
  }
  return {};
}

ObjectScanner::State ObjectScanner::push(char c) {
  const auto byte = static_cast<std::uint8_t>(c);
  if (in_string_) {
    if (byte < 0x20) return state_ = State::Malformed;
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
    }
    return state_;
  }
  if (is_space(c) && state_ != State::Malformed) return state_;
  switch (state_) {
    case State::Before:
      depth_ = 1;
      return state_ = c == '{' ? State::Inside : State::Malformed;
    case State::Behind:
    case State::Malformed:
      return state_ = State::Malformed;
    case State::Inside:
      break;
  }
  if (c == '"') {
    in_string_ = true;
  } else if (c == '{' || c == '[') {
    if (++depth_ > kMaxDepth) state_ = State::Malformed;
  } else if (c == '}' || c == ']') {
    if (--depth_ == 0) state_ = State::Behind;
  } else {
    const bool literal = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == 'E' || c == '+' ||
                         c == '-' || c == '.' || c == ',' || c == ':';
    if (!literal) state_ = State::Malformed;
  }
  return state_;
}

}  // namespace pensieve::chat
