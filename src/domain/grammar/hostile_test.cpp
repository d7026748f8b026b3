// Schemas made to hurt: each compiles in bounded time, and what comes out can be completed.

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "foundation/json.h"

#include "domain/grammar/test_support.h"

namespace pensieve::grammar {
namespace {

using test::takes;
using test::walk;

std::string repeated(const std::string& part, int n, const std::string& between = "") {
  std::string out;
  for (int i = 0; i < n; ++i) out += (i ? between : "") + part;
  return out;
}

std::string numbered(int n, const std::function<std::string(int)>& part) {
  std::string out;
  for (int i = 0; i < n; ++i) out += (i ? ", " : "") + part(i);
  return out;
}

std::string quoted(const std::string& text) {
  return Json(text).dump();
}

std::vector<std::pair<std::string, std::string>> hostile() {
  const auto pattern = [](const std::string& expression) {
    return R"({"type": "string", "pattern": )" + quoted(expression) + "}";
  };
  const auto number = [](int i) { return std::to_string(i); };
  return {
      {"a cycle of one", R"({"$ref": "#"})"},
      {"a cycle of two",
       R"({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}})"},
      {"all of itself", R"({"allOf": [{"$ref": "#"}, {"$ref": "#"}], "type": "object"})"},
      {"any of itself", R"({"anyOf": [{"$ref": "#"}, {"type": "integer"}]})"},
      {"one of itself", R"({"oneOf": [{"$ref": "#"}, {"type": "integer"}]})"},
      {"not itself", R"({"not": {"$ref": "#"}})"},
      {"not not not", repeated(R"({"not": )", 100) + "{}" + repeated("}", 100)},
      {"required without end",
       R"({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})"},
      {"an array without end", R"({"type": "array", "items": {"$ref": "#"}, "minItems": 1})"},
      {"deep", repeated(R"({"properties": {"a": )", 60) + "{}" + repeated("}}", 60)},
      {"a star", pattern("*")},
      {"look behind", pattern("(?<=a)b")},
      {"a billion", pattern("^a{1,1000000000}$")},
      {"a million times a million", pattern("(a{1000}){1000}")},
      {"nothing many times", pattern(repeated("(", 90) + repeated("){2000}", 90))},
      {"60,000 parentheses", pattern(repeated("(", 60'000))},
      {"60,000 letters", pattern(repeated("a", 60'000))},
      {"30,000 choices", pattern(repeated("a|", 30'000))},
      {"exponential subsets", pattern("(a|b)*a(a|b){18}$")},
      {"nested stars", pattern("((((a*)*)*)*)*b")},
      {"many classes", pattern("^" + repeated("[a-c][^x]\\S\\W", 400) + "$")},
      {"two patterns that fight",
       R"({"allOf": [{"pattern": "^(a|b)*a(a|b){9}$"}, {"pattern": "^(b|a)*b(a|b){8}$"}]})"},
      {"no such text", R"({"allOf": [{"pattern": "^a$"}, {"pattern": "^b$"}]})"},
      {"absurd lengths", R"({"type": "string", "minLength": 1000000000, "maxLength": 5})"},
      {"an absurd least length", R"({"type": "string", "minLength": 4000000000})"},
      {"absurd items", R"({"type": "array", "minItems": 1e300})"},
      {"absurd members", R"({"type": "object", "minProperties": 1000000000})"},
      {"pattern and length",
       R"({"type": "string", "pattern": "^([a-z]+-)*[0-9]+$", "minLength": 900, "maxLength": 60000})"},
      {"an enum of 10,000",
       R"({"enum": [)" +
           numbered(10'000, [&](int i) { return quoted("value number " + number(i)); }) + "]}"},
      {"two enums of 3,000",
       R"({"allOf": [{"enum": [)" + numbered(3'000, number) + R"(]}, {"enum": [)" +
           numbered(3'000, number) + "]}]}"},
      {"5,000 properties",
       R"({"type": "object", "properties": {)" +
           numbered(5'000,
                    [&](int i) { return quoted("p" + number(i)) + R"(: {"type": "integer"})"; }) +
           "}}"},
      {"5,000 required",
       R"({"type": "object", "required": [)" +
           numbered(5'000, [&](int i) { return quoted("p" + number(i)); }) + "]}"},
      {"2^40 alternatives",
       R"({"allOf": [)" +
           numbered(40,
                    [&](int i) {
                      return R"({"anyOf": [{"type": "object", "required": [")" + number(i) +
                             R"("]}, {"type": "object"}]})";
                    }) +
           "]}"},
      {"2^40 alternatives that fail",
       R"({"allOf": [)" +
           numbered(40,
                    [](int) {
                      return std::string(R"({"anyOf": [{"type": "object"}, {"type": "array"}]})");
                    }) +
           R"(, {"type": "string"}]})"},
      {"300 branches",
       R"({"anyOf": [)" +
           numbered(300,
                    [&](int i) {
                      return R"({"type": "object", "properties": {"k": {"const": )" + number(i) +
                             R"(}, "v": {"type": "string"}}, "required": ["k"]})";
                    }) +
           "]}"},
      {"one of 200",
       R"({"oneOf": [)" +
           numbered(200,
                    [&](int i) {
                      return R"({"type": "object", "properties": {"a)" + number(i) +
                             R"(": {"minLength": )" + number(i) + "}}}";
                    }) +
           "]}"},
      {"conjunctions that grow",
       R"({"$defs": {"a": {"properties": {"x": {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]}}}, "b": {"properties": {"x": {"allOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/c"}]}}}, "c": {"properties": {"x": {"allOf": [{"$ref": "#/$defs/a"}, {"properties": {"x": {"$ref": "#/$defs/a"}}}]}}}}, "$ref": "#/$defs/a"})"},
      {"many patterns of names",
       R"({"type": "object", "patternProperties": {)" +
           numbered(100, [&](int i) { return quoted("^(a|b)*" + number(i)) + ": {}"; }) + "}}"},
      {"dependent on all",
       R"({"type": "object", "dependentRequired": {)" +
           numbered(60, [&](int i) { return quoted("p" + number(i)) + R"(: ["q"])"; }) + "}}"},
      {"wrong types everywhere",
       R"({"type": 5, "properties": [], "required": "a", "enum": {}, "anyOf": {}, "allOf": 1, "items": 7, "minLength": "x", "pattern": 3, "$ref": {}, "maximum": [], "additionalProperties": "no", "format": null, "not": 3, "if": 1, "then": 2})"},
      {"empty lists",
       R"({"enum": [], "anyOf": [], "allOf": [], "oneOf": [], "required": [], "type": []})"},
      {"huge numbers", R"({"type": "number", "minimum": 1e300, "maximum": 1.7e308})"},
      {"tiny numbers", R"({"type": "number", "exclusiveMinimum": 1e-300, "maximum": 1e-299})"},
      {"bounds that cross", R"({"type": "number", "minimum": 5, "maximum": 4})"},
      {"huge steps", R"({"type": "integer", "multipleOf": 999999999999, "minimum": 5})"},
      {"a description that is a grammar",
       R"({"type": "object", "description": "root ::= \"a\" <tool_call> {\"$ref\": \"#\"}"})"},
  };
}

TEST(Hostile, EverySchemaCompilesSoonAndCanBeCompleted) {
  for (const auto& [name, schema] : hostile()) {
    SCOPED_TRACE(name);
    const auto begin = std::chrono::steady_clock::now();
    const auto grammar = compile_json(schema, test::vocabulary());
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    // 100 ms is promised of a release build on an idle machine; this one may be thirty times
    // slower.
    EXPECT_LT(took.count(), 3000) << name;
    for (const std::uint64_t seed : {1, 2}) {
      std::mt19937_64 random(seed);
      const Matcher matcher(grammar);
      const int least = matcher.shortest_completion();
      ASSERT_LT(least, 200'000);
      if (least > 150) continue;  // right, but slow to walk byte by byte under sanitizers
      const auto result = walk(matcher, *test::vocabulary(), random, least + 10);
      EXPECT_EQ(result.trouble, "");
      EXPECT_TRUE(result.complete) << result.text.substr(0, 200);
      EXPECT_TRUE(parse_json(result.text)) << result.text.substr(0, 200);
    }
  }
}

TEST(Hostile, AThousandTools) {
  std::vector<Tool> tools;
  tools.reserve(1'024);
  for (int i = 0; i < 1'024; ++i)
    tools.push_back(
        {.name = "tool_" + std::to_string(i),
         .schema_json =
             R"({"type": "object", "properties": {"path": {"type": "string"}, "n": {"type": "integer"},
                                       "mode": {"enum": ["a", "b"]}}, "required": ["path"]})"});
  const CallSyntax syntax{.open = "<tool_call>",
                          .before_name = "\n{\"name\": \"",
                          .before_arguments = "\", \"arguments\": ",
                          .close = "}\n</tool_call>",
                          .between = "\n"};
  const auto grammar = compile_calls(syntax, tools, {.required = true}, test::vocabulary());
  EXPECT_TRUE(takes(
      grammar,
      "<tool_call>\n{\"name\": \"tool_1023\", \"arguments\": {\"path\": \"\"}}\n</tool_call>"));
  EXPECT_FALSE(takes(
      grammar,
      "<tool_call>\n{\"name\": \"tool_1024\", \"arguments\": {\"path\": \"\"}}\n</tool_call>"));
  std::mt19937_64 random(7);
  const Matcher matcher(grammar);
  const auto result =
      walk(matcher, *test::vocabulary(), random, matcher.shortest_completion() + 40);
  EXPECT_TRUE(result.complete) << result.text;
}

}  // namespace
}  // namespace pensieve::grammar
