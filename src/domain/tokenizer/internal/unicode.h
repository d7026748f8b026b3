// Characters of UTF-8 text and the three classes of them that the patterns of byte-level BPE name:
// \p{L}, \p{N} and \s. Unicode 16, whatever the system's libraries know.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pensieve::tokenizer {

// Letter: general category L. Number: category N. Space: property White_Space.
enum class CharClass : std::uint8_t { Other, Letter, Number, Space };
CharClass char_class(char32_t code);

// What is no code point: the value of a byte that is not part of a character.
inline constexpr char32_t kNoCharacter = 0xFFFFFFFF;

struct Character {
  char32_t code = kNoCharacter;
  std::size_t length = 0;  // bytes
};
// The character at the front of `text`; one byte without a code where it is not well-formed.
// REQUIRES: text is not empty.
Character first_character(std::string_view text);

// Appends `code` as UTF-8. REQUIRES: a code point.
void append_character(std::string& out, char32_t code);

}  // namespace pensieve::tokenizer
