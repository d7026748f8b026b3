#include "domain/chat/internal/json_text.h"

#include <gtest/gtest.h>

#include "foundation/json.h"

namespace pensieve::chat {
namespace {

// Expected: json.dumps(json.loads(x), ensure_ascii=False) of Python 3.11.
TEST(SpacedJson, PutsOneSpaceBehindCommasAndColonsAndKeepsStrings) {
  EXPECT_EQ(spaced_json(R"({"a":1,"b":[2,3],"c":{}})"), R"({"a": 1, "b": [2, 3], "c": {}})");
  EXPECT_EQ(spaced_json("{ \"a\" :\n[ ] ,\t\"b\": null }"), R"({"a": [], "b": null})");
  EXPECT_EQ(spaced_json(R"({"k,:":"a, b:c\",:\\","é":"日本\n"})"),
            R"({"k,:": "a, b:c\",:\\", "é": "日本\n"})");
  EXPECT_EQ(spaced_json("{}"), "{}");
  // What a parser might round or rewrite stays as it is.
  EXPECT_EQ(spaced_json(R"([12345678901234567890123,1.10,1E5,"\u00e9\/"])"),
            R"([12345678901234567890123, 1.10, 1E5, "\u00e9\/"])");
}

TEST(JsonString, EscapesWhatMustBeEscapedAndNoMore) {
  EXPECT_EQ(json_string("a\"b\\c\n\r\t\b\f\x01\x1f/é\x7f"),
            "\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0001\\u001f/é\x7f\"");
  for (int c = 1; c < 128; ++c) {
    const std::string text(3, static_cast<char>(c));
    const auto parsed = parse_json(json_string(text));
    ASSERT_TRUE(parsed) << c;
    EXPECT_EQ(*parsed, text);
  }
}

TEST(MemberText, GivesTheBytesOfOneMemberOfTheOuterObject) {
  const std::string_view object =
      " { \"n\" : \"a,}\\\"\" ,\n\"x\":{\"arguments\": 1}, \"arguments\" : {\"a\": [1, {\"b\":2}]} "
      ",\"z\":[]}";
  EXPECT_EQ(member_text(object, "n"), "\"a,}\\\"\"");
  EXPECT_EQ(member_text(object, "arguments"), "{\"a\": [1, {\"b\":2}]}");
  EXPECT_EQ(member_text(object, "z"), "[]");
  EXPECT_EQ(member_text(object, "b"), "");
  EXPECT_EQ(member_text("{}", "a"), "");
  EXPECT_EQ(member_text("{ }", "a"), "");
  EXPECT_EQ(member_text(R"({"\u0061":1})", "a"), "");
}

ObjectScanner::State scan(std::string_view text) {
  ObjectScanner scanner;
  for (const char c : text) scanner.push(c);
  return scanner.state();
}

TEST(ObjectScanner, FindsTheEndAndGivesUpEarly) {
  using State = ObjectScanner::State;
  EXPECT_EQ(scan(""), State::Before);
  EXPECT_EQ(scan(" \n"), State::Before);
  EXPECT_EQ(scan("{\"a\": [1, 2.5e-3, true, null], \"b\": {"), State::Inside);
  EXPECT_EQ(scan("{\"a\": {}}"), State::Behind);
  EXPECT_EQ(scan("{\"a\": \"}\\\"<\"} \n"), State::Behind);
  EXPECT_EQ(scan("x"), State::Malformed);
  EXPECT_EQ(scan("[1]"), State::Malformed);
  EXPECT_EQ(scan("{\"a\": <"), State::Malformed);
  EXPECT_EQ(scan("{\\"), State::Malformed);
  EXPECT_EQ(scan("{\"line\n"), State::Malformed);
  EXPECT_EQ(scan("{} x"), State::Malformed);
  EXPECT_EQ(scan("{\"a\":" + std::string(200, '[')), State::Malformed);
}

}  // namespace
}  // namespace pensieve::chat
