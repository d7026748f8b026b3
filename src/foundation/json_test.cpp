// What parse_json() takes and refuses. The rows are readings of RFC 8259's grammar, one per rule,
// in the manner of the public JSON test collections; bounds are the header's own.
#include "foundation/json.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <string_view>

namespace pensieve {
namespace {

using namespace std::string_view_literals;

std::string refusal(std::string_view text) {
  const auto parsed = parse_json(text);
  if (parsed) return "accepted: " + parsed->dump();
  EXPECT_EQ(parsed.error().kind, ErrorKind::InvalidRequest);
  EXPECT_LT(parsed.error().message.size(), 400u);
  return parsed.error().message;
}

TEST(Json, TakesEveryFormOfTheGrammar) {
  for (const std::string_view text : {
           "null"sv,
           "true"sv,
           "false"sv,
           "0"sv,
           "-0"sv,
           "-1"sv,
           "0.5"sv,
           "1e5"sv,
           "1E+5"sv,
           "1e-5"sv,
           "1.5e300"sv,
           "9223372036854775807"sv,
           "-9223372036854775808"sv,
           "18446744073709551615"sv,
           "123456789012345678901234567890"sv,  // beyond 64 bits: a double, as the RFC allows
           "1e-400"sv,                          // underflows to zero, which is in range
           R"("")"sv,
           R"("\"\\\/\b\f\n\r\t")"sv,
           R"("\u00e9\u20AC")"sv,
           R"("\ud83d\ude00")"sv,
           "\"\xF4\x8F\xBF\xBF\""sv,
           "\"\x7F\""sv,
           "\"\xE2\x80\xA8\""sv,
           "[]"sv,
           "[ ]"sv,
           "[[],[[]]]"sv,
           "[1,null,\"\",{}]"sv,
           "{}"sv,
           R"({"":0})"sv,
           R"({"a":{"a":{"a":1}}})"sv,
           " \t\r\n[1] \t\r\n"sv,
       }) {
    const auto parsed = parse_json(text);
    EXPECT_TRUE(parsed) << text << ": " << parsed.error().message;
  }
}

TEST(Json, RefusesWhatTheGrammarDoesNotHave) {
  for (const std::string_view text : {
           ""sv,
           " "sv,
           "nul"sv,
           "nulll"sv,
           "NULL"sv,
           "True"sv,
           "NaN"sv,
           "Infinity"sv,
           "-"sv,
           "+1"sv,
           "01"sv,
           "-01"sv,
           "1."sv,
           ".5"sv,
           "1e"sv,
           "1e+"sv,
           "0x10"sv,
           "1_000"sv,
           "1 2"sv,
           "\""sv,
           "'a'"sv,
           "\"\n\""sv,
           "\"\t\""sv,
           "\"\x1F\""sv,
           R"("\x41")"sv,
           R"("\u12")"sv,
           R"("\u12g4")"sv,
           R"("\)"sv,
           R"("\U0041")"sv,
           "["sv,
           "]"sv,
           "[1"sv,
           "[1,"sv,
           "[1,]"sv,
           "[,1]"sv,
           "[1,,2]"sv,
           "[1 2]"sv,
           "[1]]"sv,
           "[1]x"sv,
           "{"sv,
           "{\"a\"}"sv,
           "{\"a\":}"sv,
           "{\"a\" 1}"sv,
           "{a:1}"sv,
           "{1:1}"sv,
           "{\"a\":1,}"sv,
           "{\"a\":1"sv,
           "{,}"sv,
           "[1}"sv,
           "{\"a\":1]"sv,
           "// x\n1"sv,
           "/* x */1"sv,
           "1 # x"sv,
           "\xC2\xA0"
           "1"sv,  // a no-break space is no JSON white space
           "\f1"sv,
       }) {
    EXPECT_FALSE(parse_json(text)) << "accepted: " << text;
  }
}

TEST(Json, RefusesNulWhereverItStands) {
  EXPECT_FALSE(parse_json("[1]\0"sv));
  EXPECT_FALSE(parse_json("[1]\0garbage"sv));
  EXPECT_FALSE(parse_json("\0[1]"sv));
  EXPECT_FALSE(parse_json("[1,\0 2]"sv));
  EXPECT_FALSE(parse_json("\"a\0b\""sv));
  EXPECT_FALSE(parse_json(R"("a\u0000b")"));
  EXPECT_FALSE(parse_json(R"({"a\u0000":1})"));
}

TEST(Json, RefusesTextThatIsNotUnicode) {
  EXPECT_FALSE(parse_json("\xEF\xBB\xBF[1]"));       // a byte order mark
  EXPECT_FALSE(parse_json("\"\x80\""));              // a lone continuation
  EXPECT_FALSE(parse_json("\"\xC0\xAF\""));          // overlong
  EXPECT_FALSE(parse_json("\"\xED\xA0\x80\""));      // a surrogate in UTF-8
  EXPECT_FALSE(parse_json("\"\xF4\x90\x80\x80\""));  // beyond U+10FFFF
  EXPECT_FALSE(parse_json("\"\xE2\x82\""));          // cut short
  for (const auto* escape : {R"("\ud800")",
                             R"("\ud800x")",
                             R"("\ud800\n")",
                             R"("\ud800\ud800")",
                             R"("\udc00")",
                             R"("\udc00\ud800")",
                             R"(["\ud83d", "\ude00"])",
                             R"({"\ud800":1})"}) {
    EXPECT_FALSE(parse_json(escape)) << escape;
  }
}

TEST(Json, RefusesNumbersBeyondDouble) {
  EXPECT_FALSE(parse_json("1e400"));
  EXPECT_FALSE(parse_json("[-1e400]"));
  EXPECT_FALSE(parse_json("1" + std::string(400, '0')));
}

TEST(Json, RefusesADuplicateKeyInTheSameObjectOnly) {
  EXPECT_NE(refusal(R"({"a":1,"b":2,"a":3})").find("duplicate key \"a\""), std::string::npos);
  EXPECT_FALSE(parse_json(R"({"a":1,"\u0061":2})")) << "the same key, written with an escape";
  EXPECT_TRUE(parse_json(R"({"a":{"a":1},"b":[{"a":1},{"a":2}]})"));
}

TEST(Json, KeepsTheOrderOfKeysAndEveryValue) {
  const auto parsed = parse_json(R"({"z":1,"a":[true,-2,2.5,"é"],"m":{"y":null,"b":{}}})");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->dump(), R"({"z":1,"a":[true,-2,2.5,"é"],"m":{"y":null,"b":{}}})");
  EXPECT_EQ(parsed->at("a").at(1).get<int>(), -2);
  EXPECT_TRUE(parsed->at("m").contains("b"));
}

TEST(Json, HoldsTheDepthLimitToTheLevel) {
  for (const auto& [open, close] : {std::pair{"[", "]"}, std::pair{"{\"a\":", "}"}}) {
    const auto nested = [&, open = open, close = close](int depth) {
      std::string text;
      for (int i = 0; i < depth; ++i) text += open;
      text += "1";
      for (int i = 0; i < depth; ++i) text += close;
      return text;
    };
    EXPECT_TRUE(parse_json(nested(128)));
    EXPECT_NE(refusal(nested(129)).find("nesting too deep"), std::string::npos);
    EXPECT_TRUE(parse_json(nested(3), {.max_depth = 3}));
    EXPECT_FALSE(parse_json(nested(4), {.max_depth = 3}));
  }
}

TEST(Json, RefusesAMillionLevelsAtOnceAndWithoutStack) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_NE(refusal(std::string(1'000'000, '[')).find("nesting too deep"), std::string::npos);
  std::string objects;
  for (int i = 0; i < 1'000'000; ++i) objects += "{\"a\":";
  EXPECT_NE(refusal(objects).find("nesting too deep"), std::string::npos);
  EXPECT_NE(refusal("{\"a\":[1,2],\"b\":" + objects).find("nesting too deep"), std::string::npos);
  // Three texts of 1 to 5 MB: what is left is reading them once for UTF-8, sanitizers included.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST(Json, HoldsTheKeyLimitPerObject) {
  const auto object = [](int n_keys) {
    std::string text = "{";
    for (int i = 0; i < n_keys; ++i) {
      text += (i == 0 ? "\"k" : ",\"k") + std::to_string(i) + "\":0";
    }
    return text + "}";
  };
  EXPECT_TRUE(parse_json(object(10'000)));
  EXPECT_NE(refusal(object(10'001)).find("too many keys"), std::string::npos);
  EXPECT_TRUE(parse_json("[" + object(6'000) + "," + object(6'000) + "]"));
}

TEST(Json, NamesTheOffsetOfWhatIsWrong) {
  EXPECT_NE(refusal("[1,x]").find("at offset 3"), std::string::npos) << refusal("[1,x]");
  EXPECT_NE(refusal("[1] x").find("at offset 4"), std::string::npos) << refusal("[1] x");
  EXPECT_NE(refusal("\"ab\xFF\"").find("at offset 3"), std::string::npos);
  EXPECT_NE(refusal("[1,\0 2]"sv).find("at offset 3"), std::string::npos);
  // What is refused for its meaning is named by where it ends.
  EXPECT_NE(refusal(R"({"a":1,"a":2})").find("before offset 10"), std::string::npos)
      << refusal(R"({"a":1,"a":2})");
  EXPECT_NE(refusal("\xEF\xBB\xBF{}").find("at offset 0"), std::string::npos);
}

TEST(Json, AnErrorStaysOneShortPrintableLine) {
  for (const std::string& text :
       {"\"" + std::string(1'000'000, 'a'),
        "[" + std::string(100'000, 'x'),
        std::string("[\x01\x02\r\n\x1b[31m"),
        "{\"" + std::string(100'000, 'k') + "\":1,\"" + std::string(100'000, 'k') + "\":2}"}) {
    const std::string why = refusal(text);
    EXPECT_EQ(why.find_first_of("\r\n\x1b\x01"), std::string::npos) << why;
    EXPECT_LT(why.size(), 400u);
  }
}

}  // namespace
}  // namespace pensieve
