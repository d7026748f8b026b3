// HTTP requests to another server, many at a time on one thread of their own (libcurl's multi
// interface). Knows sockets and time. Must not know what the bytes mean.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "foundation/result.h"

namespace pensieve::proxy {

struct TransferLimits {
  std::size_t transfers = 64;                // at once; one more is refused as Overloaded
  std::size_t buffered_bytes = 1024 * 1024;  // received and not read; then the transfer pauses
  std::chrono::milliseconds connect{10'000};
  std::chrono::milliseconds quiet{120'000};  // without a byte while nobody pauses it
};

struct TransferRequest {
  std::string url;      // http or https
  std::string body;     // POSTed as JSON; empty: GET
  std::string key;      // sent as a bearer token if there is one
  bool direct = false;  // past any proxy that the environment names
};

// What has come back since the last look.
struct Received {
  int status = 0;              // 0: the head is not there yet
  int retry_after_s = 0;       // of the head; 0: none, or a date
  bool is_events = false;      // the content type is text/event-stream
  std::string bytes;           // of the body
  bool over = false;           // nothing follows
  std::optional<Error> error;  // with `over`: how it failed, naming the URL, never the key
};

// One request on its way. One reader; its calls may come from any one thread at a time. Destroying
// it ends the transfer and closes its connection, unless it was over.
class Transfer {
 public:
  virtual ~Transfer() = default;
  virtual Received take() = 0;
  // `ready` is called from another thread whenever take() may have something new, and at once if it
  // has: it must only post. Once this returned, the function set before is not called any more.
  virtual void on_ready(std::function<void()> ready) = 0;
  // Waits until take() has something new, or `limit` has gone by.
  virtual void wait(std::chrono::milliseconds limit) = 0;
};

class Transfers {
 public:
  // Starts the thread. Errors: Internal when libcurl cannot be set up.
  static Result<std::unique_ptr<Transfers>> create(const TransferLimits& limits);

  // Ends what still runs: those transfers are over with Cancelled. Transfers may outlive this.
  virtual ~Transfers() = default;

  // Any thread. Redirects are not followed. Errors: Overloaded.
  virtual Result<std::unique_ptr<Transfer>> start(TransferRequest request) = 0;

  virtual std::size_t running() const = 0;
};

}  // namespace pensieve::proxy
