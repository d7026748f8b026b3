#include "domain/tokenizer/internal/nfc.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "domain/tokenizer/internal/flat_map.h"
#include "domain/tokenizer/internal/unicode.h"
#include "domain/tokenizer/internal/unicode_tables.h"

namespace pensieve::tokenizer {
namespace {

// The Unicode Standard, section 3.12: Hangul syllables are computed, not listed.
constexpr char32_t kLeads = 0x1100, kVowels = 0x1161, kTails = 0x11A7, kSyllables = 0xAC00;
constexpr char32_t kNLeads = 19, kNVowels = 21, kNTails = 28;
constexpr char32_t kNSyllables = kNLeads * kNVowels * kNTails;

bool within(char32_t code, char32_t first, char32_t count) {
  return code >= first && code - first < count;
}

// What NFC needs to know of a character beyond "it stays, and it is a starter".
struct Traits {
  std::uint8_t combining = 0;  // Canonical_Combining_Class
  bool changes = false;        // NFC_Quick_Check=No
  bool joins = false;          // NFC_Quick_Check=Maybe: it may become one with what is before it

  // Nothing before such a character changes what NFC makes of it and of what follows.
  bool is_boundary() const { return combining == 0 && !changes && !joins; }
};

class Tables {
 public:
  Tables() {
    std::vector<std::uint32_t> traits(0x30000);
    for (const CombiningRange& range : combining_ranges()) {
      for (char32_t c = range.first; c <= range.last; ++c) traits[c] |= range.value;
    }
    const auto all = decompositions();
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Decomposition& d = all[i];
      decompositions_.insert(d.code, static_cast<std::uint32_t>(i));
      if (d.composes) {
        compositions_.insert(pair(d.first, d.second), d.code);
        traits[d.second] |= kJoins;
      } else {
        traits[d.code] |= kChanges;
      }
    }
    for (char32_t c = 0; c < kNVowels; ++c) traits[kVowels + c] |= kJoins;
    for (char32_t c = 1; c < kNTails; ++c) traits[kTails + c] |= kJoins;
    for (std::size_t c = 0; c < traits.size(); ++c) {
      if (traits[c] != 0) traits_.insert(c, traits[c]);
    }
  }

  Traits traits(char32_t code) const {
    if (code < 0xC0) return {};
    const std::uint32_t bits = traits_.find(code);
    if (bits == FlatMap::kNone) return {};
    return {.combining = static_cast<std::uint8_t>(bits & 0xFF),
            .changes = (bits & kChanges) != 0,
            .joins = (bits & kJoins) != 0};
  }
  const Decomposition* decomposition(char32_t code) const {
    const std::uint32_t at = decompositions_.find(code);
    return at == FlatMap::kNone ? nullptr : &tokenizer::decompositions()[at];
  }
  // The character that NFC makes of the two, or 0.
  char32_t composition(char32_t first, char32_t second) const {
    if (within(first, kLeads, kNLeads) && within(second, kVowels, kNVowels)) {
      return kSyllables + ((first - kLeads) * kNVowels + (second - kVowels)) * kNTails;
    }
    if (within(first, kSyllables, kNSyllables) && (first - kSyllables) % kNTails == 0 &&
        within(second, kTails + 1, kNTails - 1)) {
      return first + (second - kTails);
    }
    const std::uint32_t code = compositions_.find(pair(first, second));
    return code == FlatMap::kNone ? 0 : code;
  }

 private:
  static constexpr std::uint32_t kChanges = 0x100, kJoins = 0x200;
  static std::uint64_t pair(char32_t a, char32_t b) { return (std::uint64_t{a} << 32) | b; }

  FlatMap traits_, decompositions_, compositions_;
};

const Tables& tables() {
  static const Tables made;
  return made;
}

struct Unit {
  char32_t code;
  std::uint8_t combining;
};

// A byte that is not part of a character travels as a starter of its own.
constexpr char32_t kRawByte = 0x80000000;

void decompose(char32_t code, std::vector<Unit>& out) {
  if (within(code, kSyllables, kNSyllables)) {
    const char32_t index = code - kSyllables;
    out.push_back({kLeads + index / (kNVowels * kNTails), 0});
    out.push_back({kVowels + index / kNTails % kNVowels, 0});
    if (index % kNTails != 0) out.push_back({kTails + index % kNTails, 0});
    return;
  }
  const Decomposition* d = tables().decomposition(code);
  if (d == nullptr) {
    out.push_back({code, tables().traits(code).combining});
    return;
  }
  decompose(d->first, out);  // three deep at most
  if (d->second != 0) decompose(d->second, out);
}

// Annex 15: decompose, order the marks behind each starter, compose what is not blocked.
void normalize_segment(std::string_view segment, std::vector<Unit>& units, std::string& out) {
  units.clear();
  while (!segment.empty()) {
    const Character c = first_character(segment);
    if (c.code == kNoCharacter) {
      units.push_back({kRawByte | static_cast<std::uint8_t>(segment[0]), 0});
    } else {
      decompose(c.code, units);
    }
    segment.remove_prefix(c.length);
  }
  for (auto at = units.begin(); at != units.end();) {
    const auto is_starter = [](const Unit& unit) { return unit.combining == 0; };
    const auto marks = std::find_if_not(at, units.end(), is_starter);
    at = std::find_if(marks, units.end(), is_starter);
    std::stable_sort(
        marks, at, [](const Unit& a, const Unit& b) { return a.combining < b.combining; });
  }
  constexpr std::size_t kNone = SIZE_MAX;
  std::size_t starter = kNone, n_out = 0;
  int before = -1;  // combining class of the mark before this one; -1 right behind the starter
  for (const Unit unit : units) {
    if (starter != kNone && before < unit.combining) {
      if (const char32_t both = tables().composition(units[starter].code, unit.code)) {
        units[starter].code = both;
        continue;
      }
    }
    if (unit.combining == 0) starter = n_out;
    before = unit.combining == 0 ? -1 : unit.combining;
    units[n_out++] = unit;
  }
  for (std::size_t i = 0; i < n_out; ++i) {
    if ((units[i].code & kRawByte) != 0) {
      out += static_cast<char>(units[i].code & 0xFF);
    } else {
      append_character(out, units[i].code);
    }
  }
}

}  // namespace

std::string_view to_nfc(std::string_view text, std::string& buffer) {
  std::vector<Unit> units;
  std::size_t copied = 0;   // text before this is in `buffer`, if anything had to change
  std::size_t segment = 0;  // where the last boundary is
  bool changed = false, suspect = false;
  std::uint8_t before = 0;
  const auto end_segment = [&](std::size_t end) {
    if (!suspect) return;
    if (!changed) buffer.clear();
    changed = true;
    buffer += text.substr(copied, segment - copied);
    normalize_segment(text.substr(segment, end - segment), units, buffer);
    copied = end;
    suspect = false;
  };
  for (std::size_t at = 0; at < text.size();) {
    const Character c = first_character(text.substr(at));
    const Traits traits = tables().traits(c.code);
    if (traits.is_boundary()) {
      end_segment(at);
      segment = at;
    } else {
      suspect |=
          traits.changes || traits.joins || (traits.combining != 0 && before > traits.combining);
    }
    before = traits.combining;
    at += c.length;
  }
  end_segment(text.size());
  if (!changed) return text;
  buffer += text.substr(copied);
  return buffer;
}

}  // namespace pensieve::tokenizer
