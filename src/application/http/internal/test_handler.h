// A handler for the listener's tests: describes what it was asked, and gives answers whose pace the
// test decides.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "application/http/handler.h"
#include "application/http/response_writer.h"

namespace pensieve::http {

// An answer in the hands of a test: it says when there is more, and sees when nobody wants it.
class Script {
 public:
  void push(std::string bytes, bool last = false) {
    push(StreamPiece{.bytes = std::move(bytes), .finished = last});
  }
  void push(StreamPiece piece) {
    std::function<void()> ready;
    {
      const std::lock_guard lock(mutex_);
      pieces_.push_back(std::move(piece));
      ready = ready_;
    }
    if (ready) ready();
  }
  // There is more, but no word of it comes: there was no memory for one.
  void push_unannounced(StreamPiece piece) {
    const std::lock_guard lock(mutex_);
    pieces_.push_back(std::move(piece));
  }
  // What is behind the pieces is std::bad_alloc.
  void run_out_of_memory() {
    std::function<void()> ready;
    {
      const std::lock_guard lock(mutex_);
      no_memory_ = true;
      ready = ready_;
    }
    if (ready) ready();
  }
  std::optional<StreamPiece> pop() {
    const std::lock_guard lock(mutex_);
    ++polls_;
    if (pieces_.empty() && no_memory_) throw std::bad_alloc();
    if (endless_) return StreamPiece{.bytes = std::string(16 * 1024, 'x')};
    if (pieces_.empty()) return std::nullopt;
    StreamPiece piece = std::move(pieces_.front());
    pieces_.pop_front();
    return piece;
  }
  void set_ready(std::function<void()> ready) {
    const std::lock_guard lock(mutex_);
    ready_ = std::move(ready);
  }
  void make_endless() {
    const std::lock_guard lock(mutex_);
    endless_ = true;
  }
  int polls() const {
    const std::lock_guard lock(mutex_);
    return polls_;
  }

  std::atomic<int> alive{0};        // answers that exist now
  std::atomic<int> opened{0};       // answers that ever did
  std::atomic<int> early_heads{0};  // heads that left before the first piece

 private:
  mutable std::mutex mutex_;
  std::deque<StreamPiece> pieces_;
  std::function<void()> ready_;
  bool endless_ = false;
  bool no_memory_ = false;
  int polls_ = 0;
};

class TestHandler final : public Handler {
 public:
  Script script;
  std::chrono::milliseconds head_wait{0};  // of /stream-or-not
  std::atomic<bool> no_memory_to_refuse{false};
  std::atomic<int> handled{0};
  std::atomic<int> markers{0};  // requests for /marker: none must ever hide in another

  std::optional<Response> admit(const RequestHead& head) override {
    if (head.path == "/marker") ++markers;
    if (head.path == "/forbidden") return text(403, "forbidden");
    return std::nullopt;
  }

  Reply handle(Request request) override {
    ++handled;
    const RequestHead& head = request.head;
    if (head.path == "/no-memory") throw std::bad_alloc();
    if (head.path == "/pending") return std::make_unique<ScriptedPending>(script);
    if (head.path.starts_with("/stream")) {
      Response response = text(200, "");
      response.content_type = "text/event-stream";
      return StreamReply{
          .head = std::move(response),
          .events = std::make_unique<ScriptedStream>(script),
          .head_wait = head.path == "/stream-or-not" ? head_wait : std::chrono::milliseconds(0)};
    }
    if (head.path == "/size") return text(200, std::to_string(request.body.size()));
    return text(200, head.method + " " + head.path + " " + request.body);
  }

  Response refuse(const Error& error, const RequestHead*) override {
    if (no_memory_to_refuse) throw std::bad_alloc();
    const auto status = [&] {
      switch (error.kind) {
        case ErrorKind::Timeout:
          return 408;
        case ErrorKind::TooLarge:
          return 413;
        case ErrorKind::UriTooLong:
          return 414;
        case ErrorKind::HeadersTooLarge:
          return 431;
        case ErrorKind::NotImplemented:
          return 501;
        case ErrorKind::Unavailable:
          return 503;
        case ErrorKind::Internal:
          return 500;
        default:
          return 400;
      }
    };
    return text(status(), error.message);
  }

 private:
  static Response text(int status, std::string body) {
    return {.status = status, .headers = {}, .content_type = "text/plain", .body = std::move(body)};
  }

  class ScriptedPending final : public Pending {
   public:
    explicit ScriptedPending(Script& script) : script_(script) {
      ++script_.opened;
      ++script_.alive;
    }
    ~ScriptedPending() override {
      script_.set_ready({});
      --script_.alive;
    }
    void on_ready(std::function<void()> ready) override { script_.set_ready(std::move(ready)); }
    std::optional<Response> poll() override {
      auto piece = script_.pop();
      if (!piece) return std::nullopt;
      return text(200, std::move(piece->bytes));
    }

   private:
    Script& script_;
  };

  class ScriptedStream final : public EventStream {
   public:
    explicit ScriptedStream(Script& script) : script_(script) {
      ++script_.opened;
      ++script_.alive;
    }
    ~ScriptedStream() override {
      script_.set_ready({});
      --script_.alive;
    }
    void on_ready(std::function<void()> ready) override { script_.set_ready(std::move(ready)); }
    StreamPiece poll() override { return script_.pop().value_or(StreamPiece{}); }
    void head_leaves() override { ++script_.early_heads; }
    std::string ping() override { return sse_event("ping", "{}"); }
    std::string cut_off(const Error&) override { return sse_event("error", "{}"); }

   private:
    Script& script_;
  };
};

}  // namespace pensieve::http
