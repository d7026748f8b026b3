// The routes over real sockets: methods, shapes, headers, streams, refusals and the end, with
// answers that the test plays.
#include "application/server/server.h"

#include <gtest/gtest.h>

#include "foundation/json.h"

#include "domain/api/messages.h"

#include "application/http/response_writer.h"
#include "application/server/internal/test_support.h"

namespace pensieve::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

Json json_of(const http::RawResponse& response) {
  auto json = parse_json(response.body);
  EXPECT_TRUE(json.has_value()) << response.body;
  return json ? *json : Json::object();
}

std::string sse(const api::Event& event) {
  return http::sse_event(event.name, event.json);
}

TEST_F(ServerTest, NamesTheMethodsOfEachRoute) {
  start();
  const std::vector<std::pair<std::string, std::string>> allowed = {
      {"/v1/messages", "POST"},
      {"/v1/v1/messages", "POST"},
      {"/v1/messages?beta=true", "POST"},
      {"/v1/messages/count_tokens", "POST"},
      {"/v1/models", "GET, HEAD"},
      {"/v1/models/x", "GET, HEAD"},
      {"/health", "GET, HEAD"},
      {"/", "GET, HEAD"},
      {"/v1/pensieve/status", "GET, HEAD"},
      {"/api/hello", "GET, HEAD"},
      {"/api/event_logging/batch", "POST"}};
  for (const auto& [path, methods] : allowed) {
    for (const std::string method :
         {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"}) {
      if (methods.find(method) != std::string::npos) continue;
      const auto response = ask({.method = method, .path = path});
      EXPECT_EQ(response.status, 405) << method << " " << path;
      EXPECT_EQ(response.header("allow"), methods) << method << " " << path;
    }
    EXPECT_EQ(ask({.method = "FROB", .path = path}).status, 501) << path;
  }
  EXPECT_EQ(ask({.method = "CONNECT", .path = "127.0.0.1:80"}).status, 405);
  for (const std::string path : {"/v1",
                                 "/v1/",
                                 "/v1/model",
                                 "/v1/messages/",
                                 "/v1/models/",
                                 "//health",
                                 "/HEALTH",
                                 "/v1/v1/v1/messages",
                                 "/metrics/x",
                                 "/debug/pprof",
                                 "/slots"}) {
    const auto response = ask({.path = path});
    EXPECT_EQ(response.status, 404) << path;
    EXPECT_EQ(json_of(response)["error"]["type"], "not_found_error") << path;
  }
}

TEST_F(ServerTest, PutsIdAndMemoryOnEveryAnswer) {
  start();
  service_.refusal = Error{.kind = ErrorKind::Overloaded, .message = "busy"};
  std::vector<http::RawResponse> responses;
  responses.push_back(ask({}));
  responses.push_back(ask({.method = "HEAD", .path = "/api/hello"}));
  responses.push_back(ask({.path = "/nowhere"}));
  responses.push_back(ask({.host = "evil.example"}));
  responses.push_back(ask({.path = "/v1/models", .token = ""}));
  responses.push_back(ask(message()));
  responses.push_back(ask({.fields = "Content-Length: x\r\n"}));
  std::string last_id;
  for (const auto& response : responses) {
    SCOPED_TRACE(response.head);
    EXPECT_TRUE(response.header("request-id").starts_with("req_"));
    EXPECT_NE(response.header("request-id"), last_id);
    last_id = response.header("request-id");
    EXPECT_EQ(response.header("x-memory-status"), "safe");
    EXPECT_EQ(response.header("x-available-memory-gb"), "8.00");
    EXPECT_EQ(response.header("date").size(), 29U);
    EXPECT_EQ(response.header("content-type"), "application/json");
  }
}

TEST_F(ServerTest, ListsItsModelInTheShapeTheClientKnows) {
  start();
  const std::string version = "anthropic-version: 2023-06-01\r\n";
  const Json anthropic = json_of(ask({.path = "/v1/models?limit=1000", .fields = version}));
  EXPECT_EQ(anthropic["data"][0]["id"], "pensieve-tiny");
  EXPECT_EQ(anthropic["data"][0]["type"], "model");
  EXPECT_EQ(anthropic["data"][0]["display_name"], "Pensieve Tiny");
  EXPECT_EQ(anthropic["has_more"], false);
  const Json openai = json_of(ask({.path = "/v1/models"}));
  EXPECT_EQ(openai["object"], "list");
  EXPECT_EQ(openai["data"][0]["object"], "model");
  EXPECT_EQ(openai["data"][0]["created"], 1'700'000'000);
  EXPECT_EQ(json_of(ask({.path = "/v1/models/pensieve-tiny", .fields = version}))["type"], "model");
  EXPECT_EQ(json_of(ask({.path = "/v1/models/pensieve%2Dtiny"}))["object"], "model");
  for (const std::string id : {"claude-x",
                               "../../etc/passwd",
                               "%2e%2e%2fx",
                               "pensieve-tiny%00",
                               "pensieve-tiny%",
                               "pensieve-tiny/"}) {
    EXPECT_EQ(ask({.path = "/v1/models/" + id}).status, 404) << id;
  }
}

TEST_F(ServerTest, TellsItsHealthToThoseWithTheToken) {
  start();
  const auto held = accountant_.reserve(MemoryUse::Kv, 12345);
  ASSERT_TRUE(held.has_value());
  EXPECT_EQ(ask({.token = ""}).body, R"({"status":"ok"})");
  const Json health = json_of(ask({}));
  EXPECT_EQ(health["status"], "ok");
  EXPECT_EQ(health["model"], "pensieve-tiny");
  EXPECT_EQ(health["version"], "0.1.0");
  EXPECT_EQ(health["backend"], "cpu");
  EXPECT_EQ(health["kernels"], "scalar");
  EXPECT_EQ(health["context_length"], 4096);
  EXPECT_EQ(health["memory"]["level"], "safe");
  EXPECT_EQ(health["memory"]["available_bytes"], 8 * kGiB);
  EXPECT_EQ(health["memory"]["total_bytes"], 16 * kGiB);
  EXPECT_EQ(health["memory"]["held"]["kv_bytes"], 12345);
  EXPECT_EQ(health["engine"]["requests"], 7);
  EXPECT_GE(health["uptime_s"], 0);
}

// The clock is the real one: an hour cannot pass in between, a second can.
TEST_F(ServerTest, KnowsSinceWhenNobodyHasUsedIt) {
  using std::chrono::milliseconds;
  start();
  const auto rested = [&](milliseconds at_least) {
    return eventually([&] { return server_->idle() >= at_least; });
  };
  ASSERT_TRUE(rested(milliseconds(200)));
  EXPECT_EQ(ask({.token = ""}).status, 200);  // a stranger's probe
  EXPECT_GE(server_->idle(), milliseconds(200));
  EXPECT_EQ(ask({.path = "/v1/models", .token = ""}).status, 401);
  EXPECT_GE(server_->idle(), milliseconds(200));

  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(ask({}).status, 200);
  const auto idle = server_->idle();
  EXPECT_LE(idle, std::chrono::steady_clock::now() - before);

  http::RawClient one = client();
  ASSERT_TRUE(one.send(bytes_of(message())));
  ASSERT_TRUE(eventually([&] { return service_.play.alive == 1; }));
  const auto sent = std::chrono::steady_clock::now();
  ASSERT_TRUE(
      eventually([&] { return std::chrono::steady_clock::now() - sent > milliseconds(50); }));
  EXPECT_LT(server_->idle(), milliseconds(1)) << "an answer is under way";
  service_.play.event({}, true);
  EXPECT_TRUE(one.read_response().has_value());
  EXPECT_TRUE(rested(milliseconds(50)));
}

TEST_F(ServerTest, AnswersTheProbesOfClients) {
  start();
  for (const std::string path : {"/", "/api/hello"}) {
    const auto head = ask({.method = "HEAD", .path = path, .token = ""});
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.body, "");
  }
  EXPECT_EQ(ask({.method = "POST", .path = "/api/event_logging/batch", .body = "{}"}).status, 200);
}

TEST_F(ServerTest, AnswersAMessageAsJson) {
  start();
  service_.play.event(api::message_stop(), true);
  Ask with_group = message();
  with_group.path = "/v1/v1/messages?beta=true";
  with_group.fields = "x-claude-code-session-id: session-1\r\n";
  const auto response = ask(with_group);
  EXPECT_EQ(response.status, 200);
  const Json json = json_of(response);
  EXPECT_EQ(json["type"], "message");
  EXPECT_EQ(json["model"], "claude-x");
  EXPECT_EQ(json["content"][0]["text"], "played");
  EXPECT_EQ(service_.group, "session-1");
}

TEST_F(ServerTest, CountsTokens) {
  start();
  const auto response =
      ask({.method = "POST",
           .path = "/v1/messages/count_tokens",
           .body = R"({"model":"m","messages":[{"role":"user","content":"hi"}]})"});
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, R"({"input_tokens":42})");
}

TEST_F(ServerTest, StreamsEventsAsTheyCome) {
  start();
  http::RawClient one = client();
  ASSERT_TRUE(one.send(bytes_of(message(kStreamBody))));
  const auto head = one.read_head();  // before any event exists
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->status, 200);
  EXPECT_EQ(head->header("content-type"), "text/event-stream; charset=utf-8");
  EXPECT_EQ(head->header("cache-control"), "no-cache");
  EXPECT_TRUE(head->header("request-id").starts_with("req_"));
  EXPECT_EQ(head->header("x-memory-status"), "safe");
  for (const auto& event : {api::message_start("msg_1", "m", {}),
                            api::text_block_start(0),
                            api::text_delta(0, "a \"line\"\nand more"),
                            api::block_stop(0)}) {
    service_.play.event(event);
    EXPECT_EQ(one.read_chunk(), sse(event));
  }
  service_.play.event(api::message_stop(), true);
  EXPECT_EQ(one.read_chunk(), sse(api::message_stop()));
  EXPECT_EQ(one.read_chunk(), "");
  // The connection goes on.
  ASSERT_TRUE(one.send(bytes_of({})));
  EXPECT_EQ(one.read_response()->status, 200);
}

TEST_F(ServerTest, PingsWhileTheModelReadsThePrompt) {
  start({.limits = {.ping_interval = milliseconds(30)}});
  http::RawClient one = client();
  ASSERT_TRUE(one.send(bytes_of(message(kStreamBody))));
  ASSERT_TRUE(one.read_head().has_value());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(one.read_chunk(), sse(api::ping()));
}

TEST_F(ServerTest, EndsABrokenStreamWithOneErrorEvent) {
  start();
  http::RawClient one = client();
  ASSERT_TRUE(one.send(bytes_of(message(kStreamBody))));
  const auto head = one.read_head();
  ASSERT_TRUE(head.has_value());
  service_.play.event(api::message_start("msg_1", "m", {}));
  ASSERT_TRUE(one.read_chunk().has_value());
  const Error error{.kind = ErrorKind::Internal, .message = "the device failed"};
  service_.play.fail(error);
  EXPECT_EQ(one.read_chunk(), sse(api::error_event(error, head->header("request-id"))));
  EXPECT_EQ(one.read_chunk(), "");
  EXPECT_TRUE(one.ends_within(seconds(5)));
  EXPECT_EQ(service_.play.alive, 0);
}

TEST_F(ServerTest, AnswersAnErrorBeforeTheFirstByteWithItsStatus) {
  start();
  struct Case {
    Error error;
    int status;
    std::string retry_after;
    std::string should_retry;
  };
  const std::vector<Case> cases = {
      {{.kind = ErrorKind::InvalidRequest, .message = "prompt is too long: 9 tokens > 8 maximum"},
       400,
       "",
       ""},
      {{.kind = ErrorKind::Overloaded, .message = "busy"}, 529, "1", ""},
      {{.kind = ErrorKind::Overloaded, .message = "busy", .retry_after_s = 7}, 529, "7", ""},
      {{.kind = ErrorKind::Overloaded, .message = "busy", .retry_after_s = 600}, 529, "10", ""},
      {{.kind = ErrorKind::Unavailable, .message = "memory", .retry_after_s = 3}, 503, "3", ""},
      {{.kind = ErrorKind::Unavailable, .message = "cannot ever fit"}, 503, "", "false"},
      {{.kind = ErrorKind::Internal, .message = "the device failed"}, 500, "", ""}};
  for (const Case& test : cases) {
    for (const std::string_view body : {kBody, kStreamBody}) {
      service_.refusal = test.error;
      const auto response = ask(message(body));
      SCOPED_TRACE(test.error.message);
      EXPECT_EQ(response.status, test.status);
      EXPECT_EQ(response.header("retry-after"), test.retry_after);
      EXPECT_EQ(response.header("x-should-retry"), test.should_retry);
      EXPECT_EQ(response.header("content-type"), "application/json");
      EXPECT_EQ(json_of(response)["error"]["message"], test.error.message);
      EXPECT_EQ(json_of(response)["request_id"], response.header("request-id"));
    }
  }
  service_.refusal.reset();
  service_.play.fail({.kind = ErrorKind::Internal, .message = "later"});
  EXPECT_EQ(ask(message()).status, 500);  // not streamed: still a status
}

TEST_F(ServerTest, RefusesNewWorkWhenMemoryIsCritical) {
  std::atomic<std::uint64_t> available{kWarningAboveBytes};
  start({.read_memory = [&] {
    return MemoryState::of(
        SystemMemory{.total_bytes = 16 * kGiB, .available_bytes = available.load(), .known = true});
  }});
  const auto response = ask(message());
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.header("retry-after"), "5");
  EXPECT_EQ(response.header("x-memory-status"), "critical");
  EXPECT_NE(response.body.find("1024 MiB of 16384 MiB"), std::string::npos);
  EXPECT_EQ(service_.answers, 0);
  EXPECT_EQ(ask({}).status, 200);
  EXPECT_EQ(ask({.path = "/v1/models"}).status, 200);
  EXPECT_EQ(ask({.method = "POST",
                 .path = "/v1/messages/count_tokens",
                 .body = R"({"model":"m","messages":[{"role":"user","content":"hi"}]})"})
                .status,
            200);
  available = kWarningAboveBytes + 1;
  service_.play.event(api::message_stop(), true);
  EXPECT_TRUE(eventually([&] { return ask(message()).status == 200; }));  // the next sample
}

TEST_F(ServerTest, DropsTheAnswerOfAClientThatLeaves) {
  start();
  for (const std::string_view body : {kBody, kStreamBody}) {
    http::RawClient one = client();
    ASSERT_TRUE(one.send(bytes_of(message(body))));
    ASSERT_TRUE(eventually([&] { return service_.play.alive == 1; }));
    const auto left = std::chrono::steady_clock::now();
    one.close();
    ASSERT_TRUE(eventually([&] { return service_.play.alive == 0; }));
    EXPECT_LT(std::chrono::steady_clock::now() - left, milliseconds(250));
  }
  EXPECT_TRUE(eventually([&] { return server_->connections() == 0; }));
}

TEST_F(ServerTest, DrainsInOrder) {
  start();
  http::RawClient reader = client();
  ASSERT_TRUE(reader.send(bytes_of(message(kStreamBody))));
  const auto head = reader.read_head();
  ASSERT_TRUE(head.has_value());
  http::RawClient health = client();
  http::RawClient other = client();
  for (http::RawClient* kept : {&health, &other}) {
    ASSERT_TRUE(kept->send(bytes_of({})));
    EXPECT_EQ(kept->read_response()->status, 200);
  }
  server_->drain(milliseconds(700));
  ASSERT_TRUE(health.send(bytes_of({.token = ""})));
  const auto draining = health.read_response();
  ASSERT_TRUE(draining.has_value());
  EXPECT_EQ(draining->status, 503);
  EXPECT_EQ(draining->body, R"({"status":"draining"})");
  EXPECT_EQ(draining->header("connection"), "close");
  ASSERT_TRUE(other.send(bytes_of(message())));
  const auto refused = other.read_response();
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->status, 503);
  EXPECT_EQ(refused->header("retry-after"), "5");
  EXPECT_EQ(refused->header("connection"), "close");
  const auto last = reader.read_chunk();
  ASSERT_TRUE(last.has_value());
  EXPECT_TRUE(last->starts_with("event: error\n"));
  EXPECT_NE(last->find(R"("overloaded_error")"), std::string::npos);
  EXPECT_NE(last->find(head->header("request-id")), std::string::npos);
  EXPECT_EQ(reader.read_chunk(), "");
  EXPECT_TRUE(reader.ends_within(seconds(5)));
  EXPECT_TRUE(server_->wait_for(seconds(5)));
  EXPECT_EQ(service_.play.alive, 0);
}

TEST_F(ServerTest, SaysItsAddress) {
  start();
  EXPECT_EQ(server_->url(), "http://127.0.0.1:" + std::to_string(server_->port()));
}

}  // namespace
}  // namespace pensieve::server
