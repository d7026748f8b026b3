// Goal: every field of OpenAI's requests becomes what openai_request.h says, or a sentence that
// names it. The bodies are those of the API reference, and of what clients send beyond it.
#include "application/proxy/openai_request.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "foundation/json.h"

namespace pensieve::proxy {
namespace {

using api::BlockKind;
using api::Role;

ChatRequest chat(const std::string& text) {
  auto request = parse_chat_request(text);
  EXPECT_TRUE(request.has_value()) << (request ? "" : request.error().message) << "\n" << text;
  return request ? *std::move(request) : ChatRequest{};
}

// The shortest body with `fields` in it.
std::string with(const std::string& fields) {
  return R"({"model":"m","messages":[{"role":"user","content":"hi"}])" +
         (fields.empty() ? "" : "," + fields) + "}";
}
std::string with_messages(const std::string& messages) {
  return R"({"model":"m","messages":)" + messages + "}";
}

TEST(ChatRequest, TakesTheShortestBody) {
  const auto request = chat(with(""));
  EXPECT_EQ(request.messages.model, "m");
  ASSERT_EQ(request.messages.messages.size(), 1u);
  EXPECT_EQ(request.messages.messages[0].content[0].text, "hi");
  EXPECT_EQ(request.messages.max_tokens, kWhatTheWindowLeaves);
  EXPECT_FALSE(request.messages.stream);
  EXPECT_FALSE(request.messages.temperature.has_value());
  EXPECT_FALSE(request.shape.include_usage);
  EXPECT_FALSE(request.shape.logprobs);
}

TEST(ChatRequest, ReadsEveryField) {
  const auto request = chat(with(R"("stream":true,"stream_options":{"include_usage":true},
    "max_tokens":5,"max_completion_tokens":7,"temperature":0.5,"top_p":0.9,"seed":12,
    "stop":["a","b"],"logprobs":true,"top_logprobs":3,"n":1,"presence_penalty":-2,
    "frequency_penalty":2,"parallel_tool_calls":false,"user":"u","logit_bias":{"1":2},"store":true,
    "some_future_field":[{"x":1}],
    "tools":[{"type":"function","function":{"name":"f","description":"d","strict":true,
              "parameters":{"type":"object","properties":{"z":{},"a":{}}}}},
             {"type":"function","function":{"name":"g"}}],
    "tool_choice":{"type":"function","function":{"name":"g"}},
    "response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,
                       "schema":{"type":"object","properties":{"b":{},"a":{}}}}})"));
  const auto& messages = request.messages;
  EXPECT_TRUE(messages.stream);
  EXPECT_TRUE(request.shape.include_usage);
  EXPECT_EQ(messages.max_tokens, 7);
  EXPECT_EQ(messages.temperature, 0.5);
  EXPECT_EQ(messages.top_p, 0.9);
  EXPECT_EQ(messages.seed, 12u);
  EXPECT_EQ(messages.stop_sequences, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(request.shape.logprobs);
  EXPECT_EQ(request.shape.top_logprobs, 3);
  EXPECT_TRUE(messages.tool_choice.disable_parallel_tool_use);
  ASSERT_EQ(messages.tools.size(), 2u);
  EXPECT_EQ(messages.tools[0].name, "f");
  EXPECT_EQ(messages.tools[0].description, "d");
  EXPECT_EQ(messages.tools[0].input_schema_json,
            R"({"type":"object","properties":{"z":{},"a":{}}})");
  EXPECT_EQ(messages.tools[1].input_schema_json, "");
  EXPECT_EQ(messages.tool_choice.kind, api::ToolChoice::Kind::Tool);
  EXPECT_EQ(messages.tool_choice.name, "g");
  EXPECT_EQ(messages.output_schema_json, R"({"type":"object","properties":{"b":{},"a":{}}})");
}

TEST(ChatRequest, TakesNullForWhateverMayBeLeftOut) {
  const auto request = chat(with(
      R"("stream":null,"stream_options":null,"max_tokens":null,"max_completion_tokens":null,
    "temperature":null,"top_p":null,"seed":null,"stop":null,"logprobs":null,"top_logprobs":null,
    "n":null,"presence_penalty":null,"tools":null,"tool_choice":null,"response_format":null,
    "parallel_tool_calls":null,"functions":null,"function_call":null)"));
  EXPECT_EQ(request.messages.max_tokens, kWhatTheWindowLeaves);
  EXPECT_TRUE(request.messages.stop_sequences.empty());
}

TEST(ChatRequest, PutsTurnsWhereTheyBelong) {
  const auto request = chat(with_messages(R"([
    {"role":"system","content":"one"},
    {"role":"developer","content":[{"type":"text","text":"two"}]},
    {"role":"user","name":"ann","content":[
      {"type":"text","text":"look"},
      {"type":"image_url","image_url":{"url":"data:image/png;base64,AA==","detail":"low"}},
      {"type":"image_url","image_url":"https://example.org/a.png"},
      {"type":"file","file":{"filename":"a.pdf","file_data":"xx"}}]},
    {"role":"assistant","content":null,"tool_calls":[
      {"id":"c1","type":"function","function":{"name":"f","arguments":"{\"b\": 1, \"a\": [2]}"}},
      {"id":"c2","type":"function","function":{"name":"g","arguments":""}},
      {"id":"c3","function":{"name":"h","arguments":{"x":1}}}]},
    {"role":"tool","tool_call_id":"c2","content":[{"type":"text","text":"r2"}]},
    {"role":"tool","tool_call_id":"c1","content":"r1"},
    {"role":"system","content":"later"},
    {"role":"assistant","content":[{"type":"text","text":"so"},{"type":"refusal","refusal":"no"}]},
    {"role":"assistant","refusal":"never"},
    {"role":"user","content":"go on"}])"));
  const auto& messages = request.messages;
  ASSERT_EQ(messages.system.size(), 2u);
  EXPECT_EQ(messages.system[0].text, "one");
  EXPECT_EQ(messages.system[1].text, "two");
  ASSERT_EQ(messages.messages.size(), 8u);

  const auto& look = messages.messages[0];
  ASSERT_EQ(look.content.size(), 4u);
  EXPECT_EQ(look.content[1].kind, BlockKind::Image);
  EXPECT_EQ(look.content[1].url, "data:image/png;base64,AA==");
  EXPECT_EQ(look.content[2].url, "https://example.org/a.png");
  EXPECT_EQ(look.content[3].kind, BlockKind::Document);
  EXPECT_EQ(look.content[3].text, "a.pdf");

  const auto& calls = messages.messages[1];
  EXPECT_EQ(calls.role, Role::Assistant);
  ASSERT_EQ(calls.content.size(), 3u);
  EXPECT_EQ(calls.content[0].kind, BlockKind::ToolUse);
  EXPECT_EQ(calls.content[0].id, "c1");
  EXPECT_EQ(calls.content[0].input_json, R"({"b":1,"a":[2]})");
  EXPECT_EQ(calls.content[1].input_json, "{}");
  EXPECT_EQ(calls.content[2].input_json, R"({"x":1})");

  EXPECT_EQ(messages.messages[2].role, Role::User);
  EXPECT_EQ(messages.messages[2].content[0].kind, BlockKind::ToolResult);
  EXPECT_EQ(messages.messages[2].content[0].id, "c2");
  EXPECT_EQ(messages.messages[2].content[0].content[0].text, "r2");
  EXPECT_EQ(messages.messages[3].content[0].content[0].text, "r1");
  EXPECT_EQ(messages.messages[4].role, Role::System);
  EXPECT_EQ(messages.messages[5].content[1].text, "no");
  EXPECT_EQ(messages.messages[6].content[0].text, "never");
}

TEST(ChatRequest, TakesACallWithBrokenArgumentsAsTextAndItsResultToo) {
  for (const std::string broken : {R"({\"a\":)", R"([1])", R"(\"text\")", R"(ls -la)"}) {
    const auto request = chat(with_messages(
        R"([{"role":"user","content":"x"},{"role":"assistant","tool_calls":[
          {"id":"c1","type":"function","function":{"name":"f","arguments":")" +
        broken + R"("}},
          {"id":"c2","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"c1","content":"bad arguments"},
        {"role":"tool","tool_call_id":"c2","content":"good"}])"));
    ASSERT_EQ(request.messages.messages.size(), 4u) << broken;
    const auto& calls = request.messages.messages[1].content;
    EXPECT_EQ(calls[0].kind, BlockKind::Text);
    EXPECT_EQ(calls[0].text, "f(" + parse_json("\"" + broken + "\"")->get<std::string>() + ")");
    EXPECT_EQ(calls[1].kind, BlockKind::ToolUse);
    EXPECT_EQ(request.messages.messages[2].content[0].kind, BlockKind::Text);
    EXPECT_EQ(request.messages.messages[2].content[0].text, "bad arguments");
    EXPECT_EQ(request.messages.messages[3].content[0].kind, BlockKind::ToolResult);
  }
}

TEST(ChatRequest, ReadsToolChoicesAndFormats) {
  using Kind = api::ToolChoice::Kind;
  const std::string tools = R"("tools":[{"type":"function","function":{"name":"f"}}])";
  EXPECT_EQ(chat(with(tools)).messages.tool_choice.kind, Kind::Auto);
  EXPECT_EQ(chat(with(tools + R"(,"tool_choice":"auto")")).messages.tool_choice.kind, Kind::Auto);
  EXPECT_EQ(chat(with(tools + R"(,"tool_choice":"none")")).messages.tool_choice.kind, Kind::None);
  EXPECT_EQ(chat(with(tools + R"(,"tool_choice":"required")")).messages.tool_choice.kind,
            Kind::Any);
  EXPECT_EQ(chat(with(R"("response_format":{"type":"text"})")).messages.output_schema_json, "");
  EXPECT_EQ(chat(with(R"("response_format":{"type":"json_object"})")).messages.output_schema_json,
            R"({"type":"object"})");
  EXPECT_EQ(chat(with(R"("stop":"END")")).messages.stop_sequences, std::vector<std::string>{"END"});
}

struct Refused {
  const char* fields;
  const char* path;
};

TEST(ChatRequest, RefusesWithTheFieldsName) {
  const Refused cases[] = {
      {R"("n":2)", "n"},
      {R"("n":0)", "n"},
      {R"("n":"1")", "n"},
      {R"("max_tokens":0)", "max_tokens"},
      {R"("max_tokens":-1)", "max_tokens"},
      {R"("max_tokens":1.5)", "max_tokens"},
      {R"("max_completion_tokens":2147483648)", "max_completion_tokens"},
      {R"("temperature":2.1)", "temperature"},
      {R"("temperature":"hot")", "temperature"},
      {R"("top_p":1.1)", "top_p"},
      {R"("presence_penalty":2.5)", "presence_penalty"},
      {R"("frequency_penalty":-3)", "frequency_penalty"},
      {R"("seed":1.5)", "seed"},
      {R"("stop":"")", "stop"},
      {R"("stop":[1])", "stop.0"},
      {R"("stop":{})", "stop"},
      {R"("stream":1)", "stream"},
      {R"("stream_options":[])", "stream_options"},
      {R"("stream_options":{"include_usage":1})", "stream_options.include_usage"},
      {R"("logprobs":1)", "logprobs"},
      {R"("top_logprobs":1)", "top_logprobs"},
      {R"("logprobs":true,"top_logprobs":21)", "top_logprobs"},
      {R"("functions":[])", "functions"},
      {R"("tools":{})", "tools"},
      {R"("tools":[1])", "tools.0"},
      {R"("tools":[{"type":"custom","custom":{"name":"x"}}])", "tools.0.type"},
      {R"("tools":[{"type":"function"}])", "tools.0.function"},
      {R"("tools":[{"type":"function","function":{}}])", "tools.0.function.name"},
      {R"("tools":[{"type":"function","function":{"name":""}}])", "tools.0.function.name"},
      {R"("tools":[{"type":"function","function":{"name":"f","parameters":[]}}])",
       "tools.0.function.parameters"},
      {R"("tools":[{"type":"function","function":{"name":"f"}},
                   {"type":"function","function":{"name":"f"}}])",
       "tools.1"},
      {R"("tool_choice":"required")", "tool_choice"},
      {R"("tool_choice":"maybe")", "tool_choice"},
      {R"("tool_choice":{"type":"function","function":{"name":"f"}})", "tool_choice.function.name"},
      {R"("tool_choice":{"type":"function"})", "tool_choice.function"},
      {R"("tool_choice":{"type":"x"})", "tool_choice.type"},
      {R"("response_format":"json")", "response_format"},
      {R"("response_format":{"type":"xml"})", "response_format.type"},
      {R"("response_format":{"type":"json_schema"})", "response_format.json_schema"},
      {R"("response_format":{"type":"json_schema","json_schema":{"schema":1}})",
       "response_format.json_schema.schema"},
  };
  for (const Refused& test : cases) {
    const auto request = parse_chat_request(with(test.fields));
    ASSERT_FALSE(request.has_value()) << test.fields;
    EXPECT_EQ(request.error().kind, ErrorKind::InvalidRequest);
    EXPECT_TRUE(request.error().message.starts_with(std::string(test.path) + ": "))
        << test.fields << " -> " << request.error().message;
  }
}

TEST(ChatRequest, RefusesMessagesThatSayNothingItKnows) {
  const Refused cases[] = {
      {"null", "messages"},
      {"\"hi\"", "messages"},
      {"[]", "messages"},
      {"[1]", "messages.0"},
      {R"([{"content":"x"}])", "messages.0.role"},
      {R"([{"role":"function","name":"f","content":"x"}])", "messages.0.role"},
      {R"([{"role":"user"}])", "messages.0.content"},
      {R"([{"role":"user","content":1}])", "messages.0.content"},
      {R"([{"role":"user","content":[1]}])", "messages.0.content.0"},
      {R"([{"role":"user","content":[{"type":"text"}]}])", "messages.0.content.0.text"},
      {R"([{"role":"user","content":[{"type":"input_audio","input_audio":{}}]}])",
       "messages.0.content.0.type"},
      {R"([{"role":"system","content":[{"type":"image_url","image_url":"x"}]}])",
       "messages.0.content.0.type"},
      {R"([{"role":"user","content":[{"type":"image_url","image_url":{}}]}])",
       "messages.0.content.0.image_url.url"},
      {R"([{"role":"assistant","function_call":{"name":"f"}}])", "messages.0.function_call"},
      {R"([{"role":"assistant","tool_calls":{}}])", "messages.0.tool_calls"},
      {R"([{"role":"assistant","tool_calls":[{"function":{"name":"f"}}]}])",
       "messages.0.tool_calls.0.id"},
      {R"([{"role":"assistant","tool_calls":[{"id":"c","type":"custom"}]}])",
       "messages.0.tool_calls.0.type"},
      {R"([{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":1}}]}])",
       "messages.0.tool_calls.0.function.arguments"},
      {R"([{"role":"tool","content":"x"}])", "messages.0.tool_call_id"},
      {R"([{"role":"tool","tool_call_id":"c9","content":"x"}])", "messages.0.tool_call_id"},
  };
  for (const Refused& test : cases) {
    const auto request = parse_chat_request(with_messages(test.fields));
    ASSERT_FALSE(request.has_value()) << test.fields;
    EXPECT_TRUE(request.error().message.starts_with(std::string(test.path) + ": "))
        << test.fields << " -> " << request.error().message;
  }
  EXPECT_FALSE(parse_chat_request("").has_value());
  EXPECT_FALSE(parse_chat_request("[]").has_value());
  EXPECT_FALSE(parse_chat_request(R"({"messages":[{"role":"user","content":"x"}]})").has_value());
}

TEST(CompletionRequest, TakesAPromptAsItStands) {
  for (const std::string prompt : {R"("a <|end|> b")", R"(["a <|end|> b"])"}) {
    const auto request = parse_completion_request(R"({"model":"m","prompt":)" + prompt + "}");
    ASSERT_TRUE(request.has_value()) << request.error().message;
    EXPECT_EQ(request->prompt, "a <|end|> b");
    EXPECT_EQ(request->request.max_tokens, 16);
    EXPECT_FALSE(request->shape.logprobs);
    EXPECT_EQ(request->shape.echo, "");
    EXPECT_TRUE(request->request.messages.empty());
  }
  const auto full = parse_completion_request(
      R"({"model":"m","prompt":"p","max_tokens":3,"echo":true,"logprobs":2,"suffix":"","best_of":1,
          "stop":"x","stream":true,"temperature":0})");
  ASSERT_TRUE(full.has_value()) << full.error().message;
  EXPECT_EQ(full->shape.echo, "p");
  EXPECT_TRUE(full->shape.logprobs);
  EXPECT_EQ(full->shape.top_logprobs, 2);
  EXPECT_TRUE(full->request.stream);
  const auto none = parse_completion_request(R"({"model":"m","prompt":"p","logprobs":0})");
  ASSERT_TRUE(none.has_value());
  EXPECT_TRUE(none->shape.logprobs);
  EXPECT_EQ(none->shape.top_logprobs, 0);
}

TEST(CompletionRequest, RefusesWithTheFieldsName) {
  const Refused cases[] = {
      {R"("prompt":["a","b"])", "prompt"},
      {R"("prompt":[1,2])", "prompt"},
      {R"("prompt":[[1]])", "prompt"},
      {R"("prompt":1)", "prompt"},
      {R"("prompt":null)", "prompt"},
      {R"("prompt":"a","suffix":"b")", "suffix"},
      {R"("prompt":"a","n":2)", "n"},
      {R"("prompt":"a","best_of":3)", "best_of"},
      {R"("prompt":"a","echo":1)", "echo"},
      {R"("prompt":"a","logprobs":21)", "logprobs"},
  };
  for (const Refused& test : cases) {
    const auto request =
        parse_completion_request(R"({"model":"m",)" + std::string(test.fields) + "}");
    ASSERT_FALSE(request.has_value()) << test.fields;
    EXPECT_TRUE(request.error().message.starts_with(std::string(test.path) + ": "))
        << test.fields << " -> " << request.error().message;
  }
}

}  // namespace
}  // namespace pensieve::proxy
