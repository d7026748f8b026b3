// Goal: whatever bytes arrive as a body, the answer is a request or one sentence, soon and on a
// small stack. Method: invalid JSON texts put where the whole body, a used field and an ignored
// field stand; every prefix of a good body; depths around the limit and far beyond it.
#include <gtest/gtest.h>
#include <pthread.h>

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "domain/api/messages.h"

namespace pensieve::api {
namespace {

using std::string_literals::operator""s;

constexpr std::string_view kGood =
    R"({"model":"m","max_tokens":10,"messages":[{"role":"user","content":"h\u00e9llo ☃"}],)"
    R"("temperature":1e-1,"stream":false,"metadata":{"user_id":"a\"b"}})";

std::string with_field(const std::string& name, const std::string& value) {
  return R"({"model":"m","max_tokens":10,"messages":[{"role":"user","content":"x"}],")" + name +
         "\":" + value + "}";
}

void expect_refused(const std::string& body) {
  const auto request = parse_messages_request(body);
  ASSERT_FALSE(request.has_value());
  EXPECT_EQ(request.error().kind, ErrorKind::InvalidRequest);
  EXPECT_FALSE(request.error().message.empty());
}

// JSON values that RFC 8259 does not allow, or that this server refuses by its limits.
const std::vector<std::string>& invalid_values() {
  static const std::vector<std::string> values = {// structure
                                                  "",
                                                  " ",
                                                  "[",
                                                  "]",
                                                  "{",
                                                  "}",
                                                  "[1",
                                                  "[1,",
                                                  "[1,]",
                                                  "[,1]",
                                                  "[,]",
                                                  "[1,,2]",
                                                  "[1 2]",
                                                  "[1:2]",
                                                  "[1}",
                                                  "{]",
                                                  "{\"a\"}",
                                                  "{\"a\":}",
                                                  "{\"a\":1,}",
                                                  "{,\"a\":1}",
                                                  "{\"a\":1,,\"b\":2}",
                                                  "{\"a\" 1}",
                                                  "{\"a\":1 \"b\":2}",
                                                  "{a:1}",
                                                  "{'a':1}",
                                                  "{1:1}",
                                                  "{null:1}",
                                                  "{\"a\":1",
                                                  "[[]",
                                                  "[]]",
                                                  "{}}",
                                                  "{}[]",
                                                  "[](",
                                                  ":",
                                                  ",",
                                                  "[\"a\":1]",
                                                  "{\"a\",1}",
                                                  "{\"a\"::1}",
                                                  "[{]}",
                                                  "{\"a\":[}",
                                                  "1 2",
                                                  "true false",
                                                  "{} x",
                                                  "[] []",
                                                  // literals
                                                  "tru",
                                                  "nul",
                                                  "fals",
                                                  "True",
                                                  "NULL",
                                                  "None",
                                                  "undefined",
                                                  "nan",
                                                  "NaN",
                                                  "-NaN",
                                                  "Infinity",
                                                  "-Infinity",
                                                  "inf",
                                                  "truefalse",
                                                  "nulll",
                                                  "'x'",
                                                  "x",
                                                  // numbers
                                                  "+1",
                                                  "01",
                                                  "-01",
                                                  "00",
                                                  ".5",
                                                  "-.5",
                                                  "5.",
                                                  "1.e1",
                                                  "1e",
                                                  "1e+",
                                                  "1e-",
                                                  "1E+",
                                                  "1e1.5",
                                                  "-",
                                                  "--1",
                                                  "++1",
                                                  "-+1",
                                                  "1-",
                                                  "1+1",
                                                  "0x10",
                                                  "0b1",
                                                  "0o7",
                                                  "1_000",
                                                  "1,5e",
                                                  "1.5.5",
                                                  "0e",
                                                  "- 1",
                                                  "1e1e1",
                                                  "1e999",
                                                  "-1e999",
                                                  "1e+400",
                                                  "\xEF\xBC\x91",
                                                  "1a",
                                                  "0x",
                                                  "2.e3",
                                                  "1/2",
                                                  // strings
                                                  "\"",
                                                  "\"a",
                                                  "a\"",
                                                  "\"\\\"",
                                                  "\"\\",
                                                  "\"\\a\"",
                                                  "\"\\x41\"",
                                                  "\"\\'\"",
                                                  "\"\\0\"",
                                                  "\"\\u\"",
                                                  "\"\\u1\"",
                                                  "\"\\u12\"",
                                                  "\"\\u123\"",
                                                  "\"\\u123G\"",
                                                  "\"\\U0041\"",
                                                  "\"\\u-123\"",
                                                  "\"\\ud800\"",
                                                  "\"\\ud800x\"",
                                                  "\"\\udc00\"",
                                                  "\"\\ud800\\ud800\"",
                                                  "\"\\udc00\\ud800\"",
                                                  "\"\\ud83d\\u0041\"",
                                                  "\"\\udbff\\n\"",
                                                  "\"\\u0000\"",
                                                  "\"a\\u0000b\"",
                                                  "\"\t\"",
                                                  "\"\n\"",
                                                  "\"\r\"",
                                                  "\"\x01\"",
                                                  "\"\x1f\"",
                                                  "\"\x00\""s,
                                                  "\"a\x00b\""s,
                                                  "\"\\\n\"",
                                                  "\"\\u00A\"",
                                                  "\"\\u 0041\"",
                                                  "\"\\\xC3\xA9\"",
                                                  // not UTF-8
                                                  "\"\x80\"",
                                                  "\"\xBF\"",
                                                  "\"\xC0\x80\"",
                                                  "\"\xC0\xAF\"",
                                                  "\"\xC1\xBF\"",
                                                  "\"\xC3\"",
                                                  "\"\xC3\x28\"",
                                                  "\"\xE0\x80\x80\"",
                                                  "\"\xE0\x9F\xBF\"",
                                                  "\"\xE2\x82\"",
                                                  "\"\xE2\x28\xA1\"",
                                                  "\"\xED\xA0\x80\"",
                                                  "\"\xED\xBF\xBF\"",
                                                  "\"\xED\xA0\xBD\xED\xB8\x80\"",
                                                  "\"\xF0\x80\x80\x80\"",
                                                  "\"\xF0\x8F\xBF\xBF\"",
                                                  "\"\xF0\x9F\x98\"",
                                                  "\"\xF4\x90\x80\x80\"",
                                                  "\"\xF5\x80\x80\x80\"",
                                                  "\"\xF8\x88\x80\x80\x80\"",
                                                  "\"\xFC\x84\x80\x80\x80\x80\"",
                                                  "\"\xFE\"",
                                                  "\"\xFF\"",
                                                  "\"\xFF\xFE\"",
                                                  "\x80",
                                                  "[\xFF]",
                                                  "{\"\xFF\":1}",
                                                  // keys
                                                  "{\"a\":1,\"a\":1}",
                                                  "{\"a\":1,\"b\":2,\"a\":3}",
                                                  "{\"\":1,\"\":2}",
                                                  "{\"a\":1,\"\\u0061\":2}",
                                                  "{\"\\u0000\":1}",
                                                  "{\"x\":{\"a\":1,\"a\":2}}",
                                                  "[{\"a\":1,\"a\":2}]",
                                                  "{\"\\ud800\":1}",
                                                  "{\"a\\\":1}",
                                                  // what other notations allow
                                                  "/* x */ 1",
                                                  "// x\n1",
                                                  "# x\n1",
                                                  "1 // x",
                                                  "[1, /* x */ 2]",
                                                  "\v1",
                                                  "\f1",
                                                  "\xC2\xA0"s + "1",
                                                  "\xE2\x80\xA8"s + "1",
                                                  "\xEF\xBB\xBF"s + "1",
                                                  "`x`",
                                                  "<a/>",
                                                  "a=1",
                                                  "%7B%7D",
                                                  "@",
                                                  "!!1",
                                                  "\\u0031",
                                                  "1;",
                                                  "(1)"};
  return values;
}

TEST(MessagesRequestJson, RefusesWhatIsNotJsonWhereverItStands) {
  int cases = 0;
  for (const std::string& value : invalid_values()) {
    for (const std::string& body :
         {value, with_field("metadata", value), with_field("system", value), "[" + value + "]"}) {
      if (body == "[]" || body == "[ ]") continue;  // these are JSON; the schema refuses them
      SCOPED_TRACE(body);
      expect_refused(body);
      EXPECT_NE(parse_messages_request(body).error().message.find("offset"), std::string::npos)
          << parse_messages_request(body).error().message;
      ++cases;
    }
  }
  EXPECT_GE(cases, 700);
}

TEST(MessagesRequestJson, RefusesEveryPrefixOfAGoodBody) {
  ASSERT_TRUE(parse_messages_request(kGood).has_value());
  for (std::size_t length = 0; length < kGood.size(); ++length) {
    SCOPED_TRACE(length);
    expect_refused(std::string(kGood.substr(0, length)));
  }
}

TEST(MessagesRequestJson, RefusesBytesBehindAGoodBodyAndAByteOrderMarkBeforeIt) {
  for (const std::string& tail :
       {"x"s, "{}"s, ","s, "\0"s, "null"s, "\xFF"s, "\x1A"s, std::string(kGood)}) {
    SCOPED_TRACE(tail);
    expect_refused(std::string(kGood) + tail);
  }
  expect_refused("\xEF\xBB\xBF" + std::string(kGood));
  expect_refused("\xFF\xFE" + std::string(kGood));
}

TEST(MessagesRequestJson, AcceptsWhatIsValidThoughOdd) {
  const std::vector<std::string> odd = {"\"\\ud83d\\ude00\"",
                                        "\"\\u2028\\u2029\"",
                                        "\"\xE2\x80\xA8\"",
                                        "\"\x7F\"",
                                        "\"\\/\"",
                                        "\"\\b\\f\\n\\r\\t\"",
                                        "\"\xF4\x8F\xBF\xBF\"",
                                        "\"\xEF\xBF\xBF\"",
                                        "\"\xEF\xBB\xBF\"",
                                        "-0",
                                        "-0.0",
                                        "1E5",
                                        "1e-400",
                                        "0.00000000000000000000000000000000000001",
                                        "123456789012345678901234567890",
                                        "[[[[]]]]",
                                        "{\"\":0}",
                                        "{\"a\":{\"a\":{\"a\":1}}}",
                                        " \t\r\n1 \t\r\n",
                                        "\"<|end|>\"",
                                        "\"${jndi:ldap://x}\"",
                                        "{\"__proto__\":1,\"constructor\":2}"};
  for (const std::string& value : odd) {
    SCOPED_TRACE(value);
    const auto request = parse_messages_request(with_field("metadata", value));
    EXPECT_TRUE(request.has_value()) << request.error().message;
  }
}

TEST(MessagesRequestJson, NamesTheOffsetOfAnError) {
  const auto request = parse_messages_request(R"({"model": oops})");
  ASSERT_FALSE(request.has_value());
  EXPECT_NE(request.error().message.find("offset 10"), std::string::npos)
      << request.error().message;
}

// ---- depth

std::string nested(const std::string& open, const std::string& close, int depth) {
  std::string text;
  for (int i = 0; i < depth; ++i) text += open;
  text += "1";
  for (int i = 0; i < depth; ++i) text += close;
  return text;
}

std::string with_nested(const std::string& place, int depth) {
  // The body is level 1; what stands before the value adds its own levels.
  const std::string value = nested("[", "]", depth);
  if (place == "metadata") return with_field("metadata", value);
  if (place == "tools")
    return with_field("tools", R"([{"name":"t","input_schema":{"a":)" + value + "}}]");
  if (place == "objects") return with_field("metadata", nested(R"({"a":)", "}", depth));
  return R"({"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":[{"type":)"
         R"("tool_use","id":"t","name":"n","input":{"a":)" +
         value + "}}]}]}";
}

int levels_around(const std::string& place) {
  if (place == "tools") return 4;
  if (place == "input") return 6;
  return 1;
}

// Runs `work` on a thread with a stack of `bytes`.
void on_small_stack(std::size_t bytes, std::function<void()> work) {
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, bytes), 0);
  pthread_t thread{};
  const auto entry = [](void* work_pointer) -> void* {
    (*static_cast<std::function<void()>*>(work_pointer))();
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, entry, &work), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

TEST(MessagesRequestJson, Takes128LevelsAndRefusesMoreOnASmallStack) {
  on_small_stack(256 * 1024, [] {
    for (const std::string place : {"metadata", "objects", "tools", "input"}) {
      SCOPED_TRACE(place);
      const int around = levels_around(place);
      const auto deepest = parse_messages_request(with_nested(place, 128 - around));
      EXPECT_TRUE(deepest.has_value()) << deepest.error().message;
      for (const int depth : {129 - around, 3'000, 100'000, 1'000'000}) {
        SCOPED_TRACE(depth);
        const std::string body = with_nested(place, depth);
        const auto begin = std::chrono::steady_clock::now();
        const auto request = parse_messages_request(body);
        const auto spent = std::chrono::steady_clock::now() - begin;
        ASSERT_FALSE(request.has_value());
        EXPECT_NE(request.error().message.find("nesting too deep"), std::string::npos)
            << request.error().message;
        // 100 ms in a release build; the sanitizers and a shared machine take their share.
        EXPECT_LT(spent, std::chrono::milliseconds(1'000));
      }
    }
  });
}

TEST(MessagesRequestJson, Takes10000KeysInAnObjectAndNoMore) {
  const auto body_with = [](int keys) {
    std::string object = "{";
    for (int i = 0; i < keys; ++i) {
      object += (i ? ",\"k" : "\"k") + std::to_string(i) + "\":0";
    }
    return with_field("metadata", object + "}");
  };
  EXPECT_TRUE(parse_messages_request(body_with(10'000)).has_value());
  expect_refused(body_with(10'001));
}

TEST(MessagesRequestJson, KeepsAMegabyteOfTextAsItIs) {
  std::string text(1 << 20, 'x');
  const std::string body =
      R"({"model":"m","max_tokens":1,"messages":[{"role":"user","content":")" + text + "\"}]}";
  const auto request = parse_messages_request(body);
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->messages[0].content[0].text, text);
}

}  // namespace
}  // namespace pensieve::api
