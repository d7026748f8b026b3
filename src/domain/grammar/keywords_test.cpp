// Each keyword of JSON Schema: texts that must be taken and texts that must be refused, after the
// ideas of the JSON Schema Test Suite (draft 2020-12), in the one spelling that grammars write.

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "domain/grammar/test_support.h"

namespace pensieve::grammar {
namespace {

using test::takes;

struct Case {
  const char* schema;
  std::vector<std::string> taken, refused;
};

void check(const std::vector<Case>& cases) {
  for (const auto& [schema, taken, refused] : cases) {
    SCOPED_TRACE(schema);
    const auto grammar = compile_json(schema, test::vocabulary());
    for (const auto& text : taken) EXPECT_TRUE(takes(grammar, text)) << text;
    for (const auto& text : refused) EXPECT_FALSE(takes(grammar, text)) << text;
  }
}

TEST(Keywords, Type) {
  check({{R"({"type": "null"})", {"null"}, {"0", "\"null\"", "", "nul", "nullx"}},
         {R"({"type": "boolean"})", {"true", "false"}, {"0", "null", "tru", "True"}},
         {R"({"type": "integer"})",
          {"0", "7", "-12", "123456789012345678"},
          {"01", "-", "-0", "1.0", "1e3", "+1", " 1", "1 ", "\"1\"", ".5"}},
         {R"({"type": "number"})",
          {"0", "-0.5", "12.25", "1e5", "1.5E-7", "3e+07"},
          {"01", "1.", ".5", "1e", "1e999", "-", "NaN", "Infinity", "0x1"}},
         {R"({"type": "string"})", {"\"\"", "\"abc\"", "\"é\\n🙂\""}, {"abc", "\"", "'a'", "1"}},
         {R"({"type": "array"})",
          {"[]", "[1, \"a\", [null]]"},
          {"[1,2]", "[1, ]", "[, 1]", "[ ]", "{}"}},
         {R"({"type": "object"})",
          {"{}", R"({"a": 1})", R"({"a": {"b": []}, "c": null})"},
          {R"({"a":1})",
           R"({"a": 1,"b": 2})",
           R"({"a": 1, })",
           "{ }",
           R"({a: 1})",
           "[]",
           R"({"a"})"}},
         {R"({"type": ["string", "null"]})", {"\"x\"", "null"}, {"1", "[]", "true"}},
         {R"({"type": ["integer", "boolean"]})", {"5", "false"}, {"5.5", "\"5\"", "null"}},
         {"true", {"1", "\"a\"", "null", "{}", "[]", "1.5"}, {"", "x"}},
         {"{}", {"1", "\"a\"", "null", R"({"x": [1, 2]})"}, {"nope", "1, 2"}}});
}

TEST(Keywords, StringsAreValidJsonAndValidUtf8) {
  const auto grammar = compile_json(R"({"type": "string"})", test::vocabulary());
  for (const std::string inner : {"a/b",
                                  "\\\"",
                                  "\\\\",
                                  "\\/",
                                  "\\b\\f\\n\\r\\t",
                                  "\\u00e9",
                                  "\\uFFFF",
                                  "\\ud7ff",
                                  "\\ue000",
                                  "\x7F",
                                  "é",
                                  "日",
                                  "🙂",
                                  "\xEF\xBF\xBF",
                                  "\xF4\x8F\xBF\xBF"})
    EXPECT_TRUE(takes(grammar, '"' + inner + '"')) << inner;
  using namespace std::string_literals;
  for (const std::string& inner : {"\n"s,
                                   "\t"s,
                                   "\x1F"s,
                                   "\0"s,
                                   "\\x"s,
                                   "\\u12"s,
                                   "\\u12G4"s,
                                   "\\u0000"s,
                                   "\\ud800"s,
                                   "\\uDFFF"s,
                                   "\\uD83D\\uDE42"s,
                                   "\xC0\x80"s,
                                   "\xC1\xBF"s,
                                   "\xE0\x80\x80"s,
                                   "\xED\xA0\x80"s,
                                   "\xF0\x80\x80\x80"s,
                                   "\xF4\x90\x80\x80"s,
                                   "\xF8\x88\x80\x80\x80"s,
                                   "\x80"s,
                                   "\xC3"s,
                                   "\xE6\x97"s,
                                   "\\"s})
    EXPECT_FALSE(takes(grammar, '"' + inner + '"')) << inner;
}

TEST(Keywords, LengthsCountCodePoints) {
  check({{R"({"type": "string", "minLength": 2, "maxLength": 3})",
          {"\"ab\"", "\"abc\"", "\"é日\"", "\"🙂🙂🙂\"", "\"\\n\\u00e9\"", "\"\\\"\\\\\\/\""},
          {"\"\"", "\"a\"", "\"🙂\"", "\"abcd\"", "\"\\u00e9\"", "\"日本語x\""}},
         {R"({"type": "string", "maxLength": 0})", {"\"\""}, {"\"a\"", "\"é\""}},
         {R"({"type": "string", "minLength": 1})",
          {"\"a\"", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaa\""},
          {"\"\""}},
         {R"({"minLength": 2.0, "maxLength": 2.0})", {"\"ab\""}, {"\"a\"", "\"abc\""}}});
}

TEST(Keywords, PatternsAreFoundAnywhere) {
  check({{R"({"type": "string", "pattern": "b+"})",
          {"\"b\"", "\"abba\"", "\"\\nb\""},
          {"\"\"", "\"a\""}},
         {R"({"type": "string", "pattern": "^a|b$"})",
          {"\"ax\"", "\"xb\"", "\"a\""},
          {"\"xa\"", "\"bx\""}},
         {R"({"type": "string", "pattern": "^(ab){2,3}$"})",
          {"\"abab\"", "\"ababab\""},
          {"\"ab\"", "\"abababab\""}},
         {R"({"type": "string", "pattern": "^[^a-c\\d]$"})",
          {"\"d\"", "\"é\"", "\"\\\"\""},
          {"\"a\"", "\"5\"", "\"dd\""}},
         {R"({"type": "string", "pattern": "^\\w+\\s\\S$"})",
          {"\"a_1 x\"", "\"Z\\té\""},
          {"\"a-b x\"", "\"ab\""}},
         {R"({"type": "string", "pattern": "^\\x41\\u00e9\\u{1F642}$"})",
          {"\"Aé🙂\""},
          {"\"Ae🙂\""}},
         {R"({"type": "string", "pattern": "^a.c$"})",
          {"\"abc\"", "\"a日c\"", "\"a\\\"c\""},
          {"\"a\\nc\"", "\"ac\""}},
         {R"({"type": "string", "pattern": "^(?:x(?<name>y)?|z*?)$"})",
          {"\"\"", "\"x\"", "\"xy\"", "\"zz\""},
          {"\"y\""}},
         {R"({"type": "string", "pattern": "^a{3}$"})", {"\"aaa\""}, {"\"aa\"", "\"aaaa\""}},
         {R"({"type": "string", "pattern": "^a{2,}$"})", {"\"aa\"", "\"aaaaaa\""}, {"\"a\""}},
         {R"({"type": "string", "pattern": "^[\\]\\-x]$"})",
          {"\"]\"", "\"-\"", "\"x\""},
          {"\"\\\\\""}},
         {R"({"type": "string", "pattern": "$^"})", {"\"\""}, {"\"a\""}},
         {R"({"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 3})",
          {"\"ab\"", "\"abc\""},
          {"\"a\"", "\"abcd\"", "\"AB\""}},
         {R"({"type": "string", "pattern": "^[a-z]+(-[a-z]+)*$", "maxLength": 5})",
          {"\"a-b-c\"", "\"abcde\"", "\"ab-cd\""},
          {"\"abcdef\"", "\"ab-c-\"", "\"abcd-\"", "\"a-b-c-d\""}},
         {R"({"type": "string", "pattern": "^[a-z]{1,64}$"})",
          {"\"a\"", "\"" + std::string(64, 'q') + "\""},
          {"\"\"", "\"" + std::string(65, 'q') + "\""}}});
}

TEST(Keywords, FormatsTakeWhatTheirRfcsAllow) {
  check({{R"({"format": "date"})",
          {"\"2024-02-28\"", "\"1999-12-31\""},
          {"\"2024-13-01\"", "\"2023-02-29\"", "\"2024-04-31\"", "\"24-01-01\""}},
         {R"({"format": "time"})",
          {"\"23:59:59Z\"", "\"00:00:00.25+01:30\""},
          {"\"24:00:00Z\"", "\"12:00\"", "\"12:00:00\""}},
         {R"({"format": "date-time"})",
          {"\"2024-02-28T12:00:00Z\""},
          {"\"2024-02-28 12:00:00Z\"", "\"2024-02-28\""}},
         {R"({"format": "duration"})",
          {"\"P3D\"", "\"PT5M\"", "\"P1Y2M3DT4H5M6S\"", "\"P2W\""},
          {"\"P\"", "\"PT\"", "\"P1Y2D\"", "\"3D\""}},
         {R"({"format": "uuid"})",
          {"\"2eb8aa08-aa98-11ea-b4aa-73b441d16380\""},
          {"\"2eb8aa08aa9811eab4aa73b441d16380\"", "\"2eb8aa08-aa98-11ea-b4aa-73b441d1638g\""}},
         {R"({"format": "email"})",
          {"\"a@b.cd\"", "\"j.d+x@ex-am.ple.org\""},
          {"\"a\"", "\"@b.c\"", "\"a@\"", "\"a..b@c.de\"", "\"a b@c.de\""}},
         {R"({"format": "ipv4"})",
          {"\"0.0.0.0\"", "\"255.1.20.99\""},
          {"\"256.0.0.1\"", "\"1.2.3\"", "\"01.2.3.4\""}},
         {R"({"format": "ipv6"})",
          {"\"::\"", "\"::1\"", "\"fe80::a:1\"", "\"1:2:3:4:5:6:7:8\"", "\"1::8\""},
          {"\"1:2:3\"", "\":1\"", "\"1::2::3\"", "\"12345::\"", "\"1:2:3:4:5:6:7:8:9\""}},
         {R"({"format": "hostname"})",
          {"\"example.org\"", "\"a-b\""},
          {"\"-a\"", "\"a-\"", "\"a..b\"", "\"a_b\""}},
         {R"({"format": "uri"})",
          {"\"https://ex.org/a?b=c#d\"", "\"mailto:a@b.cd\"", "\"file:///tmp/x\""},
          {"\"/relative\"", "\"no scheme\"", "\"http://a b\"", "\"\""}},
         {R"({"format": "json-pointer"})", {"\"\"", "\"/a/0/~0~1\""}, {"\"a\"", "\"/~2\""}},
         {R"({"type": "string", "format": "int32"})", {"\"anything\""}, {"1"}}});
}

TEST(Keywords, BoundsOfNumbers) {
  check(
      {{R"({"type": "integer", "minimum": -17, "maximum": 250})",
        {"-17", "0", "9", "99", "250"},
        {"-18", "251", "1000", "-170"}},
       {R"({"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 8})",
        {"6", "7"},
        {"5", "8", "60"}},
       {R"({"type": "integer", "minimum": 1.5, "maximum": 3.5})", {"2", "3"}, {"1", "4"}},
       {R"({"type": "integer", "maximum": -100})", {"-100", "-101", "-99999"}, {"-99", "0", "5"}},
       {R"({"type": "number", "minimum": 0.5, "maximum": 10})",
        {"0.5", "0.51", "1", "9.99", "10", "10.0"},
        {"0.49", "10.01", "11", "100", "0", "1e0"}},
       {R"({"type": "number", "exclusiveMinimum": 0})", {"0.1", "1", "100000"}, {"0", "0.0", "-1"}},
       {R"({"type": "number", "exclusiveMinimum": 0.125, "maximum": 0.25})",
        {"0.126", "0.1250001", "0.25", "0.2"},
        {"0.125", "0.12", "0.1250", "0.2500001", "0.3"}},
       {R"({"type": "number", "minimum": -2.5, "maximum": -1.25})",
        {"-2.5", "-2", "-1.25", "-1.5"},
        {"-2.51", "-1.2", "-1", "0", "2"}},
       {R"({"type": "number", "minimum": 1e3, "maximum": 1.5e3})",
        {"1000", "1500"},
        {"999", "1501"}},
       {R"({"type": "integer", "minimum": 0, "exclusiveMinimum": true})", {"1"}, {"0"}}});
}

TEST(Keywords, MultipleOf) {
  check({{R"({"type": "integer", "multipleOf": 7})",
          {"0", "7", "-14", "49", "700000007"},
          {"1", "8", "-13"}},
         {R"({"type": "number", "multipleOf": 0.25})",
          {"0", "1", "0.25", "0.5", "-12.75", "0.50"},
          {"0.1", "0.3", "0.125"}},
         {R"({"type": "number", "multipleOf": 5})", {"5", "10"}, {"5.5", "7"}},
         {R"({"type": "integer", "multipleOf": 3600, "minimum": 1})",
          {"3600", "7200", "86400"},
          {"0", "1", "3601", "-3600"}},
         {R"({"type": "integer", "multipleOf": 10, "minimum": 15, "maximum": 45})",
          {"20", "30", "40"},
          {"10", "15", "45", "50"}}});
}

TEST(Keywords, Properties) {
  check(
      {{R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}})",
        {"{}", R"({"a": 1})", R"({"b": "x", "a": 1})", R"({"a": 1, "b": "x"})"},
        {R"({"a": "x"})", R"({"a": 1, "a": 2})", R"({"c": 1})", R"({"b": 1})"}},
       {R"({"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": true})",
        {"{}", R"({"a": 1})", R"({"c": "x", "a": 1})", R"({"aa": [], "": 2})"},
        {R"({"a": "x"})", R"({"c": 1, "c": 2})", R"({"a": 1, "a": 1})", R"({"\u0061": "x"})"}},
       {R"({"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "boolean"}})",
        {R"({"a": 7, "z": true})"},
        {R"({"z": 1})"}},
       {R"({"type": "object", "properties": {"a": false, "b": {}}})",
        {"{}", R"({"b": 1})"},
        {R"({"a": 1})"}},
       {R"({"type": "object", "properties": {"k\"\\é\n": {"type": "null"}}})",
        {R"({"k\"\\é\n": null})"},
        {R"({"k": null})"}},
       {R"({"type": "object", "properties": {}})", {"{}"}, {R"({"a": 1})"}},
       {R"({"properties": {"a": {}}})", {"{}", R"({"a": 1})"}, {"1", "null"}}});
}

TEST(Keywords, RequiredAndCounts) {
  check(
      {{R"({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["b"]})",
        {R"({"b": 1})", R"({"a": 1, "b": 1})", R"({"b": 1, "a": 1})"},
        {"{}", R"({"a": 1})"}},
       {R"({"type": "object", "required": ["z"]})",
        {R"({"z": 1})", R"({"y": 1, "z": 2})"},
        {"{}", R"({"y": 1})"}},
       {R"({"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "required": ["a"], "maxProperties": 2})",
        {R"({"a": 1})", R"({"c": 1, "a": 1})"},
        {R"({"b": 1, "c": 1})", R"({"a": 1, "b": 1, "c": 1})", R"({"b": 1, "c": 1, "a": 1})"}},
       {R"({"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "minProperties": 2})",
        {R"({"a": 1, "c": 1})", R"({"b": 1, "a": 1, "c": 1})"},
        {"{}", R"({"a": 1})"}},
       {R"({"type": "object", "minProperties": 1, "maxProperties": 2})",
        {R"({"a": 1})", R"({"a": 1, "b": 1})"},
        {"{}", R"({"a": 1, "b": 1, "c": 1})"}},
       {R"({"type": "object", "dependentRequired": {"a": ["b"]}, "properties": {"a": {}, "b": {}, "c": {}}})",
        {"{}", R"({"b": 1})", R"({"a": 1, "b": 1})", R"({"c": 1, "b": 1, "a": 1})", R"({"c": 1})"},
        {R"({"a": 1})", R"({"a": 1, "c": 1})"}}});
}

TEST(Keywords, PatternPropertiesAndNames) {
  check(
      {{R"({"type": "object", "patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": false})",
        {"{}", R"({"x-a": 1, "x-b": 2})"},
        {R"({"y": 1})", R"({"x-a": "s"})", R"({"x-a": 1, "x-a": 2})"}},
       {R"({"type": "object", "patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": {"type": "null"}})",
        {R"({"y": null, "x-": 3})"},
        {R"({"y": 1})", R"({"x-a": null})"}},
       {R"({"type": "object", "properties": {"x-1": {"maximum": 5}}, "patternProperties": {"^x-": {"type": "integer"}}})",
        {R"({"x-1": 5})", R"({"x-2": 9, "x-1": 1})"},
        {R"({"x-1": 6})", R"({"x-1": "a"})"}},
       {R"({"type": "object", "propertyNames": {"pattern": "^[ab]$"}})",
        {R"({"a": 1, "b": 2})"},
        {R"({"c": 1})", R"({"a": 1, "a": 2})"}},
       {R"({"type": "object", "propertyNames": {"enum": ["u", "v"]}, "additionalProperties": {"type": "integer"}})",
        {R"({"v": 1, "u": 2})"},
        {R"({"w": 1})", R"({"u": "s"})"}},
       {R"({"type": "object", "propertyNames": {"maxLength": 2}, "minProperties": 1})",
        {R"({"é日": 1})"},
        {"{}", R"({"abc": 1})"}},
       {R"({"type": "object", "propertyNames": false})", {"{}"}, {R"({"a": 1})"}}});
}

TEST(Keywords, ItemsAndPrefixItems) {
  check(
      {{R"({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3})",
        {"[1]", "[1, 2, 3]"},
        {"[]", "[1, 2, 3, 4]", "[\"a\"]"}},
       {R"({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": false})",
        {"[]", "[1]", "[1, \"a\"]"},
        {"[\"a\"]", "[1, \"a\", 1]"}},
       {R"({"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "null"}})",
        {"[1, null, null]"},
        {"[null]", "[1, 1]"}},
       {R"({"type": "array", "items": [{"type": "integer"}], "additionalItems": {"type": "null"}})",
        {"[1, null]"},
        {"[1, 1]"}},
       {R"({"type": "array", "items": false})", {"[]"}, {"[1]"}},
       {R"({"type": "array", "prefixItems": [{}, false]})", {"[]", "[1]"}, {"[1, 2]"}},
       {R"({"type": "array", "maxItems": 0})", {"[]"}, {"[1]"}},
       {R"({"type": "array", "items": {"type": "array", "items": {"type": "boolean"}, "minItems": 1}})",
        {"[]", "[[true], [false, true]]"},
        {"[[]]", "[true]"}}});
}

TEST(Keywords, EnumAndConst) {
  check({{R"({"enum": ["a", 1, null, {"x": [1, 2]}, "é\n"]})",
          {"\"a\"", "1", "null", R"({"x": [1, 2]})", "\"é\\n\""},
          {"\"b\"", "2", R"({"x":[1,2]})", "\"A\""}},
         {R"({"type": "string", "enum": ["a", 1]})", {"\"a\""}, {"1"}},
         {R"({"enum": ["aa", "b", "ccc"], "maxLength": 2, "pattern": "^[a-z]+$"})",
          {"\"aa\"", "\"b\""},
          {"\"ccc\""}},
         {R"({"enum": [1, 12, 123], "minimum": 10})", {"12", "123"}, {"1", "1234"}},
         {R"({"const": "x"})", {"\"x\""}, {"\"y\"", "\"xx\""}},
         {R"({"const": false})", {"false"}, {"true", "0"}},
         {R"({"const": [[], {}]})", {"[[], {}]"}, {"[[],{}]", "[]"}},
         {R"({"enum": ["a", "b"], "const": "b"})", {"\"b\""}, {"\"a\""}}});
}

TEST(Keywords, Combinations) {
  check(
      {{R"({"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 1}]})",
        {"5", "\"a\""},
        {"\"ab\"", "null"}},
       {R"({"anyOf": [{"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}, {"type": "object", "properties": {"a": {"const": 2}, "b": {}}, "required": ["a"]}]})",
        {R"({"a": 1})", R"({"a": 2})", R"({"b": 0, "a": 2})"},
        {R"({"a": 3})", R"({"a": 1, "b": 0})"}},
       {R"({"oneOf": [{"type": "number"}, {"type": "integer"}]})",
        {"1.5", "-0.25"},
        {"1", "1.0", "7"}},
       {R"({"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object", "properties": {"a": {}, "b": {}}})",
        {R"({"a": 1})", R"({"b": 1})"},
        {"{}", R"({"a": 1, "b": 1})"}},
       {R"({"allOf": [{"type": "integer"}, {"minimum": 3}, {"maximum": 4}]})",
        {"3", "4"},
        {"2", "5", "\"3\""}},
       {R"({"allOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"a": {"minimum": 5}, "b": {}}, "required": ["a"]}], "type": "object"})",
        {R"({"a": 5})", R"({"b": 1, "a": 9})"},
        {R"({"a": 4})", "{}"}},
       {R"({"allOf": [{"anyOf": [{"const": 1}, {"const": 2}]}, {"anyOf": [{"const": 2}, {"const": 3}]}]})",
        {"2"},
        {"1", "3"}},
       {R"({"not": {"type": ["object", "array"]}})", {"1", "null", "\"a\""}, {"{}", "[]"}},
       {R"({"type": "string", "not": {"enum": ["a", "b"]}})",
        {"\"c\"", "\"ab\"", "\"\""},
        {"\"a\"", "\"b\""}},
       {R"({"type": "object", "properties": {"k": {"enum": ["x", "y"]}, "v": {}}, "required": ["k"], "if": {"properties": {"k": {"const": "x"}}, "required": ["k"]}, "then": {"required": ["v"]}})",
        {R"({"k": "x", "v": 1})", R"({"k": "y"})", R"({"v": 1, "k": "y"})"},
        {R"({"k": "x"})", "{}"}}});
}

// A value that two options take fits neither; where that leaves nothing, either will do.
TEST(Keywords, OneOfWhoseOptionsOverlap) {
  check(
      {{R"({"oneOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "array", "items": {"type": "string"}}]})",
        {"[1]", "[\"a\", \"b\"]"},
        {"[]", "[1, \"a\"]"}},
       {R"({"oneOf": [{"type": "integer", "minimum": 0}, {"type": "integer", "maximum": 10}]})",
        {"-1", "11"},
        {"0", "5", "10"}},
       {R"({"oneOf": [{"type": "integer"}, {"enum": [1, 2, 5, "a"]}]})",
        {"0", "3", "4", "6", "\"a\""},
        {"1", "2", "5", "\"b\""}},
       {R"({"oneOf": [{"type": "string", "maxLength": 3}, {"type": "string", "minLength": 2}]})",
        {"\"\"", "\"a\"", "\"abcd\""},
        {"\"ab\"", "\"abc\""}},
       {R"({"oneOf": [{"type": "string", "pattern": "^a"}, {"type": "string", "pattern": "b$"}]})",
        {"\"a\"", "\"b\"", "\"ac\""},
        {"\"ab\"", "\"c\"", "\"\""}},
       {R"({"oneOf": [{"type": "string", "pattern": "^[a-c]{2,4}$"}, {"type": "string"}]})",
        {"\"\"", "\"a\"", "\"abcab\"", "\"xy\""},
        {"\"ab\"", "\"abca\""}},
       {R"({"oneOf": [{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]}], "properties": {"a": {}, "b": {}}})",
        {R"({"a": "x"})", R"({"b": "x"})", R"({"a": "x", "b": 1})"},
        {"{}", R"({"a": "x", "b": "y"})"}},
       {R"({"oneOf": [{"type": "string"}, {"$ref": "#/$defs/short"}], "$defs": {"short": {"type": "string", "maxLength": 1}}})",
        {"\"ab\""},
        {"\"a\"", "\"\""}},
       {R"({"type": "string", "not": {"pattern": "^a"}})", {"\"\"", "\"ba\""}, {"\"a\"", "\"ab\""}},
       {R"({"type": "integer", "not": {"enum": [1, 3]}})", {"0", "2", "4"}, {"1", "3"}},
       {R"({"oneOf": [{"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}, {"type": "object", "properties": {"a": {"const": 1}, "b": {}}, "required": ["a"]}]})",
        {R"({"a": 1})", R"({"a": 1, "b": 0})"},
        {R"({"a": 2})", "{}"}}});
}

TEST(Keywords, References) {
  check(
      {{R"({"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}})", {"1"}, {"\"a\""}},
       {R"({"$ref": "#/definitions/a%25b~1c~0", "definitions": {"a%b/c~": {"const": 1}}})",
        {"1"},
        {"2"}},
       {R"({"type": "object", "properties": {"next": {"$ref": "#"}, "v": {"type": "integer"}}, "required": ["v"]})",
        {R"({"v": 1})", R"({"next": {"next": {"v": 3}, "v": 2}, "v": 1})"},
        {"{}", R"({"next": {}, "v": 1})"}},
       {R"({"$ref": "#n", "$defs": {"x": {"$anchor": "n", "type": "null"}}})", {"null"}, {"1"}},
       {R"({"$ref": "urn:x:y", "$defs": {"x": {"$id": "urn:x:y", "type": "null"}}})",
        {"null"},
        {"1"}},
       {R"({"$ref": "#/properties/a", "properties": {"a": {"type": "boolean"}}, "type": "boolean"})",
        {"true"},
        {"1"}},
       {R"({"$ref": "#/$defs/a", "maximum": 3, "$defs": {"a": {"type": "integer", "minimum": 2}}})",
        {"2", "3"},
        {"1", "4"}},
       {R"({"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}}]})",
        {"null", "[]", "[null, [[], null]]"},
        {"1", "[1]"}}});
}

// What cannot be understood allows more, and leaves the rest as it is.
TEST(Keywords, WhatIsNotUnderstoodWidens) {
  check({{R"({"type": "string", "pattern": "^(?=a)b", "maxLength": 2})",
          {"\"zz\"", "\"\""},
          {"\"zzz\"", "1"}},
         {R"({"type": "string", "pattern": "(a)\\1"})", {"\"x\""}, {"1"}},
         {R"({"type": "string", "pattern": "*"})", {"\"x\""}, {"1"}},
         {R"({"type": "array", "uniqueItems": true, "items": {"type": "integer"}})",
          {"[1, 2]"},
          {"[\"a\"]"}},
         {R"({"type": "integer", "someKeyword": {"a": 1}})", {"1"}, {"\"a\""}},
         {R"({"$ref": "https://example.org/elsewhere.json"})", {"1", "{}"}, {"x"}},
         {R"({"type": "nonsense"})", {"1", "null"}, {"x"}},
         {"[1, 2]", {"1", "{}"}, {"x"}},
         {"not json", {"1", "{}"}, {"x"}},
         {"false", {"1", "{}"}, {"x"}},
         {R"({"type": "string", "enum": [1]})", {"1", "{}"}, {"x"}}});
}

}  // namespace
}  // namespace pensieve::grammar
