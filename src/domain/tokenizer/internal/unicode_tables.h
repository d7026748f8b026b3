// What byte-level BPE needs to know of Unicode, as tables: letters, numbers and white space for the
// patterns that cut a text; combining classes and canonical decompositions for NFC. The data is
// made by tools/make_unicode_tables.py; unicode.h and nfc.h are what others use.
#pragma once

#include <cstdint>
#include <span>

#include "domain/tokenizer/internal/unicode.h"

namespace pensieve::tokenizer {

// Sorted by `first`, disjoint; what is in no range is Other.
struct ClassRange {
  char32_t first, last;
  CharClass value;
};
std::span<const ClassRange> class_ranges();

// Canonical_Combining_Class where it is not 0. Sorted by `first`, disjoint.
struct CombiningRange {
  char32_t first, last;
  std::uint8_t value;
};
std::span<const CombiningRange> combining_ranges();

// One step of canonical decomposition, sorted by `code`, without Hangul syllables. `second` is 0
// where a character becomes one other; `composes`: NFC makes `code` of the two.
struct Decomposition {
  char32_t code, first, second;
  bool composes;
};
std::span<const Decomposition> decompositions();

}  // namespace pensieve::tokenizer
