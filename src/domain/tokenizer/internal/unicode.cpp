#include "domain/tokenizer/internal/unicode.h"

#include <algorithm>
#include <array>

#include "domain/tokenizer/internal/merges.h"
#include "domain/tokenizer/internal/unicode_tables.h"

namespace pensieve::tokenizer {
namespace {

CharClass search_class(char32_t code) {
  const auto ranges = class_ranges();
  const auto after =
      std::upper_bound(ranges.begin(), ranges.end(), code, [](char32_t c, const ClassRange& r) {
        return c < r.first;
      });
  if (after == ranges.begin() || code > (after - 1)->last) return CharClass::Other;
  return (after - 1)->value;
}

// The first 64 Ki characters without a search: every character of a text is asked for.
constexpr std::size_t kDirect = 0x10000;

}  // namespace

CharClass char_class(char32_t code) {
  static const auto direct = [] {
    std::array<CharClass, kDirect> classes{};
    for (const ClassRange& range : class_ranges()) {
      for (char32_t c = range.first; c <= range.last && c < kDirect; ++c) classes[c] = range.value;
    }
    return classes;
  }();
  return code < kDirect ? direct[code] : search_class(code);
}

Character first_character(std::string_view text) {
  const auto lead = static_cast<std::uint8_t>(text[0]);
  if (lead < 0x80) return {.code = lead, .length = 1};
  const std::size_t length = character_length(text);
  if (length == 1) return {.code = kNoCharacter, .length = 1};
  char32_t code = lead & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    code = (code << 6) | (static_cast<std::uint8_t>(text[i]) & 0x3Fu);
  }
  return {.code = code, .length = length};
}

void append_character(std::string& out, char32_t code) {
  const auto tail = [&](int shift) { out += static_cast<char>(0x80 | ((code >> shift) & 0x3F)); };
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | (code >> 6));
    tail(0);
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | (code >> 12));
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xF0 | (code >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

}  // namespace pensieve::tokenizer
