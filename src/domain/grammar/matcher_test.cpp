// What a matcher promises, whatever the schema: masks say exactly what accept() takes, an answer
// always fits into the tokens that are left, forced() leaves no choice. Compared with the slow and
// obvious way: asking accept() about every token.

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "foundation/json.h"

#include "domain/grammar/internal/compiled_grammar.h"
#include "domain/grammar/test_support.h"

namespace pensieve::grammar {
namespace {

using test::bits_of;
using test::small_vocabulary;
using test::takes;
using test::walk;

// One of every kind of rule, and of every way in which masks are made.
const std::vector<std::string>& schemas() {
  static const std::vector<std::string> list = {
      "true",
      R"({"type": "string"})",
      R"({"type": "string", "maxLength": 5})",
      R"({"type": "string", "minLength": 3, "maxLength": 40})",
      R"({"type": "string", "pattern": "^[a-z]{2,6}$"})",
      R"({"type": "string", "pattern": "^(foo|é)+$", "maxLength": 7})",
      R"({"type": "string", "format": "date-time"})",
      R"({"type": "number", "minimum": -3.5, "maximum": 120})",
      R"({"type": "integer", "multipleOf": 12})",
      R"({"enum": ["foo", "foobar", 12, 123, null, {"a": [1]}, "é"]})",
      R"({"type": "object", "properties": {"id": {"type": "integer"}, "name": {"type": "string"},
          "na": {"enum": ["é", "bar"]}}, "required": ["name"]})",
      R"({"type": "object", "additionalProperties": {"type": "boolean"}, "minProperties": 2, "maxProperties": 3})",
      R"({"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": {"type": "string", "maxLength": 2}})",
      R"({"type": "object", "propertyNames": {"pattern": "^(a|b+)$"}, "additionalProperties": {"type": "null"}, "minProperties": 2})",
      R"({"type": "object", "patternProperties": {"^a": {"type": "integer"}, "b$": {"type": "null"}}, "additionalProperties": {"type": "string"}})",
      R"({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}, {"enum": ["a", "ab"]}]}, "maxItems": 3})",
      R"({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": {"type": "null"}, "minItems": 2})",
      R"({"anyOf": [{"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]},
          {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a", "b"]},
          {"type": "object", "additionalProperties": true, "required": ["name"]}]})",
      R"({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "properties": {"l": {"$ref": "#/$defs/tree"},
          "r": {"$ref": "#/$defs/tree"}, "v": {"type": "integer"}}, "required": ["v"]}}})",
      R"({"type": "object", "properties": {"a": {"type": "string", "minLength": 4}, "b": {"type": "array", "minItems": 2}}, "required": ["a", "b"]})",
  };
  return list;
}

// The mask by asking about each token: it is taken, and what it leaves fits into the rest.
std::vector<TokenId> obvious_mask(const Matcher& matcher, int n_left) {
  std::vector<TokenId> out;
  for (TokenId token = 0; token < test::vocabulary()->size(); ++token) {
    Matcher next = matcher;
    if (!next.accept(token)) continue;
    if (n_left > 0 && next.shortest_completion() > n_left - 1) continue;
    out.push_back(token);
  }
  return out;
}

void compare_along_a_walk(const Matcher& start, std::uint64_t seed, int n_left) {
  std::mt19937_64 random(seed);
  const auto& tokens = *test::vocabulary();
  std::vector<std::uint32_t> mask((static_cast<std::size_t>(tokens.size()) + 31) / 32);
  Matcher matcher = start;
  std::string text;
  for (int step = 0; step < 25; ++step) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << ", behind " << text);
    std::vector<TokenId> allowed;
    for (const int limit : {0, n_left}) {
      const auto expected = obvious_mask(matcher, limit);
      if (matcher.allowed(mask, limit)) {
        allowed = bits_of(mask);
      } else {
        allowed.clear();
        for (TokenId token = 0; token < tokens.size(); ++token)
          if (!tokens.bytes(token).empty()) allowed.push_back(token);
      }
      std::string differences;
      std::vector<TokenId> differing;
      std::set_symmetric_difference(allowed.begin(),
                                    allowed.end(),
                                    expected.begin(),
                                    expected.end(),
                                    std::back_inserter(differing));
      for (const TokenId token : differing)
        differences += "[" + std::string(tokens.bytes(token)) + "] ";
      ASSERT_EQ(differences, "") << "with " << limit << " tokens left";
    }
    if (allowed.empty()) {
      ASSERT_TRUE(matcher.may_end());
      break;
    }
    const auto token = allowed[random() % allowed.size()];
    ASSERT_TRUE(matcher.accept(token));
    text += tokens.bytes(token);
    --n_left;
  }
}

TEST(Matcher, MasksSayWhatAcceptTakes) {
  for (const auto& schema : schemas()) {
    SCOPED_TRACE(schema);
    const Matcher matcher(compile_json(schema, test::vocabulary()));
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      const int spare = seed % 3 == 0 ? 0 : seed % 3 == 1 ? 7 : 1000;
      compare_along_a_walk(matcher, seed, matcher.shortest_completion() + spare);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(Matcher, WalksAreCompleteWithinTheirTokens) {
  for (const auto& schema : schemas()) {
    SCOPED_TRACE(schema);
    const auto grammar = compile_json(schema, test::vocabulary());
    const Matcher matcher(grammar);
    const int least = matcher.shortest_completion();
    for (std::uint64_t seed = 1; seed <= 15; ++seed) {
      std::mt19937_64 random(seed);
      const int n_left = least + static_cast<int>(seed % 5 == 0 ? 0 : random() % 60);
      const auto result = walk(matcher, *test::vocabulary(), random, n_left);
      EXPECT_EQ(result.trouble, "") << "seed " << seed << ", " << result.text;
      EXPECT_TRUE(result.complete)
          << "seed " << seed << ", " << n_left << " tokens: " << result.text;
      EXPECT_TRUE(parse_json(result.text)) << "seed " << seed << ": " << result.text;
      EXPECT_TRUE(takes(grammar, result.text)) << "seed " << seed << ": " << result.text;
    }
  }
}

// A text is taken in whatever pieces it comes.
TEST(Matcher, TheCutDoesNotMatter) {
  const auto grammar = compile_json(schemas()[10], test::vocabulary());
  const std::string text = R"({"na": "é", "name": "日\n\u00e9", "id": -12})";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    Matcher matcher(grammar);
    EXPECT_TRUE(matcher.accept_bytes(text.substr(0, cut))) << cut;
    EXPECT_EQ(matcher.inside(), cut > 0 && cut < text.size()) << cut;
    EXPECT_TRUE(matcher.accept_bytes(text.substr(cut))) << cut;
    EXPECT_TRUE(matcher.may_end());
    EXPECT_EQ(matcher.shortest_completion(), 0);
  }
}

TEST(Matcher, ARefusalChangesNothing) {
  Matcher matcher(compile_json(R"({"type": "integer"})", test::vocabulary()));
  EXPECT_TRUE(matcher.accept_bytes("12"));
  EXPECT_FALSE(matcher.accept_bytes("3x"));
  EXPECT_FALSE(matcher.accept(0)) << "a token without bytes";
  EXPECT_FALSE(matcher.accept(-1));
  EXPECT_FALSE(matcher.accept(1 << 20));
  EXPECT_TRUE(matcher.accept_bytes("4"));
  EXPECT_TRUE(matcher.may_end());
}

// Costs counted by hand.
TEST(Matcher, ShortestCompletion) {
  const auto cost = [](const char* schema, std::string_view behind) {
    Matcher matcher(compile_json(schema, test::vocabulary()));
    EXPECT_TRUE(behind.empty() || matcher.accept_bytes(behind)) << schema;
    return matcher.shortest_completion();
  };
  const char* object =
      R"({"type": "object", "properties": {"a": {"type": "integer"}, "bc": {"type": "string"},
                           "long name": {"type": "null"}}, "required": ["a", "bc"]})";
  EXPECT_EQ(cost(object, ""), static_cast<int>(std::string(R"({"a": 1, "bc": ""})").size()));
  EXPECT_EQ(cost(object, R"({"a")"), static_cast<int>(std::string(R"(: 1, "bc": ""})").size()));
  EXPECT_EQ(cost(object, R"({"bc": "xyz)"), static_cast<int>(std::string(R"(", "a": 1})").size()));
  EXPECT_EQ(cost(object, R"({"bc": "", "a": 1)"), 1);
  EXPECT_EQ(cost(object, R"({"bc": "", "a": 1, )"),
            static_cast<int>(std::string(R"("long name": null})").size()));
  EXPECT_EQ(cost(R"({"type": "array", "minItems": 3, "items": {"const": "ab"}})", "["),
            static_cast<int>(std::string(R"("ab", "ab", "ab"])").size()));
  EXPECT_EQ(cost(R"({"type": "string", "minLength": 4})", "\"a"), 4);
  EXPECT_EQ(cost(R"({"type": "string", "pattern": "^a{5}$"})", "\"aa"), 4);
  EXPECT_EQ(cost(R"({"enum": ["abcdef", "abx"]})", "\"ab"), 2);
  EXPECT_EQ(cost("true", ""), 1);
}

TEST(Matcher, ForcedIsWhatMustCome) {
  for (const auto& schema : schemas()) {
    SCOPED_TRACE(schema);
    const Matcher start(compile_json(schema, test::vocabulary()));
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      std::mt19937_64 random(seed);
      Matcher matcher = start;
      std::vector<std::uint32_t> mask((static_cast<std::size_t>(test::vocabulary()->size()) + 31) /
                                      32);
      for (int step = 0; step < 30; ++step) {
        const auto forced = matcher.forced();
        Matcher ahead = matcher;
        for (const char c : forced) {
          EXPECT_FALSE(ahead.may_end());
          for (int other = 0; other < 256; ++other) {
            Matcher aside = ahead;
            EXPECT_EQ(aside.accept_bytes(std::string(1, static_cast<char>(other))),
                      static_cast<char>(other) == c)
                << "seed " << seed << ", in " << forced;
          }
          EXPECT_TRUE(ahead.accept_bytes(std::string(1, c)));
        }
        matcher.allowed(mask, 200 - step);
        const auto allowed = bits_of(mask);
        if (allowed.empty()) break;
        ASSERT_TRUE(matcher.accept(allowed[random() % allowed.size()]));
      }
    }
  }
  Matcher matcher(compile_json(
      R"({"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]})",
      test::vocabulary()));
  EXPECT_EQ(matcher.forced(), "{\"count\": ");
  EXPECT_EQ(matcher.forced(4), "{\"co");
  EXPECT_TRUE(matcher.accept_bytes("{\"count\": 5"));
  EXPECT_EQ(matcher.forced(), "");
  // The first byte of é and è is one, but half a character is no text.
  EXPECT_EQ(Matcher(compile_json(R"({"enum": ["é", "è"]})", test::vocabulary())).forced(), "\"");
}

TEST(Matcher, NestingHasAnEndAndIsAlwaysClosed) {
  const auto grammar = compile_json("true", test::vocabulary());
  Matcher matcher(grammar);
  int depth = 0;
  while (depth < 1000 && matcher.accept_bytes("[")) ++depth;
  EXPECT_GE(depth, 64);
  EXPECT_LE(depth, 128) << "more than readers of JSON take";
  EXPECT_TRUE(matcher.accept_bytes(std::string(static_cast<std::size_t>(depth), ']')));
  EXPECT_TRUE(matcher.may_end());
}

TEST(Matcher, CopiesGoTheirOwnWays) {
  Matcher matcher(compile_json("true", test::vocabulary()));
  EXPECT_TRUE(matcher.accept_bytes("[1"));
  Matcher copy = matcher;
  EXPECT_TRUE(copy.accept_bytes("]"));
  EXPECT_TRUE(copy.may_end());
  EXPECT_FALSE(matcher.may_end());
  EXPECT_TRUE(matcher.accept_bytes(", 2]"));
}

// Long answers leave nothing behind: what is kept for masks has a bound.
TEST(Matcher, WhatIsKeptHasABound) {
  std::string schema = R"({"anyOf": [)";
  for (int i = 0; i < 40; ++i)
    schema += (i ? ", " : "") + std::string(R"({"type": "string", "pattern": "^[a-z]{)") +
              std::to_string(i + 2) + "}[0-9]+x$\"}";
  const auto grammar = compile_json(schema + "]}", test::vocabulary());
  std::mt19937_64 random(1);
  for (int i = 0; i < 30; ++i) walk(Matcher(grammar), *test::vocabulary(), random, 60);
  EXPECT_LE(static_cast<const internal::CompiledGrammar&>(*grammar).masks().n_bytes(),
            internal::MaskMaker::kMaxBytes);
}

TEST(Vocabulary, KnowsItsBytes) {
  const auto tokens = test::vocabulary();
  const auto texts = small_vocabulary();
  ASSERT_EQ(tokens->size(), static_cast<int>(texts.size()));
  for (TokenId token = 0; token < tokens->size(); ++token)
    EXPECT_EQ(tokens->bytes(token), texts[token]);
  for (const std::string_view text :
       {"<tool", "<tool_call>", "", "aaaa", "zzz", "\xF0", "日", "hell", "a"}) {
    bool expected = false;
    for (const auto& token : texts)
      expected |= token.size() > text.size() && token.compare(0, text.size(), text) == 0;
    EXPECT_EQ(tokens->has_longer(text), expected) << text;
  }
}

}  // namespace
}  // namespace pensieve::grammar
