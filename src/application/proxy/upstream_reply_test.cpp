// Goal: chunk streams as other servers send them become streams a client of the Messages API can
// follow, and the same message. The chunks are in the forms of OpenAI, vLLM, llama.cpp and Ollama.
#include "application/proxy/internal/upstream_reply.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "foundation/json.h"

namespace pensieve::proxy {
namespace {

// Rebuilds the blocks from the events, and checks the nesting on the way.
struct Client {
  std::vector<Json> blocks;
  bool open = false;
  Json end;
  bool stopped = false;

  void read(const std::vector<api::Event>& events) {
    for (const api::Event& event : events) read(event.name, *parse_json(event.json));
  }
  void read(const std::string& name, const Json& json) {
    EXPECT_FALSE(stopped);
    if (name == "content_block_start") {
      EXPECT_FALSE(open);
      EXPECT_EQ(json["index"], blocks.size());
      blocks.push_back(json["content_block"]);
      blocks.back()["all"] = "";
      open = true;
    } else if (name == "content_block_delta") {
      EXPECT_TRUE(open);
      EXPECT_EQ(json["index"], blocks.size() - 1);
      const Json& delta = json["delta"];
      for (const char* field : {"text", "thinking", "partial_json"}) {
        if (!delta.contains(field)) continue;
        Json& all = blocks.back()["all"];
        all = all.get<std::string>() + delta[field].get<std::string>();
      }
    } else if (name == "content_block_stop") {
      EXPECT_TRUE(open);
      open = false;
    } else if (name == "message_delta") {
      EXPECT_FALSE(open);
      end = json;
    } else {
      EXPECT_EQ(name, "message_stop");
      EXPECT_FALSE(end.is_null());
      stopped = true;
    }
  }
  // "thinking:hm|text:I look|A:{...}"
  std::string told() const {
    std::string out;
    for (const Json& block : blocks) {
      if (!out.empty()) out += '|';
      const std::string type = block["type"];
      out += (type == "tool_use" ? block["name"].get<std::string>() : type) + ":" +
             block["all"].get<std::string>();
    }
    return out;
  }
};

// The same from the message itself.
std::string content_of(const api::Message& message) {
  std::string out;
  for (const api::ContentBlock& block : message.content) {
    if (!out.empty()) out += '|';
    if (block.kind == api::BlockKind::ToolUse) out += block.name + ":" + block.input_json;
    if (block.kind == api::BlockKind::Text) out += "text:" + block.text;
    if (block.kind == api::BlockKind::Thinking) out += "thinking:" + block.text;
  }
  return out;
}

std::string delta(const std::string& fields, const std::string& finish = "null") {
  return R"({"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{)" + fields +
         R"(},"finish_reason":)" + finish + "}]}";
}
std::string call(int index,
                 const std::string& id,
                 const std::string& name,
                 const std::string& arguments) {
  Json item{{"index", index}};
  if (!id.empty()) item["id"] = id;
  item["type"] = "function";
  item["function"] = Json{{"arguments", arguments}};
  if (!name.empty()) item["function"]["name"] = name;
  return R"("tool_calls":[)" + item.dump() + "]";
}

struct Told {
  api::Message message;
  Client client;
  std::optional<Error> error;

  Told(const std::vector<std::string>& data,
       std::vector<std::string> stops = {},
       bool ends = true) {
    UpstreamReply reply(message, std::move(stops), {.url = "http://up", .key = {}});
    std::vector<api::Event> events;
    for (const std::string& item : data) {
      auto taken = reply.take(item, events);
      if (!taken) {
        error = taken.error();
        return;
      }
    }
    if (ends) {
      if (auto done = reply.finish(events); !done) error = done.error();
    }
    client.read(events);
    if (!error) {
      EXPECT_TRUE(reply.over());
    }
  }
  std::string told() const {
    EXPECT_FALSE(error.has_value()) << (error ? error->message : "");
    EXPECT_EQ(client.told(), content_of(message));
    EXPECT_TRUE(client.stopped);
    return client.told() + " " + client.end["delta"]["stop_reason"].get<std::string>();
  }
};

struct Case {
  const char* name;
  std::vector<std::string> data;
  std::string told;
};

TEST(UpstreamReply, TellsWhatOtherServersSay) {
  const std::string role = delta(R"("role":"assistant","content":"")");
  const std::string stop = delta("", "\"stop\"");
  const std::string calls = delta("", "\"tool_calls\"");
  const Case cases[] = {
      {"text",
       {role, delta(R"("content":"Hel")"), delta(R"("content":"lo")"), stop, "[DONE]"},
       "text:Hello end_turn"},
      {"no [DONE]", {role, delta(R"("content":"x")"), stop}, "text:x end_turn"},
      {"no finish_reason", {role, delta(R"("content":"x")"), "[DONE]"}, "text:x end_turn"},
      {"nothing at all", {role, stop, "[DONE]"}, " end_turn"},
      {"cut by its length",
       {delta(R"("content":"x")"), delta("", "\"length\"")},
       "text:x max_tokens"},
      {"filtered", {delta(R"("content":"x")"), delta("", "\"content_filter\"")}, "text:x refusal"},
      {"thinking, then text",
       {delta(R"("reasoning_content":"h")"),
        delta(R"("reasoning_content":"m","content":null)"),
        delta(R"("content":"so")"),
        stop},
       "thinking:hm|text:so end_turn"},
      {"thinking under its other name",
       {delta(R"("reasoning":"hm")"), delta(R"("content":"x")"), stop},
       "thinking:hm|text:x end_turn"},
      {"a call after text",
       {delta(R"("content":"I look.")"),
        delta(call(0, "c1", "A", "")),
        delta(call(0, "", "", "{\"x\"")),
        delta(call(0, "", "", ": 1}")),
        calls},
       "text:I look.|A:{\"x\": 1} tool_use"},
      {"two calls in a row",
       {delta(call(0, "c1", "A", "{}")),
        delta(call(1, "c2", "B", "{\"y\":")),
        delta(call(1, "", "", "2}")),
        calls},
       "A:{}|B:{\"y\":2} tool_use"},
      {"two calls interleaved",
       {delta(call(0, "c1", "A", "{\"x")),
        delta(call(1, "c2", "B", "{\"y\":")),
        delta(call(0, "", "", "\": \"}{\\\"\"")),
        delta(call(1, "", "", "2}")),
        delta(call(0, "", "", "}")),
        calls},
       "A:{\"x\": \"}{\\\"\"}|B:{\"y\":2} tool_use"},
      {"every call numbered 0",
       {delta(call(0, "c1", "A", "{\"x\":1}")), delta(call(0, "c2", "B", "{\"y\":2}")), calls},
       "A:{\"x\":1}|B:{\"y\":2} tool_use"},
      {"both calls in one chunk, without an index",
       {delta(R"("tool_calls":[{"id":"c1","function":{"name":"A","arguments":"{}"}},
                               {"id":"c2","function":{"name":"B","arguments":{"z":1}}}])"),
        calls},
       "A:{}|B:{\"z\":1} tool_use"},
      {"a name that comes late",
       {delta(R"("tool_calls":[{"index":0,"id":"c1","function":{"arguments":"{\"a\""}}])"),
        delta(call(0, "", "A", ":1}")),
        calls},
       "A:{\"a\":1} tool_use"},
      {"a call without arguments", {delta(call(0, "c1", "A", "")), calls}, "A: tool_use"},
      {"a call that was cut",
       {delta(call(0, "c1", "A", "{\"a\":")), delta("", "\"length\"")},
       "A:{\"a\": max_tokens"},
      {"text behind a call",
       {delta(call(0, "c1", "A", "{\"a\":")),
        delta(R"("content":"late")"),
        delta(call(0, "", "", "1}")),
        calls},
       "A:{\"a\":1}|text:late tool_use"},
      {"white space behind the arguments",
       {delta(call(0, "c1", "A", "{}")), delta(call(0, "", "", " \n")), calls},
       "A:{} tool_use"},
      {"stop, though it called", {delta(call(0, "c1", "A", "{}")), stop}, "A:{} tool_use"},
      {"a whole object",
       {R"({"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant",
        "content":"hi","tool_calls":null},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":3,"completion_tokens":1}})"},
       "text:hi end_turn"},
      {"a text completion",
       {R"({"object":"text_completion","choices":[{"index":0,"text":"a"}]})",
        R"({"object":"text_completion","choices":[{"index":0,"text":"b","finish_reason":"length"}]})"},
       "text:ab max_tokens"},
      {"fields nobody knows",
       {R"({"choices":[{"delta":{"content":"x","weird":{"a":[1]}},"more":1,"finish_reason":"stop"}],
        "x":null})"},
       "text:x end_turn"},
      {"a refusal", {delta(R"("refusal":"no")"), stop}, "text:no end_turn"},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.name);
    EXPECT_EQ(Told(test.data).told(), test.told);
  }
}

TEST(UpstreamReply, ClosesACallAsSoonAsItsArgumentsAreComplete) {
  api::Message message;
  UpstreamReply reply(message, {}, {.url = "u", .key = {}});
  std::vector<api::Event> events;
  ASSERT_TRUE(reply.take(delta(call(0, "c1", "A", "{\"a\":{}")), events).has_value());
  EXPECT_EQ(events.back().name, "content_block_delta");
  ASSERT_TRUE(reply.take(delta(call(0, "", "", "}")), events).has_value());
  EXPECT_EQ(events.back().name, "content_block_stop");
}

TEST(UpstreamReply, KeepsIdsThatAreGoodAndReplacesTheOthers) {
  for (const auto& [id, kept] : std::vector<std::pair<std::string, bool>>{
           {"call_aB-9", true}, {"", false}, {"a b", false}, {std::string(257, 'x'), false}}) {
    const Told run({delta(call(0, id, "A", "{}")), delta("", "\"tool_calls\"")});
    ASSERT_EQ(run.message.content.size(), 1u);
    EXPECT_EQ(run.message.content[0].id == id, kept);
    EXPECT_EQ(run.message.content[0].id.starts_with("toolu_"), !kept);
  }
}

TEST(UpstreamReply, CountsTokensAsTheUpstreamDoes) {
  const Told run({delta(R"("content":"x")"),
                  delta("", "\"stop\""),
                  R"({"choices":[],"usage":{"prompt_tokens":70,"completion_tokens":5,
                     "prompt_tokens_details":{"cached_tokens":64}}})",
                  "[DONE]"});
  EXPECT_EQ(run.client.end["usage"]["input_tokens"], 6);
  EXPECT_EQ(run.client.end["usage"]["cache_read_input_tokens"], 64);
  EXPECT_EQ(run.client.end["usage"]["output_tokens"], 5);
  const Told odd({delta(R"("content":"x")"),
                  delta("", "\"stop\""),
                  R"({"choices":[],"usage":{"prompt_tokens":-7,"completion_tokens":1e300,
                     "prompt_tokens_details":null}})"});
  EXPECT_EQ(odd.client.end["usage"]["input_tokens"], 0);
  const Told none({delta(R"("content":"x")"), delta(R"("content":"y")"), delta("", "\"stop\"")});
  EXPECT_EQ(none.client.end["usage"]["output_tokens"], 2);
}

TEST(UpstreamReply, PassesLogprobsOn) {
  api::Message message;
  UpstreamReply reply(message, {}, {.url = "u", .key = {}});
  std::vector<api::Event> events;
  ASSERT_TRUE(reply
                  .take(R"({"choices":[{"delta":{"content":"I"},"logprobs":{"content":[
      {"token":"I","logprob":-0.5,"bytes":[73],"top_logprobs":[
        {"token":"I","logprob":-0.5,"bytes":[73]},{"token":"We","logprob":-1.5,"bytes":null}]},
      {"token":"x","logprob":null,"bytes":[195,"y"]},7]}}]})",
                        events)
                  .has_value());
  const auto scores = reply.take_scores();
  ASSERT_EQ(scores.size(), 2u);
  EXPECT_EQ(scores[0].bytes, "I");
  EXPECT_EQ(scores[0].logprob, -0.5f);
  ASSERT_EQ(scores[0].top.size(), 2u);
  EXPECT_EQ(scores[0].top[1].bytes, "We");
  EXPECT_EQ(scores[0].top[1].logprob, -1.5f);
  EXPECT_EQ(scores[1].bytes, "\xC3");
  EXPECT_TRUE(reply.take_scores().empty());
}

TEST(UpstreamReply, EndsAtAStopSequenceWhereverItIsCut) {
  const std::string text = "one END two";
  for (std::size_t cut = 1; cut < text.size(); ++cut) {
    const Told run({delta(R"("content":")" + text.substr(0, cut) + "\""),
                    delta(R"("content":")" + text.substr(cut) + "\""),
                    delta("", "\"stop\"")},
                   {"never", "END"});
    EXPECT_EQ(run.told(), "text:one  stop_sequence") << cut;
    EXPECT_EQ(run.message.stop_sequence, "END");
  }
  const Told held({delta(R"("content":"one EN")"), delta("", "\"stop\"")}, {"END"});
  EXPECT_EQ(held.told(), "text:one EN end_turn");
  const Told before_a_call(
      {delta(R"("content":"one EN")"), delta(call(0, "c", "A", "{}")), delta("", "\"tool_calls\"")},
      {"END"});
  EXPECT_EQ(before_a_call.told(), "text:one EN|A:{} tool_use");
}

TEST(UpstreamReply, RefusesWhatIsNoAnswer) {
  const std::string text = delta(R"("content":"x")");
  const std::vector<std::vector<std::string>> cases = {
      {text},        // broke off
      {},            // never began
      {text, "{"},   // no JSON
      {text, "[]"},  // no chunk
      {text, R"({"error":{"message":"x"}})"},
      {delta(R"("tool_calls":[{"index":0,"id":"c","function":{"arguments":"{}"}}])"),
       delta("", "\"tool_calls\"")},  // a call without a name
  };
  for (const auto& data : cases) {
    const Told run(data);
    ASSERT_TRUE(run.error.has_value()) << (data.empty() ? "" : data.back());
    EXPECT_EQ(run.error->kind, ErrorKind::Internal);
    EXPECT_NE(run.error->message.find("http://up"), std::string::npos);
    EXPECT_FALSE(run.client.stopped);
  }
}

TEST(UpstreamReply, BoundsTheAnswer) {
  api::Message message;
  UpstreamReply reply(message, {}, {.url = "u", .key = {}});
  std::vector<api::Event> events;
  const std::string piece = delta(R"("content":")" + std::string(std::size_t{1} << 20, 'x') + "\"");
  for (std::size_t n = 0; n < UpstreamReply::kMaxAnswerBytes; n += std::size_t{1} << 20) {
    ASSERT_TRUE(reply.take(piece, events).has_value());
    events.clear();
  }
  EXPECT_FALSE(reply.take(piece, events).has_value());

  std::string calls;
  for (std::size_t i = 0; i <= UpstreamReply::kMaxCalls; ++i) {
    calls += (i == 0 ? "" : ",") + std::string(R"({"index":)") + std::to_string(i) +
             R"(,"function":{"name":"A","arguments":"{}"}})";
  }
  EXPECT_TRUE(Told({delta("\"tool_calls\":[" + calls + "]")}).error.has_value());
}

}  // namespace
}  // namespace pensieve::proxy
