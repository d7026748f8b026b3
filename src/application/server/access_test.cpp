// Who may ask: the order of the checks, hosts, origins, the token, and what a web page can send. No
// refused request may reach a handler.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "foundation/json.h"

#include "application/server/internal/page.h"
#include "application/server/internal/routes.h"
#include "application/server/internal/test_support.h"

namespace pensieve::server {
namespace {

using Access = ServerTest;

std::string error_type(const http::RawResponse& response) {
  const auto json = parse_json(response.body);
  if (!json || !json->contains("error")) return "not an error: " + response.body;
  EXPECT_EQ((*json)["type"], "error");
  EXPECT_EQ((*json)["request_id"], response.header("request-id"));
  return (*json)["error"]["type"].get<std::string>();
}

// A request that is wrong in every way gets the answer of the first check; mended, of the next.
TEST_F(Access, ChecksInTheOrderOfWhatAStrangerMayLearn) {
  start({.limits = {.body_bytes = 1000}});
  service_.refusal = Error{.kind = ErrorKind::Overloaded, .message = "busy"};
  Ask ask{.method = "POST",
          .path = "/nowhere",
          .host = "evil.example",
          .token = "x-api-key: wrong\r\n",
          .type = "Content-Type: text/plain\r\n",
          .fields = "Origin: http://evil.example\r\nContent-Length: 1\r\n",
          .body = std::string(1001, 'x')};
  EXPECT_EQ(this->ask(ask).status, 400);  // two lengths
  ask.fields = "Origin: http://evil.example\r\n";
  const auto host = this->ask(ask);
  EXPECT_EQ(host.status, 403);
  EXPECT_NE(host.body.find("host"), std::string::npos);
  ask.host.clear();
  const auto origin = this->ask(ask);
  EXPECT_EQ(origin.status, 403);
  EXPECT_NE(origin.body.find("origin"), std::string::npos);
  ask.fields.clear();
  EXPECT_EQ(this->ask(ask).status, 404);
  ask.path = "/v1/models";
  EXPECT_EQ(this->ask(ask).status, 405);
  ask.path = "/v1/messages";
  EXPECT_EQ(this->ask(ask).status, 401);
  ask.token = "x-api-key: " + std::string(kToken) + "\r\n";
  EXPECT_EQ(this->ask(ask).status, 415);
  ask.type = "Content-Type: application/json\r\n";
  EXPECT_EQ(this->ask(ask).status, 413);
  ask.body = "{]";
  EXPECT_EQ(this->ask(ask).status, 400);
  ask.body = R"({"model":"m","messages":[]})";
  EXPECT_EQ(this->ask(ask).status, 400);
  EXPECT_EQ(service_.answers, 0);
  ask.body = kBody;
  EXPECT_EQ(this->ask(ask).status, 529);
  EXPECT_EQ(service_.answers, 1);
}

TEST_F(Access, AnswersToItsOwnNamesOnly) {
  start({.allowed_hosts = {"pensieve.lan", "proxy.lan:8443"}});
  const std::string port = ":" + std::to_string(server_->port());
  for (const std::string& good : {"127.0.0.1" + port,
                                  "localhost" + port,
                                  "LOCALHOST" + port,
                                  "[::1]" + port,
                                  std::string("pensieve.lan"),
                                  "pensieve.lan" + port,
                                  std::string("proxy.lan:8443")}) {
    EXPECT_EQ(ask({.host = good}).status, 200) << good;
  }
  for (const std::string& bad : {std::string("localhost"),
                                 std::string("127.0.0.1"),
                                 std::string("localhost:1"),
                                 "evil.example" + port,
                                 "localhost.evil.example" + port,
                                 "printer.local" + port,
                                 "localhost." + port,
                                 "127.0.0.1." + port,
                                 "2130706433" + port,
                                 "0177.0.0.1" + port,
                                 "0x7f.0.0.1" + port,
                                 "127.1" + port,
                                 "0.0.0.0" + port,
                                 "[::ffff:127.0.0.1]" + port,
                                 "[::]" + port,
                                 std::string("pensieve.lan:1"),
                                 std::string("proxy.lan")}) {
    const auto response = ask({.path = "/v1/models", .host = bad});
    EXPECT_EQ(response.status, 403) << bad;
    EXPECT_EQ(error_type(response), "permission_error") << bad;
    EXPECT_EQ(response.header("access-control-allow-origin"), "") << bad;
  }
}

// RELIABILITY, case 63: on every address that it may be bound to, and before anything runs.
TEST_F(Access, AnswersToItsOwnNamesOnlyOnEveryAddress) {
  for (const char* address : {"0.0.0.0", "127.0.0.1", "localhost"}) {
    start({.host = address});
    const std::string port = ":" + std::to_string(server_->port());
    for (const std::string& bad :
         {"evil.example" + port, "printer.local" + port, "10.0.0.1" + port}) {
      Ask one = message();
      one.host = bad;
      EXPECT_EQ(ask(one).status, 403) << address << " " << bad;
    }
    EXPECT_EQ(ask({.host = "localhost" + port}).status, 200) << address;
  }
  EXPECT_EQ(service_.answers, 0);
}

// Nobody comes to a unix socket by a name, so any will do. Everything else is asked as on the port.
TEST_F(Access, AsksTheSameOverAUnixSocketButForTheName) {
  std::string directory = testing::TempDir() + "pensieve-access-XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  const std::string path = directory + "/socket";
  start({.unix_socket = path});
  for (const char* name : {"localhost", "anything.example", "localhost:1"})
    EXPECT_EQ(ask_over(path, {.path = "/v1/models", .host = name}).status, 200) << name;
  EXPECT_EQ(ask_over(path, {.path = "/v1/models", .token = ""}).status, 401);
  EXPECT_EQ(ask_over(path, {.fields = "Origin: http://evil.example\r\n"}).status, 403);
  Ask form = message();
  form.type = "Content-Type: text/plain\r\n";
  EXPECT_EQ(ask_over(path, form).status, 415);
  // A request on the port after all of these is under the port's rules.
  EXPECT_EQ(ask({.host = "anything.example"}).status, 403);
  server_.reset();
  std::filesystem::remove_all(directory);
}

TEST_F(Access, JudgesAnAbsoluteTargetByItsOwnHost) {
  start();
  const std::string port = ":" + std::to_string(server_->port());
  EXPECT_EQ(ask({.path = "http://localhost" + port + "/health"}).status, 200);
  EXPECT_EQ(ask({.path = "http://evil.example/health"}).status, 403);
  EXPECT_EQ(ask({.path = "http://localhost" + port + "/health", .host = "evil.example"}).status,
            403);
}

TEST_F(Access, LetsListedOriginsInAndNoOther) {
  start({.allowed_origins = {"https://app.example"}});
  const std::string port = ":" + std::to_string(server_->port());
  for (const std::string& good : {"http://localhost" + port,
                                  "http://127.0.0.1" + port,
                                  "http://[::1]" + port,
                                  std::string("https://app.example")}) {
    const auto response = ask({.path = "/v1/models", .fields = "Origin: " + good + "\r\n"});
    EXPECT_EQ(response.status, 200) << good;
    EXPECT_EQ(response.header("access-control-allow-origin"), good);
    EXPECT_EQ(response.header("vary"), "Origin");
    EXPECT_EQ(response.header("access-control-allow-credentials"), "");
  }
  for (const std::string& bad : {std::string("null"),
                                 std::string("file://"),
                                 std::string("http://localhost.evil.com"),
                                 std::string("http://localhost"),
                                 std::string("http://localhost:1"),
                                 "https://localhost" + port,
                                 "http://localhost" + port + "/",
                                 "HTTP://LOCALHOST" + port,
                                 std::string("https://app.example.evil"),
                                 std::string("*"),
                                 std::string()}) {
    const auto response = ask({.path = "/v1/models", .fields = "Origin: " + bad + "\r\n"});
    EXPECT_EQ(response.status, 403) << bad;
    EXPECT_EQ(response.head.find("Access-Control"), std::string::npos) << bad;
  }
  EXPECT_EQ(ask({.path = "/v1/models",
                 .fields = "Origin: https://app.example\r\nOrigin: https://app.example\r\n"})
                .status,
            403);
}

TEST_F(Access, AnswersPreflightsOfListedOriginsOnly) {
  start({.allowed_origins = {"https://app.example"}});
  const auto preflight = [&](const std::string& origin, const std::string& more = {}) {
    return ask({.method = "OPTIONS",
                .path = "/v1/messages",
                .token = "",
                .fields = "Origin: " + origin + "\r\nAccess-Control-Request-Method: POST\r\n" +
                          "Access-Control-Request-Headers: content-type\r\n" + more});
  };
  const auto allowed = preflight("https://app.example");
  EXPECT_EQ(allowed.status, 204);
  EXPECT_EQ(allowed.header("access-control-allow-origin"), "https://app.example");
  EXPECT_EQ(allowed.header("access-control-allow-methods"), "POST");
  EXPECT_EQ(allowed.header("content-length"), "");
  for (const auto& response :
       {preflight("https://evil.example"),
        preflight("null"),
        preflight("https://app.example", "Access-Control-Request-Private-Network: true\r\n")}) {
    EXPECT_EQ(response.status, 403);
    EXPECT_EQ(response.head.find("Access-Control"), std::string::npos);
  }
}

TEST_F(Access, TakesNothingAPageCanSendWithoutAsking) {
  start();
  for (const std::string type : {"Content-Type: text/plain\r\n",
                                 "Content-Type: application/x-www-form-urlencoded\r\n",
                                 "Content-Type: multipart/form-data; boundary=x\r\n",
                                 "Content-Type: text/plain; charset=application/json\r\n",
                                 "Content-Type: application/jsonx\r\n",
                                 "Content-Type: application/json, text/plain\r\n",
                                 "Content-Type:\r\n",
                                 "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
                                 ""}) {
    for (const Route& route : routes()) {
      if (route.method != "POST") continue;
      Ask simple{.method = "POST", .path = std::string(route.path), .type = type, .body = "{}"};
      EXPECT_EQ(ask(simple).status, 415) << type << route.path;
    }
  }
  Ask with_parameter = message();
  with_parameter.type = "Content-Type: Application/JSON ; charset=utf-8\r\n";
  service_.play.event(api::message_stop(), true);
  EXPECT_EQ(ask(with_parameter).status, 200);
}

TEST_F(Access, TakesNoCompressedBody) {
  start();
  for (const std::string coding : {"gzip", "br", "zstd", "deflate", "identity, gzip"}) {
    Ask compressed = message();
    compressed.fields = "Content-Encoding: " + coding + "\r\n";
    EXPECT_EQ(ask(compressed).status, 415) << coding;
  }
  EXPECT_EQ(service_.answers, 0);
}

// Every way to give a token, on every route: the same verdict for both headers, and nothing but the
// word that the server is alive without the right one.
TEST_F(Access, GivesOneVerdictForBothHeadersOnEveryRoute) {
  start();
  const std::string right(kToken);
  const std::vector<std::string> wrong = {"",
                                          "wrong",
                                          right + "x",
                                          right.substr(1),
                                          right.substr(0, right.size() - 1),
                                          "PENSIEVE-TEST-TOKEN-0123456789",
                                          std::string(8 * 1024, 'k'),
                                          "t\xC3\xB6ken"};
  std::vector<std::pair<std::string, bool>> cases = {
      {"", false},
      {"Authorization: Bearer " + right + "\r\n", true},
      {"authorization: bearer " + right + "\r\n", true},
      {"X-Api-Key: " + right + "\r\n", true},
      {"Authorization: Bearer " + right + "\r\nx-api-key: " + right + "\r\n", true},
      {"Authorization: Bearer " + right + "\r\nx-api-key: wrong\r\n", false},
      {"Authorization: Bearer wrong\r\nx-api-key: " + right + "\r\n", false},
      {"Authorization: Bearer " + right + "\r\nAuthorization: Bearer " + right + "\r\n", false},
      {"x-api-key: " + right + "\r\nx-api-key: " + right + "\r\n", false},
      {"Authorization: Basic " + right + "\r\n", false},
      {"Authorization: " + right + "\r\n", false},
      {"Cookie: x-api-key=" + right + "\r\n", false},
  };
  for (const std::string& token : wrong) {
    cases.emplace_back("Authorization: Bearer " + token + "\r\n", false);
    cases.emplace_back("x-api-key: " + token + "\r\n", false);
  }
  service_.refusal = Error{.kind = ErrorKind::InvalidRequest, .message = "reached"};
  for (const Route& route : routes()) {
    for (const auto& [fields, accepted] : cases) {
      SCOPED_TRACE(std::string(route.path) + " with " + fields.substr(0, 80));
      Ask one{.method = std::string(route.method),
              .path = std::string(route.path),
              .token = fields,
              .body = route.method == "POST" ? std::string(kBody) : std::string()};
      if (route.path == "/v1/models/") one.path += "pensieve-tiny";
      const auto response = ask(one);
      if (route.open) {
        EXPECT_EQ(response.status, 200);
        const std::string_view alive = R"({"status":"ok"})";
        const bool says_more = response.body != (route.path == "/" ? page_html() : alive);
        EXPECT_EQ(says_more, accepted && route.path == "/health");
      } else if (accepted) {
        EXPECT_NE(response.status, 401);
      } else {
        EXPECT_EQ(response.status, 401);
        if (surface_of(route.path) == Surface::OpenAi) {
          EXPECT_NE(response.body.find(R"("code":"invalid_api_key")"), std::string::npos);
        } else {
          EXPECT_EQ(error_type(response), "authentication_error");
        }
        EXPECT_EQ(response.header("x-should-retry"), "false");
        EXPECT_EQ(response.body.find(right), std::string::npos);
      }
    }
  }
}

TEST_F(Access, AsksNoEngineBeforeTheTokenWasSeen) {
  start();
  EXPECT_EQ(ask({.path = "/health", .token = ""}).status, 200);
  EXPECT_EQ(engine_.asked, 0);
  EXPECT_EQ(ask({.path = "/health"}).status, 200);
  EXPECT_EQ(engine_.asked, 1);
}

TEST_F(Access, OpensNoDoorBeyondThisMachineWithoutAToken) {
  ServerOptions options{.host = "0.0.0.0", .port = 0};
  const auto refused = Server::create(options, {}, service_, &engine_, accountant_);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("needs a token"), std::string::npos);
  options.token = kToken;
  EXPECT_TRUE(Server::create(options, {}, service_, &engine_, accountant_).has_value());
}

}  // namespace
}  // namespace pensieve::server
