// Classes of characters and NFC against other implementations: for every code point a hash made by
// tools/reference/make_byte_level_fixtures.py, and the examples of Unicode Standard Annex 15.

#include "domain/tokenizer/internal/unicode.h"

#include <gtest/gtest.h>

#include <random>

#include "foundation/json.h"
#include "foundation/text.h"

#include "domain/tokenizer/internal/nfc.h"
#include "domain/tokenizer/internal/reference_fixture.h"

namespace pensieve::tokenizer {
namespace {

constexpr char32_t kBlock = 0x1000;

std::string nfc(std::string_view text) {
  std::string buffer;
  return std::string(to_nfc(text, buffer));
}

std::string utf8(std::u32string_view codes) {
  std::string out;
  for (const char32_t code : codes) append_character(out, code);
  return out;
}

std::uint32_t fnv(std::uint32_t hash, std::string_view bytes) {
  for (const char c : bytes) hash = (hash ^ static_cast<std::uint8_t>(c)) * 0x01000193;
  return hash;
}
constexpr std::uint32_t kFnvStart = 0x811C9DC5;

Json reference() {
  return *parse_json(
      read_file(PENSIEVE_SOURCE_DIR "/src/domain/tokenizer/testdata/byte-level/unicode.json"));
}

std::uint32_t hash_at(const Json& hashes, char32_t first) {
  return static_cast<std::uint32_t>(
      std::stoul(hashes.at(first / kBlock).get<std::string>(), nullptr, 16));
}

template <typename Call>
void for_block(char32_t first, const Call& call) {
  for (char32_t code = first; code < first + kBlock; ++code) {
    if (code < 0xD800 || code > 0xDFFF) call(code);
  }
}

TEST(Unicode, EveryCodePointHasTheClassThatTheReferenceGivesIt) {
  const Json all = reference();
  for (char32_t first = 0; first < 0x110000; first += kBlock) {
    std::uint32_t hash = kFnvStart;
    for_block(first, [&](char32_t code) {
      const char names[] = {'O', 'L', 'N', 'S'};
      hash = fnv(hash, {&names[static_cast<std::size_t>(char_class(code))], 1});
    });
    EXPECT_EQ(hash, hash_at(all["classes"], first))
        << "the block from " << static_cast<std::uint32_t>(first);
  }
}

TEST(Nfc, EveryCodePointBecomesWhatTheReferenceMakesOfIt) {
  const Json all = reference();
  const std::string before = utf8(U"a\u0301"), after = utf8(U"\u0316");
  for (char32_t first = 0; first < 0x110000; first += kBlock) {
    std::uint32_t hash = kFnvStart;
    for_block(first, [&](char32_t code) {
      const std::string alone = utf8({&code, 1});
      hash = fnv(hash, nfc(alone));
      hash = fnv(hash, nfc(before + alone + after));
    });
    EXPECT_EQ(hash, hash_at(all["nfc"], first))
        << "the block from " << static_cast<std::uint32_t>(first);
  }
}

TEST(Nfc, PutsTogetherWhatNfdTakesApart) {
  const Json all = reference();
  const Json &composed = all["composed"], &decomposed = all["decomposed"];
  ASSERT_GE(composed.size(), 900u);
  ASSERT_EQ(composed.size(), decomposed.size());
  for (std::size_t i = 0; i < composed.size(); ++i) {
    EXPECT_EQ(nfc(decomposed[i].get<std::string>()), composed[i].get<std::string>());
  }
}

TEST(Nfc, TheExamplesOfAnnex15) {
  const std::pair<std::u32string, std::u32string> cases[] = {
      {U"\u212B", U"\u00C5"},              // Angstrom sign: a singleton
      {U"A\u030A", U"\u00C5"},             // composes
      {U"\u1E0B\u0323", U"\u1E0D\u0307"},  // marks in another order
      {U"q\u0307\u0323", U"q\u0323\u0307"},
      {U"\u1E9B\u0323", U"\u1E9B\u0323"},
      {U"\u0958", U"\u0915\u093C"},  // a composition exclusion
      {U"\u1112\u1161\u11AB", U"\uD55C"},
      {U"\uD558\u11AB", U"\uD55C"},
      {U"\uD55C\u11AB", U"\uD55C\u11AB"},
      {U"\uFB01", U"\uFB01"},  // compatibility is not canonical
      {U"\u0061\u0315\u0300\u05AE\u0300\u0062", U"\u00E0\u05AE\u0300\u0315\u0062"},
  };
  for (const auto& [from, to] : cases) EXPECT_EQ(nfc(utf8(from)), utf8(to)) << utf8(from);
}

TEST(Nfc, TextInTheFormIsNotCopied) {
  std::string buffer = "untouched";
  for (const std::string text : {"", "plain", "naïve 日本語 한글 😀", "e\xCC\x96x\xFF"}) {
    EXPECT_EQ(to_nfc(text, buffer).data(), text.data());
  }
  EXPECT_EQ(buffer, "untouched");
}

TEST(Nfc, BytesThatAreNoUtf8StayWhereTheyAre) {
  EXPECT_EQ(nfc("\xFF"
                "e\u0301\xC3"),
            "\xFF"
            "é\xC3");
  EXPECT_EQ(nfc("\x80\u0301\u0316"), "\x80\u0316\u0301");
  EXPECT_EQ(nfc("e\xE2\x82\u0301"), "e\xE2\x82\u0301");
}

TEST(Nfc, TwiceIsOnceAndPartsMakeTheWhole) {
  std::mt19937 random(5);
  const std::u32string_view pool =
      U"aeo\u0300\u0301\u0316\u0323\u0345\u1112\u1161\u11AB\uAC00\u212B"
      U"\u1E0B\u0958\u0344\u09C7\u09BE\u4E2D ";
  for (int round = 0; round < 20'000; ++round) {
    std::u32string codes;
    for (auto n = random() % 9; n > 0; --n) codes += pool[random() % pool.size()];
    const std::string text = utf8(codes), once = nfc(text);
    EXPECT_EQ(nfc(once), once) << text;
    EXPECT_LE(text.size(), once.size() * kNfcShrink);
    // What follows a space cannot change what is before it.
    EXPECT_EQ(nfc(text + " " + text), once + " " + once);
  }
}

}  // namespace
}  // namespace pensieve::tokenizer
