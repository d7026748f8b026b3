// Character classes of RFC 9110 and RFC 3986, as the parsers here need them: ASCII only, no locale.
#pragma once

#include <string_view>

namespace pensieve::http::grammar {

constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
constexpr bool is_alpha(char c) {
  return lower(c) >= 'a' && lower(c) <= 'z';
}
constexpr int hex_value(char c) {  // -1: not a hexadecimal digit
  if (is_digit(c)) return c - '0';
  const char low = lower(c);
  return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}
constexpr bool contains(std::string_view set, char c) {
  return c != '\0' && set.find(c) != std::string_view::npos;
}

// RFC 9110, 5.6.2: tchar.
constexpr bool is_token_char(char c) {
  return is_digit(c) || is_alpha(c) || contains("!#$%&'*+-.^_`|~", c);
}
constexpr bool is_token(std::string_view text) {
  for (const char c : text) {
    if (!is_token_char(c)) return false;
  }
  return !text.empty();
}

// RFC 9110, 5.5: field values hold visible ASCII, obs-text, spaces and tabs.
constexpr bool is_value_char(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return c == '\t' || (byte >= 0x20 && byte != 0x7F);
}

// RFC 3986: what may stand in a path or a query, percent signs included.
constexpr bool is_target_char(char c) {
  return is_digit(c) || is_alpha(c) || contains("-._~!$&'()*+,;=:@/?%[]", c);
}

constexpr std::string_view trim(std::string_view text) {  // OWS
  while (!text.empty() && contains(" \t", text.front())) text.remove_prefix(1);
  while (!text.empty() && contains(" \t", text.back())) text.remove_suffix(1);
  return text;
}

// RFC 9110, 7.2 and RFC 3986, 3.2: host with an optional port, no userinfo. Brackets around IPv6.
constexpr bool is_host(std::string_view text) {
  std::string_view port;
  bool has_port = false;
  if (!text.empty() && text.front() == '[') {
    const auto close = text.find(']');
    if (close == std::string_view::npos || close < 3) return false;
    for (const char c : text.substr(1, close - 1)) {
      if (hex_value(c) < 0 && c != ':' && c != '.') return false;
    }
    port = text.substr(close + 1);
    if (!port.empty()) {
      if (port.front() != ':') return false;
      port.remove_prefix(1);
      has_port = true;
    }
  } else {
    const auto colon = text.find(':');
    const auto name = text.substr(0, colon);
    if (name.empty()) return false;
    for (const char c : name) {
      if (!is_digit(c) && !is_alpha(c) && !contains("-._~!$&'()*+;=%", c)) return false;
    }
    if (colon != std::string_view::npos) {
      port = text.substr(colon + 1);
      has_port = true;
    }
  }
  if (!has_port) return true;
  if (port.empty() || port.size() > 5) return false;
  for (const char c : port) {
    if (!is_digit(c)) return false;
  }
  return true;
}

// Calls `visit` with each element of a comma list, trimmed; empty elements too.
template <typename Visit>
constexpr void for_each_element(std::string_view list, Visit visit) {
  for (;;) {
    const auto comma = list.find(',');
    visit(trim(list.substr(0, comma)));
    if (comma == std::string_view::npos) return;
    list.remove_prefix(comma + 1);
  }
}

}  // namespace pensieve::http::grammar
