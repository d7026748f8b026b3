// What answers requests, as the connection sees it. An answer is there at once, or comes later
// (Pending), or comes in pieces (EventStream); the last two are pulled by the connection, which so
// decides the pace, and are destroyed the moment their client is gone.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "foundation/result.h"

#include "application/http/message.h"

namespace pensieve::http {

// One caller at a time for all of these. `ready` may be called from any thread, also after the
// object is gone; it only posts. Destroying the object cancels the work behind it. Without memory
// all of them may throw std::bad_alloc: the answer then ends with an error.
class Pending {
 public:
  virtual ~Pending() = default;
  virtual void on_ready(std::function<void()> ready) = 0;
  virtual std::optional<Response> poll() = 0;  // nothing yet, or the answer, once
};

struct StreamPiece {
  std::string bytes;  // complete events; empty: nothing new
  bool finished = false;
  bool close = false;  // with `finished`: the stream ended badly, end the connection too
  // In the first piece that says anything: what answers in place of the stream if its head has not
  // left yet. `bytes` say the same to a client that has it.
  std::optional<Response> instead = std::nullopt;
  // In the first piece that says anything: fields for the head, if it has not left yet.
  std::vector<Header> headers = {};
};

class EventStream {
 public:
  virtual ~EventStream() = default;
  virtual void on_ready(std::function<void()> ready) = 0;
  virtual StreamPiece poll() = 0;
  // The head leaves although there was no piece within its wait: nothing needs to be held back for
  // its sake any longer. At most once, before the next poll().
  virtual void head_leaves() {}
  virtual std::string ping() = 0;  // sent when there has been nothing else for a while
  // The last event of a stream that the server has to end, which says why.
  virtual std::string cut_off(const Error& error) = 0;
  // The same for the case that the process has to end at once. Asked for when the stream begins:
  // then there may be no memory left to make it.
  virtual std::string emergency() {
    return cut_off({.kind = ErrorKind::Overloaded, .message = "the server has to end at once"});
  }
};

struct StreamReply {
  Response head;  // its body is not used
  std::unique_ptr<EventStream> events;
  // How long the head waits for the first piece, for streams that may turn out to be a refusal or
  // have something to say in it.
  std::chrono::milliseconds head_wait{0};
};

using Reply = std::variant<Response, std::unique_ptr<Pending>, StreamReply>;

// Called from several io threads at once. Outlives the listener. Must not throw.
class Handler {
 public:
  virtual ~Handler() = default;

  // The head is there and well framed, the body not read. A response refuses the request and spares
  // the body; nothing lets it go on. The size of the body is judged after this, by the limits.
  virtual std::optional<Response> admit(const RequestHead& head) = 0;

  // The whole request is there, and was admitted.
  virtual Reply handle(Request request) = 0;

  // The answer for what the connection itself refuses: framing, sizes, slowness, the end of the
  // server. `head` is null when no head could be read.
  virtual Response refuse(const Error& error, const RequestHead* head) = 0;

  // What answers a request in whose middle the process has to end at once. Asked for when its
  // answer begins: then there may be no memory left to make it.
  virtual Response emergency(const RequestHead&) {
    return {.status = 503, .headers = {}, .content_type = {}, .body = {}};
  }
};

}  // namespace pensieve::http
