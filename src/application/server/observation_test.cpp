// What can be seen of the server from outside: lines of the log, the status, alerts, the page; and
// what must never be seen there.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>

#include "foundation/json.h"
#include "foundation/log.h"

#include "domain/api/messages.h"

#include "application/server/internal/page.h"
#include "application/server/internal/test_support.h"

namespace pensieve::server {
namespace {

using std::chrono::seconds;

class Observation : public ServerTest {
 protected:
  void TearDown() override {
    server_.reset();
    log_to_standard_error();
    configure_log(LogLevel::Info, LogFormat::Text);
  }

  // The lines of the log, as objects, while `action` runs; requests are logged when their answers
  // have left, so it waits for `n` lines with the message.
  std::vector<Json> logged(const std::string& message, std::size_t n, auto&& action) {
    std::string name = testing::TempDir() + "pensieve-observation-XXXXXX";
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    const std::string path = name + "/log";
    configure_log(LogLevel::Debug, LogFormat::JsonLines);
    EXPECT_TRUE(log_to_file({.path = path}).has_value());
    action();
    std::vector<Json> lines;
    EXPECT_TRUE(eventually([&] {
      lines.clear();
      std::ifstream file(path);
      for (std::string line; std::getline(file, line);) {
        Json json = Json::parse(line, nullptr, false);
        EXPECT_FALSE(json.is_discarded()) << line;
        if (json["message"] == message) lines.push_back(std::move(json));
      }
      return lines.size() >= n;
    })) << message;
    std::ifstream file(path);
    log_ = std::string(std::istreambuf_iterator<char>(file), {});
    std::filesystem::remove_all(name);
    return lines;
  }

  Json get(const std::string& path) {
    const auto response = ask({.path = path});
    EXPECT_EQ(response.status, 200);
    auto json = parse_json(response.body);
    EXPECT_TRUE(json.has_value()) << response.body;
    return json ? *json : Json::object();
  }

  std::string log_;
};

TEST_F(Observation, EveryRequestToTheModelIsOneLine) {
  start();
  service_.play.cache({.hit = 30, .restored = 64, .missed = 6});
  api::Message message;
  message.usage.output_tokens = 5;
  service_.play.message(message);
  service_.play.event(api::message_stop(), true);
  std::vector<std::string> ids;
  const auto lines = logged("request answered", 2, [&] {
    for (const std::string_view body : {kBody, kStreamBody}) {
      ids.push_back(ask(ServerTest::message(body)).header("request-id"));
    }
  });
  ASSERT_EQ(lines.size(), 2u) << log_;
  for (std::size_t i = 0; i < 2; ++i) {
    const Json& line = lines[i];
    EXPECT_EQ(line.at("request_id"), ids[i]);
    EXPECT_EQ(line.at("level"), "info");
    EXPECT_EQ(line.at("method"), "POST");
    EXPECT_EQ(line.at("route"), "/v1/messages");
    EXPECT_EQ(line.at("status"), 200);
    EXPECT_EQ(line.at("prompt_tokens"), 100);
    EXPECT_EQ(line.at("hit_tokens"), 30);
    EXPECT_EQ(line.at("restored_tokens"), 64);
    EXPECT_EQ(line.at("output_tokens"), 5);
    for (const char* time : {"duration_s", "queue_s", "prefill_s", "first_token_s", "decode_s"}) {
      EXPECT_GE(line.at(time).get<double>(), 0) << time;
      EXPECT_LT(line.at(time).get<double>(), 20) << time;
    }
    EXPECT_GT(line.at("peak_resident_mib").get<int>(), 1);
  }
}

TEST_F(Observation, TheLineSaysHowARequestEnded) {
  start({.stream_head_wait = seconds(0)});
  auto lines = logged("request refused", 2, [&] {
    EXPECT_EQ(ask(message("{}")).status, 400);
    EXPECT_EQ(ask({.path = "/v1/models", .token = ""}).status, 401);
  });
  ASSERT_EQ(lines.size(), 2u) << log_;
  EXPECT_EQ(lines[0].at("status"), 400);
  EXPECT_EQ(lines[1].at("status"), 401);
  EXPECT_EQ(lines[1].at("route"), "/v1/models");
  EXPECT_TRUE(lines[1].at("request_id").get<std::string>().starts_with("req_"));

  lines = logged("request left", 1, [&] {
    http::RawClient one = client();
    ASSERT_TRUE(one.send(bytes_of(message(kStreamBody))));
    ASSERT_TRUE(eventually([&] { return service_.play.alive == 1; }));
    one.close();
  });
  EXPECT_EQ(lines.size(), 1u) << log_;

  lines = logged("request failed", 1, [&] {
    http::RawClient one = client();
    ASSERT_TRUE(one.send(bytes_of(message(kStreamBody))));
    service_.play.event(api::message_start("msg_1", "m", {}));
    ASSERT_TRUE(eventually([&] { return service_.play.alive == 1; }));
    service_.play.fail({.kind = ErrorKind::Internal, .message = "the engine failed"});
    ASSERT_TRUE(one.read_response().has_value());
  });
  EXPECT_EQ(lines.size(), 1u) << log_;

  const Json seen = get("/health").at("performance").at("last_300_s");
  EXPECT_EQ(seen.at("requests"), 3);
  EXPECT_EQ(seen.at("refused"), 1) << "a wrong token is no request to the model";
  EXPECT_EQ(seen.at("left"), 1);
  EXPECT_EQ(seen.at("failed"), 1);
  EXPECT_EQ(seen.at("error_rate"), 1.0);
}

// A prompt, an answer and tokens, right and wrong, in every field a client can fill.
TEST_F(Observation, NothingSecretIsSeenAnywhere) {
  start();
  const std::string prompt = "canary-prompt-7351", answer = "canary-answer-7352",
                    wrong = "canary-token-7353", session = "canary\x1b[31m-session\r";
  api::Message message;
  message.content.emplace_back().text = answer;
  message.usage.output_tokens = 3;
  service_.play.message(message);
  service_.play.cache({.hit = 0,
                       .restored = 0,
                       .missed = 2000,
                       .miss = claude::PrefixMiss{.n_common = 1,
                                                  .part = "the system prompt",
                                                  .now = prompt,
                                                  .kept = answer,
                                                  .same_session = false}});
  service_.play.event(api::message_stop(), true);
  const std::string body = R"({"model":"m","max_tokens":16,"system":")" + prompt +
                           R"(","metadata":{"user_id":")" + prompt +
                           R"("},"messages":[{"role":"user","content":")" + prompt + R"("}]})";
  std::string shown;
  logged("request answered", 1, [&] {
    EXPECT_EQ(ask(ServerTest::message(body)).status, 200);
    shown += ask({.method = "POST",
                  .path = "/v1/messages",
                  .token = "x-api-key: " + wrong + "\r\n",
                  .body = body})
                 .body;
    shown += ask({.method = "POST",
                  .path = "/v1/messages",
                  .token = "Authorization: Bearer " + wrong + "\r\n",
                  .body = body})
                 .body;
    shown +=
        ask(ServerTest::message(R"({"messages":[{"role":"user","content":")" + prompt + "\"}]"))
            .body;
    shown += ask({.path = "/v1/models?key=" + wrong}).body;
  });
  const auto response = ask({.path = "/metrics"});
  for (const std::string& text :
       {log_, shown, response.body, get("/health").dump(), get("/v1/pensieve/status").dump()}) {
    EXPECT_EQ(text.find("canary-"), std::string::npos) << text;
    EXPECT_EQ(text.find(kToken), std::string::npos) << text;
  }
  EXPECT_NE(log_.find("the system prompt"), std::string::npos) << "the miss was logged";
}

TEST_F(Observation, TheStatusShowsWhatRuns) {
  start();
  EXPECT_EQ(ask({.path = "/v1/pensieve/status", .token = ""}).status, 401);
  EXPECT_TRUE(get("/v1/pensieve/status").at("requests").empty());
  http::RawClient one = client();
  ASSERT_TRUE(one.send(bytes_of(message(kStreamBody))));
  ASSERT_TRUE(eventually([&] { return service_.play.alive == 1; }));
  const auto request = [&] {
    const Json requests = get("/v1/pensieve/status").at("requests");
    EXPECT_EQ(requests.size(), 1u);
    return requests.empty() ? Json::object() : requests.at(0);
  };
  EXPECT_EQ(request().at("phase"), "waiting");
  service_.play.prompt_tokens = 1000;
  service_.play.cache({.hit = 100, .restored = 28, .missed = 872});
  service_.play.event(api::message_start("msg_1", "m", {}));
  ASSERT_TRUE(eventually([&] { return request().at("phase") == "prefill"; }));
  service_.play.prefilled_tokens = 640;
  Json now = request();
  EXPECT_EQ(now.at("prompt_tokens"), 1000);
  EXPECT_EQ(now.at("cached_tokens"), 128);
  EXPECT_EQ(now.at("prefilled_tokens"), 640);
  EXPECT_EQ(now.at("route"), "/v1/messages");
  service_.play.output_tokens = 7;
  now = request();
  EXPECT_EQ(now.at("phase"), "decode");
  EXPECT_EQ(now.at("output_tokens"), 7);
  service_.play.event(api::message_stop(), true);
  EXPECT_TRUE(one.read_response().has_value());
  EXPECT_TRUE(eventually([&] { return get("/v1/pensieve/status").at("requests").empty(); }));
}

TEST_F(Observation, LookingAtTheStatusIsNoUseOfTheServer) {
  start();
  ASSERT_TRUE(eventually([&] { return server_->idle() > std::chrono::milliseconds(20); }));
  const auto before = server_->idle();
  get("/v1/pensieve/status");
  EXPECT_GE(server_->idle(), before);
}

TEST_F(Observation, AnAlertIsLoggedOnceAndShownEverywhere) {
  std::atomic<std::uint64_t> available{8 * kGiB};
  start({.read_memory = [&available] {
    return MemoryState::of({.total_bytes = 16 * kGiB, .available_bytes = available, .known = true});
  }});
  EXPECT_TRUE(get("/health").at("alerts").empty());
  available = kGiB * 3 / 4;
  const auto lines = logged("0.75 GiB of memory are available to all programs.", 1, [&] {
    ASSERT_TRUE(eventually([&] { return !get("/health").at("alerts").empty(); }));
    for (int i = 0; i < 20; ++i) get("/v1/pensieve/status");
  });
  EXPECT_EQ(lines.size(), 1u) << log_;
  EXPECT_EQ(lines.at(0).at("level"), "critical");
  EXPECT_EQ(lines.at(0).at("alert"), "high_memory");
  const Json alert = get("/v1/pensieve/status").at("alerts").at(0);
  EXPECT_EQ(alert.at("name"), "high_memory");
  EXPECT_EQ(alert.at("level"), "critical");
  const std::string metrics = ask({.path = "/metrics"}).body;
  EXPECT_NE(metrics.find("pensieve_alert_level{alert=\"high_memory\"} 3"), std::string::npos);
  EXPECT_NE(metrics.find("pensieve_alert_level{alert=\"high_latency\"} 0"), std::string::npos);
}

TEST_F(Observation, ThePageIsForEveryoneWhoMayAskThisServer) {
  start();
  const auto page = ask({.path = "/", .token = ""});
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.header("content-type"), "text/html; charset=utf-8");
  EXPECT_EQ(page.body, page_html());
  const std::string policy = page.header("content-security-policy");
  for (const char* part : {"default-src 'none'",
                           "script-src 'sha256-",
                           "style-src 'sha256-",
                           "frame-ancestors 'none'",
                           "base-uri 'none'",
                           "form-action 'none'"}) {
    EXPECT_NE(policy.find(part), std::string::npos) << policy;
  }
  EXPECT_EQ(policy.find("unsafe"), std::string::npos) << policy;
  EXPECT_EQ(page.header("x-content-type-options"), "nosniff");
  EXPECT_EQ(page.header("referrer-policy"), "no-referrer");
  EXPECT_EQ(ask({.path = "/", .host = "evil.example", .token = ""}).status, 403);
  EXPECT_EQ(ask({.path = "/", .token = "", .fields = "Origin: http://evil.example\r\n"}).status,
            403);
}

TEST_F(Observation, ThePageLoadsNothingFromElsewhere) {
  const std::string html(page_html());
  EXPECT_LT(html.size(), 64u * 1024);
  EXPECT_FALSE(std::regex_search(html, std::regex(R"((src|href|action)\s*=\s*["']?(https?:)?//)")));
  EXPECT_FALSE(
      std::regex_search(html, std::regex(R"(url\(|@import|<iframe|<object|<link[^>]*stylesheet)")));
  EXPECT_FALSE(std::regex_search(html, std::regex(R"(<[a-z][^>]*\s(on[a-z]+|style)\s*=)")))
      << "the policy forbids handlers and styles in attributes";
  EXPECT_FALSE(std::regex_search(
      html, std::regex(R"(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\()")))
      << "what a model says is text";
}

}  // namespace
}  // namespace pensieve::server
