// For the server's tests: a service whose answers the test plays, an engine that only counts, and a
// server over both on a free port.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "application/http/raw_client.h"
#include "application/server/server.h"

namespace pensieve::server {

inline bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// One answer in the hands of a test.
class Play {
 public:
  void event(api::Event event, bool last = false) {
    change([&] {
      events_.push_back(std::move(event));
      over_ = over_ || last;
    });
  }
  void fail(Error error) {
    change([&] { error_ = std::move(error); });
  }
  // What the message says from now on.
  void message(api::Message message) {
    change([&] { message_ = std::move(message); });
  }
  void cache(claude::CacheReport report) {
    change([&] { report_ = std::move(report); });
  }
  void scores(std::vector<claude::TokenScore> scores) {
    change([&] { scores_ = std::move(scores); });
  }
  std::atomic<int> alive{0};
  std::atomic<int> hurried{0};  // answers that were told to begin
  std::atomic<int> prompt_tokens{0}, prefilled_tokens{0}, output_tokens{0};  // as progress() says

 private:
  friend class PlayedAnswer;
  void change(const std::function<void()>& step) {
    std::function<void()> ready;
    {
      const std::lock_guard lock(mutex_);
      step();
      ready = ready_;
    }
    if (ready) ready();
  }

  std::mutex mutex_;
  std::vector<api::Event> events_;
  std::optional<api::Message> message_;
  std::vector<claude::TokenScore> scores_;
  std::optional<claude::CacheReport> report_;
  std::optional<Error> error_;
  bool over_ = false;
  std::function<void()> ready_;
};

class PlayedAnswer final : public claude::Answer {
 public:
  PlayedAnswer(Play& play, std::string model) : play_(play) {
    message_.id = "msg_1";
    message_.model = std::move(model);
    message_.content.emplace_back().text = "played";
    ++play_.alive;
  }
  ~PlayedAnswer() override {
    on_ready({});
    --play_.alive;
  }
  Result<std::vector<api::Event>> poll() override {
    const std::lock_guard lock(play_.mutex_);
    report_ = play_.report_;
    if (play_.error_) {
      finished_ = true;
      return *play_.error_;
    }
    finished_ = play_.over_;
    if (play_.message_) {
      play_.message_->model = message_.model;
      message_ = *play_.message_;
    }
    return std::exchange(play_.events_, {});
  }
  bool finished() const override { return finished_; }
  void on_ready(std::function<void()> ready) override {
    const std::lock_guard lock(play_.mutex_);
    play_.ready_ = std::move(ready);
  }
  void wait(int) override {}
  void begin() override { ++play_.hurried; }
  const claude::CacheReport* cache() const override { return report_ ? &*report_ : nullptr; }
  const api::Message& message() const override { return message_; }
  std::vector<claude::TokenScore> take_scores() override {
    const std::lock_guard lock(play_.mutex_);
    return std::exchange(play_.scores_, {});
  }
  engine::Progress progress() const override {
    return {.prompt_tokens = play_.prompt_tokens,
            .prefilled_tokens = play_.prefilled_tokens,
            .output_tokens = play_.output_tokens};
  }

 private:
  Play& play_;
  api::Message message_;
  std::optional<claude::CacheReport> report_;
  bool finished_ = false;
};

class PlayedService final : public claude::Service {
 public:
  Play play;
  std::optional<Error> refusal;  // instead of an answer
  std::atomic<int> answers{0};
  std::string group;
  api::MessagesRequest asked;  // the last one
  std::string completed;       // its prompt

  Result<std::unique_ptr<claude::Answer>> answer(const api::MessagesRequest& request,
                                                 std::string_view of_group) override {
    ++answers;
    group = of_group;
    asked = request;
    if (refusal) return *refusal;
    return std::unique_ptr<claude::Answer>(std::make_unique<PlayedAnswer>(play, request.model));
  }
  Result<std::unique_ptr<claude::Answer>> complete(const api::MessagesRequest& request,
                                                   std::string_view prompt,
                                                   std::string_view of_group) override {
    completed = prompt;
    return answer(request, of_group);
  }
  Result<int> count_tokens(const api::MessagesRequest&) override { return 42; }
  Result<std::vector<TokenId>> encode(const chat::Prompt&) override {
    return std::vector<TokenId>{};
  }
};

class CountingEngine final : public engine::Engine {
 public:
  Result<std::unique_ptr<engine::Generation>> submit(engine::Request) override {
    return Error{.kind = ErrorKind::Internal, .message = "this engine only counts"};
  }
  int context_length() const override { return 4096; }
  compute::Capabilities capabilities() const override { return {}; }
  engine::EngineStats stats() const override {
    ++asked;
    engine::EngineStats stats;
    stats.requests = 7;
    return stats;
  }
  void drain() override {}

  mutable std::atomic<int> asked{0};
};

inline constexpr std::string_view kToken = "pensieve-test-token-0123456789";
inline constexpr std::string_view kBody =
    R"({"model":"claude-x","max_tokens":16,"messages":[{"role":"user","content":"hi"}]})";
inline constexpr std::string_view kStreamBody =
    R"({"model":"claude-x","max_tokens":16,"stream":true,)"
    R"("messages":[{"role":"user","content":"hi"}]})";

// A request in parts, so that a test changes one and leaves the rest right.
struct Ask {
  std::string method = "GET";
  std::string path = "/health";
  std::string host{};  // empty: the server's own
  std::string token = "Authorization: Bearer " + std::string(kToken) + "\r\n";
  std::string type = "Content-Type: application/json\r\n";
  std::string fields{};
  std::string body{};
};

class ServerTest : public testing::Test {
 protected:
  void start(ServerOptions options = {}) { start(std::move(options), &engine_); }
  void start(ServerOptions options, engine::Engine* engine) {
    options.port = 0;
    options.token = kToken;
    options.io_threads = 2;
    if (!options.read_memory) {
      options.read_memory = [] {
        return MemoryState::of(
            SystemMemory{.total_bytes = 16 * kGiB, .available_bytes = 8 * kGiB, .known = true});
      };
    }
    auto server = Server::create(std::move(options),
                                 {.model_id = "pensieve-tiny",
                                  .display_name = "Pensieve Tiny",
                                  .model_created_unix_s = 1'700'000'000,
                                  .version = "0.1.0",
                                  .backend = "cpu",
                                  .kernels = "scalar",
                                  .context_length = 4096},
                                 service_,
                                 engine,
                                 accountant_);
    ASSERT_TRUE(server.has_value()) << server.error().message;
    server_ = *std::move(server);
    server_->start();
  }

  std::string bytes_of(const Ask& ask) const {
    const std::string host =
        ask.host.empty() ? "127.0.0.1:" + std::to_string(server_->port()) : ask.host;
    std::string text =
        ask.method + " " + ask.path + " HTTP/1.1\r\nHost: " + host + "\r\n" + ask.token;
    text += ask.fields;
    if (!ask.body.empty() || ask.method == "POST") {
      text += ask.type + "Content-Length: " + std::to_string(ask.body.size()) + "\r\n";
    }
    return text + "\r\n" + ask.body;
  }
  // The answer to one request over a unix socket.
  http::RawResponse ask_over(const std::string& path, const Ask& ask) const {
    http::RawClient one(path);
    EXPECT_TRUE(one.send(bytes_of(ask)));
    auto response = one.read_response(ask.method == "HEAD");
    EXPECT_TRUE(response.has_value());
    return response.value_or(http::RawResponse{});
  }
  http::RawClient client(int receive_buffer = 0) const {
    return http::RawClient(server_->port(), receive_buffer);
  }
  // The answer to one request on a connection of its own; status 0 when there is none.
  http::RawResponse ask(const Ask& ask) const {
    http::RawClient one = client();
    EXPECT_TRUE(one.send(bytes_of(ask)));
    auto response = one.read_response(ask.method == "HEAD");
    EXPECT_TRUE(response.has_value());
    return response.value_or(http::RawResponse{});
  }
  static Ask message(std::string_view body = kBody) {
    return {.method = "POST", .path = "/v1/messages", .body = std::string(body)};
  }

  PlayedService service_;
  CountingEngine engine_;
  Accountant accountant_;
  std::unique_ptr<Server> server_;
};

}  // namespace pensieve::server
