// The upstream service against a server of the test's own, over real sockets: what is asked, what
// comes of each answer, that a reader who leaves ends the transfer, and that a slow one pauses it.
#include "application/proxy/upstream.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "foundation/json.h"

#include "application/http/listener.h"
#include "application/proxy/internal/transfers.h"

namespace pensieve::proxy {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = Clock::now() + seconds(20);
  while (!condition()) {
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return true;
}

// Another server: keeps what it was asked, answers what it was told to.
class Other final : public http::Handler {
 public:
  http::Response list{.status = 200,
                      .headers = {},
                      .content_type = "application/json",
                      .body = R"({"data":[{"id":"one","max_model_len":4096},{"id":"two"}]})"};
  // In turn; the last one again and again.
  std::deque<http::Response> answers;
  // Where set: a stream that sends these pieces and then stays open, or goes on for ever.
  std::vector<std::string> pieces;
  bool endless = false;
  std::atomic<int> streams{0};       // open now
  std::atomic<std::size_t> sent{0};  // bytes of the streams
  std::atomic<int> asked{0};

  std::vector<http::Request> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

  std::optional<http::Response> admit(const http::RequestHead&) override { return std::nullopt; }
  http::Reply handle(http::Request request) override {
    const std::lock_guard lock(mutex_);
    const bool lists = request.head.path == "/v1/models";
    requests_.push_back(std::move(request));
    ++asked;
    if (lists) return list;
    if (!pieces.empty() || endless) {
      return http::StreamReply{
          .head = {.status = 200, .headers = {}, .content_type = "text/event-stream", .body = {}},
          .events = std::make_unique<Stream>(*this)};
    }
    http::Response answer = answers.front();
    if (answers.size() > 1) answers.pop_front();
    return answer;
  }
  http::Response refuse(const Error& error, const http::RequestHead*) override {
    return {.status = 400, .headers = {}, .content_type = "text/plain", .body = error.message};
  }

 private:
  class Stream final : public http::EventStream {
   public:
    explicit Stream(Other& other) : other_(other) { ++other_.streams; }
    ~Stream() override { --other_.streams; }
    void on_ready(std::function<void()>) override {}
    http::StreamPiece poll() override {
      http::StreamPiece piece;
      if (at_ < other_.pieces.size()) {
        piece.bytes = other_.pieces[at_++];
      } else if (other_.endless) {
        piece.bytes = "data: {\"choices\":[{\"delta\":{\"content\":\"" + std::string(4000, 'x') +
                      "\"}}]}\n\n";
      }
      other_.sent += piece.bytes.size();
      return piece;
    }
    std::string ping() override { return ": ping\n\n"; }
    std::string cut_off(const Error&) override { return {}; }

   private:
    Other& other_;
    std::size_t at_ = 0;
  };

  std::mutex mutex_;
  std::vector<http::Request> requests_;
};

http::Response json_response(int status, std::string body, std::vector<http::Header> headers = {}) {
  return {.status = status,
          .headers = std::move(headers),
          .content_type = "application/json",
          .body = std::move(body)};
}
http::Response event_response(std::string body) {
  return {.status = 200,
          .headers = {},
          .content_type = "text/event-stream; charset=utf-8",
          .body = std::move(body)};
}
const std::string kHello =
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"Hel\"}}]}\n\n"
    ": ping\n\n"
    "data: {\"choices\":[{\"delta\":{\"content\":\"lo\"},\"finish_reason\":\"stop\"}]}\n\n"
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":2}}\n\n"
    "data: [DONE]\n\n";

class UpstreamTest : public testing::Test {
 protected:
  UpstreamTest() {
    auto listener = http::Listener::create({.port = 0, .threads = 2, .limits = {}}, other_);
    CHECK(listener.has_value());
    listener_ = *std::move(listener);
    listener_->start();
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(listener_->port()); }

  std::unique_ptr<Upstream> reach(UpstreamOptions options = {}) {
    if (options.url.empty()) options.url = url();
    auto made = Upstream::create(options);
    EXPECT_TRUE(made.has_value()) << (made ? "" : made.error().message);
    return made ? *std::move(made) : nullptr;
  }
  static api::MessagesRequest request(int max_tokens = 50) {
    api::MessagesRequest request;
    request.model = "claude-x";
    request.max_tokens = max_tokens;
    api::ContentBlock text;
    text.text = "hi";
    request.messages.push_back({.role = api::Role::User, .content = {text}});
    return request;
  }
  // Draws the answer to its end.
  static Result<api::Message> read(claude::Answer& answer) {
    const auto deadline = Clock::now() + seconds(20);
    while (!answer.finished() && Clock::now() < deadline) {
      answer.wait(100);
      const auto events = answer.poll();
      if (!events) return events.error();
    }
    EXPECT_TRUE(answer.finished());
    return answer.message();
  }
  Result<api::Message> ask(Upstream& upstream, const api::MessagesRequest& request) {
    auto answer = upstream.answer(request, "");
    if (!answer) return answer.error();
    return read(**answer);
  }

  Other other_;
  std::unique_ptr<http::Listener> listener_;
};

TEST_F(UpstreamTest, TakesTheFirstModelOfTheListAndItsWindow) {
  const auto upstream = reach({.url = url(), .key = "sk-1", .model = {}});
  ASSERT_NE(upstream, nullptr);
  EXPECT_EQ(upstream->model(), "one");
  EXPECT_EQ(upstream->context_length(), 4096);
  const auto asked = other_.requests();
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0].head.path, "/v1/models");
  EXPECT_EQ(asked[0].head.header("authorization"), "Bearer sk-1");
}

TEST_F(UpstreamTest, TakesTheModelAndTheWindowItIsTold) {
  const auto upstream =
      reach({.url = url() + "/v1/", .key = {}, .model = "two", .context_length = 999});
  ASSERT_NE(upstream, nullptr);
  EXPECT_EQ(upstream->model(), "two");
  EXPECT_EQ(upstream->context_length(), 999);
  EXPECT_EQ(other_.requests()[0].head.count("authorization"), 0u);
  other_.list.status = 500;  // not needed once a model is named
  EXPECT_NE(reach({.url = url(), .key = {}, .model = "three"}), nullptr);
}

TEST_F(UpstreamTest, SaysInOneSentenceWhyItCannotBeUsed) {
  struct Case {
    UpstreamOptions options;
    ErrorKind kind;
    std::string words;
  };
  const std::vector<Case> cases = {
      {{.url = "ftp://host"}, ErrorKind::InvalidRequest, "http://host:8000"},
      {{.url = "host:8000"}, ErrorKind::InvalidRequest, "http://host:8000"},
      {{.url = ""}, ErrorKind::InvalidRequest, "http://host:8000"},
      {{.url = "http://user:secret@host"}, ErrorKind::InvalidRequest, "PENSIEVE_UPSTREAM_KEY"},
      {{.url = "http://host/v1?x=1"}, ErrorKind::InvalidRequest, "?"},
      {{.url = url(), .key = "a b"}, ErrorKind::InvalidRequest, "PENSIEVE_UPSTREAM_KEY"},
      {{.url = url(), .key = "a\r\nX: y"}, ErrorKind::InvalidRequest, "PENSIEVE_UPSTREAM_KEY"},
      {{.url = "http://127.0.0.1:1"}, ErrorKind::Unavailable, "refused"},
  };
  for (const Case& test : cases) {
    const auto made = Upstream::create(test.options);
    ASSERT_FALSE(made.has_value()) << test.options.url;
    EXPECT_EQ(made.error().kind, test.kind) << made.error().message;
    EXPECT_NE(made.error().message.find(test.words), std::string::npos) << made.error().message;
    EXPECT_EQ(made.error().message.find("secret"), std::string::npos);
  }
  EXPECT_EQ(other_.asked, 0);
  other_.list = json_response(401, R"({"error":{"message":"bad key sk-123"}})");
  const auto refused = Upstream::create({.url = url(), .key = "sk-123"});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().message.find("sk-123"), std::string::npos);
  other_.list = json_response(200, R"({"data":[]})");
  EXPECT_FALSE(Upstream::create({.url = url()}).has_value());
}

TEST_F(UpstreamTest, AnswersWhatTheUpstreamStreams) {
  const auto upstream = reach({.url = url(), .key = "sk-1", .model = {}});
  other_.answers = {event_response(kHello)};
  const auto message = ask(*upstream, request());
  ASSERT_TRUE(message.has_value()) << message.error().message;
  ASSERT_EQ(message->content.size(), 1u);
  EXPECT_EQ(message->content[0].text, "Hello");
  EXPECT_EQ(message->model, "claude-x");
  EXPECT_EQ(message->usage.input_tokens, 100);
  EXPECT_EQ(message->stop_reason, api::StopReason::EndTurn);
  const auto asked = other_.requests().back();
  EXPECT_EQ(asked.head.method, "POST");
  EXPECT_EQ(asked.head.path, "/v1/chat/completions");
  EXPECT_EQ(asked.head.header("content-type"), "application/json");
  EXPECT_EQ(asked.head.header("authorization"), "Bearer sk-1");
  EXPECT_EQ(asked.head.count("expect"), 0u);
  EXPECT_EQ((*parse_json(asked.body))["model"], "one");
}

TEST_F(UpstreamTest, AnswersWhatAServerSaysThatDoesNotStream) {
  const auto upstream = reach();
  other_.answers = {json_response(200,
                                  R"({"choices":[{"message":{"role":"assistant","content":"whole"},
                                      "finish_reason":"length"}]})")};
  const auto message = ask(*upstream, request());
  ASSERT_TRUE(message.has_value()) << message.error().message;
  EXPECT_EQ(message->content[0].text, "whole");
  EXPECT_EQ(message->stop_reason, api::StopReason::MaxTokens);
}

TEST_F(UpstreamTest, CompletesText) {
  const auto upstream = reach();
  other_.answers = {event_response(
      "data: {\"choices\":[{\"text\":\"on\",\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n")};
  auto answer = upstream->complete(request(), "once up", "");
  ASSERT_TRUE(answer.has_value());
  const auto message = read(**answer);
  ASSERT_TRUE(message.has_value());
  EXPECT_EQ(message->content[0].text, "on");
  const auto asked = other_.requests().back();
  EXPECT_EQ(asked.head.path, "/v1/completions");
  EXPECT_EQ((*parse_json(asked.body))["prompt"], "once up");
}

TEST_F(UpstreamTest, PassesRefusalsOnBeforeAnyEvent) {
  const auto upstream = reach();
  other_.answers = {
      json_response(429, R"({"error":"slow"})", {{.name = "retry-after", .value = "3"}})};
  auto answer = upstream->answer(request(), "");
  ASSERT_TRUE(answer.has_value());
  for (;;) {
    (*answer)->wait(1000);
    const auto events = (*answer)->poll();
    if (!events) {
      EXPECT_EQ(events.error().kind, ErrorKind::RateLimited);
      EXPECT_EQ(events.error().retry_after_s, 3);
      break;
    }
    EXPECT_TRUE(events->empty());
  }
  EXPECT_TRUE((*answer)->finished());
}

TEST_F(UpstreamTest, AsksAgainWithLessWhereTheAnswerWasTooLong) {
  const auto upstream = reach();
  const std::string complaint =
      R"({"error":{"message":"This model's maximum context length is 4096 tokens. However, you requested 33000 tokens (1000 in the messages, 32000 in the completion)."}})";
  other_.answers = {json_response(400, complaint), event_response(kHello)};
  const auto message = ask(*upstream, request(32'000));
  ASSERT_TRUE(message.has_value()) << message.error().message;
  EXPECT_EQ(message->content[0].text, "Hello");
  const auto asked = other_.requests();
  ASSERT_EQ(asked.size(), 3u);
  EXPECT_EQ((*parse_json(asked[1].body))["max_tokens"], 32'000);
  EXPECT_EQ((*parse_json(asked[2].body))["max_tokens"], 3096);
  // Once only.
  other_.answers = {json_response(400, complaint)};
  const auto refused = ask(*upstream, request(32'000));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().message, "prompt is too long: 1000 tokens > 4096 maximum");
  EXPECT_EQ(other_.requests().size(), 5u);
}

TEST_F(UpstreamTest, DoesNotFollowRedirects) {
  const auto upstream = reach({.url = url(), .key = "sk-1", .model = {}});
  other_.answers = {
      json_response(307, "", {{.name = "location", .value = url() + "/v1/elsewhere"}})};
  const auto message = ask(*upstream, request());
  ASSERT_FALSE(message.has_value());
  EXPECT_NE(message.error().message.find("redirect"), std::string::npos);
  for (const auto& asked : other_.requests()) EXPECT_NE(asked.head.path, "/v1/elsewhere");
}

TEST_F(UpstreamTest, EndsTheTransferOfAReaderThatLeaves) {
  const auto upstream = reach();
  other_.pieces = {"data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n"};
  auto answer = upstream->answer(request(), "");
  ASSERT_TRUE(answer.has_value());
  ASSERT_TRUE(eventually([&] { return other_.streams == 1; }));
  const auto left = Clock::now();
  answer->reset();
  ASSERT_TRUE(eventually([&] { return other_.streams == 0; }));
  EXPECT_LT(Clock::now() - left, milliseconds(250));
}

TEST_F(UpstreamTest, PausesForASlowReaderAndHoldsLittle) {
  const auto upstream = reach();
  other_.endless = true;
  auto answer = upstream->answer(request(), "");
  ASSERT_TRUE(answer.has_value());
  std::size_t before = 0;
  ASSERT_TRUE(eventually([&] {  // until nothing has moved for a while
    std::this_thread::sleep_for(milliseconds(100));
    const std::size_t now = other_.sent.load();
    return now > 0 && now == std::exchange(before, now);
  }));
  // 1 MiB in the buffer, and what the two sockets hold.
  EXPECT_LT(before, std::size_t{16} << 20);
  ASSERT_TRUE((*answer)->poll().has_value());
  EXPECT_TRUE(eventually([&] {  // reading lets it go on
    EXPECT_TRUE((*answer)->poll().has_value());
    return other_.sent.load() > before + (std::size_t{1} << 20);
  }));
}

TEST_F(UpstreamTest, EndsATransferThatHasFallenSilent) {
  const auto upstream =
      reach({.url = url(), .key = {}, .model = {}, .quiet_limit = milliseconds(200)});
  other_.pieces = {": hello\n\n"};
  const auto message = ask(*upstream, request());
  ASSERT_FALSE(message.has_value());
  EXPECT_EQ(message.error().kind, ErrorKind::Unavailable);
  EXPECT_NE(message.error().message.find("sent nothing for"), std::string::npos);
  EXPECT_TRUE(eventually([&] { return other_.streams == 0; }));
}

TEST_F(UpstreamTest, TellsAnAnswerThatBrokeOffFromACompleteOne) {
  const auto upstream = reach();
  other_.answers = {event_response(kHello.substr(0, kHello.find(": ping")))};
  const auto message = ask(*upstream, request());
  ASSERT_FALSE(message.has_value());
  EXPECT_NE(message.error().message.find("broke off"), std::string::npos);
}

TEST_F(UpstreamTest, SaysThatNobodyIsThereAnyMore) {
  const auto upstream = reach();
  const std::string address = url();
  listener_.reset();
  const auto message = ask(*upstream, request());
  ASSERT_FALSE(message.has_value());
  EXPECT_EQ(message.error().kind, ErrorKind::Unavailable);
  EXPECT_NE(message.error().message.find(address), std::string::npos);
  EXPECT_GT(message.error().retry_after_s, 0);
}

TEST_F(UpstreamTest, LearnsHowManyBytesATokenHas) {
  const auto upstream = reach();
  const api::MessagesRequest asked = request();
  const auto before = upstream->count_tokens(asked);
  ASSERT_TRUE(before.has_value());
  EXPECT_GT(*before, 1);
  other_.answers = {event_response(kHello)};
  ASSERT_TRUE(ask(*upstream, asked).has_value());
  EXPECT_EQ(*upstream->count_tokens(asked), 100);  // what the upstream counted for the same
}

TEST_F(UpstreamTest, BoundsHowManyRequestsAreUnderWay) {
  const auto transfers = *Transfers::create({.transfers = 2});
  other_.pieces = {": hello\n\n"};
  const TransferRequest asked{.url = url() + "/v1/chat/completions", .body = "{}", .key = {}};
  auto first = transfers->start(asked);
  auto second = transfers->start(asked);
  ASSERT_TRUE(first.has_value() && second.has_value());
  const auto third = transfers->start(asked);
  ASSERT_FALSE(third.has_value());
  EXPECT_EQ(third.error().kind, ErrorKind::Overloaded);
  first->reset();
  EXPECT_TRUE(eventually([&] { return transfers->running() == 1; }));
  EXPECT_TRUE(transfers->start(asked).has_value());
}

TEST_F(UpstreamTest, EndsWhatIsUnderWayWhenItGoes) {
  auto upstream = reach();
  other_.pieces = {": hello\n\n"};
  auto answer = upstream->answer(request(), "");
  ASSERT_TRUE(answer.has_value());
  ASSERT_TRUE(eventually([&] { return other_.streams == 1; }));
  upstream.reset();
  const auto message = read(**answer);
  ASSERT_FALSE(message.has_value());
  EXPECT_EQ(message.error().kind, ErrorKind::Cancelled);
  EXPECT_TRUE(eventually([&] { return other_.streams == 0; }));
}

}  // namespace
}  // namespace pensieve::proxy
