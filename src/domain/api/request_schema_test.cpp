// Goal: no field of a request reaches the rest of the server unchecked, and every refusal names the
// field. Method: tables. One gives each field the seven kinds of JSON value; one walks the bounds
// of numbers, lengths and words; both start from a good body and change one place in it.
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "foundation/json.h"

#include "domain/api/messages.h"

namespace pensieve::api {
namespace {

using Pointer = Json::json_pointer;

Json parsed(std::string_view text) {
  auto value = parse_json(text);
  if (!value) ADD_FAILURE() << value.error().message << " in " << text;
  return value ? *std::move(value) : Json();
}

// A request with every field the server reads.
Json full_body() {
  return parsed(R"json({
    "model": "claude-sonnet-4-5", "max_tokens": 100, "stream": true,
    "system": [{"type": "text", "text": "be brief"}],
    "messages": [
      {"role": "user", "content": [
        {"type": "text", "text": "look"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
        {"type": "document", "title": "T", "context": "C",
         "source": {"type": "text", "media_type": "text/plain", "data": "body"}},
        {"type": "search_result", "title": "T", "source": "https://example.org",
         "content": [{"type": "text", "text": "found"}]}]},
      {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xx"},
        {"type": "text", "text": "I look"},
        {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}}]},
      {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": false, "content": [
          {"type": "text", "text": "a.txt"}, {"type": "tool_reference", "tool_name": "Read"}]}]},
      {"role": "system", "content": "the date changed"}],
    "tools": [
      {"name": "Bash", "type": "custom", "description": "runs", "defer_loading": false,
       "input_schema": {"type": "object"}},
      {"name": "web_search", "type": "web_search_20250305"}],
    "tool_choice": {"type": "tool", "name": "Bash", "disable_parallel_tool_use": true},
    "stop_sequences": ["END"],
    "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "repetition_penalty": 1.1,
    "seed": 7,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}}
  })json");
}

void expect_accepted(const Json& body) {
  const auto request = parse_messages_request(body.dump());
  EXPECT_TRUE(request.has_value()) << request.error().message;
}

void expect_refused_at(const Json& body, const std::string& path, bool exactly) {
  const auto request = parse_messages_request(body.dump());
  ASSERT_FALSE(request.has_value());
  EXPECT_EQ(request.error().kind, ErrorKind::InvalidRequest);
  const std::string& sentence = request.error().message;
  const bool starts =
      sentence.rfind(path + ":", 0) == 0 || (!exactly && sentence.rfind(path + ".", 0) == 0);
  EXPECT_TRUE(starts) << sentence << "\n  should begin with " << path;
  EXPECT_EQ(sentence.find('\n'), std::string::npos);
}

TEST(MessagesRequestSchema, AcceptsTheBodyThatTheTablesStartFrom) {
  expect_accepted(full_body());
}

// ---- one field, every kind of value

struct KindRow {
  const char* pointer;
  const char* path;            // what a refusal names: this field, or one inside it
  const char* accepted;        // of: n null, b true, i 5, f 1.5, s "x", a [], o {}
  const char* elsewhere = "";  // right here, but another field then misses what it refers to
};

constexpr KindRow kKindRows[] = {
    {"", "body", "", "o"},  // an empty object is a body that misses its first field
    {"/model", "model", "s"},
    {"/max_tokens", "max_tokens", "i"},
    {"/stream", "stream", "nb"},
    {"/temperature", "temperature", "nf"},
    {"/top_p", "top_p", "n"},
    {"/top_k", "top_k", "ni"},
    {"/min_p", "min_p", "n"},
    {"/repetition_penalty", "repetition_penalty", "nif"},
    {"/seed", "seed", "ni"},
    {"/stop_sequences", "stop_sequences", "na"},
    {"/stop_sequences/0", "stop_sequences.0", "s"},
    {"/system", "system", "nsa"},
    {"/system/0", "system.0", ""},
    {"/system/0/type", "system.0.type", ""},
    {"/system/0/text", "system.0.text", "s"},
    {"/messages", "messages", ""},
    {"/messages/0", "messages.0", ""},
    {"/messages/0/role", "messages.0.role", ""},
    {"/messages/0/content", "messages.0.content", "sa"},
    {"/messages/0/content/0", "messages.0.content.0", ""},
    {"/messages/0/content/0/type", "messages.0.content.0.type", ""},
    {"/messages/0/content/0/text", "messages.0.content.0.text", "s"},
    {"/messages/0/content/1/source", "messages.0.content.1.source", ""},
    {"/messages/0/content/1/source/type", "messages.0.content.1.source.type", "s"},
    {"/messages/0/content/2/source", "messages.0.content.2.source", ""},
    {"/messages/0/content/2/source/type", "messages.0.content.2.source.type", "s"},
    {"/messages/0/content/2/source/data", "messages.0.content.2.source.data", "s"},
    {"/messages/0/content/2/title", "messages.0.content.2.title", "ns"},
    {"/messages/0/content/2/context", "messages.0.content.2.context", "ns"},
    {"/messages/0/content/3/title", "messages.0.content.3.title", "s"},
    {"/messages/0/content/3/source", "messages.0.content.3.source", "s"},
    {"/messages/0/content/3/content", "messages.0.content.3.content", "sa"},
    {"/messages/1/content/0/thinking", "messages.1.content.0.thinking", "s"},
    {"/messages/1/content/0/signature", "messages.1.content.0.signature", "ns"},
    {"/messages/1/content/1/data", "messages.1.content.1.data", "nbifsao"},
    {"/messages/1/content/3/id", "messages.1.content.3.id", "", "s"},
    {"/messages/1/content/3/name", "messages.1.content.3.name", "s"},
    {"/messages/1/content/3/input", "messages.1.content.3.input", "o"},
    {"/messages/2/content/0/tool_use_id", "messages.2.content.0.tool_use_id", ""},
    {"/messages/2/content/0/is_error", "messages.2.content.0.is_error", "nb"},
    {"/messages/2/content/0/content", "messages.2.content.0.content", "nsa"},
    {"/messages/2/content/0/content/0", "messages.2.content.0.content.0", ""},
    {"/messages/2/content/0/content/0/text", "messages.2.content.0.content.0.text", "s"},
    {"/messages/2/content/0/content/1/tool_name", "messages.2.content.0.content.1.tool_name", "s"},
    {"/messages/3/content", "messages.3.content", "sa"},
    {"/tools/0", "tools.0", ""},
    {"/tools/0/name", "tools.0.name", "", "s"},
    {"/tools/0/type", "tools.0.type", "ns"},
    {"/tools/0/description", "tools.0.description", "ns"},
    {"/tools/0/input_schema", "tools.0.input_schema", "no"},
    {"/tools/0/defer_loading", "tools.0.defer_loading", "nb"},
    {"/tools/1/name", "tools.1.name", "ns"},
    {"/tools/1/type", "tools.1.type", "ns"},
    {"/tool_choice", "tool_choice", "n"},
    {"/tool_choice/type", "tool_choice.type", ""},
    {"/tool_choice/name", "tool_choice.name", ""},
    {"/tool_choice/disable_parallel_tool_use", "tool_choice.disable_parallel_tool_use", "nb"},
    {"/thinking", "thinking", "n"},
    {"/thinking/type", "thinking.type", ""},
    {"/thinking/budget_tokens", "thinking.budget_tokens", "ni"},
    {"/output_config", "output_config", "no"},
    {"/output_config/format", "output_config.format", "n"},
    {"/output_config/format/type", "output_config.format.type", ""},
    {"/output_config/format/schema", "output_config.format.schema", "o"},
    {"/metadata", "", "nbifsao"},
    {"/context_management", "", "nbifsao"},
    {"/cache_control", "", "nbifsao"},
    {"/messages/0/id", "", "nbifsao"},
    {"/messages/0/content/0/cache_control", "", "nbifsao"},
    {"/tools/0/strict", "", "nbifsao"},
    {"/output_config/effort", "", "nbifsao"},
    {"/thinking/display", "", "nbifsao"},
};

TEST(MessagesRequestSchema, EveryFieldRefusesEveryKindOfValueThatItDoesNotTake) {
  const std::pair<char, const char*> kinds[] = {{'n', "null"},
                                                {'b', "true"},
                                                {'i', "5"},
                                                {'f', "1.5"},
                                                {'s', "\"x\""},
                                                {'a', "[]"},
                                                {'o', "{}"}};
  int cases = 0;
  for (const KindRow& row : kKindRows) {
    for (const auto& [letter, text] : kinds) {
      const auto has = [letter = letter](std::string_view letters) {
        return letters.find(letter) != std::string_view::npos;
      };
      if (has(row.elsewhere)) continue;
      SCOPED_TRACE(testing::Message() << row.pointer << " = " << text);
      Json body = full_body();
      body[Pointer(row.pointer)] = parsed(text);
      if (has(row.accepted)) {
        expect_accepted(body);
      } else {
        expect_refused_at(body, row.path, false);
      }
      ++cases;
    }
  }
  EXPECT_GE(cases, 480);
}

TEST(MessagesRequestSchema, NamesEachRequiredFieldThatIsMissing) {
  const std::pair<const char*, const char*> required[] = {
      {"/model", "model"},
      {"/max_tokens", "max_tokens"},
      {"/messages", "messages"},
      {"/messages/0/role", "messages.0.role"},
      {"/messages/0/content", "messages.0.content"},
      {"/messages/0/content/0/type", "messages.0.content.0.type"},
      {"/messages/0/content/0/text", "messages.0.content.0.text"},
      {"/messages/0/content/1/source", "messages.0.content.1.source"},
      {"/messages/0/content/1/source/type", "messages.0.content.1.source.type"},
      {"/messages/0/content/2/source", "messages.0.content.2.source"},
      {"/messages/0/content/2/source/data", "messages.0.content.2.source.data"},
      {"/messages/0/content/3/title", "messages.0.content.3.title"},
      {"/messages/0/content/3/source", "messages.0.content.3.source"},
      {"/messages/0/content/3/content", "messages.0.content.3.content"},
      {"/messages/1/content/0/thinking", "messages.1.content.0.thinking"},
      {"/messages/1/content/3/id", "messages.1.content.3.id"},
      {"/messages/1/content/3/name", "messages.1.content.3.name"},
      {"/messages/1/content/3/input", "messages.1.content.3.input"},
      {"/messages/2/content/0/tool_use_id", "messages.2.content.0.tool_use_id"},
      {"/messages/2/content/0/content/1/tool_name", "messages.2.content.0.content.1.tool_name"},
      {"/system/0/text", "system.0.text"},
      {"/tools/0/name", "tools.0.name"},
      {"/tool_choice/type", "tool_choice.type"},
      {"/tool_choice/name", "tool_choice.name"},
      {"/thinking/type", "thinking.type"},
      {"/output_config/format/type", "output_config.format.type"},
      {"/output_config/format/schema", "output_config.format.schema"},
  };
  for (const auto& [pointer, path] : required) {
    SCOPED_TRACE(pointer);
    Json body = full_body();
    const Pointer place(pointer);
    body[place.parent_pointer()].erase(place.back());
    const auto request = parse_messages_request(body.dump());
    ASSERT_FALSE(request.has_value());
    EXPECT_EQ(request.error().message, std::string(path) + ": is required");
  }
}

TEST(MessagesRequestSchema, DoesWithoutEveryOptionalField) {
  const char* const optional[] = {"/stream",
                                  "/system",
                                  "/tool_choice",
                                  "/stop_sequences",
                                  "/temperature",
                                  "/top_p",
                                  "/top_k",
                                  "/min_p",
                                  "/repetition_penalty",
                                  "/seed",
                                  "/thinking",
                                  "/output_config",
                                  "/output_config/format",
                                  "/thinking/budget_tokens",
                                  "/messages/2/content/0/content",
                                  "/messages/2/content/0/is_error",
                                  "/messages/1/content/0/signature",
                                  "/messages/1/content/1/data",
                                  "/tools/0/type",
                                  "/tools/0/description",
                                  "/tools/0/input_schema",
                                  "/tools/0/defer_loading",
                                  "/tools/1/name",
                                  "/tool_choice/disable_parallel_tool_use"};
  for (const char* pointer : optional) {
    SCOPED_TRACE(pointer);
    Json body = full_body();
    const Pointer place(pointer);
    body[place.parent_pointer()].erase(place.back());
    expect_accepted(body);
  }
}

// ---- bounds and words

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

TEST(MessagesRequestSchema, KeepsTheBoundsOfEveryNumberWordAndPair) {
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

TEST(MessagesRequestSchema, TakesAModelNameOf256BytesAndNoMore) {
  Json body = full_body();
  body["model"] = std::string(256, 'm');
  expect_accepted(body);
  body["model"] = std::string(257, 'm');
  expect_refused_at(body, "model", true);
}

TEST(MessagesRequestSchema, Takes64StopSequencesOf1024BytesAndNoMore) {
  Json body = full_body();
  body["stop_sequences"] = std::vector<std::string>(64, std::string(1024, 's'));
  expect_accepted(body);
  body["stop_sequences"].push_back("one more");
  expect_refused_at(body, "stop_sequences", true);
  body["stop_sequences"] = Json::array({std::string(1025, 's')});
  expect_refused_at(body, "stop_sequences.0", true);
}

TEST(MessagesRequestSchema, Takes1024ToolsAndNoMore) {
  Json body = full_body();
  while (body["tools"].size() < 1024) {
    body["tools"].push_back({{"name", "tool_" + std::to_string(body["tools"].size())}});
  }
  expect_accepted(body);
  body["tools"].push_back({{"name", "one_more"}});
  expect_refused_at(body, "tools", true);
}

TEST(MessagesRequestSchema, Takes100000MessagesAndNoMore) {
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
