// Goal: answers have the shapes of the public API. The expected texts follow the API reference
// ("Streaming messages", "Messages", "Errors", "List models"; OpenAI's "List models"); the official
// SDKs read the same in the whole-server tests.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/json.h"
#include "foundation/text.h"

#include "domain/api/messages.h"

namespace pensieve::api {
namespace {

constexpr Usage kUsage{.input_tokens = 12,
                       .cache_creation_input_tokens = 3,
                       .cache_read_input_tokens = 4,
                       .output_tokens = 5};

ContentBlock block(BlockKind kind, std::string text) {
  ContentBlock made;
  made.kind = kind;
  made.text = std::move(text);
  return made;
}

ContentBlock tool_use(std::string input_json) {
  ContentBlock made = block(BlockKind::ToolUse, "");
  made.id = "toolu_1";
  made.name = "Bash";
  made.input_json = std::move(input_json);
  return made;
}

Message message_of(std::vector<ContentBlock> content, StopReason reason) {
  Message message;
  message.id = "msg_1";
  message.model = "claude-x";
  message.content = std::move(content);
  message.stop_reason = reason;
  message.usage = kUsage;
  return message;
}

void expect_event(const Event& event, std::string_view name, std::string_view json) {
  EXPECT_EQ(event.name, name);
  const auto actual = parse_json(event.json), expected = parse_json(json);
  ASSERT_TRUE(actual.has_value()) << event.json;
  ASSERT_TRUE(expected.has_value()) << json;
  // nlohmann's unordered comparison: the order of keys says nothing in JSON.
  EXPECT_EQ(nlohmann::json::parse(event.json), nlohmann::json::parse(json));
}

TEST(Events, HaveTheShapesOfTheStreamingPage) {
  expect_event(message_start("msg_1", "claude-x", kUsage),
               "message_start",
               R"({"type":"message_start","message":{"id":"msg_1","type":"message",
                   "role":"assistant","model":"claude-x","content":[],"stop_reason":null,
                   "stop_sequence":null,"usage":{"input_tokens":12,
                   "cache_creation_input_tokens":3,"cache_read_input_tokens":4,
                   "output_tokens":5}}})");
  expect_event(text_block_start(0),
               "content_block_start",
               R"({"type":"content_block_start","index":0,
                   "content_block":{"type":"text","text":""}})");
  expect_event(tool_use_block_start(1, "toolu_1", "get_weather"),
               "content_block_start",
               R"({"type":"content_block_start","index":1,"content_block":{"type":"tool_use",
                   "id":"toolu_1","name":"get_weather","input":{}}})");
  expect_event(thinking_block_start(2),
               "content_block_start",
               R"({"type":"content_block_start","index":2,"content_block":{"type":"thinking",
                   "thinking":"","signature":""}})");
  expect_event(text_delta(0, "Hello"),
               "content_block_delta",
               R"({"type":"content_block_delta","index":0,
                   "delta":{"type":"text_delta","text":"Hello"}})");
  expect_event(input_json_delta(1, "{\"loc"),
               "content_block_delta",
               R"({"type":"content_block_delta","index":1,
                   "delta":{"type":"input_json_delta","partial_json":"{\"loc"}})");
  expect_event(thinking_delta(2, "hm"),
               "content_block_delta",
               R"({"type":"content_block_delta","index":2,
                   "delta":{"type":"thinking_delta","thinking":"hm"}})");
  expect_event(signature_delta(2, "EqQB"),
               "content_block_delta",
               R"({"type":"content_block_delta","index":2,
                   "delta":{"type":"signature_delta","signature":"EqQB"}})");
  expect_event(block_stop(3), "content_block_stop", R"({"type":"content_block_stop","index":3})");
  expect_event(message_delta(StopReason::EndTurn, "", kUsage),
               "message_delta",
               R"({"type":"message_delta","delta":{"stop_reason":"end_turn",
                   "stop_sequence":null},"usage":{"input_tokens":12,
                   "cache_creation_input_tokens":3,"cache_read_input_tokens":4,
                   "output_tokens":5}})");
  expect_event(message_delta(StopReason::StopSequence, "END", Usage{}),
               "message_delta",
               R"({"type":"message_delta","delta":{"stop_reason":"stop_sequence",
                   "stop_sequence":"END"},"usage":{"input_tokens":0,
                   "cache_creation_input_tokens":0,"cache_read_input_tokens":0,
                   "output_tokens":0}})");
  expect_event(message_stop(), "message_stop", R"({"type":"message_stop"})");
  expect_event(ping(), "ping", R"({"type":"ping"})");
}

TEST(Events, StandOnOneLineAndAreValidWhateverTheTextHolds) {
  std::string all_bytes;
  for (int byte = 0; byte < 256; ++byte) all_bytes += static_cast<char>(byte);
  const Error error{.kind = ErrorKind::Internal, .message = all_bytes};
  Message message = message_of({block(BlockKind::Text, all_bytes)}, StopReason::EndTurn);
  message.id = message.model = message.stop_sequence = all_bytes;
  const std::vector<std::string> texts = {
      message_start(all_bytes, all_bytes, kUsage).json,
      tool_use_block_start(0, all_bytes, all_bytes).json,
      text_delta(0, all_bytes).json,
      input_json_delta(0, all_bytes).json,
      thinking_delta(0, all_bytes).json,
      signature_delta(0, all_bytes).json,
      message_delta(StopReason::EndTurn, all_bytes, kUsage).json,
      error_event(error, all_bytes).json,
      to_json(message)};
  for (const std::string& text : texts) {
    SCOPED_TRACE(text);
    EXPECT_EQ(text.find_first_of("\r\n"), std::string::npos);
    EXPECT_EQ(text.find('\0'), std::string::npos);
    EXPECT_TRUE(is_valid_utf8(text));
    EXPECT_TRUE(nlohmann::json::accept(text));
  }
}

TEST(Events, KeepTextUnchangedThroughJson) {
  const std::string text = "a\"b\\c\n\t☃ 😀 \u2028 </script>";
  const auto delta = nlohmann::json::parse(text_delta(0, text).json);
  EXPECT_EQ(delta["delta"]["text"].get<std::string>(), text);
}

TEST(MessageJson, HasTheShapeOfTheMessagesPage) {
  ContentBlock thinking = block(BlockKind::Thinking, "hm");
  thinking.signature = "sig";
  Message message = message_of(
      {thinking, block(BlockKind::Text, "I look."), tool_use(R"({"command": "ls", "n": 1})")},
      StopReason::ToolUse);
  expect_event({"", to_json(message)},
               "",
               R"({"id":"msg_1","type":"message","role":"assistant","model":"claude-x",
                   "content":[{"type":"thinking","thinking":"hm","signature":"sig"},
                              {"type":"text","text":"I look."},
                              {"type":"tool_use","id":"toolu_1","name":"Bash",
                               "input":{"command":"ls","n":1}}],
                   "stop_reason":"tool_use","stop_sequence":null,
                   "usage":{"input_tokens":12,"cache_creation_input_tokens":3,
                            "cache_read_input_tokens":4,"output_tokens":5}})");
  message.content.clear();
  message.stop_reason = StopReason::StopSequence;
  message.stop_sequence = "END";
  const auto empty = nlohmann::json::parse(to_json(message));
  EXPECT_EQ(empty["content"], nlohmann::json::array());
  EXPECT_EQ(empty["stop_sequence"], "END");
}

TEST(MessageJson, ShowsAnObjectEvenWhereTheInputIsNone) {
  for (const std::string& input : {std::string(),
                                   std::string("{\"a\":"),
                                   std::string("[1]"),
                                   std::string(100'000, '['),
                                   std::string("\xFF")}) {
    const Message message = message_of({tool_use(input)}, StopReason::ToolUse);
    const auto json = nlohmann::json::parse(to_json(message));
    EXPECT_EQ(json["content"][0]["input"], nlohmann::json::object());
  }
}

TEST(StopReasons, AreTheApisWords) {
  const std::set<std::string_view> words = {to_string(StopReason::EndTurn),
                                            to_string(StopReason::MaxTokens),
                                            to_string(StopReason::StopSequence),
                                            to_string(StopReason::ToolUse),
                                            to_string(StopReason::ModelContextWindowExceeded),
                                            to_string(StopReason::Refusal)};
  EXPECT_EQ(words,
            (std::set<std::string_view>{"end_turn",
                                        "max_tokens",
                                        "stop_sequence",
                                        "tool_use",
                                        "model_context_window_exceeded",
                                        "refusal"}));
}

struct ErrorRow {
  ErrorKind kind;
  int status;
  std::string_view type;
};

// Statuses of RFC 9110 and RFC 6585; types of the API's page "Errors".
constexpr ErrorRow kErrorRows[] = {
    {ErrorKind::InvalidRequest, 400, "invalid_request_error"},
    {ErrorKind::Authentication, 401, "authentication_error"},
    {ErrorKind::Permission, 403, "permission_error"},
    {ErrorKind::NotFound, 404, "not_found_error"},
    {ErrorKind::MethodNotAllowed, 405, "invalid_request_error"},
    {ErrorKind::Timeout, 408, "invalid_request_error"},
    {ErrorKind::TooLarge, 413, "request_too_large"},
    {ErrorKind::UriTooLong, 414, "invalid_request_error"},
    {ErrorKind::UnsupportedMedia, 415, "invalid_request_error"},
    {ErrorKind::RateLimited, 429, "rate_limit_error"},
    {ErrorKind::HeadersTooLarge, 431, "invalid_request_error"},
    {ErrorKind::Internal, 500, "api_error"},
    {ErrorKind::BadFile, 500, "api_error"},
    {ErrorKind::DigestMismatch, 500, "api_error"},
    {ErrorKind::NotImplemented, 501, "invalid_request_error"},
    {ErrorKind::Unavailable, 503, "overloaded_error"},
    {ErrorKind::Cancelled, 503, "overloaded_error"},
    {ErrorKind::Overloaded, 529, "overloaded_error"},
};

TEST(Errors, HaveOneStatusOneTypeAndOneShape) {
  for (const ErrorRow& row : kErrorRows) {
    SCOPED_TRACE(row.status);
    EXPECT_EQ(http_status(row.kind), row.status);
    EXPECT_EQ(error_type(row.kind), row.type);
    const Error error{.kind = row.kind, .message = "why"};
    const auto json = nlohmann::json::parse(error_json(error, "req_1"));
    EXPECT_EQ(json,
              (nlohmann::json{{"type", "error"},
                              {"error", {{"type", std::string(row.type)}, {"message", "why"}}},
                              {"request_id", "req_1"}}));
    EXPECT_EQ(error_event(error, "req_1").name, "error");
    EXPECT_EQ(nlohmann::json::parse(error_event(error, "req_1").json), json);
  }
}

TEST(Models, HaveAnthropicsShape) {
  const ModelInfo phi{.id = "phi-3-mini",
                      .display_name = "Phi-3 mini",
                      .created_unix_s = 1'700'000'000,  // date -u -d @1700000000
                      .context_length = 32'768};
  const std::string one = R"({"type":"model","id":"phi-3-mini","display_name":"Phi-3 mini",
      "created_at":"2023-11-14T22:13:20Z","lifecycle":"active","max_input_tokens":32768,
      "max_tokens":32768})";
  expect_event({"", model_json(phi, true)}, "", one);
  expect_event({"", models_json({phi}, true)},
               "",
               R"({"data":[)" + one +
                   R"(],"has_more":false,"first_id":"phi-3-mini","last_id":"phi-3-mini"})");
  expect_event({"", models_json({}, true)},
               "",
               R"({"data":[],"has_more":false,"first_id":null,"last_id":null})");
}

TEST(Models, HaveOpenAisShape) {
  const ModelInfo phi{.id = "phi-3-mini", .display_name = "Phi-3 mini", .created_unix_s = 12};
  const std::string one = R"({"id":"phi-3-mini","object":"model","created":12,
                              "owned_by":"pensieve"})";
  expect_event({"", model_json(phi, false)}, "", one);
  expect_event({"", models_json({phi}, false)}, "", R"({"object":"list","data":[)" + one + "]}");
  expect_event({"", models_json({}, false)}, "", R"({"object":"list","data":[]})");
}

TEST(Models, SayTheWindowInBothShapesWhenItIsKnown) {
  const ModelInfo known{.id = "a", .display_name = "A", .context_length = 4096};
  const ModelInfo unknown{.id = "a", .display_name = "A"};
  const auto field = [](const std::string& text, const char* name) {
    return parse_json(text)->value(name, -1);
  };
  EXPECT_EQ(field(model_json(known, false), "max_model_len"), 4096);
  EXPECT_EQ(field(model_json(known, true), "max_input_tokens"), 4096);
  EXPECT_EQ(field(model_json(unknown, false), "max_model_len"), -1);
  EXPECT_EQ(field(model_json(unknown, true), "max_input_tokens"), -1);
}

TEST(Models, GiveADateForAnyTime) {
  const auto date = [](std::int64_t unix_s) {
    ModelInfo model;
    model.created_unix_s = unix_s;
    return nlohmann::json::parse(model_json(model, true))["created_at"].get<std::string>();
  };
  EXPECT_EQ(date(0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(date(-5), "1970-01-01T00:00:00Z");
  EXPECT_EQ(date(951'782'400), "2000-02-29T00:00:00Z");
  EXPECT_EQ(date(INT64_MAX), "9999-12-31T23:59:59Z");
}

TEST(CountTokens, IsOneNumber) {
  EXPECT_EQ(count_tokens_json(42), R"({"input_tokens":42})");
}

TEST(Ids, AreFreshAndOfTheirForm) {
  std::set<std::string> seen;
  std::set<char> digits;
  for (int i = 0; i < 2'000; ++i) {
    const std::string id = make_id("toolu_");
    ASSERT_EQ(id.size(), 6u + 24u);
    ASSERT_EQ(id.rfind("toolu_", 0), 0u);
    for (const char c : id.substr(6)) {
      ASSERT_TRUE(std::isalnum(static_cast<unsigned char>(c))) << id;
      digits.insert(c);
    }
    seen.insert(id);
  }
  EXPECT_EQ(seen.size(), 2'000u);
  EXPECT_EQ(digits.size(), 62u);  // 48,000 fair draws miss one of 62 with probability 1e-337
}

}  // namespace
}  // namespace pensieve::api
