// Words about text that several rooms need: UTF-8 checks and cuts, ASCII case, hexadecimal.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace pensieve {

// The offset of the first byte that is not part of valid UTF-8 (RFC 3629: no overlong forms, no
// surrogates, nothing beyond U+10FFFF), or npos if all of it is valid.
std::size_t first_invalid_utf8(std::string_view text);
inline bool is_valid_utf8(std::string_view text) {
  return first_invalid_utf8(text) == std::string_view::npos;
}

// The length of the longest prefix of `bytes` that does not end inside a UTF-8 sequence that more
// bytes could still complete. What lies before the cut may be invalid; see replace_invalid_utf8().
std::size_t complete_utf8_prefix(std::string_view bytes);

// Copies `bytes`, each maximal invalid part replaced by one U+FFFD (Unicode 15, section 3.9,
// "substitution of maximal subparts").
std::string replace_invalid_utf8(std::string_view bytes);

// Renders text so that it can stand inside a one-line message: control characters and invalid bytes
// as \xNN, cut after `limit` bytes with "…".
std::string printable(std::string_view text, std::size_t limit = 80);

// A copy with A to Z in lower case; every other byte as it is, whatever the locale.
std::string lower_ascii(std::string_view text);

// Without the spaces, tabs and line ends at both ends.
std::string_view trimmed(std::string_view text);

// The value of a hexadecimal digit of either case; -1: it is none.
constexpr int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// Two lower-case digits a byte.
std::string hex(std::span<const std::byte> bytes);
inline std::string hex(std::span<const unsigned char> bytes) {
  return hex(std::as_bytes(bytes));
}

// %41 becomes A (RFC 3986, 2.1); a broken escape stays as it is. The bytes need not be UTF-8.
std::string percent_decoded(std::string_view text);

// The other way round, every byte but RFC 3986's unreserved characters (2.3).
std::string percent_encoded(std::string_view text);

}  // namespace pensieve
