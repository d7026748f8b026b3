// OpenAI's routes over real sockets, with answers that the test plays: shapes, streams as they lie
// on the wire, refusals in the right shape from every check, and the order of the checks.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "foundation/json.h"

#include "application/server/internal/test_support.h"

namespace pensieve::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class OpenAiRoutes : public ServerTest {
 protected:
  static Ask chat(const std::string& more = "", std::string path = "/v1/chat/completions") {
    return {.method = "POST",
            .path = std::move(path),
            .body = R"({"model":"gpt-x","messages":[{"role":"user","content":"hi"}])" + more + "}"};
  }
  static Ask completion(const std::string& more = "") {
    return {.method = "POST",
            .path = "/v1/completions",
            .body = R"({"model":"gpt-x","prompt":"once upon")" + more + "}"};
  }
  static Json json_of(const http::RawResponse& response) {
    auto json = parse_json(response.body);
    EXPECT_TRUE(json.has_value()) << response.body;
    return json ? *std::move(json) : Json();
  }
  static api::Message message(std::string text) {
    api::Message message;
    message.id = "msg_1";
    message.content.emplace_back().text = std::move(text);
    message.usage = {.input_tokens = 3, .output_tokens = 2};
    return message;
  }
};

TEST_F(OpenAiRoutes, AnswerAChat) {
  start();
  service_.play.event(api::message_stop(), true);
  for (const char* path : {"/v1/chat/completions", "/v1/v1/chat/completions"}) {
    const auto response = ask(chat("", path));
    EXPECT_EQ(response.status, 200);
    EXPECT_TRUE(response.header("request-id").starts_with("req_"));
    EXPECT_EQ(response.header("x-memory-status"), "safe");
    const Json json = json_of(response);
    EXPECT_EQ(json["object"], "chat.completion");
    EXPECT_EQ(json["model"], "gpt-x");
    EXPECT_EQ(json["choices"][0]["message"]["content"], "played");
    EXPECT_TRUE(json["system_fingerprint"].get<std::string>().starts_with("fp_"));
    EXPECT_GT(json["created"], 1'700'000'000);
  }
  EXPECT_EQ(service_.asked.model, "gpt-x");
  EXPECT_FALSE(service_.asked.top_logprobs.has_value());
}

TEST_F(OpenAiRoutes, CompleteAText) {
  start();
  service_.play.event(api::message_stop(), true);
  const Json json = json_of(ask(completion(R"(,"echo":true,"max_tokens":7)")));
  EXPECT_EQ(json["object"], "text_completion");
  EXPECT_EQ(json["choices"][0]["text"], "once uponplayed");
  EXPECT_EQ(service_.completed, "once upon");
  EXPECT_EQ(service_.asked.max_tokens, 7);
}

TEST_F(OpenAiRoutes, TellScores) {
  start();
  service_.play.scores({{.bytes = "played", .logprob = -0.5f, .top = {}}});
  service_.play.event(api::message_stop(), true);
  const Json json = json_of(ask(chat(R"(,"logprobs":true,"top_logprobs":2)")));
  EXPECT_EQ(service_.asked.top_logprobs, 2);
  EXPECT_EQ(json["choices"][0]["logprobs"]["content"][0]["logprob"], -0.5);
}

TEST_F(OpenAiRoutes, StreamChunksAsTheMessageGrows) {
  start({.limits = {.ping_interval = milliseconds(60'000)}});
  http::RawClient one = client();
  ASSERT_TRUE(
      one.send(bytes_of(chat(R"(,"stream":true,"stream_options":{"include_usage":true})"))));
  const auto head = one.read_head();  // before anything is known
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->status, 200);
  EXPECT_EQ(head->header("content-type"), "text/event-stream; charset=utf-8");
  const auto chunk = [&]() -> Json {
    const std::string bytes = one.read_chunk().value_or("");
    EXPECT_TRUE(bytes.starts_with("data: ") && bytes.ends_with("\n\n")) << bytes;
    EXPECT_EQ(bytes.find('\n'), bytes.size() - 2) << "one line for each event";
    return parse_json(std::string_view(bytes).substr(6, bytes.size() - 8)).has_value()
               ? *parse_json(std::string_view(bytes).substr(6, bytes.size() - 8))
               : Json();
  };
  service_.play.message(message(""));
  service_.play.event(api::message_start("msg_1", "m", {}));
  EXPECT_EQ(chunk()["choices"][0]["delta"]["role"], "assistant");
  service_.play.message(message("a \"line\"\nand"));
  EXPECT_EQ(chunk()["choices"][0]["delta"]["content"], "a \"line\"\nand");
  service_.play.message(message("a \"line\"\nand more"));
  EXPECT_EQ(chunk()["choices"][0]["delta"]["content"], " more");
  service_.play.event(api::message_stop(), true);
  const std::string end = one.read_chunk().value_or("");
  EXPECT_NE(end.find(R"("finish_reason":"stop")"), std::string::npos) << end;
  EXPECT_NE(end.find(R"("choices":[],"usage":{"prompt_tokens":3)"), std::string::npos) << end;
  EXPECT_TRUE(end.ends_with("\n\ndata: [DONE]\n\n")) << end;
  EXPECT_EQ(one.read_chunk(), "");
  ASSERT_TRUE(one.send(bytes_of({})));  // the connection goes on
  EXPECT_EQ(one.read_response()->status, 200);
}

TEST_F(OpenAiRoutes, PingWithComments) {
  start({.limits = {.ping_interval = milliseconds(30)}});
  http::RawClient one = client();
  ASSERT_TRUE(one.send(bytes_of(chat(R"(,"stream":true)"))));
  ASSERT_TRUE(one.read_head().has_value());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(one.read_chunk(), ": ping\n\n");
}

TEST_F(OpenAiRoutes, EndABrokenStreamWithOneError) {
  start();
  http::RawClient one = client();
  ASSERT_TRUE(one.send(bytes_of(chat(R"(,"stream":true)"))));
  ASSERT_TRUE(one.read_head().has_value());
  service_.play.event(api::message_start("msg_1", "m", {}));
  ASSERT_TRUE(one.read_chunk().has_value());
  service_.play.fail({.kind = ErrorKind::Internal, .message = "the device failed"});
  EXPECT_EQ(one.read_chunk(),
            "data: {\"error\":{\"message\":\"the device failed\",\"type\":\"server_error\","
            "\"param\":null,\"code\":null}}\n\n");
  EXPECT_EQ(one.read_chunk(), "");
  EXPECT_TRUE(one.ends_within(seconds(5)));
}

TEST_F(OpenAiRoutes, RefuseInTheirShapeAtEveryCheck) {
  start({.limits = {.body_bytes = 1000}});
  struct Case {
    const char* name;
    Ask ask;
    int status;
  };
  const auto changed = [&](const std::function<void(Ask&)>& change) {
    Ask ask = chat();
    change(ask);
    return ask;
  };
  const std::string wrong = "Authorization: Bearer wrong\r\n";
  const std::vector<Case> cases = {
      {"host", changed([](Ask& a) { a.host = "evil.example"; }), 403},
      {"origin", changed([](Ask& a) { a.fields = "Origin: https://evil.example\r\n"; }), 403},
      {"route", changed([](Ask& a) { a.path = "/v1/chat/nothing"; }), 404},
      {"route below", changed([](Ask& a) { a.path = "/v1/completions/x"; }), 404},
      {"method", {.method = "GET", .path = "/v1/chat/completions"}, 405},
      {"token", changed([&](Ask& a) { a.token = wrong; }), 401},
      {"type", changed([](Ask& a) { a.type = "Content-Type: text/plain\r\n"; }), 415},
      {"size", changed([](Ask& a) { a.body = std::string(1001, ' '); }), 413},
      {"body", changed([](Ask& a) { a.body = "{"; }), 400},
      {"field", chat(R"(,"n":3)"), 400},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.name);
    const auto response = ask(test.ask);
    EXPECT_EQ(response.status, test.status);
    EXPECT_EQ(response.header("content-type"), "application/json");
    EXPECT_TRUE(response.header("request-id").starts_with("req_"));
    const Json json = json_of(response);
    ASSERT_EQ(json.size(), 1u) << response.body;
    const Json& error = json["error"];
    ASSERT_TRUE(error.is_object()) << response.body;
    EXPECT_EQ(error.size(), 4u);
    EXPECT_FALSE(error["message"].get<std::string>().empty());
    EXPECT_EQ(error["type"], "invalid_request_error");
  }
  EXPECT_EQ(json_of(ask(chat(R"(,"n":3)")))["error"]["param"], "n");
  EXPECT_EQ(service_.answers, 0);
  // Elsewhere the shape is Anthropic's.
  EXPECT_EQ(json_of(ask({.method = "POST", .path = "/v1/nothing"}))["type"], "error");
}

TEST_F(OpenAiRoutes, RefuseWithTheStatusThatClientsOfThisApiKnow) {
  start();
  struct Case {
    Error error;
    int status;
    std::string retry_after;
  };
  const std::vector<Case> cases = {
      {{.kind = ErrorKind::Overloaded, .message = "busy"}, 429, "1"},
      {{.kind = ErrorKind::Unavailable, .message = "memory", .retry_after_s = 3}, 503, "3"},
      {{.kind = ErrorKind::InvalidRequest, .message = "prompt is too long: 9 tokens > 8 maximum"},
       400,
       ""},
      {{.kind = ErrorKind::NotImplemented, .message = "no"}, 501, ""}};
  for (const Case& test : cases) {
    for (const auto& request : {chat(), chat(R"(,"stream":true)"), completion()}) {
      service_.refusal = test.error;
      const auto response = ask(request);
      EXPECT_EQ(response.status, test.status) << test.error.message;
      EXPECT_EQ(response.header("retry-after"), test.retry_after);
      EXPECT_EQ(json_of(response)["error"]["message"], test.error.message);
    }
  }
}

TEST_F(OpenAiRoutes, DropTheAnswerOfAClientThatLeaves) {
  start();
  for (const auto& request : {chat(), chat(R"(,"stream":true)")}) {
    http::RawClient one = client();
    ASSERT_TRUE(one.send(bytes_of(request)));
    ASSERT_TRUE(eventually([&] { return service_.play.alive == 1; }));
    one.close();
    ASSERT_TRUE(eventually([&] { return service_.play.alive == 0; }));
  }
}

TEST_F(OpenAiRoutes, DrainInTheirShape) {
  start();
  http::RawClient reader = client();
  ASSERT_TRUE(reader.send(bytes_of(chat(R"(,"stream":true)"))));
  ASSERT_TRUE(reader.read_head().has_value());
  server_->drain(milliseconds(300));
  const auto last = reader.read_chunk();
  ASSERT_TRUE(last.has_value());
  EXPECT_TRUE(last->starts_with("data: {\"error\":{\"message\":\"the server is shutting down\""));
  EXPECT_EQ(reader.read_chunk(), "");
  EXPECT_TRUE(server_->wait_for(seconds(5)));
}

// Where a refusal may come late, it still has its status if it comes before the head has left.
TEST_F(OpenAiRoutes, GiveALateRefusalItsStatusOnBothFronts) {
  start({.stream_head_wait = seconds(60)});
  int answers = 0;
  for (const Ask& request : {chat(R"(,"stream":true)"), ServerTest::message(kStreamBody)}) {
    http::RawClient one = client();
    ASSERT_TRUE(one.send(bytes_of(request)));
    ++answers;
    ASSERT_TRUE(eventually([&] { return service_.answers == answers; }));
    service_.play.fail({.kind = ErrorKind::RateLimited, .message = "slow", .retry_after_s = 4});
    const auto response = one.read_response();
    ASSERT_TRUE(response.has_value());
    EXPECT_EQ(response->status, 429);
    EXPECT_EQ(response->header("retry-after"), "4");
    EXPECT_EQ(response->header("content-type"), "application/json");
  }
}

TEST_F(OpenAiRoutes, TellHealthWithoutAnEngine) {
  start({}, nullptr);
  const auto response = ask({});
  EXPECT_EQ(response.status, 200);
  EXPECT_FALSE(json_of(response).contains("engine"));
  EXPECT_TRUE(json_of(response).contains("backend"));
}

}  // namespace
}  // namespace pensieve::server
