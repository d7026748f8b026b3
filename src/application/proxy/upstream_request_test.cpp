// Goal: a request of the Messages API says the same in OpenAI's words. Each case is the body of one
// and what must be sent, without the fields that every request has.
#include "application/proxy/internal/upstream_request.h"

#include <gtest/gtest.h>

#include <string>

#include "foundation/json.h"

#include "application/proxy/openai_request.h"

namespace pensieve::proxy {
namespace {

Json sent(const std::string& fields) {
  const auto request =
      api::parse_messages_request(R"({"model":"claude-x","max_tokens":9,)" + fields + "}");
  EXPECT_TRUE(request.has_value()) << (request ? "" : request.error().message);
  Json body = request ? *parse_json(chat_body(*request, "theirs")) : Json();
  EXPECT_EQ(body["model"], "theirs");
  EXPECT_EQ(body["max_tokens"], 9);
  EXPECT_EQ(body["stream"], true);
  EXPECT_EQ(body["stream_options"]["include_usage"], true);
  for (const char* field : {"model", "max_tokens", "stream", "stream_options"}) body.erase(field);
  return body;
}

constexpr const char* kHi = R"("messages":[{"role":"user","content":"hi"}])";
constexpr const char* kHiSent = R"("messages":[{"role":"user","content":"hi"}])";

struct Case {
  const char* name;
  std::string request;
  std::string expected;
};

TEST(UpstreamRequest, SaysTheSameInOtherWords) {
  const std::string hi = kHi, hi_sent = kHiSent;
  const Case cases[] = {
      {"a question", hi, hi_sent},
      {"system blocks, without the billing header",
       hi + R"(,"system":[{"type":"text","text":"x-anthropic-billing-header: cch=abc"},
             {"type":"text","text":"one"},{"type":"text","text":" "},{"type":"text","text":"two"}])",
       R"("messages":[{"role":"system","content":"one\n\ntwo"},{"role":"user","content":"hi"}])"},
      {"a system turn in the middle",
       R"("messages":[{"role":"user","content":"a"},{"role":"system","content":"b"}])",
       R"("messages":[{"role":"user","content":"a"},{"role":"system","content":"b"}])"},
      {"a tool loop, results in the order of their calls, thinking left out",
       R"("messages":[{"role":"user","content":"go"},
         {"role":"assistant","content":[
           {"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"I look."},
           {"type":"tool_use","id":"t1","name":"A","input":{"z":1,"a":2}},
           {"type":"tool_use","id":"t2","name":"B","input":{}}]},
         {"role":"user","content":[{"type":"text","text":"and now?"},
           {"type":"tool_result","tool_use_id":"t2","content":"two","is_error":true},
           {"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"one"},
                                                              {"type":"text","text":"more"}]}]}])",
       R"("messages":[{"role":"user","content":"go"},
         {"role":"assistant","content":"I look.","tool_calls":[
           {"id":"t1","type":"function","function":{"name":"A","arguments":"{\"z\":1,\"a\":2}"}},
           {"id":"t2","type":"function","function":{"name":"B","arguments":"{}"}}]},
         {"role":"tool","content":"one\nmore","tool_call_id":"t1"},
         {"role":"tool","content":"Error: two","tool_call_id":"t2"},
         {"role":"user","content":"and now?"}])"},
      {"calls without a word",
       R"("messages":[{"role":"assistant","content":[
           {"type":"tool_use","id":"t1","name":"A","input":{}}]},
         {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"}]}])",
       R"("messages":[{"role":"assistant","content":null,"tool_calls":[
           {"id":"t1","type":"function","function":{"name":"A","arguments":"{}"}}]},
         {"role":"tool","content":"","tool_call_id":"t1"}])"},
      {"images and documents",
       R"("messages":[{"role":"user","content":[{"type":"text","text":"see"},
         {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}},
         {"type":"image","source":{"type":"file","file_id":"f"}},
         {"type":"document","source":{"type":"text","data":"body"}}]}])",
       R"("messages":[{"role":"user","content":[{"type":"text","text":"see"},
         {"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}},
         {"type":"text","text":"[image]"},{"type":"text","text":"body"}]}])"},
      {"an image a tool returned",
       R"("messages":[{"role":"assistant","content":[
           {"type":"tool_use","id":"t1","name":"A","input":{}}]},
         {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[
           {"type":"text","text":"shot"},
           {"type":"image","source":{"type":"url","url":"https://e.org/i.png"}}]}]}])",
       R"("messages":[{"role":"assistant","content":null,"tool_calls":[
           {"id":"t1","type":"function","function":{"name":"A","arguments":"{}"}}]},
         {"role":"tool","content":"shot","tool_call_id":"t1"},
         {"role":"user","content":[{"type":"image_url","image_url":{"url":"https://e.org/i.png"}}]}])"},
      {"tools, without those of Anthropic's servers and the deferred",
       hi + R"(,"tools":[{"name":"A","description":"d","input_schema":{"type":"object","x":1}},
         {"name":"B"},{"name":"web_search","type":"web_search_20250305"},
         {"name":"L","defer_loading":true,"input_schema":{"type":"object"}}])",
       hi_sent + R"(,"tools":[
         {"type":"function","function":{"name":"A","description":"d","parameters":{"type":"object","x":1}}},
         {"type":"function","function":{"name":"B","parameters":{"type":"object","properties":{}}}}])"},
      {"a deferred tool that was found",
       R"("tools":[{"name":"L","defer_loading":true,"input_schema":{"type":"object"}}],
         "messages":[{"role":"assistant","content":[
           {"type":"tool_use","id":"t1","name":"Find","input":{}}]},
         {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[
           {"type":"tool_reference","tool_name":"L"}]}]}])",
       R"("messages":[{"role":"assistant","content":null,"tool_calls":[
           {"id":"t1","type":"function","function":{"name":"Find","arguments":"{}"}}]},
         {"role":"tool","content":"[tool L]","tool_call_id":"t1"}],
         "tools":[{"type":"function","function":{"name":"L","parameters":{"type":"object"}}}])"},
      {"any tool, one at a time",
       hi +
           R"(,"tools":[{"name":"B"}],"tool_choice":{"type":"any","disable_parallel_tool_use":true})",
       hi_sent +
           R"(,"tools":[{"type":"function","function":{"name":"B","parameters":{"type":"object","properties":{}}}}],
         "tool_choice":"required","parallel_tool_calls":false)"},
      {"one tool by name",
       hi + R"(,"tools":[{"name":"B"}],"tool_choice":{"type":"tool","name":"B"})",
       hi_sent +
           R"(,"tools":[{"type":"function","function":{"name":"B","parameters":{"type":"object","properties":{}}}}],
         "tool_choice":{"type":"function","function":{"name":"B"}})"},
      {"a schema for the answer",
       hi +
           R"(,"output_config":{"format":{"type":"json_schema","schema":{"type":"object","required":["a"]}}})",
       hi_sent + R"(,"response_format":{"type":"json_schema","json_schema":{"name":"answer",
         "schema":{"type":"object","required":["a"]}}})"},
      {"any object as the answer",
       hi + R"(,"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}})",
       hi_sent + R"(,"response_format":{"type":"json_object"})"},
      {"sampling; stop sequences stay here",
       hi + R"(,"temperature":0.5,"top_p":0.9,"top_k":4,"min_p":0.1,"repetition_penalty":1.5,
         "seed":18446744073709551615,"stop_sequences":["END"])",
       hi_sent + R"(,"temperature":0.5,"top_p":0.9,"top_k":4,"min_p":0.1,"repetition_penalty":1.5,
         "seed":9223372036854775807)"},
  };
  for (const Case& test : cases) {
    EXPECT_EQ(sent(test.request), *parse_json("{" + test.expected + "}")) << test.name;
  }
}

TEST(UpstreamRequest, LeavesTheLimitOutWhenThereIsNone) {
  api::MessagesRequest request;
  request.max_tokens = kWhatTheWindowLeaves;
  EXPECT_FALSE(parse_json(chat_body(request, "m"))->contains("max_tokens"));
  EXPECT_EQ((*parse_json(chat_body(request, "m", 12)))["max_tokens"], 12);
}

// What one front makes of a request, the other must understand: the two translations are inverse
// where both APIs can say it.
TEST(UpstreamRequest, IsReadBackByOurOwnChatFront) {
  const auto request = api::parse_messages_request(
      R"({"model":"m","max_tokens":9,"system":"be brief","tools":[{"name":"A","description":"d",
      "input_schema":{"type":"object"}}],"tool_choice":{"type":"tool","name":"A"},"messages":[
      {"role":"user","content":"go"},{"role":"assistant","content":[{"type":"text","text":"ok"},
        {"type":"tool_use","id":"t1","name":"A","input":{"z":1,"a":2}}]},
      {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"done"}]}]})");
  ASSERT_TRUE(request.has_value());
  const auto back = parse_chat_request(chat_body(*request, "m"));
  ASSERT_TRUE(back.has_value()) << back.error().message;
  const api::MessagesRequest& messages = back->messages;
  EXPECT_EQ(messages.max_tokens, 9);
  EXPECT_TRUE(messages.stream);
  EXPECT_TRUE(back->shape.include_usage);
  EXPECT_EQ(messages.system[0].text, "be brief");
  EXPECT_EQ(messages.tools[0].name, "A");
  EXPECT_EQ(messages.tools[0].description, "d");
  EXPECT_EQ(messages.tools[0].input_schema_json, R"({"type":"object"})");
  EXPECT_EQ(messages.tool_choice.name, "A");
  ASSERT_EQ(messages.messages.size(), 3u);
  EXPECT_EQ(messages.messages[1].content[0].text, "ok");
  EXPECT_EQ(messages.messages[1].content[1].input_json, R"({"z":1,"a":2})");
  EXPECT_EQ(messages.messages[2].content[0].id, "t1");
  EXPECT_EQ(messages.messages[2].content[0].content[0].text, "done");
}

}  // namespace
}  // namespace pensieve::proxy
