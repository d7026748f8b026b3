// The server: Pensieve's routes on one listening port. Owns the port and the io threads; answers
// come from claude::Service, to clients of Anthropic's API and of OpenAI's. Knows routes, who may
// ask, and which error has which status. Must not know models, prompts or tokens.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "foundation/accountant.h"
#include "foundation/memory_monitor.h"
#include "foundation/result.h"

#include "domain/claude/service.h"
#include "domain/engine/engine.h"
#include "domain/kv_store/kv_store.h"

#include "application/http/limits.h"

namespace pensieve::server {

struct ServerOptions {
  std::string host = "127.0.0.1";  // an address of this machine, or "localhost"
  int port = 7777;                 // 0: the system picks a free one
  bool tcp = true;                 // false: `unix_socket` alone; host and port are not used
  std::string unix_socket{};  // the path of a socket for this user beside the port; empty: none
  std::string token{};  // empty: nobody is asked for one, which only a loopback address allows
  std::vector<std::string> allowed_hosts{};    // beyond localhost: "name" or "name:port"
  std::vector<std::string> allowed_origins{};  // beyond the server's own: "https://name:port"
  int io_threads = 3;
  http::Limits limits{};
  // How long a stream's head waits for the answer's beginning, which may be a refusal that comes
  // from elsewhere, and which says what X-Pensieve-Cache tells; then 200, message_start and pings.
  std::chrono::milliseconds stream_head_wait{200};
  // What is known of the machine's memory, asked for each answer; empty: it is read each time.
  std::function<MemoryState()> read_memory{};
  std::function<kv_store::Usage()> read_kv_disk{};  // empty: no KV is kept on the disk
  bool log_prompt_text = false;  // two tokens of a prompt that differs from what was kept
};

// What /health and /v1/models say about the process.
struct ServerInfo {
  std::string model_id;
  std::string display_name;
  std::int64_t model_created_unix_s = 0;
  std::string version;           // of Pensieve
  std::string backend;           // "cpu", "upstream"
  std::string kernels;           // "avx512-vnni"
  int context_length = 0;        // 0: unknown
  std::uint64_t parameters = 0;  // weights of the model; 0: unknown
};

class Server {
 public:
  // Binds and listens; clients wait in the backlog until start(). `service`, `engine` and
  // `accountant` outlive the server; `engine` is null where answers come from elsewhere. Errors,
  // each one sentence with the way out: Unavailable when the port is taken, InvalidRequest for a
  // host or port that cannot be used, or for an address beyond loopback without a token.
  static Result<std::unique_ptr<Server>> create(ServerOptions options,
                                                ServerInfo info,
                                                claude::Service& service,
                                                engine::Engine* engine,
                                                Accountant& accountant);

  virtual ~Server() = default;  // closes every connection at once and joins the threads

  virtual int port() const = 0;         // 0: no TCP
  virtual std::string url() const = 0;  // "http://127.0.0.1:7777", or "unix:PATH" without TCP

  // Starts the io threads and returns. Call it once.
  virtual void start() = 0;

  // Begins the end, from any thread, and returns: stops accepting, answers new requests with 503
  // and closes their connections, lets running answers go on for `grace`, then ends each with an
  // `overloaded_error`. A second call can only shorten the grace.
  virtual void drain(std::chrono::milliseconds grace = std::chrono::seconds(30)) = 0;

  // For a process that has to end at once because there is no memory left: see
  // http::Listener::end_at_once(). Allocates nothing. Any thread, once.
  virtual int end_at_once(std::chrono::milliseconds limit) = 0;

  // Waits until a drain is complete, or for `limit`. True when it is complete.
  virtual bool wait_for(std::chrono::milliseconds limit) = 0;
  virtual void wait() = 0;

  // Whether the io threads take up work within `limit`. Any thread but those; after start().
  virtual bool responds_within(std::chrono::milliseconds limit) = 0;

  virtual std::size_t connections() const = 0;  // open now
  virtual std::size_t answering() const = 0;    // of them, with an answer under way

  // Since when nobody has used the server: the time since the end of the last answer to a request
  // that brought the token, 0 while there is one under way. Any thread.
  virtual std::chrono::milliseconds idle() const = 0;
};

}  // namespace pensieve::server
