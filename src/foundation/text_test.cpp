// UTF-8 against an obvious model: the set of strings that encode one Unicode scalar value, made by
// RFC 3629's table from every scalar there is.
#include "foundation/text.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace pensieve {
namespace {

std::string encode(std::uint32_t scalar) {
  const auto byte = [](std::uint32_t v) {
    return static_cast<char>(static_cast<unsigned char>(v));
  };
  if (scalar < 0x80) return {byte(scalar)};
  if (scalar < 0x800) return {byte(0xC0 | scalar >> 6), byte(0x80 | (scalar & 63))};
  if (scalar < 0x10000) {
    return {byte(0xE0 | scalar >> 12), byte(0x80 | (scalar >> 6 & 63)), byte(0x80 | (scalar & 63))};
  }
  return {byte(0xF0 | scalar >> 18),
          byte(0x80 | (scalar >> 12 & 63)),
          byte(0x80 | (scalar >> 6 & 63)),
          byte(0x80 | (scalar & 63))};
}

std::uint32_t packed(std::string_view bytes) {
  std::uint32_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

// Every encoding and every proper prefix of one, as sets of packed bytes by length.
struct Model {
  std::array<std::unordered_set<std::uint32_t>, 5> whole, prefix;
  std::vector<bool> whole3 = std::vector<bool>(1 << 24), whole2 = std::vector<bool>(1 << 16);

  Model() {
    for (std::uint32_t scalar = 0; scalar <= 0x10FFFF; ++scalar) {
      if (scalar >= 0xD800 && scalar <= 0xDFFF) continue;
      const std::string text = encode(scalar);
      whole[text.size()].insert(packed(text));
      if (text.size() == 2) whole2[packed(text)] = true;
      if (text.size() == 3) whole3[packed(text)] = true;
      for (std::size_t n = 1; n < text.size(); ++n) {
        prefix[n].insert(packed(std::string_view(text).substr(0, n)));
      }
    }
  }
  bool is_whole(std::string_view text) const {
    return text.size() <= 4 && whole[text.size()].contains(packed(text));
  }
  // The slow definition: some split of `text` into encodings.
  bool is_valid(std::string_view text) const {
    if (text.empty()) return true;
    for (std::size_t n = 1; n <= std::min<std::size_t>(4, text.size()); ++n) {
      if (is_whole(text.substr(0, n)) && is_valid(text.substr(n))) return true;
    }
    return false;
  }
  std::size_t complete(std::string_view text) const {
    for (std::size_t n = 1; n <= std::min<std::size_t>(3, text.size()); ++n) {
      if (prefix[n].contains(packed(text.substr(text.size() - n)))) return text.size() - n;
    }
    return text.size();
  }
};
const Model& model() {
  static const Model instance;
  return instance;
}

// Bytes on both sides of every border in RFC 3629's table.
const std::array<int, 30> kBorderBytes = {
    0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1,
    0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF8, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF};

void for_each_border_string(std::size_t length, auto&& visit) {
  std::string text(length, '\0');
  std::size_t count = 1;
  for (std::size_t i = 0; i < length; ++i) count *= kBorderBytes.size();
  for (std::size_t index = 0; index < count; ++index) {
    std::size_t rest = index;
    for (std::size_t i = 0; i < length; ++i) {
      text[i] = static_cast<char>(kBorderBytes[rest % kBorderBytes.size()]);
      rest /= kBorderBytes.size();
    }
    visit(std::string_view(text));
  }
}

TEST(Utf8, EveryScalarValueIsValid) {
  for (std::uint32_t scalar = 0; scalar <= 0x10FFFF; ++scalar) {
    const bool surrogate = scalar >= 0xD800 && scalar <= 0xDFFF;
    ASSERT_EQ(is_valid_utf8(encode(scalar)), !surrogate) << scalar;
  }
}

TEST(Utf8, EveryStringOfThreeBytesIsJudgedAsTheModelDoes) {
  const Model& m = model();
  std::string text(3, '\0');
  std::size_t wrong = 0;
  for (std::uint32_t value = 0; value < 1u << 24; ++value) {
    const std::uint32_t a = value >> 16, b = value >> 8 & 255, c = value & 255;
    text[0] = static_cast<char>(a);
    text[1] = static_cast<char>(b);
    text[2] = static_cast<char>(c);
    const bool expected = m.whole3[value] || (a < 128 && m.whole2[value & 0xFFFF]) ||
                          (m.whole2[value >> 8] && c < 128) || (a < 128 && b < 128 && c < 128);
    wrong += is_valid_utf8(text) != expected;
  }
  EXPECT_EQ(wrong, 0u);
}

TEST(Utf8, StringsOfBorderBytesAreJudgedAndCutAsTheModelDoes) {
  for (std::size_t length = 0; length <= 4; ++length) {
    for_each_border_string(length, [&](std::string_view text) {
      ASSERT_EQ(is_valid_utf8(text), model().is_valid(text)) << printable(text);
      ASSERT_EQ(complete_utf8_prefix(text), model().complete(text)) << printable(text);
    });
  }
}

TEST(Utf8, TheFirstInvalidByteIsWhereTheValidPrefixEnds) {
  for_each_border_string(3, [&](std::string_view text) {
    // The slow definition: the longest valid prefix that is followed by no encoding.
    std::size_t expected = std::string_view::npos;
    for (std::size_t n = text.size() + 1; n-- > 0;) {
      if (model().is_valid(text.substr(0, n))) {
        if (n < text.size()) expected = n;
        break;
      }
    }
    ASSERT_EQ(first_invalid_utf8(text), expected) << printable(text);
  });
}

// The examples of the Unicode Standard 15.0, tables 3-8 to 3-11, and U+FFFD per maximal subpart.
TEST(Utf8, InvalidPartsAreReplacedAsTheStandardShows) {
  const std::string r = "\xEF\xBF\xBD";
  const auto times = [&](int n) {
    std::string out;
    for (int i = 0; i < n; ++i) out += r;
    return out;
  };
  EXPECT_EQ(replace_invalid_utf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), times(8) + "A");
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), times(8) + "A");
  EXPECT_EQ(replace_invalid_utf8("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"),
            times(5) + "A" + times(2) + "B");
  EXPECT_EQ(replace_invalid_utf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), times(4) + "A");
}

TEST(Utf8, ReplacingLeavesValidTextAloneAndAlwaysGivesValidText) {
  for (std::size_t length = 0; length <= 4; ++length) {
    for_each_border_string(length, [&](std::string_view text) {
      const std::string out = replace_invalid_utf8(text);
      ASSERT_TRUE(model().is_valid(out)) << printable(text);
      if (model().is_valid(text)) {
        ASSERT_EQ(out, text);
      }
    });
  }
}

TEST(Utf8, CutAnywhereAStreamGivesTheSameText) {
  const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z\xF0\x9F\x91\xA9\xE2\x80\x8D";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    const std::size_t ready = complete_utf8_prefix(text.substr(0, cut));
    EXPECT_LE(cut - ready, 3u);
    EXPECT_TRUE(is_valid_utf8(text.substr(0, ready))) << cut;
    EXPECT_TRUE(is_valid_utf8(text.substr(ready))) << cut;
  }
}

TEST(Printable, EscapesControlsAndInvalidBytesAndCuts) {
  EXPECT_EQ(printable("plain é 日本"), "plain é 日本");
  EXPECT_EQ(printable(std::string_view("a\0b\r\n\t\x1B[31m\x7F", 12)),
            "a\\x00b\\x0d\\x0a\\x09\\x1b[31m\\x7f");
  EXPECT_EQ(printable("\xFF\xE2\x82"), "\\xff\\xe2\\x82");
  EXPECT_EQ(printable("\xC2\x9B"
                      "31m"),
            "\\xc2\\x9b31m")
      << "U+009B starts a terminal sequence too";
  EXPECT_EQ(printable("abcdef", 6), "abcdef");
  EXPECT_EQ(printable("abcdefg", 6), "abcdef…");
  EXPECT_EQ(printable("", 0), "");
  for (std::size_t length = 0; length <= 3; ++length) {
    for_each_border_string(length, [&](std::string_view text) {
      const std::string out = printable(text);
      ASSERT_TRUE(model().is_valid(out));
      for (const char c : out) ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
    });
  }
}

TEST(Ascii, LowerCaseAndTrimming) {
  EXPECT_EQ(lower_ascii("Content-TYPE: \xC3\x84@[`Zz"), "content-type: \xC3\x84@[`zz");
  EXPECT_EQ(trimmed(" \t\r\n a b \r\n"), "a b");
  EXPECT_EQ(trimmed(" \t"), "");
  EXPECT_EQ(trimmed(""), "");
}

TEST(Hex, BytesToDigitsAndBack) {
  EXPECT_EQ(hex(std::array<unsigned char, 4>{0x00, 0x9F, 0xA0, 0xFF}), "009fa0ff");
  for (int c = -128; c < 128; ++c) {
    const auto at = std::string_view("0123456789abcdef0123456789ABCDEF").find(static_cast<char>(c));
    const int expected = c == 0 || at == std::string_view::npos ? -1 : static_cast<int>(at % 16);
    EXPECT_EQ(hex_value(static_cast<char>(c)), expected) << c;
  }
}

TEST(PercentDecoded, LeavesBrokenEscapesAsTheyAre) {
  EXPECT_EQ(percent_decoded("a%2Fb%c3%A9"), "a/b\xC3\xA9");
  EXPECT_EQ(percent_decoded("%"), "%");
  EXPECT_EQ(percent_decoded("%4"), "%4");
  EXPECT_EQ(percent_decoded("%4g%41"), "%4gA");
  EXPECT_EQ(percent_decoded("%2541"), "%41") << "once, not twice";
}

TEST(Text, PercentEncodingLeavesOnlyWhatIsUnreserved) {
  // RFC 3986, 2.1 (upper-case digits), 2.3 (the unreserved characters).
  EXPECT_EQ(percent_encoded("azAZ09-._~"), "azAZ09-._~");
  EXPECT_EQ(percent_encoded("a b#c%&+/\xC3\xA9"), "a%20b%23c%25%26%2B%2F%C3%A9");
  std::string all;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  EXPECT_EQ(percent_decoded(percent_encoded(all)), all);
}

}  // namespace
}  // namespace pensieve
