// The file by which a server that runs in the background is found again: its address and process
// id, written by the server itself once it answers. Knows one small JSON file. Must not know what
// is served.
#pragma once

#include <optional>
#include <string>

#include "foundation/result.h"

namespace pensieve::cli {

struct ServerState {
  int port = 0;  // on 127.0.0.1
  int pid = 0;
};

// Where the launcher keeps it: `home`/server.json.
std::string server_state_path(const std::string& home);

// Puts the state at `path` by rename, mode 0600: readers see the old file or the whole new one.
// Errors: Internal, naming the path.
Result<void> write_server_state(const std::string& path, const ServerState& state);

// What the file says; nothing when there is none, or when what is there is not such a file.
std::optional<ServerState> read_server_state(const std::string& path);

// Removes the file if it still speaks of `pid`: a later server's stays.
void remove_server_state(const std::string& path, int pid);

}  // namespace pensieve::cli
