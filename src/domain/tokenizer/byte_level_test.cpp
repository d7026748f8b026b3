// The contract of byte-level BPE on small vocabularies made here: what is cut where, what bytes
// tokens stand for, and that a hostile file is refused with one sentence.

#include "domain/tokenizer/internal/byte_level.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "foundation/json.h"

#include "domain/tokenizer/internal/byte_level_fixture.h"
#include "domain/tokenizer/internal/pre_tokens.h"
#include "domain/tokenizer/internal/reference_fixture.h"

namespace pensieve::tokenizer {
namespace {

// 256 byte tokens, then `pieces` and the merges.
class Small {
 public:
  explicit Small(std::vector<std::string> pieces = {}, std::vector<std::string> merges = {}) {
    for (int byte = 0; byte < 256; ++byte) {
      texts_.emplace_back(character_of_byte(static_cast<std::uint8_t>(byte)));
    }
    texts_.insert(texts_.end(), pieces.begin(), pieces.end());
    merges_ = std::move(merges);
    v.tokens.assign(texts_.begin(), texts_.end());
    v.kinds.assign(v.tokens.size(), TokenKind::Normal);
    v.merges.assign(merges_.begin(), merges_.end());
    v.pre = "gpt-2";
  }
  std::unique_ptr<Tokenizer> make() const {
    auto made = Tokenizer::create(v);
    EXPECT_TRUE(made) << made.error().message;
    return made ? *std::move(made) : nullptr;
  }
  std::string why() const {
    const auto made = Tokenizer::create(v);
    if (made) return "it was accepted";
    EXPECT_EQ(made.error().kind, ErrorKind::BadFile);
    return made.error().message;
  }

  ByteLevelVocabulary v;

 private:
  std::vector<std::string> texts_, merges_;
};

std::vector<std::string> cut(Cuts cuts, std::string_view text) {
  std::vector<std::string> out;
  PreTokens pre_tokens(cuts, text);
  for (auto one = pre_tokens.next(); !one.empty(); one = pre_tokens.next()) out.emplace_back(one);
  return out;
}

using Words = std::vector<std::string>;

// Expected: the regular expressions in pre_tokens.h, by hand; the reference test has thousands
// more.
TEST(PreTokens, AreWhatThePatternSays) {
  const Cuts gpt2{.pattern = Pattern::Gpt2}, qwen2{.pattern = Pattern::Qwen2};
  const Cuts llama3{.pattern = Pattern::Llama3};
  EXPECT_EQ(cut(gpt2, "I'll pay  $1234,\n\n ok"),
            (Words{"I", "'ll", " pay", " ", " $", "1234", ",", "\n\n", " ok"}));
  EXPECT_EQ(cut(qwen2, "I'LL pay  $1234,\n\n ok"),
            (Words{"I", "'LL", " pay", " ", " $", "1", "2", "3", "4", ",\n\n", " ok"}));
  EXPECT_EQ(cut(llama3, "x=1234567;\t\ty \n z  "),
            (Words{"x", "=", "123", "456", "7", ";", "\t", "\ty", " \n", " z", "  "}));
  EXPECT_EQ(cut({.pattern = Pattern::Gpt2, .digits_alone = true}, "a  12 b"),
            (Words{"a", "  ", "1", "2", " b"}));
  EXPECT_EQ(cut(qwen2, "\xFF\xFE x"), (Words{"\xFF\xFE", " x"}));
  EXPECT_EQ(cut(qwen2, ""), Words{});
}

TEST(PreTokens, ThePatternIsKnownByItsSpelling) {
  const std::string contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
  const std::string words = R"(|[^\r\n\p{L}\p{N}]?\p{L}+|)";
  const std::string rest = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  EXPECT_EQ(pattern_of(contractions + words + R"(\p{N})" + rest), Pattern::Qwen2);
  EXPECT_EQ(pattern_of(contractions + words + R"(\p{N}{1,3})" + rest), Pattern::Llama3);
  EXPECT_EQ(pattern_of(contractions + words + R"(\p{N}+)" + rest), std::nullopt);
  EXPECT_EQ(pattern_of(contractions + words + R"(\p{N})" + rest + "|x"), std::nullopt);
  EXPECT_EQ(pattern_of(contractions + words), std::nullopt);
  EXPECT_EQ(pattern_of(""), std::nullopt);
}

TEST(ByteCharacters, ThereAndBackForEveryByte) {
  EXPECT_EQ(character_of_byte(' '), "Ġ");
  EXPECT_EQ(character_of_byte('\n'), "Ċ");
  EXPECT_EQ(character_of_byte('a'), "a");
  EXPECT_EQ(character_of_byte(0xAD), "\u0143");  // the last of the stand-ins
  std::string all;
  for (int byte = 0; byte < 256; ++byte) {
    const auto value = static_cast<std::uint8_t>(byte);
    EXPECT_EQ(bytes_of_characters(character_of_byte(value)),
              std::string(1, static_cast<char>(byte)));
  }
  EXPECT_EQ(bytes_of_characters("中"), std::nullopt);
  EXPECT_EQ(bytes_of_characters(" "), std::nullopt);
  EXPECT_EQ(bytes_of_characters("\xE0\x82\xA1"), std::nullopt);  // U+00A1, overlong
}

TEST(ByteLevel, MergesByRankInsideAPreToken) {
  const Small small({"Ġa", "ab", "Ġab", "bc", "abc"}, {"b c", "a b", "Ġ ab", "Ġ a"});
  const auto tokenizer = small.make();
  const auto pieces = [&](std::string_view text) {
    Words out;
    for (const TokenId id : encode(*tokenizer, text)) out.emplace_back(tokenizer->piece(id));
    return out;
  };
  EXPECT_EQ(pieces("ab ab"), (Words{"ab", "Ġab"}));
  EXPECT_EQ(pieces("abc"), (Words{"a", "bc"}));  // "abc" is a piece that no merge leads to
  EXPECT_EQ(pieces(" a b"), (Words{"Ġa", "Ġ", "b"}));
  Small whole = small;
  whole.v.pre = "llama-bpe";
  EXPECT_EQ(encode(*whole.make(), "abc"), (std::vector<TokenId>{260}));
}

TEST(ByteLevel, NothingIsPutInFrontAndEveryTextComesBack) {
  const auto tokenizer = Small().make();
  EXPECT_FALSE(tokenizer->add_space_prefix());
  EXPECT_FALSE(tokenizer->add_bos());
  EXPECT_EQ(encode(*tokenizer, ""), std::vector<TokenId>{});
  EXPECT_EQ(encode(*tokenizer, "a", true), encode(*tokenizer, "a", false));
  std::mt19937 random(9);
  for (int round = 0; round < 1000; ++round) {
    std::string bytes;
    for (auto n = random() % 12; n > 0; --n) bytes += static_cast<char>(random() % 256);
    std::string back;
    for (const TokenId id : encode(*tokenizer, bytes)) back += tokenizer->bytes(id);
    EXPECT_EQ(back, bytes);
  }
}

TEST(ByteLevel, TokensMayEndInsideACharacter) {
  // The first two bytes of 😀, and the last two.
  const Small small({"ðŁ", "ĺĢ"}, {"ð Ł", "ĺ Ģ"});
  const auto tokenizer = small.make();
  const auto ids = encode(*tokenizer, "😀x");
  EXPECT_EQ(ids, (std::vector<TokenId>{256, 257, 'x' - '!' + 33}));
  EXPECT_EQ(tokenizer->bytes(256), "\xF0\x9F");
  StreamDecoder stream(*tokenizer, true);
  EXPECT_EQ(stream.push(256), "");
  EXPECT_EQ(stream.push(257), "😀");
  EXPECT_EQ(stream.push(256), "");
  EXPECT_EQ(stream.push(ids[2]), "\uFFFDx");
  EXPECT_EQ(stream.push(257), "\uFFFD\uFFFD");  // two bytes that continue nothing
  EXPECT_EQ(stream.flush(), "");
}

TEST(ByteLevel, KindsDecideWhatTextMayBecome) {
  Small small({"ab", "<|end|>", "<tool>", "abab", "中"}, {"a b", "ab ab"});
  small.v.kinds[257] = TokenKind::Control;
  small.v.kinds[258] = TokenKind::UserDefined;
  small.v.kinds[259] = TokenKind::Unused;
  const auto tokenizer = small.make();
  EXPECT_EQ(tokenizer->control("<|end|>"), 257);
  EXPECT_EQ(tokenizer->control("<tool>"), 258);
  EXPECT_EQ(tokenizer->control("ab"), std::nullopt);
  EXPECT_EQ(tokenizer->bytes(257), "");
  EXPECT_EQ(tokenizer->bytes(258), "<tool>");
  EXPECT_EQ(tokenizer->bytes(259), "");
  EXPECT_EQ(tokenizer->bytes(260), "中");  // no characters of bytes: it stands for itself
  EXPECT_EQ(encode(*tokenizer, "abab"), (std::vector<TokenId>{256, 256}));
  EXPECT_EQ(tokenizer->longest_piece(), 2u);
}

// The tokens that begin a text and end an answer are control tokens, whatever the file calls them.
TEST(ByteLevel, EndTokensAreNeverText) {
  Small small({"ab", "abc"}, {"a b", "ab c"});
  small.v.eos = {257};
  small.v.bos = 256;
  const auto tokenizer = small.make();
  EXPECT_EQ(tokenizer->kind(257), TokenKind::Control);
  EXPECT_EQ(encode(*tokenizer, "abc").size(), 3u);
  small.v.eos = {'a'};
  EXPECT_NE(small.why().find("255 of 256 bytes"), std::string::npos);
}

TEST(ByteLevel, AVocabularyIsRefusedWithOneSentenceThatSaysWhy) {
  const auto refused = [](const std::function<void(ByteLevelVocabulary&)>& spoil,
                          const char* part) {
    Small small({"ab"}, {"a b"});
    spoil(small.v);
    const std::string sentence = small.why();
    EXPECT_NE(sentence.find(part), std::string::npos) << sentence;
  };
  using V = ByteLevelVocabulary;
  refused([](V& v) { v.pre = "tekken"; }, "\"tekken\" (tokenizer.ggml.pre) is not known");
  refused([](V& v) { v.pre = ""; }, "is not known");
  refused([](V& v) { v.tokens.clear(), v.kinds.clear(); }, "empty");
  refused([](V& v) { v.kinds.pop_back(); }, "257 tokens but 256 kinds");
  refused([](V& v) { v.bos = 257; }, "bos is token 257");
  refused([](V& v) { v.eos = {-1}; }, "eos is token -1");
  refused([](V& v) { v.kinds[7] = TokenKind::Byte; }, "is a byte token");
  refused([](V& v) { v.tokens[7] = "ab"; }, "255 of 256 bytes");
  refused([](V& v) { v.tokens['~'] = "\xE0\x81\xBE"; }, "255 of 256 bytes");
  refused([](V& v) { v.merges.push_back("a  b"); }, "merge 1 (\"a  b\")");
  refused([](V& v) { v.merges.push_back(""); }, "merge 1 (\"\")");
  refused([](V& v) { v.merges.push_back("ab"); }, "merge 1 (\"ab\")");
  refused([](V& v) { v.merges.push_back(" ab"); }, "merge 1");
  refused([](V& v) { v.merges.push_back("ab "); }, "merge 1");
  refused([](V& v) { v.merges.push_back("ab ab"); },
          "two pieces of the vocabulary that make a third");
  const std::string long_piece(5000, 'a');
  refused([&](V& v) { v.tokens[256] = long_piece; }, "5000 bytes long");
}

// What the file of a byte-level model may ask for beside what the fixtures ask for.
TEST(ByteLevelJson, WhatCannotBeDoneExactlyIsRefused) {
  const Json good = *parse_json(read_byte_level_fixture("qwen2").tokenizer_json);
  const auto refused = [&](const char* pointer, Json value, const char* part) {
    Json json = good;
    json[Json::json_pointer(pointer)] = std::move(value);
    const auto made = Tokenizer::from_json(json.dump(), {});
    ASSERT_FALSE(made) << pointer;
    EXPECT_EQ(made.error().kind, ErrorKind::BadFile);
    EXPECT_NE(made.error().message.find(part), std::string::npos) << made.error().message;
  };
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  refused("/normalizer", Json{{"type", "NFKC"}}, "the normalizer NFKC");
  refused("/normalizer", Json{{"type", "Sequence"}}, "normalizer.normalizers is no array");
  refused("/pre_tokenizer", nullptr, "neither byte_fallback nor a ByteLevel");
  refused("/pre_tokenizer", Json{{"type", "Whitespace"}}, "the pre_tokenizer Whitespace");
  refused("/pre_tokenizer/type", "Other", "the pre_tokenizer Other");
  refused("/pre_tokenizer/pretokenizers", 5, "pre_tokenizer.pretokenizers is no array");
  refused("/pre_tokenizer/pretokenizers/1", byte_level, "the pre_tokenizer Sequence");
  refused("/pre_tokenizer/pretokenizers/2", byte_level, "the pre_tokenizer Sequence");
  refused("/pre_tokenizer/pretokenizers/1/add_prefix_space", true, "the pre_tokenizer Sequence");
  refused("/pre_tokenizer/pretokenizers/0/behavior", "MergedWithNext", "the pre_tokenizer Split");
  refused("/pre_tokenizer/pretokenizers/0/invert", true, "the pre_tokenizer Split");
  refused(
      "/pre_tokenizer/pretokenizers/0/pattern", Json{{"String", " "}}, "the pre_tokenizer Split");
  refused("/pre_tokenizer/pretokenizers/0/pattern/Regex", "(a+)+b", "not known: (a+)+b");
  refused("/model/vocab/Ġ", nullptr, "token id");
  refused("/model/vocab/extra", 65, "two pieces with id 65");
  refused("/model/merges/3", Json::array({"a", "中"}), "merge 3");
  refused("/added_tokens/0/id", 65, "255 of 256 bytes");
}

TEST(ByteLevelJson, OtherSpellingsOfTheSameAreRead) {
  const auto fixture = read_byte_level_fixture("llama3");
  Json json = *parse_json(fixture.tokenizer_json);
  json["normalizer"] = Json{{"type", "Sequence"}, {"normalizers", Json::array()}};
  Json& split = json["pre_tokenizer"]["pretokenizers"][0];
  split["behavior"] = "Removed";
  split["invert"] = true;
  for (Json& merge : json["model"]["merges"]) {
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  const auto made = Tokenizer::from_json(json.dump(), {});
  ASSERT_TRUE(made) << made.error().message;
  const auto same = fixture.tokenizer();
  const std::string text = "It's 12345 things:\n\n\tnaïve e\u0301 日本語 😀";
  EXPECT_EQ(encode(**made, text), encode(*same, text));
}

TEST(ByteLevelJson, TheTemplateNamesTheTokenThatBeginsAText) {
  const auto llama3 = read_byte_level_fixture("llama3").tokenizer();
  EXPECT_TRUE(llama3->add_bos());
  EXPECT_EQ(llama3->bos(), llama3->control("<|begin_of_text|>"));
  const auto qwen2 = read_byte_level_fixture("qwen2").tokenizer();
  EXPECT_FALSE(qwen2->add_bos());
  EXPECT_EQ(qwen2->bos(), kNoToken);
  EXPECT_EQ(qwen2->kind(*qwen2->control("<tool_call>")), TokenKind::UserDefined);
  EXPECT_EQ(qwen2->kind(*qwen2->control("<|im_end|>")), TokenKind::Control);
  const auto gpt2 = read_byte_level_fixture("gpt2").tokenizer();
  EXPECT_EQ(gpt2->kind(*gpt2->control("<|endoftext|>")), TokenKind::Control);
}

}  // namespace
}  // namespace pensieve::tokenizer
