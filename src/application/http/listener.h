// A listening port, its connections and the threads that serve them (Boost.Asio behind it): one
// coroutine per connection, requests of a connection in order. Knows HTTP/1.1, limits and time.
// Must not know routes, JSON or models: those are the Handler's.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "foundation/accountant.h"
#include "foundation/result.h"

#include "application/http/handler.h"
#include "application/http/limits.h"

namespace pensieve::http {

struct ListenerOptions {
  std::string host = "127.0.0.1";  // an address, or "localhost"
  int port = 0;                    // 0: the system picks one
  bool tcp = true;                 // false: only `unix_socket`; host and port are not used
  std::string unix_socket{};       // a path; empty: none
  int threads = 3;
  Limits limits{};
  Accountant* accountant = nullptr;  // asked before a large body is taken in; may be null
};

class Listener {
 public:
  // Binds and listens. `handler` and the accountant outlive the listener. Errors: Unavailable when
  // the port is taken, InvalidRequest for a host or port that cannot be used; those of
  // UnixSocket::listen(). REQUIRES: tcp or a unix socket.
  static Result<std::unique_ptr<Listener>> create(const ListenerOptions& options, Handler& handler);

  virtual ~Listener() = default;  // closes everything at once and joins the threads

  virtual int port() const = 0;          // 0: no TCP
  virtual bool is_loopback() const = 0;  // no other machine can reach it
  virtual void start() = 0;

  // Stops accepting; each further request's answer closes its connection; idle connections close
  // when no answer is running any more. After `grace` running answers are cut off. Any thread.
  virtual void drain(std::chrono::milliseconds grace) = 0;
  // True once a drain is complete and all threads have ended.
  virtual bool wait_for(std::chrono::milliseconds limit) = 0;

  // Whether an io thread takes up new work within `limit`: it is neither stuck nor dead. Any thread
  // but those. REQUIRES: started.
  virtual bool responds_within(std::chrono::milliseconds limit) = 0;

  // For a process that has to end at once, for want of memory above all: accepts nobody any more
  // and tells every client whose answer is under way, streams as EventStream::emergency() and
  // others as Handler::emergency() say, until all were told or `limit` has passed. Gives how many
  // were. Allocates nothing, needs none of the io threads, and takes no lock for longer than it
  // can. Once; destroy the listener after it, or the process.
  virtual int end_at_once(std::chrono::milliseconds limit) = 0;

  virtual std::size_t connections() const = 0;
  virtual std::size_t answering() const = 0;  // connections with an answer under way
};

}  // namespace pensieve::http
