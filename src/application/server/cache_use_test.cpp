// What a client, the log and a monitor learn of the cache: the header, one line for a long miss,
// and the metrics. Answers and engines are played; tests/e2e has the same on a model.
#include <gtest/gtest.h>

#include <string>

#include "foundation/log.h"

#include "application/http/response_writer.h"
#include "application/server/internal/test_support.h"

namespace pensieve::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const std::string kHeader = "x-pensieve-cache";

class CacheUse : public ServerTest {
 protected:
  static std::vector<Ask> plain() {
    return {message(),
            {.method = "POST", .path = "/v1/chat/completions", .body = std::string(kBody)}};
  }
  static std::vector<Ask> streamed() {
    return {message(kStreamBody),
            {.method = "POST", .path = "/v1/chat/completions", .body = std::string(kStreamBody)}};
  }
  // The value of a sample by its name and labels as they are written; -1: there is none.
  double metric(const std::string& name) {
    const std::string text = "\n" + ask({.path = "/metrics"}).body;
    const auto at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
  }
};

TEST_F(CacheUse, StandsInTheHeadOfPlainAnswers) {
  start();
  for (const Ask& request : plain()) {
    service_.play.cache({.hit = 64, .restored = 128, .missed = 7});
    service_.play.event(api::message_stop(), true);
    const auto response = ask(request);
    EXPECT_EQ(response.status, 200) << response.body;
    EXPECT_EQ(response.header(kHeader), "hit=64 miss=7 restored=128");
  }
  EXPECT_EQ(ask({}).header(kHeader), "");
}

TEST_F(CacheUse, StandsInTheHeadOfPlainErrorsTheEngineBegan) {
  start();
  service_.play.cache({.hit = 0, .restored = 0, .missed = 9});
  service_.play.fail({.kind = ErrorKind::Internal, .message = "the device failed"});
  const auto response = ask(message());
  EXPECT_EQ(response.status, 500);
  EXPECT_EQ(response.header(kHeader), "hit=0 miss=9 restored=0");
}

TEST_F(CacheUse, StandsInTheHeadOfStreamsThatBeginInTime) {
  start({.stream_head_wait = seconds(60)});
  int answers = 0;
  for (const Ask& request : streamed()) {
    http::RawClient one = client();
    ASSERT_TRUE(one.send(bytes_of(request)));
    ++answers;
    ASSERT_TRUE(eventually([&] { return service_.answers == answers; }));
    service_.play.cache({.hit = 3, .restored = 0, .missed = 4});
    service_.play.event(api::message_start("msg_1", "m", {}));
    const auto head = one.read_head();
    ASSERT_TRUE(head.has_value());
    EXPECT_EQ(head->header(kHeader), "hit=3 miss=4 restored=0");
    EXPECT_TRUE(one.read_chunk().has_value());
  }
  EXPECT_EQ(service_.play.hurried, 0);
}

// A queue may be long: the head leaves, and the answer is told to begin without the numbers.
TEST_F(CacheUse, IsLeftOutOfStreamsThatBeginLate) {
  start({.stream_head_wait = milliseconds(20)});
  int answers = 0;
  for (const Ask& request : streamed()) {
    http::RawClient one = client();
    ASSERT_TRUE(one.send(bytes_of(request)));
    const auto head = one.read_head();
    ASSERT_TRUE(head.has_value());
    EXPECT_EQ(head->status, 200);
    EXPECT_EQ(head->header(kHeader), "");
    EXPECT_EQ(service_.play.hurried, ++answers);
    service_.play.cache({.hit = 3, .restored = 0, .missed = 4});
    service_.play.event(api::message_start("msg_1", "m", {}));
    const auto chunk = one.read_chunk();
    ASSERT_TRUE(chunk.has_value());
    EXPECT_EQ(chunk->find("hit="), std::string::npos);
  }
}

TEST_F(CacheUse, OfALongMissIsOneLineInTheLog) {
  const claude::CacheReport report{.hit = 290,
                                   .restored = 10,
                                   .missed = 1300,
                                   .miss = claude::PrefixMiss{.n_common = 310,
                                                              .part = "tool 14 (Bash)",
                                                              .now = "secret now",
                                                              .kept = "secret then",
                                                              .same_session = true}};
  for (const bool with_text : {false, true}) {
    start({.log_prompt_text = with_text});
    service_.play.cache(report);
    service_.play.event(api::message_stop(), true);
    configure_log(LogLevel::Info, LogFormat::Text);
    testing::internal::CaptureStderr();
    const auto response = ask(message());
    const std::string log = testing::internal::GetCapturedStderr();
    const auto line = log.find("300 of 1600 prompt tokens were cached");
    ASSERT_NE(line, std::string::npos) << log;
    EXPECT_EQ(log.find("prompt tokens were cached", line + 30), std::string::npos) << log;
    EXPECT_NE(log.find("behind 310 equal tokens"), std::string::npos) << log;
    EXPECT_NE(log.find("of this session, in tool 14 (Bash)"), std::string::npos) << log;
    EXPECT_NE(log.find(response.header("request-id")), std::string::npos) << log;
    EXPECT_EQ(log.find("\"secret now\" where \"secret then\" was") != std::string::npos, with_text);
    EXPECT_EQ(log.find("secret") != std::string::npos, with_text);
  }
}

TEST_F(CacheUse, MetricsAreForThoseWhoHaveTheToken) {
  start();
  EXPECT_EQ(ask({.path = "/metrics", .token = ""}).status, 401);
  const auto response = ask({.path = "/metrics"});
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
}

TEST_F(CacheUse, MetricsCountRequestsByRouteAndStatus) {
  start();
  service_.play.cache({.hit = 1, .restored = 0, .missed = 1});
  service_.play.event(api::message_stop(), true);
  EXPECT_EQ(ask(message()).status, 200);
  EXPECT_EQ(ask(message(kStreamBody)).status, 200);
  EXPECT_EQ(ask(message("{}")).status, 400);
  EXPECT_EQ(ask({.path = "/nowhere"}).status, 404);
  EXPECT_EQ(ask({.path = "/v1/models/x"}).status, 404);
  EXPECT_EQ(ask({.path = "/v1/models", .token = ""}).status, 401);
  const auto requests = [&](const std::string& route, int status) {
    return metric("pensieve_requests_total{route=\"" + route + "\",status=\"" +
                  std::to_string(status) + "\"}");
  };
  // Counted when the last byte is on its way, so a moment after it is read.
  EXPECT_TRUE(eventually([&] { return requests("/v1/messages", 200) == 2; }));
  EXPECT_EQ(requests("/v1/messages", 400), 1);
  EXPECT_EQ(requests("/v1/models/", 404), 1);
  EXPECT_EQ(requests("/v1/models", 401), 1);
  EXPECT_EQ(requests("other", 404), 1);
  EXPECT_EQ(metric("pensieve_queue_seconds_count"), 2);
  EXPECT_EQ(metric("pensieve_engine_requests_total"), 7);  // as the played engine says
}

TEST_F(CacheUse, MetricsCountClientsThatLeave) {
  start({.stream_head_wait = seconds(60)});
  http::RawClient one = client();
  ASSERT_TRUE(one.send(bytes_of(message(kStreamBody))));
  ASSERT_TRUE(eventually([&] { return service_.play.alive == 1; }));
  one.close();
  EXPECT_TRUE(eventually(
      [&] { return metric("pensieve_requests_abandoned_total{route=\"/v1/messages\"}") == 1; }));
}

TEST_F(CacheUse, MetricsTellWhatTheDiskKeeps) {
  start();
  EXPECT_EQ(metric("pensieve_kv_disk_bytes"), -1);
  start({.read_kv_disk = [] {
    return kv_store::Usage{.pages = 3, .bytes = 12'345'678'901, .bytes_written = 99};
  }});
  EXPECT_EQ(metric("pensieve_kv_disk_bytes"), 12'345'678'901);
  EXPECT_EQ(metric("pensieve_kv_disk_pages"), 3);
  EXPECT_EQ(metric("pensieve_kv_disk_written_bytes_total"), 99);
}

// A monitor that looks every few seconds must not keep a server alive that nobody uses.
TEST_F(CacheUse, LookingAtTheMetricsIsNoUseOfTheServer) {
  start();
  ASSERT_TRUE(eventually([&] { return server_->idle() >= milliseconds(30); }));
  EXPECT_EQ(ask({.path = "/metrics"}).status, 200);
  EXPECT_GE(server_->idle(), milliseconds(30));
  EXPECT_EQ(ask({.path = "/v1/models"}).status, 200);
  EXPECT_LT(server_->idle(), milliseconds(30));
}

}  // namespace
}  // namespace pensieve::server
