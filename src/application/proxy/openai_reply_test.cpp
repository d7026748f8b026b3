// Goal: chunks put together as OpenAI's own client does it say what the whole object says, wherever
// the growing message was looked at. The reader below follows the page "The chat completion chunk
// object".
#include "application/proxy/openai_reply.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "foundation/json.h"

namespace pensieve::proxy {
namespace {

using api::BlockKind;

const ReplyStamp kStamp{.created_unix_s = 1'700'000'000, .system_fingerprint = "fp_x"};

api::ContentBlock block(BlockKind kind, std::string text) {
  api::ContentBlock out;
  out.kind = kind;
  (kind == BlockKind::ToolUse ? out.input_json : out.text) = std::move(text);
  return out;
}

api::Message full_message() {
  api::Message message;
  message.id = "msg_1";
  message.model = "m";
  message.content = {block(BlockKind::Thinking, "hm, ünï"),
                     block(BlockKind::Text, "I look."),
                     block(BlockKind::ToolUse, R"({"command": "ls"})"),
                     block(BlockKind::ToolUse, ""),
                     block(BlockKind::Text, " Done.")};
  message.content[2].id = "toolu_a";
  message.content[2].name = "Bash";
  message.content[3].id = "toolu_b";
  message.content[3].name = "Now";
  message.stop_reason = api::StopReason::ToolUse;
  message.usage = {.input_tokens = 3, .cache_read_input_tokens = 64, .output_tokens = 9};
  return message;
}

// Puts chunks together; every broken rule is a failure.
struct Reader {
  Json message = Json{{"role", nullptr}, {"content", ""}, {"reasoning", ""}};
  std::vector<Json> calls{};
  Json finish{}, usage{};
  int chunks = 0;
  bool with_usage = false;

  void read(const std::string& data) {
    const auto chunk = *parse_json(data);
    ++chunks;
    EXPECT_EQ(chunk["id"], "chatcmpl-1");
    EXPECT_EQ(chunk["object"], "chat.completion.chunk");
    EXPECT_EQ(chunk["created"], 1'700'000'000);
    EXPECT_EQ(chunk["model"], "m");
    EXPECT_EQ(chunk["system_fingerprint"], "fp_x");
    EXPECT_EQ(chunk.contains("usage"), with_usage);
    EXPECT_TRUE(usage.is_null()) << "a chunk behind the usage";
    if (chunk["choices"].empty()) {
      EXPECT_FALSE(finish.is_null());
      usage = chunk["usage"];
      return;
    }
    if (with_usage) {
      EXPECT_TRUE(chunk["usage"].is_null());
    }
    const Json& choice = chunk["choices"][0];
    EXPECT_EQ(choice["index"], 0);
    EXPECT_TRUE(finish.is_null()) << "a choice behind the finish_reason";
    const Json& delta = choice["delta"];
    if (chunks == 1) {
      EXPECT_EQ(delta["role"], "assistant");
      message["role"] = "assistant";
    } else {
      EXPECT_FALSE(delta.contains("role"));
    }
    if (delta.contains("content")) {
      message["content"] =
          message["content"].get<std::string>() + delta["content"].get<std::string>();
    }
    if (delta.contains("reasoning_content")) {
      message["reasoning"] =
          message["reasoning"].get<std::string>() + delta["reasoning_content"].get<std::string>();
    }
    if (delta.contains("tool_calls")) read_call(delta["tool_calls"][0]);
    finish = choice["finish_reason"];
  }

  void read_call(const Json& piece) {
    const auto index = piece["index"].get<std::size_t>();
    ASSERT_LE(index, calls.size());
    if (index == calls.size()) {
      EXPECT_EQ(piece["type"], "function");
      calls.push_back(piece);
      calls.back().erase("index");
      return;
    }
    EXPECT_FALSE(piece.contains("id"));
    Json& arguments = calls[index]["function"]["arguments"];
    arguments = arguments.get<std::string>() + piece["function"]["arguments"].get<std::string>();
  }
};

void expect_same(const Reader& reader, const api::Message& message, const ReplyShape& shape) {
  const auto whole = *parse_json(chat_json(message, {}, shape, kStamp));
  const Json& told = whole["choices"][0]["message"];
  EXPECT_EQ(reader.message["content"], told["content"].is_null() ? Json("") : told["content"]);
  EXPECT_EQ(reader.message["reasoning"], told.value("reasoning_content", ""));
  EXPECT_EQ(Json(reader.calls), told.value("tool_calls", Json::array()));
  EXPECT_EQ(reader.finish, whole["choices"][0]["finish_reason"]);
  EXPECT_EQ(reader.usage.is_null(), !shape.include_usage);
  if (shape.include_usage) {
    EXPECT_EQ(reader.usage, whole["usage"]);
  }
}

// The first `n` pieces of the message: whole blocks, then bytes of the next, cut at characters.
api::Message grown(const api::Message& whole, std::size_t blocks, std::size_t bytes) {
  api::Message part = whole;
  part.content.resize(std::min(blocks, whole.content.size()));
  if (blocks < whole.content.size()) {
    api::ContentBlock open = whole.content[blocks];
    std::string& text = open.kind == BlockKind::ToolUse ? open.input_json : open.text;
    bytes = std::min(bytes, text.size());
    while (bytes < text.size() && (static_cast<unsigned char>(text[bytes]) & 0xC0U) == 0x80U) {
      ++bytes;
    }
    text.resize(bytes);
    part.content.push_back(open);
  }
  return part;
}

TEST(ChatChunks, SayTheWholeMessageFromEveryPairOfCuts) {
  const api::Message whole = full_message();
  for (const bool with_usage : {false, true}) {
    const ReplyShape shape{.include_usage = with_usage};
    for (std::size_t first = 0; first <= whole.content.size(); ++first) {
      for (std::size_t bytes = 0; bytes < 20; ++bytes) {
        SCOPED_TRACE(testing::Message() << first << " blocks, " << bytes << " bytes");
        Reader reader{.with_usage = with_usage};
        const auto writer = chat_chunks(shape, kStamp);
        for (const auto& data : writer->take(grown(whole, first, bytes), {}, false)) {
          reader.read(data);
        }
        for (const auto& data : writer->take(whole, {}, true)) reader.read(data);
        expect_same(reader, whole, shape);
      }
    }
  }
}

TEST(ChatChunks, SayTheWholeMessageWhenItGrowsByRandomSteps) {
  const api::Message whole = full_message();
  std::mt19937 random(2024);
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(round);
    Reader reader;
    const auto writer = chat_chunks({}, kStamp);
    for (std::size_t b = 0; b < whole.content.size(); ++b) {
      for (std::size_t n = 0; n < 20; n += 1 + random() % 7) {
        for (const auto& data : writer->take(grown(whole, b, n), {}, false)) reader.read(data);
      }
    }
    for (const auto& data : writer->take(whole, {}, true)) reader.read(data);
    expect_same(reader, whole, {});
  }
}

TEST(ChatChunks, SayNothingTwiceWhenNothingIsNew) {
  const auto writer = chat_chunks({}, kStamp);
  api::Message message = full_message();
  EXPECT_FALSE(writer->take(grown(message, 1, 3), {}, false).empty());
  EXPECT_TRUE(writer->take(grown(message, 1, 3), {}, false).empty());
}

TEST(ChatChunks, BeginWithTheRoleAlone) {
  const auto writer = chat_chunks({}, kStamp);
  api::Message message;
  message.id = "msg_1";
  const auto chunks = writer->take(message, {}, false);
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_EQ((*parse_json(chunks[0]))["choices"][0]["delta"],
            (Json{{"role", "assistant"}, {"content", ""}}));
}

TEST(ChatJson, HasTheShapeOfTheReference) {
  const auto json = *parse_json(chat_json(full_message(), {}, {}, kStamp));
  EXPECT_EQ(json["id"], "chatcmpl-1");
  EXPECT_EQ(json["object"], "chat.completion");
  EXPECT_EQ(json["usage"],
            *parse_json(R"({"prompt_tokens":67,"completion_tokens":9,"total_tokens":76,
                            "prompt_tokens_details":{"cached_tokens":64}})"));
  const Json& choice = json["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_TRUE(choice["logprobs"].is_null());
  EXPECT_EQ(choice["message"],
            *parse_json(R"({"role":"assistant","content":"I look. Done.","refusal":null,
    "reasoning_content":"hm, ünï","tool_calls":[
      {"id":"toolu_a","type":"function","function":{"name":"Bash","arguments":"{\"command\": \"ls\"}"}},
      {"id":"toolu_b","type":"function","function":{"name":"Now","arguments":"{}"}}]})"));
}

TEST(ChatJson, HasNoContentWhereThereAreCallsAlone) {
  api::Message message = full_message();
  message.content = {message.content[2]};
  auto json = *parse_json(chat_json(message, {}, {}, kStamp));
  EXPECT_TRUE(json["choices"][0]["message"]["content"].is_null());
  message.content.clear();
  json = *parse_json(chat_json(message, {}, {}, kStamp));
  EXPECT_EQ(json["choices"][0]["message"]["content"], "");
}

TEST(ChatJson, NamesEveryReason) {
  const std::pair<api::StopReason, std::string> cases[] = {
      {api::StopReason::EndTurn, "stop"},
      {api::StopReason::StopSequence, "stop"},
      {api::StopReason::MaxTokens, "length"},
      {api::StopReason::ModelContextWindowExceeded, "length"},
      {api::StopReason::ToolUse, "tool_calls"},
      {api::StopReason::Refusal, "content_filter"}};
  for (const auto& [reason, name] : cases) {
    api::Message message = full_message();
    message.stop_reason = reason;
    const auto json = *parse_json(chat_json(message, {}, {}, kStamp));
    EXPECT_EQ(json["choices"][0]["finish_reason"], name);
  }
}

TEST(Logprobs, StandWithTheirTokens) {
  const std::vector<claude::TokenScore> scores = {
      {.bytes = "I", .logprob = -0.5f, .top = {{"I", -0.5f}, {"We", -1.5f}}},
      {.bytes = "\xC3", .logprob = -0.25f, .top = {}}};
  const ReplyShape shape{.logprobs = true, .top_logprobs = 2};
  const auto expected = *parse_json(R"({"content":[
    {"token":"I","logprob":-0.5,"bytes":[73],"top_logprobs":[
      {"token":"I","logprob":-0.5,"bytes":[73]},{"token":"We","logprob":-1.5,"bytes":[87,101]}]},
    {"token":"�","logprob":-0.25,"bytes":[195],"top_logprobs":[]}],"refusal":null})");
  const auto json = *parse_json(chat_json(full_message(), scores, shape, kStamp));
  EXPECT_EQ(json["choices"][0]["logprobs"], expected);

  const auto writer = chat_chunks(shape, kStamp);
  Json told;
  int with_scores = 0;
  for (const auto& data : writer->take(grown(full_message(), 1, 3), scores, false)) {
    const auto chunk = *parse_json(data);
    if (chunk["choices"][0]["logprobs"].is_null()) continue;
    ++with_scores;
    told = chunk["choices"][0]["logprobs"];
    EXPECT_EQ(chunk["choices"][0]["delta"]["content"], "I l");
  }
  EXPECT_EQ(with_scores, 1);
  EXPECT_EQ(told, expected);
  // A token whose text is still held back has a chunk of its own.
  const auto alone = writer->take(grown(full_message(), 1, 3), scores, false);
  ASSERT_EQ(alone.size(), 1u);
  EXPECT_EQ((*parse_json(alone[0]))["choices"][0]["logprobs"], expected);
}

TEST(Logprobs, OfCompletionsCountCharacters) {
  const std::vector<claude::TokenScore> scores = {
      {.bytes = "\xC3\xBC", .logprob = -1, .top = {{"\xC3\xBC", -1}}},
      {.bytes = "b", .logprob = -2, .top = {}}};
  const ReplyShape shape{.logprobs = true, .top_logprobs = 1, .echo = "\xC3\xA4p"};
  api::Message message;
  message.id = "msg_1";
  message.content = {block(BlockKind::Text,
                           "\xC3\xBC"
                           "b")};
  const auto json = *parse_json(completion_json(message, scores, shape, kStamp));
  EXPECT_EQ(json["choices"][0]["text"],
            "\xC3\xA4p\xC3\xBC"
            "b");
  EXPECT_EQ(json["choices"][0]["logprobs"],
            *parse_json(R"({"tokens":["ü","b"],"token_logprobs":[-1.0,-2.0],
                            "top_logprobs":[{"ü":-1.0},{}],"text_offset":[2,3]})"));
}

TEST(CompletionChunks, SayTheWholeTextFromEveryCut) {
  api::Message whole;
  whole.id = "msg_1";
  whole.model = "m";
  whole.content = {block(BlockKind::Text, "some text"), block(BlockKind::Text, " more")};
  whole.stop_reason = api::StopReason::MaxTokens;
  const ReplyShape shape{.include_usage = true, .echo = "in front "};
  for (std::size_t b = 0; b <= 2; ++b) {
    for (std::size_t n = 0; n < 10; ++n) {
      const auto writer = completion_chunks(shape, kStamp);
      auto chunks = writer->take(grown(whole, b, n), {}, false);
      for (auto& data : writer->take(whole, {}, true)) chunks.push_back(std::move(data));
      std::string text;
      Json finish, usage;
      for (const auto& data : chunks) {
        const auto chunk = *parse_json(data);
        EXPECT_EQ(chunk["object"], "text_completion");
        if (chunk["choices"].empty()) {
          usage = chunk["usage"];
          continue;
        }
        text += chunk["choices"][0]["text"].get<std::string>();
        finish = chunk["choices"][0]["finish_reason"];
      }
      const auto json = *parse_json(completion_json(whole, {}, shape, kStamp));
      EXPECT_EQ(text, "in front some text more");
      EXPECT_EQ(text, json["choices"][0]["text"]);
      EXPECT_EQ(finish, "length");
      EXPECT_EQ(usage, json["usage"]);
    }
  }
}

TEST(OpenAiError, HasItsShapeAndItsStatus) {
  struct Case {
    ErrorKind kind;
    const char* message;
    int status;
    const char* error;  // type, param, code
  };
  const Case cases[] = {
      {ErrorKind::InvalidRequest,
       "messages.0.role: is required",
       400,
       R"(["invalid_request_error","messages.0.role",null])"},
      {ErrorKind::InvalidRequest,
       "body: must be an object",
       400,
       R"(["invalid_request_error",null,null])"},
      {ErrorKind::InvalidRequest, "it is: so", 400, R"(["invalid_request_error",null,null])"},
      {ErrorKind::InvalidRequest,
       "prompt is too long: 9 tokens > 8 maximum",
       400,
       R"(["invalid_request_error",null,"context_length_exceeded"])"},
      {ErrorKind::Authentication, "no", 401, R"(["invalid_request_error",null,"invalid_api_key"])"},
      {ErrorKind::NotFound, "no", 404, R"(["invalid_request_error",null,null])"},
      {ErrorKind::MethodNotAllowed, "no", 405, R"(["invalid_request_error",null,null])"},
      {ErrorKind::TooLarge, "no", 413, R"(["invalid_request_error",null,null])"},
      {ErrorKind::UnsupportedMedia, "no", 415, R"(["invalid_request_error",null,null])"},
      {ErrorKind::RateLimited, "no", 429, R"(["rate_limit_error",null,"rate_limit_exceeded"])"},
      {ErrorKind::Overloaded, "no", 429, R"(["rate_limit_error",null,"rate_limit_exceeded"])"},
      {ErrorKind::Internal, "no", 500, R"(["server_error",null,null])"},
      {ErrorKind::Unavailable, "no", 503, R"(["server_error",null,null])"}};
  for (const Case& test : cases) {
    const Error error{.kind = test.kind, .message = test.message};
    const auto json = *parse_json(error_json(error));
    ASSERT_EQ(json.size(), 1u);
    const Json& inner = json["error"];
    EXPECT_EQ(inner["message"], test.message);
    EXPECT_EQ((Json::array({inner["type"], inner["param"], inner["code"]})),
              *parse_json(test.error))
        << test.message;
    EXPECT_EQ(http_status(test.kind), test.status);
  }
}

}  // namespace
}  // namespace pensieve::proxy
