// What a server on this machine says about itself to somebody who holds the token. Knows /health
// and its proof. Must not know processes or files. Heavy (JSON): include it from .cpp files only.
#pragma once

#include <string>

#include "foundation/json.h"
#include "foundation/result.h"

namespace pensieve::cli {

struct ServerAddress {
  int port = 0;               // on 127.0.0.1
  std::string unix_socket{};  // a path; where it is given it is asked instead of the port
};

// The JSON object of GET /health in full. The token is sent only once the other side has shown that
// it has it already. Errors: NotFound when nothing listens; Unavailable when something else does, a
// server with another token, or one that is ending.
Result<Json> ask_health(const ServerAddress& address, const std::string& token);

}  // namespace pensieve::cli
