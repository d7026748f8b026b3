// StreamDecoder: whatever the tokens, each piece it gives out is complete UTF-8, and the pieces
// together are the text of the whole. Expected texts come from the fixture's texts, and for bytes
// that are no UTF-8 from Unicode 15, section 3.9, table 3-8 (maximal subparts).

#include <gtest/gtest.h>

#include <random>

#include "foundation/text.h"

#include "domain/tokenizer/internal/reference_fixture.h"

namespace pensieve::tokenizer {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";

std::string stream(const Tokenizer& tokenizer, std::span<const TokenId> ids, bool at_start) {
  StreamDecoder decoder(tokenizer, at_start);
  std::string all;
  for (const TokenId id : ids) {
    const std::string piece = decoder.push(id);
    EXPECT_TRUE(is_valid_utf8(piece));
    all += piece;
  }
  const std::string rest = decoder.flush();
  EXPECT_TRUE(is_valid_utf8(rest));
  return all + rest;
}

std::vector<TokenId> byte_tokens(const Tokenizer& tokenizer, std::string_view bytes) {
  std::vector<TokenId> ids;
  for (const char c : bytes) {
    for (TokenId id = 0; id < tokenizer.size(); ++id) {
      if (tokenizer.kind(id) == TokenKind::Byte && tokenizer.bytes(id)[0] == c) ids.push_back(id);
    }
  }
  EXPECT_EQ(ids.size(), bytes.size());
  return ids;
}

TEST(StreamDecoder, GivesTheTextOfTheFixtureTokenByToken) {
  const auto fixture = read_fixture("tiny.json");
  const auto tokenizer = fixture.tokenizer();
  for (const auto& c : fixture.cases) {
    EXPECT_EQ(stream(*tokenizer, c.ids, true), tokenizer->decode(c.ids, true));
    if (c.text.find("\xE2\x96\x81") != std::string::npos) continue;
    EXPECT_EQ(stream(*tokenizer, c.ids, true), c.text);
  }
}

TEST(StreamDecoder, IsCompleteWhereverAnAnswerIsCutOff) {
  const auto fixture = read_fixture("tiny.json");
  const auto tokenizer = fixture.tokenizer();
  const auto ids =
      encode(*tokenizer, "日本 👩🏽‍🚀🏳️‍🌈 e\u0301 क्षि 𝕞");
  ASSERT_GT(ids.size(), 40u);  // mostly bytes, so most cuts are inside a character
  for (std::size_t n = 0; n <= ids.size(); ++n) {
    const auto first = std::span(ids).first(n);
    EXPECT_EQ(stream(*tokenizer, first, true), tokenizer->decode(first, true)) << n;
  }
}

TEST(StreamDecoder, EqualsDecodeOnRandomTokens) {
  const auto tokenizer = read_fixture("tiny.json").tokenizer();
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    std::vector<TokenId> ids(random() % 12);
    // Half of them byte tokens (ids 3 to 258), and ids the vocabulary does not have.
    for (TokenId& id : ids) {
      id = static_cast<TokenId>(random() % 2 ? 3 + random() % 256 : random() % 4200);
    }
    const bool at_start = random() % 2;
    EXPECT_EQ(stream(*tokenizer, ids, at_start), tokenizer->decode(ids, at_start)) << round;
  }
}

TEST(StreamDecoder, HoldsBackOnlyWhatCanStillBecomeACharacter) {
  const auto tokenizer = read_fixture("tiny.json").tokenizer();
  const auto ids = byte_tokens(*tokenizer,
                               "\xF0\x9F\x98\x80"
                               "A"
                               "\xC3"
                               "A");
  StreamDecoder decoder(*tokenizer, false);
  EXPECT_EQ(decoder.push(ids[0]), "");
  EXPECT_EQ(decoder.push(ids[1]), "");
  EXPECT_EQ(decoder.push(ids[2]), "");
  EXPECT_EQ(decoder.push(ids[3]), "😀");
  EXPECT_EQ(decoder.push(ids[4]), "A");
  EXPECT_EQ(decoder.push(ids[5]), "");
  EXPECT_EQ(decoder.push(ids[6]), std::string(kReplacement) + "A");
  EXPECT_EQ(decoder.flush(), "");
}

TEST(StreamDecoder, ReplacesEachMaximalInvalidPartOnce) {
  const auto tokenizer = read_fixture("tiny.json").tokenizer();
  const std::string r = kReplacement;
  const std::pair<std::string, std::string> cases[] = {
      {"\xC0\xAF", r + r},                  // overlong
      {"\xED\xA0\x80", r + r + r},          // a surrogate
      {"\xF4\x90\x80\x80", r + r + r + r},  // beyond U+10FFFF
      {"\xE2\x82", r},                      // cut off
      {"\xF0\x9F\x98", r},                  // cut off
      {"\xF0\x9F\x98"
       "x",
       r + "x"},  // broken off
      {"\xFF\x80"
       "x",
       r + r + "x"},
      // Table 3-8 of the Unicode standard.
      {"a\xF1\x80\x80\xE1\x80\xC2"
       "b\x80"
       "c\x80\xBF"
       "d",
       "a" + r + r + r + "b" + r + "c" + r + r + "d"},
  };
  for (const auto& [bytes, expected] : cases) {
    EXPECT_EQ(stream(*tokenizer, byte_tokens(*tokenizer, bytes), false), expected);
    EXPECT_EQ(tokenizer->decode(byte_tokens(*tokenizer, bytes), false), expected);
  }
}

TEST(StreamDecoder, DropsOneSpaceAtTheStartAndNoOther) {
  const auto tokenizer = read_fixture("tiny.json").tokenizer();
  EXPECT_EQ(stream(*tokenizer, encode(*tokenizer, " two  spaces"), true), " two  spaces");
  EXPECT_EQ(stream(*tokenizer, encode(*tokenizer, "x"), false), " x");
  const auto end = tokenizer->control("<|end|>");
  ASSERT_TRUE(end.has_value());
  std::vector<TokenId> behind_control{*end};
  tokenizer->encode("x", true, behind_control);
  EXPECT_EQ(stream(*tokenizer, behind_control, true), "x");

  const auto no_prefix = read_fixture("no-prefix.json").tokenizer();
  EXPECT_EQ(stream(*no_prefix, encode(*no_prefix, " x"), true), " x");
}

}  // namespace
}  // namespace pensieve::tokenizer
