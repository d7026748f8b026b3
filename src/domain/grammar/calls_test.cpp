// Tool calls in free text, and calls alone.

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "foundation/json.h"

#include "domain/grammar/test_support.h"

namespace pensieve::grammar {
namespace {

using test::begins;
using test::bits_of;
using test::takes;
using test::walk;

const CallSyntax kHermes{.open = "<tool_call>",
                         .before_name = "\n{\"name\": \"",
                         .before_arguments = "\", \"arguments\": ",
                         .close = "}\n</tool_call>",
                         .between = "\n"};

const std::vector<Tool>& tools() {
  static const std::vector<Tool> list = {
      {.name = "get",
       .schema_json =
           R"({"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]})"},
      {.name = "get_all", .schema_json = R"({"type": "object", "properties": {}})"},
      {.name = "say \"x\"\n", .schema_json = ""},
      {.name = "get",
       .schema_json =
           R"({"type": "object", "properties": {"other": {"type": "null"}}, "required": ["other"]})"},
      {.name = "odd", .schema_json = R"({"type": "string"})"}};
  return list;
}

std::shared_ptr<const Grammar> calls(const CallRules& rules) {
  return compile_calls(kHermes, tools(), rules, test::vocabulary());
}

std::string call(const std::string& name, const std::string& arguments) {
  return "<tool_call>\n{\"name\": \"" + name + "\", \"arguments\": " + arguments +
         "}\n</tool_call>";
}

TEST(Calls, RequiredAnswersAreCallsFromTheFirstByte) {
  const auto grammar = calls({.required = true});
  EXPECT_TRUE(takes(grammar, call("get", R"({"id": 5})")));
  EXPECT_TRUE(takes(grammar, call("get_all", "{}") + "\n" + call("get", R"({"id": 1})")));
  EXPECT_TRUE(takes(grammar, call("say \\\"x\\\"\\n", R"({"any": [1]})")));
  EXPECT_TRUE(takes(grammar, call("odd", "{}"))) << "not an object by its schema: still an object";
  EXPECT_FALSE(takes(grammar, call("odd", "\"a\"")));
  EXPECT_FALSE(takes(grammar, call("get", R"({"other": null})"))) << "the first of a name counts";
  EXPECT_FALSE(takes(grammar, call("nobody", "{}")));
  EXPECT_FALSE(takes(grammar, call("get", "{}")));
  EXPECT_FALSE(takes(grammar, ""));
  EXPECT_FALSE(begins(grammar, "Sure"));
  EXPECT_FALSE(begins(grammar, call("get_all", "{}") + call("get_all", "{}"))) << "nothing between";
  EXPECT_FALSE(takes(grammar, call("get_all", "{}") + "\n")) << "another must follow now";
}

TEST(Calls, WithASchemaForTextTheAnswerIsCallsOrOneValue) {
  const auto grammar = calls({.text_schema_json = R"({"enum": ["<tool", {"a": 1}]})"});
  EXPECT_TRUE(takes(grammar, "\"<tool\""));
  EXPECT_TRUE(takes(grammar, R"({"a": 1})"));
  EXPECT_TRUE(takes(grammar, call("get_all", "{}") + "\n" + call("get", R"({"id": 1})")));
  EXPECT_FALSE(takes(grammar, ""));
  EXPECT_FALSE(begins(grammar, "Sure"));
  EXPECT_FALSE(begins(grammar, R"({"a": 1} )"));
  EXPECT_FALSE(begins(grammar, "\"<tool\"" + call("get_all", "{}"))) << "one or the other";
  EXPECT_FALSE(begins(grammar, call("get_all", "{}") + "\n{"));
}

TEST(Calls, OnlyOneIsFollowedByNothing) {
  for (const bool required : {false, true}) {
    const auto grammar = calls({.required = required, .only_one = true});
    EXPECT_TRUE(takes(grammar, call("get_all", "{}")));
    EXPECT_FALSE(begins(grammar, call("get_all", "{}") + "\n"));
    Matcher matcher(grammar);
    ASSERT_TRUE(matcher.accept_bytes(call("get_all", "{}")));
    std::vector<std::uint32_t> mask(
        (static_cast<std::size_t>(test::vocabulary()->size()) + 31) / 32, ~0u);
    EXPECT_TRUE(matcher.allowed(mask));
    EXPECT_TRUE(bits_of(mask).empty());
    EXPECT_TRUE(matcher.may_end());
  }
}

TEST(Calls, FreeTextIsFreeUntilACallOpens) {
  const auto grammar = calls({});
  for (const std::string text :
       {"", "Hello.", "<tool", "<tool_cal", "<<tool_cal>", "\xFF\n", "<tool_<tool_"}) {
    EXPECT_TRUE(takes(grammar, text)) << text;
    EXPECT_TRUE(takes(grammar, text + call("get", R"({"id": 5})"))) << text;
    EXPECT_FALSE(takes(grammar, text + "<tool_call>")) << text;
    EXPECT_FALSE(begins(grammar, text + "<tool_call>x")) << text;
  }
  const auto two = call("get_all", "{}") + " and then " + call("get", R"({"id": 0})") + "\nDone.";
  EXPECT_TRUE(takes(grammar, "I look. " + two));
  Matcher matcher(grammar);
  EXPECT_FALSE(matcher.inside());
  ASSERT_TRUE(matcher.accept_bytes("x <tool_call"));
  EXPECT_FALSE(matcher.inside());
  ASSERT_TRUE(matcher.accept_bytes(">"));
  EXPECT_TRUE(matcher.inside());
  EXPECT_FALSE(matcher.may_end());
  EXPECT_EQ(matcher.forced(), "\n{\"name\": \"");
}

// The text of a call is found in whatever pieces it comes.
TEST(Calls, TheCutDoesNotMatter) {
  const auto grammar = calls({});
  const std::string text =
      "<tool_<tool_call>\n{\"name\": \"get_all\", \"arguments\": {}}\n</tool_call><tool";
  for (std::size_t a = 0; a <= text.size(); ++a)
    for (std::size_t b = a; b <= text.size(); b += 3) {
      Matcher matcher(grammar);
      EXPECT_TRUE(matcher.accept_bytes(text.substr(0, a)) &&
                  matcher.accept_bytes(text.substr(a, b - a)) &&
                  matcher.accept_bytes(text.substr(b)))
          << a << " " << b;
      EXPECT_TRUE(matcher.may_end());
    }
}

TEST(Calls, FreeTextMasksOnlyWhatOpensACallThatDoesNotFit) {
  const auto grammar = calls({});
  const auto& tokens = *test::vocabulary();
  std::vector<std::uint32_t> mask((static_cast<std::size_t>(tokens.size()) + 31) / 32);
  for (const std::string before : {"", "x", "<", "<tool", "<tool_call"}) {
    Matcher matcher(grammar);
    ASSERT_TRUE(before.empty() || matcher.accept_bytes(before));
    for (const int n_left : {0, 10, 60, 75, 1000}) {
      std::vector<TokenId> expected, got;
      for (TokenId token = 0; token < tokens.size(); ++token) {
        Matcher next = matcher;
        if (next.accept(token) && (n_left == 0 || next.shortest_completion() <= n_left - 1))
          expected.push_back(token);
      }
      if (matcher.allowed(mask, n_left)) {
        got = bits_of(mask);
      } else {
        for (TokenId token = 0; token < tokens.size(); ++token)
          if (!tokens.bytes(token).empty()) got.push_back(token);
      }
      EXPECT_EQ(got, expected) << before << ", " << n_left << " left";
    }
  }
  // Nowhere near a call nothing is masked, at no cost.
  EXPECT_FALSE(Matcher(grammar).allowed(mask, 1000));
}

TEST(Calls, WithoutToolsEverythingIsAllowed) {
  const auto grammar = compile_calls(kHermes, {}, {}, test::vocabulary());
  std::vector<std::uint32_t> mask((static_cast<std::size_t>(test::vocabulary()->size()) + 31) / 32);
  Matcher matcher(grammar);
  EXPECT_TRUE(matcher.accept_bytes("<tool_call>anything\xFF"));
  EXPECT_FALSE(matcher.allowed(mask, 1));
  EXPECT_TRUE(matcher.may_end());
  EXPECT_FALSE(matcher.inside());
}

TEST(Calls, WalksAreCompleteWithinTheirTokens) {
  for (const bool required : {false, true}) {
    for (const bool only_one : {false, true}) {
      const auto grammar = calls({.required = required, .only_one = only_one});
      const Matcher matcher(grammar);
      for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        std::mt19937_64 random(seed);
        const int n_left =
            matcher.shortest_completion() + static_cast<int>(seed % 4 == 0 ? 0 : random() % 200);
        const auto result = walk(matcher, *test::vocabulary(), random, n_left, 50);
        EXPECT_EQ(result.trouble, "") << "seed " << seed;
        EXPECT_TRUE(result.complete) << "seed " << seed << ": " << result.text;
        EXPECT_TRUE(takes(grammar, result.text)) << "seed " << seed;
      }
    }
  }
}

// Names that begin alike, a syntax without quotes around them, and no text around arguments.
TEST(Calls, OtherSyntaxes) {
  const std::vector<Tool> list = {{.name = "a", .schema_json = ""},
                                  {.name = "ab", .schema_json = ""}};
  const CallSyntax bare{
      .open = "[", .before_name = "", .before_arguments = "", .close = "", .between = ""};
  const auto grammar = compile_calls(bare, list, {.required = true}, test::vocabulary());
  EXPECT_TRUE(takes(grammar, "[a{}"));
  EXPECT_TRUE(takes(grammar, "[ab{}[a{\"x\": 1}"));
  EXPECT_FALSE(takes(grammar, "[b{}"));
  const CallSyntax tags{.open = "<function=",
                        .before_name = "",
                        .before_arguments = ">",
                        .close = "</function>",
                        .between = ""};
  const auto tagged = compile_calls(tags, list, {}, test::vocabulary());
  EXPECT_TRUE(takes(tagged, "so <function=ab>{\"q\": null}</function> there"));
  EXPECT_FALSE(begins(tagged, "<function=abc"));
}

}  // namespace
}  // namespace pensieve::grammar
