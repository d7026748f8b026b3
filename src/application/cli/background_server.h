// The server behind `pensieve claude`: finds one of this user's that answers, or starts one that
// outlives the command and ends by itself some time after its last use. Knows ports, processes and
// /health. Must not know the client.
// One thread. Two that look at the same time start one server, not two.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "foundation/result.h"

#include "application/cli/client_environment.h"

namespace pensieve::cli {

struct ServerWanted {
  std::string home;
  std::string token;
  int port = 7777;
  bool port_given = false;  // otherwise, and for 0, any background server that runs is as good
  std::vector<std::string> arguments;            // the server's options, if one is started
  std::function<Result<void>()> before_start{};  // what takes longer than a start may, if one is
};

struct ServerFound {
  ClientServer server;
  int port = 0;
  int pid = 0;           // 0: started by somebody else in a terminal
  bool started = false;  // by this call
  std::string log{};     // of a background server
};

// Asks a port of this machine whether a Pensieve with this token is there, without giving the token
// to anybody who does not know it. Errors: NotFound when nothing listens; Unavailable when
// something else does, a server with another token, or one that is ending.
Result<ClientServer> ask_server(int port, const std::string& token);

// The server that runs, or a new one once it answers; progress goes to standard error. A port that
// another program holds is replaced by any free one. Errors: Unavailable when the server ends or
// does not answer within five minutes, in one sentence that names its last words and its log; those
// of the home directory.
Result<ServerFound> find_or_start_server(const ServerWanted& wanted);

}  // namespace pensieve::cli
