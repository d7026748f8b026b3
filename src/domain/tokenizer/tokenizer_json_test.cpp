// tokenizer.json: what is read from it, and that what cannot be done exactly is refused. That its
// ids are right is shown in tokenizer_reference_test.cpp.

#include <gtest/gtest.h>

#include "foundation/json.h"

#include "domain/tokenizer/internal/reference_fixture.h"

namespace pensieve::tokenizer {
namespace {

Json small() {
  auto json = parse_json(R"({
    "added_tokens": [
      {"id": 0, "content": "<unk>", "special": true}, {"id": 1, "content": "<s>", "special": true},
      {"id": 9, "content": "<|end|>", "special": true}, {"id": 11, "content": "<tool>", "special": false}],
    "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "Prepend", "prepend": "▁"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
    "pre_tokenizer": null,
    "post_processor": {"type": "TemplateProcessing", "single": [
      {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]},
    "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true,
      "vocab": {"<unk>": 0, "<s>": 1, "▁": 2, "a": 3, "b": 4, "ab": 5, "▁ab": 6, "s": 7, ">": 8},
      "merges": [["a", "b"], ["▁", "ab"]]}})");
  CHECK(json);
  return *json;
}

std::unique_ptr<Tokenizer> make(const Json& json, std::vector<TokenId> eos = {}) {
  auto made = Tokenizer::from_json(json.dump(), eos);
  EXPECT_TRUE(made) << made.error().message;
  return made ? *std::move(made) : nullptr;
}

std::string why(const Json& json, std::vector<TokenId> eos = {}) {
  const auto made = Tokenizer::from_json(json.dump(), eos);
  if (made) return "it was accepted";
  EXPECT_EQ(made.error().kind, ErrorKind::BadFile);
  return made.error().message;
}

TEST(TokenizerJson, GivesKindsControlTokensAndSettings) {
  const auto tokenizer = make(small(), {9});
  EXPECT_EQ(tokenizer->size(), 12);
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_TRUE(tokenizer->add_bos());
  EXPECT_TRUE(tokenizer->add_space_prefix());
  EXPECT_EQ(tokenizer->eos().size(), 1u);
  EXPECT_EQ(tokenizer->kind(0), TokenKind::Unknown);
  EXPECT_EQ(tokenizer->kind(9), TokenKind::Control);
  EXPECT_EQ(tokenizer->kind(10), TokenKind::Unused);  // a hole between ids
  EXPECT_EQ(tokenizer->kind(11), TokenKind::UserDefined);
  EXPECT_EQ(tokenizer->control("<|end|>"), 9);
  EXPECT_EQ(tokenizer->control("<tool>"), 11);
  EXPECT_EQ(tokenizer->control("ab"), std::nullopt);
  EXPECT_EQ(encode(*tokenizer, "ab ab"), (std::vector<TokenId>{6, 6}));
  EXPECT_EQ(encode(*tokenizer, "x"), (std::vector<TokenId>{2, 0}));  // no byte tokens here
}

TEST(TokenizerJson, WithoutNormalizerSpacesStayAndNothingIsPutInFront) {
  Json json = small();
  json["normalizer"] = nullptr;
  json["post_processor"] = nullptr;
  const auto tokenizer = make(json);
  EXPECT_FALSE(tokenizer->add_bos());
  EXPECT_FALSE(tokenizer->add_space_prefix());
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(encode(*tokenizer, "ab"), (std::vector<TokenId>{5}));
  EXPECT_EQ(encode(*tokenizer, " "), (std::vector<TokenId>{0}));
  EXPECT_EQ(tokenizer->decode(std::vector<TokenId>{6}, true), "▁ab");
}

TEST(TokenizerJson, MetaspaceStandsForTheNormalizer) {
  Json json = small();
  json["normalizer"] = nullptr;
  json["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}, {"split", false}};
  EXPECT_EQ(encode(*make(json), "ab ab"), (std::vector<TokenId>{6, 6}));
  json["pre_tokenizer"]["prepend_scheme"] = "never";
  EXPECT_EQ(encode(*make(json), "ab ab"), (std::vector<TokenId>{5, 6}));
}

TEST(TokenizerJson, NoMergeLeadsToAControlToken) {
  Json json = small();
  json["model"]["vocab"]["<s"] = 10;
  json["model"]["vocab"]["<"] = 12;
  json["model"]["merges"] = Json::array({"< s", "<s >"});
  EXPECT_EQ(encode(*make(json), "<s>", false), (std::vector<TokenId>{10, 8}));
}

// Text without a piece becomes the unknown token, so that one is never a control token.
TEST(TokenizerJson, TheUnknownTokenStaysUnknownWhateverElseItIs) {
  Json json = small();
  json["post_processor"]["single"][0]["SpecialToken"]["id"] = "<unk>";
  const auto tokenizer = make(json, {0});
  EXPECT_EQ(tokenizer->bos(), 0);
  EXPECT_EQ(tokenizer->kind(0), TokenKind::Unknown);
  EXPECT_EQ(tokenizer->control("<unk>"), std::nullopt);
}

TEST(TokenizerJson, WhatCannotBeDoneExactlyIsRefused) {
  const auto spoilt = [](const char* pointer, Json value) {
    Json json = small();
    json[Json::json_pointer(pointer)] = std::move(value);
    return why(json);
  };
  const auto refused = [&](const char* pointer, Json value, const char* part) {
    const std::string sentence = spoilt(pointer, std::move(value));
    EXPECT_NE(sentence.find(part), std::string::npos) << pointer << ": " << sentence;
  };
  refused("/model", nullptr, "no \"model\"");
  refused("/model/type", "Unigram", "Unigram");
  refused("/model/byte_fallback", false, "byte_fallback");
  refused("/model/ignore_merges", true, "ignore_merges");
  refused("/model/dropout", 0.1, "dropout");
  refused("/model/continuing_subword_prefix", "##", "continuing_subword_prefix");
  refused("/model/vocab", Json::array(), "model.vocab");
  refused("/model/vocab/a", -1, "token id");
  refused("/model/vocab/a", 1.5, "token id");
  refused("/model/vocab/a", "3", "token id");
  refused("/model/vocab/a", std::uint64_t{1} << 40, "token id");
  refused("/model/vocab/a", 4, "two pieces with id 4");
  refused("/model/unk_token", "<none>", "unk_token");
  refused("/model/unk_token", nullptr, "neither byte tokens");
  refused("/model/merges", nullptr, "model.merges");
  refused("/model/merges/1", "▁ab", "merge 1");
  refused("/model/merges/1", Json::array({"a"}), "merge 1");
  refused("/model/merges/1", Json::array({"a", "a"}), "merge 1");
  refused("/model/merges/1", 7, "merge 1");
  refused("/normalizer", Json{{"type", "NFKC"}}, "NFKC");
  refused("/normalizer/normalizers/0/prepend", "_", "Prepend");
  refused("/normalizer/normalizers/1/pattern", Json{{"Regex", " "}}, "Replace");
  refused("/pre_tokenizer", Json{{"type", "ByteLevel"}}, "ByteLevel");
  refused("/added_tokens", 5, "added_tokens");
  refused("/added_tokens/0/content", 5, "added token");
  refused("/added_tokens/2/id", 1'000'000, "token id");
  EXPECT_NE(why(small(), {12}).find("eos is token 12"), std::string::npos);
  EXPECT_FALSE(Tokenizer::from_json("", {}));
  EXPECT_FALSE(Tokenizer::from_json("[]", {}));
  EXPECT_FALSE(Tokenizer::from_json(std::string(100'000, '['), {}));
}

TEST(TokenizerJson, EveryTruncationIsRefused) {
  const std::string text = small().dump();
  for (std::size_t n = 0; n < text.size(); ++n) {
    EXPECT_FALSE(Tokenizer::from_json(std::string_view(text).substr(0, n), {})) << n;
  }
}

}  // namespace
}  // namespace pensieve::tokenizer
