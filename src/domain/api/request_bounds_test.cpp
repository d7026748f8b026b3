// Goal: no number, length, word or pair of ids beyond its bounds gets in. Method: a table that
// walks the bounds, one change at a time in a good body, and each limit at its value and one
// beyond.
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "domain/api/internal/request_test_support.h"

namespace pensieve::api {
namespace {

struct ValueRow {
  const char* pointer;
  const char* value;
  const char* path;  // of the refusal; empty: accepted
};

constexpr ValueRow kValueRows[] = {
    {"/max_tokens", "1", ""},
    {"/max_tokens", "2147483647", ""},
    {"/max_tokens", "4096.0", ""},
    {"/max_tokens", "1e3", ""},
    {"/max_tokens", "0", "max_tokens"},
    {"/max_tokens", "-0", "max_tokens"},
    {"/max_tokens", "-1", "max_tokens"},
    {"/max_tokens", "1.5", "max_tokens"},
    {"/max_tokens", "\"5\"", "max_tokens"},
    {"/max_tokens", "2147483648", "max_tokens"},
    {"/max_tokens", "-2147483649", "max_tokens"},
    {"/max_tokens", "4294967297", "max_tokens"},
    {"/max_tokens", "9223372036854775807", "max_tokens"},
    {"/max_tokens", "9223372036854775808", "max_tokens"},
    {"/max_tokens", "18446744073709551615", "max_tokens"},
    {"/max_tokens", "18446744073709551617", "max_tokens"},
    {"/max_tokens", "-9223372036854775808", "max_tokens"},
    {"/max_tokens", "1e308", "max_tokens"},
    {"/max_tokens", "-1e308", "max_tokens"},
    {"/max_tokens", "1e-320", "max_tokens"},
    {"/max_tokens", "0.0", "max_tokens"},
    {"/max_tokens", "[5]", "max_tokens"},

    {"/temperature", "0", ""},
    {"/temperature", "0.0", ""},
    {"/temperature", "-0.0", ""},
    {"/temperature", "1", ""},
    {"/temperature", "2", ""},
    {"/temperature", "1e-300", ""},
    {"/temperature", "2.0000001", "temperature"},
    {"/temperature", "-0.0001", "temperature"},
    {"/temperature", "-1", "temperature"},
    {"/temperature", "1e308", "temperature"},
    {"/temperature", "18446744073709551615", "temperature"},
    {"/temperature", "\"0.5\"", "temperature"},

    {"/top_p", "0", ""},
    {"/top_p", "1", ""},
    {"/top_p", "0.999", ""},
    {"/top_p", "1.0001", "top_p"},
    {"/top_p", "-0.1", "top_p"},
    {"/top_p", "-1", "top_p"},
    {"/top_p", "1e308", "top_p"},
    {"/top_p", "\"1\"", "top_p"},

    {"/min_p", "0", ""},
    {"/min_p", "1", ""},
    {"/min_p", "-0.1", "min_p"},
    {"/min_p", "1.1", "min_p"},

    {"/top_k", "0", ""},
    {"/top_k", "1", ""},
    {"/top_k", "2147483647", ""},
    {"/top_k", "40.0", ""},
    {"/top_k", "-1", "top_k"},
    {"/top_k", "1.5", "top_k"},
    {"/top_k", "2147483648", "top_k"},
    {"/top_k", "9223372036854775808", "top_k"},
    {"/top_k", "-9223372036854775808", "top_k"},
    {"/top_k", "1e308", "top_k"},
    {"/top_k", "\"40\"", "top_k"},

    {"/repetition_penalty", "1", ""},
    {"/repetition_penalty", "0.01", ""},
    {"/repetition_penalty", "100", ""},
    {"/repetition_penalty", "0", "repetition_penalty"},
    {"/repetition_penalty", "-1", "repetition_penalty"},
    {"/repetition_penalty", "101", "repetition_penalty"},
    {"/repeat_penalty", "1.2", ""},
    {"/repeat_penalty", "0", "repeat_penalty"},

    {"/seed", "0", ""},
    {"/seed", "-1", ""},
    {"/seed", "9223372036854775808", ""},
    {"/seed", "18446744073709551615", ""},
    {"/seed", "18446744073709551616", "seed"},
    {"/seed", "-2", "seed"},
    {"/seed", "0.5", "seed"},
    {"/seed", "1e308", "seed"},
    {"/seed", "\"7\"", "seed"},

    {"/thinking", R"({"type":"adaptive"})", ""},
    {"/thinking", R"({"type":"adaptive","display":"summarized"})", ""},
    {"/thinking", R"({"type":"disabled"})", ""},
    {"/thinking", R"({"type":"between_tools"})", ""},
    {"/thinking", R"({"type":"enabled"})", ""},
    {"/thinking", R"({"type":"maybe"})", "thinking.type"},
    {"/thinking", R"({"type":""})", "thinking.type"},
    {"/thinking", R"("enabled")", "thinking"},
    {"/thinking/budget_tokens", "0", "thinking.budget_tokens"},
    {"/thinking/budget_tokens", "-1", "thinking.budget_tokens"},
    {"/thinking/budget_tokens", "1.5", "thinking.budget_tokens"},
    {"/thinking/budget_tokens", "\"1024\"", "thinking.budget_tokens"},
    {"/thinking/budget_tokens", "2147483648", "thinking.budget_tokens"},
    {"/thinking/budget_tokens", "1e308", "thinking.budget_tokens"},

    {"/model", R"("")", "model"},
    {"/model", R"("../../etc/passwd")", ""},
    {"/model", R"("file:///etc/passwd")", ""},
    {"/model", R"("Модель 模型")", ""},
    {"/model", R"(["m"])", "model"},

    {"/stream", R"("true")", "stream"},
    {"/stream", "1", "stream"},
    {"/stream", "0", "stream"},
    {"/stream", "false", ""},

    {"/stop_sequences", R"(["\n\nHuman:"])", ""},
    {"/stop_sequences", R"([" "])", ""},
    {"/stop_sequences", R"([""])", "stop_sequences.0"},
    {"/stop_sequences", R"(["a",""])", "stop_sequences.1"},
    {"/stop_sequences", R"(["a",5])", "stop_sequences.1"},
    {"/stop_sequences", R"(["a",null])", "stop_sequences.1"},
    {"/stop_sequences", R"(["a",["b"]])", "stop_sequences.1"},
    {"/stop_sequences", R"("END")", "stop_sequences"},

    {"/system", R"("be brief")", ""},
    {"/system", R"("")", ""},
    {"/system", R"([{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}])", ""},
    {"/system", R"([{"text":"a"}])", "system.0.type"},
    {"/system", R"([{"type":"image"}])", "system.0.type"},
    {"/system", R"([{"type":"tool_use"}])", "system.0.type"},
    {"/system", R"(["a"])", "system.0"},
    {"/system", R"([null])", "system.0"},
    {"/system", R"({"type":"text","text":"a"})", "system"},

    {"/messages", R"([])", "messages"},
    {"/messages", R"([{}])", "messages.0.role"},
    {"/messages", R"([123])", "messages.0"},
    {"/messages", R"([null])", "messages.0"},
    {"/messages", R"([[]])", "messages.0"},
    {"/messages", R"(["hi"])", "messages.0"},
    {"/messages", R"("hi")", "messages"},
    {"/messages", R"({"role":"user","content":"hi"})", "messages"},
    {"/messages", R"([{"role":"user"}])", "messages.0.content"},
    {"/messages", R"([{"content":"hi"}])", "messages.0.role"},
    {"/messages", R"([{"role":"user","content":"hi"}])", ""},
    {"/messages", R"([{"role":"user","content":""}])", ""},
    {"/messages", R"([{"role":"user","content":[]}])", ""},
    {"/messages", R"([{"role":"assistant","content":"hi"}])", ""},
    {"/messages", R"([{"role":"system","content":"hi"}])", ""},
    {"/messages", R"([{"role":"user","content":"a"},{"role":"user","content":"b"}])", ""},
    {"/messages", R"([{"role":"user","content":"a"},{"role":"assistant","content":[]}])", ""},
    {"/messages", R"([{"role":"User","content":"hi"}])", "messages.0.role"},
    {"/messages", R"([{"role":"","content":"hi"}])", "messages.0.role"},
    {"/messages", R"([{"role":"tool","content":"hi"}])", "messages.0.role"},
    {"/messages", R"([{"role":"developer","content":"hi"}])", "messages.0.role"},
    {"/messages", R"([{"role":123,"content":"hi"}])", "messages.0.role"},
    {"/messages", R"([{"role":"user","content":123}])", "messages.0.content"},
    {"/messages", R"([{"role":"user","content":null}])", "messages.0.content"},
    {"/messages", R"([{"role":"user","content":{"type":"text"}}])", "messages.0.content"},
    {"/messages", R"([{"role":"user","content":[5]}])", "messages.0.content.0"},
    {"/messages", R"([{"role":"user","content":[null]}])", "messages.0.content.0"},
    {"/messages", R"([{"role":"user","content":["hi"]}])", "messages.0.content.0"},
    {"/messages", R"([{"role":"user","content":[{}]}])", "messages.0.content.0.type"},
    {"/messages", R"([{"role":"user","content":[{"type":""}]}])", "messages.0.content.0.type"},
    {"/messages", R"([{"role":"user","content":[{"type":"Text"}]}])", "messages.0.content.0.type"},
    {"/messages", R"([{"role":"user","content":[{"type":"video"}]}])", "messages.0.content.0.type"},
    {"/messages",
     R"([{"role":"user","content":[{"type":"text","text":"a"},{"type":"audio"}]}])",
     "messages.0.content.1.type"},
    {"/messages",
     R"([{"role":"assistant","content":[{"type":"server_tool_use","id":"s","name":"n","input":{}}]}])",
     "messages.0.content.0.type"},
    {"/messages",
     R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}])",
     "messages.0.content.0.type"},

    // Each block in a turn where it has no place.
    {"/messages",
     R"([{"role":"user","content":[{"type":"tool_use","id":"t","name":"n","input":{}}]}])",
     "messages.0.content.0.type"},
    {"/messages",
     R"([{"role":"user","content":[{"type":"thinking","thinking":"x","signature":""}]}])",
     "messages.0.content.0.type"},
    {"/messages",
     R"([{"role":"user","content":[{"type":"tool_reference","tool_name":"n"}]}])",
     "messages.0.content.0.type"},
    {"/messages",
     R"([{"role":"assistant","content":[{"type":"tool_result","tool_use_id":"t"}]}])",
     "messages.0.content.0.type"},
    {"/messages",
     R"([{"role":"assistant","content":[{"type":"image","source":{"type":"url","url":"u"}}]}])",
     "messages.0.content.0.type"},
    {"/messages",
     R"([{"role":"system","content":[{"type":"image","source":{"type":"url","url":"u"}}]}])",
     "messages.0.content.0.type"},
    {"/messages/2/content/0/content",
     R"([{"type":"tool_result","tool_use_id":"toolu_1"}])",
     "messages.2.content.0.content.0.type"},
    {"/messages/2/content/0/content",
     R"([{"type":"tool_use","id":"a","name":"b","input":{}}])",
     "messages.2.content.0.content.0.type"},

    // Pairs of calls and results.
    {"/messages/2/content/0/tool_use_id", R"("toolu_2")", "messages.2.content.0.tool_use_id"},
    {"/messages/2/content/0/tool_use_id", R"("")", "messages.2.content.0.tool_use_id"},
    {"/messages/1/content/3/id", R"("toolu_9")", "messages.2.content.0.tool_use_id"},
    {"/messages",
     R"([{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"x"}]}])",
     "messages.0.content.0.tool_use_id"},
    {"/messages",
     R"([{"role":"user","content":[{"type":"tool_result","tool_use_id":"t"}]},
         {"role":"assistant","content":[{"type":"tool_use","id":"t","name":"n","input":{}}]}])",
     "messages.0.content.0.tool_use_id"},
    {"/messages",
     R"([{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"n","input":{}}]},
         {"role":"system","content":"between"},
         {"role":"user","content":[{"type":"text","text":"x"},
                                   {"type":"tool_result","tool_use_id":"t"}]}])",
     ""},
    {"/messages",
     R"([{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"n","input":{}}]},
         {"role":"user","content":"never mind"}])",
     ""},
    {"/messages/1/content/3/input", R"("{\"command\":\"ls\"}")", "messages.1.content.3.input"},
    {"/messages/1/content/3/input", "[]", "messages.1.content.3.input"},
    {"/messages/1/content/3/name", R"("")", "messages.1.content.3.name"},
    {"/messages/2/content/0/content", R"("a.txt")", ""},
    {"/messages/2/content/0/content", R"("")", ""},
    {"/messages/2/content/0/content",
     R"([{"type":"image","source":{"type":"base64","data":""}}])",
     ""},
    {"/messages/2/content/0/is_error", R"("true")", "messages.2.content.0.is_error"},

    {"/messages/0/content/2/source", R"({"type":"base64","data":"JVBERi0="})", ""},
    {"/messages/0/content/2/source", R"({"type":"url","url":"https://example.org/a.pdf"})", ""},
    {"/messages/0/content/2/source", R"({"type":"content","content":"plain"})", ""},
    {"/messages/0/content/2/source",
     R"({"type":"content","content":[{"type":"text","text":"a"}]})",
     ""},
    {"/messages/0/content/2/source",
     R"({"type":"content","content":[{"type":"tool_use"}]})",
     "messages.0.content.2.source.content.0.type"},
    {"/messages/0/content/2/source",
     R"({"type":"content"})",
     "messages.0.content.2.source.content"},

    {"/tools/0/name", R"("")", "tools.0.name"},
    {"/tools/0/name", R"("web_search")", "tools.1.name"},
    {"/tools/0/name", R"("Run")", "tool_choice.name"},
    {"/tools/0/input_schema", "true", "tools.0.input_schema"},
    {"/tools/0/input_schema", R"({"$ref":"#"})", ""},
    {"/tools/0/description", R"("")", ""},
    {"/tools/0/type", R"("")", ""},
    {"/tools", R"([{"type":"browser_toolset_20260801"}])", "tool_choice.name"},
    {"/tools", R"([])", "tool_choice.name"},
    {"/tools", R"([[]])", "tools.0"},
    {"/tools", R"({"name":"Bash"})", "tools"},

    {"/tool_choice", R"({"type":"auto"})", ""},
    {"/tool_choice", R"({"type":"auto","disable_parallel_tool_use":false})", ""},
    {"/tool_choice", R"({"type":"any"})", ""},
    {"/tool_choice", R"({"type":"none"})", ""},
    {"/tool_choice", R"({"type":"tool","name":"web_search"})", ""},
    {"/tool_choice", R"({"type":"tool"})", "tool_choice.name"},
    {"/tool_choice", R"({"type":"tool","name":""})", "tool_choice.name"},
    {"/tool_choice", R"({"type":"tool","name":"Nothing"})", "tool_choice.name"},
    {"/tool_choice", R"({"type":"required"})", "tool_choice.type"},
    {"/tool_choice", R"({"type":"function","function":{"name":"Bash"}})", "tool_choice.type"},
    {"/tool_choice", R"("auto")", "tool_choice"},

    {"/output_config/format/type", R"("json_object")", "output_config.format.type"},
    {"/output_config/format/schema", R"("{}")", "output_config.format.schema"},
    {"/output_format", R"({"type":"json_schema","schema":{}})", ""},
    {"/metadata", R"({"user_id":"u"})", ""},
    {"/metadata/user_id", "5", ""},
    {"/service_tier", R"("auto")", ""},
    {"/n", "-1", ""},
};

TEST(MessagesRequestBounds, KeepsTheBoundsOfEveryNumberWordAndPair) {
  static_assert(std::size(kValueRows) >= 170);
  for (const ValueRow& row : kValueRows) {
    SCOPED_TRACE(testing::Message() << row.pointer << " = " << row.value);
    Json body = full_body();
    body[Pointer(row.pointer)] = parsed(row.value);
    if (std::string_view(row.path).empty()) {
      expect_accepted(body);
    } else {
      expect_refused_at(body, row.path, true);
    }
  }
}

// ---- limits: at the limit and one beyond

TEST(MessagesRequestBounds, TakesAModelNameOf256BytesAndNoMore) {
  Json body = full_body();
  body["model"] = std::string(256, 'm');
  expect_accepted(body);
  body["model"] = std::string(257, 'm');
  expect_refused_at(body, "model", true);
}

TEST(MessagesRequestBounds, Takes64StopSequencesOf1024BytesAndNoMore) {
  Json body = full_body();
  body["stop_sequences"] = std::vector<std::string>(64, std::string(1024, 's'));
  expect_accepted(body);
  body["stop_sequences"].push_back("one more");
  expect_refused_at(body, "stop_sequences", true);
  body["stop_sequences"] = Json::array({std::string(1025, 's')});
  expect_refused_at(body, "stop_sequences.0", true);
}

TEST(MessagesRequestBounds, Takes1024ToolsAndNoMore) {
  Json body = full_body();
  while (body["tools"].size() < 1024) {
    body["tools"].push_back({{"name", "tool_" + std::to_string(body["tools"].size())}});
  }
  expect_accepted(body);
  body["tools"].push_back({{"name", "one_more"}});
  expect_refused_at(body, "tools", true);
}

TEST(MessagesRequestBounds, Takes100000MessagesAndNoMore) {
  Json body = full_body();
  body["messages"] = Json::array();
  const Json message = {{"role", "user"}, {"content", "x"}};
  for (int i = 0; i < 100'000; ++i) body["messages"].push_back(message);
  expect_accepted(body);
  body["messages"].push_back(message);
  expect_refused_at(body, "messages", true);
}

TEST(CountTokensRequest, NeedsNoMaxTokensAndIsOtherwiseTheSame) {
  Json body = full_body();
  body.erase("max_tokens");
  const auto counted = parse_count_tokens_request(body.dump());
  ASSERT_TRUE(counted.has_value()) << counted.error().message;
  EXPECT_EQ(counted->messages.size(), 4u);
  EXPECT_EQ(counted->max_tokens, 1);
  body["messages"] = Json::array();
  EXPECT_FALSE(parse_count_tokens_request(body.dump()).has_value());
}

}  // namespace
}  // namespace pensieve::api
