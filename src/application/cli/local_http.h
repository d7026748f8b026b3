// One GET to a port or unix socket of this machine, blocking, with a time limit: enough to ask a
// server how it is. Knows sockets and the first line of an answer. Must not know what is asked for.
#pragma once

#include <string>

#include "foundation/result.h"

namespace pensieve::cli {

struct LocalResponse {
  int status = 0;
  std::string body;
};

struct LocalRequest {
  int port = 0;               // on 127.0.0.1
  std::string target;         // "/health?x=y"
  std::string token{};        // sent as a bearer token; empty: none
  std::string unix_socket{};  // its path, instead of the port; empty: the port
  int timeout_ms = 2000;
};

// Any thread. Errors: NotFound when nothing listens there; Unavailable when what listens does not
// answer in time, or not in HTTP/1.1 with at most 64 KiB.
Result<LocalResponse> get_local(const LocalRequest& request);

}  // namespace pensieve::cli
