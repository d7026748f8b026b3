// `pensieve`: the model behind a port, until a signal ends it.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <ratio>
#include <string>
#include <utility>
#include <vector>

#include "foundation/log.h"
#include "foundation/text.h"

#include "application/cli/commands.h"
#include "application/cli/exit_status.h"
#include "application/cli/home.h"
#include "application/cli/init_notify.h"
#include "application/cli/memory_watch.h"
#include "application/cli/models.h"
#include "application/cli/serve_watch.h"
#include "application/cli/server_records.h"
#include "application/cli/server_state.h"
#include "application/cli/signals.h"
#include "application/cli/stack.h"
#include "application/server/server.h"

namespace pensieve::cli {
namespace {

// Claude Code keeps a main conversation, its sub-agents and titles at the same time.
constexpr int kConversations = 4;
constexpr int kIdleCheckMs = 500;
constexpr std::chrono::seconds kIoPatience{5};
// How long a stream waits for the upstream's word before it says 200; see docs/decisions/0011.
constexpr std::chrono::seconds kRefusalWait{5};

std::int64_t created_unix_s(const Options& options, const Stack& stack) {
  struct stat status {};
  if (stack.embedded || options.model.empty() || stat(options.model.c_str(), &status) != 0)
    return 0;
  return status.st_mtime;
}

// "Pensieve Tiny" -> "pensieve-tiny": what stands in a URL and in a client's model list.
std::string id_of(std::string_view name) {
  std::string id;
  for (const char c : name) {
    const bool keep = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_';
    const bool upper = c >= 'A' && c <= 'Z';
    if (keep || upper) {
      id += upper ? static_cast<char>(c - 'A' + 'a') : c;
    } else if (!id.empty() && id.back() != '-') {
      id += '-';
    }
  }
  while (!id.empty() && id.back() == '-') id.pop_back();
  return id.empty() ? "local" : id;
}

// What the start says, in words that fit a terminal.
struct Row {
  const char* name;
  std::string text;
};

// "Q4_0", or "Q8_0 made of BF16" where the file has something else.
std::string weights_text(const model::ModelFile& file) {
  std::string text(file.quantization());
  if (!file.made_from().empty()) text += " made of " + std::string(file.made_from());
  return text;
}

// What runs here: of a model, its file, its window and its kernels.
std::vector<Row> model_rows(const Stack& stack) {
  const model::ModelFile& file = *stack.model.file;
  const compute::Capabilities backend = stack.engine->capabilities();
  const compute::BackendMemory memory = stack.engine->stats().memory;
  return {
      {"model",
       std::string(file.name()) + (stack.embedded ? " (embedded), " : ", ") +
           std::string(file.format()) + ", " + weights_text(file) + ", " +
           grouped((file.parameters() + 500'000) / 1'000'000) + " M parameters, " +
           human_bytes(file.file_bytes())},
      {"window",
       grouped(static_cast<std::uint64_t>(stack.window.tokens)) + " tokens; KV " +
           to_string(stack.kv) + ", " + human_bytes(memory.kv_capacity_bytes) + " for " +
           grouped(memory.kv_capacity_bytes / std::max<std::size_t>(1, backend.page_bytes) *
                   compute::kPageTokens) +
           " tokens of all conversations"},
      {"compute", backend.name + ", " + backend.kernels},
  };
}

std::vector<Row> upstream_rows(const Stack& stack) {
  return {{"upstream", stack.upstream->url()},
          {"model", stack.upstream->model()},
          {"window", grouped(static_cast<std::uint64_t>(stack.window.tokens)) + " tokens"}};
}

// What is kept of this model's prompts on the disk, from earlier runs too.
std::string remembered_text(const Stack& stack) {
  if (stack.tier == nullptr) return "off";
  std::uint64_t n_conversations = 0, n_tokens = 0, n_bytes = 0;
  const auto home = home_directory();
  if (!home) return "nothing yet";
  const auto memory = kv_store::look_at(memory_directory(*home));
  if (!memory) return "nothing yet";
  for (const kv_store::Remembered& one : memory->histories) {
    if (one.model != stack.model.file->name()) continue;
    ++n_conversations;
    n_tokens += static_cast<std::uint64_t>(one.n_own_tokens);
    n_bytes += one.bytes;
  }
  if (n_conversations == 0) return "nothing yet";
  return grouped(n_conversations) +
         (n_conversations == 1 ? " conversation, " : " conversations, ") + grouped(n_tokens) +
         " tokens, " + human_bytes(n_bytes) + " on disk";
}

std::vector<Row> start_rows(const Options& options,
                            const Stack& stack,
                            const MemoryState& now,
                            const server::Server& server,
                            const Token& token) {
  std::vector<Row> rows = stack.upstream == nullptr ? model_rows(stack) : upstream_rows(stack);
  rows.push_back({"memory",
                  std::string(to_string(now.level)) + ", " +
                      (now.memory.known ? human_bytes(now.memory.room_bytes()) + " available"
                                        : "the system does not say how much is available")});
  if (stack.upstream == nullptr) rows.push_back({"remembers", remembered_text(stack)});
  rows.push_back({"address", server.url()});
  if (options.tcp && !options.unix_socket.empty()) rows.push_back({"socket", options.unix_socket});
  rows.push_back({"token", token.file.empty() ? "from PENSIEVE_TOKEN" : token.file});
  return rows;
}

std::string connect_line(const Stack& stack, const server::Server& server, const Token& token) {
  return "ANTHROPIC_BASE_URL=" + server.url() + " ANTHROPIC_AUTH_TOKEN=" +
         (token.file.empty() ? "$PENSIEVE_TOKEN" : "$(cat " + token.file + ")") +
         " CLAUDE_CODE_MAX_CONTEXT_TOKENS=" + std::to_string(stack.window.tokens) + " claude";
}

// The page's address; on a terminal one that brings the token along, behind the '#' that a browser
// keeps to itself. What is not a terminal may be a log, where no token belongs.
std::string page_text(const server::Server& server, const Token& token) {
  std::string text = server.url() + "/";
  if (isatty(STDOUT_FILENO) == 1) text += "#token=" + percent_encoded(token.value);
  return text;
}

void announce(const Options& options,
              const Stack& stack,
              const MemoryState& memory,
              const server::Server& server,
              const Token& token) {
  const auto rows = start_rows(options, stack, memory, server, token);
  if (options.log_format == LogFormat::JsonLines) {
    if (stack.by_default) log_info(embedded_model_notice());
    for (const Row& row : rows) log_info(std::string(row.name) + ": " + row.text);
    return;
  }
  if (stack.by_default) std::printf("%s\n\n", embedded_model_notice().c_str());
  std::printf("Pensieve %s is ready.\n", PENSIEVE_VERSION);
  for (const Row& row : rows) std::printf("  %-9s %s\n", row.name, row.text.c_str());
  if (options.tcp) {
    std::printf("  %-9s %s\n", "page", page_text(server, token).c_str());
    std::printf("Connect Claude Code with `pensieve claude`, or by hand:\n  %s\nCtrl-C ends it.\n",
                connect_line(stack, server, token).c_str());
  } else {
    std::printf("Try it:\n  curl --unix-socket %s http://localhost/health\nCtrl-C ends it.\n",
                options.unix_socket.c_str());
  }
  std::fflush(stdout);
}

// The state file while the server runs; nothing without a path.
class StateFile {
 public:
  static Result<StateFile> write(const std::string& path, int port) {
    if (!path.empty()) PENSIEVE_TRY(write_server_state(path, {.port = port, .pid = getpid()}));
    return StateFile(path);
  }
  StateFile(StateFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  StateFile(const StateFile&) = delete;
  StateFile& operator=(const StateFile&) = delete;
  ~StateFile() {
    if (!path_.empty()) remove_server_state(path_, getpid());
  }

 private:
  explicit StateFile(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// How the server is, for whoever watches it.
ServerPulse pulse_of(const Stack& stack, server::Server& server) {
  ServerPulse pulse{.io_responds = server.responds_within(kIoPatience)};
  if (stack.engine != nullptr) {
    const engine::EngineStats stats = stack.engine->stats();
    pulse.running = stats.running + stats.waiting;
    pulse.counts = stats.steps + stats.requests;
  }
  return pulse;
}

// How long to wait for a signal before something else is due; -1: nothing ever is.
int look_every_ms(const Options& options, const InitNotify& notify) {
  int every_ms = options.exit_when_idle_minutes == 0 ? -1 : kIdleCheckMs;
  if (const auto watchdog = notify.watchdog()) {
    // Half the time is what sd_watchdog_enabled(3) recommends; a quarter lets one look fail.
    const auto quarter_ms = static_cast<int>(std::max<std::int64_t>(1, watchdog->count() / 4));
    every_ms = every_ms < 0 ? quarter_ms : std::min(every_ms, quarter_ms);
  }
  return every_ms;
}

// The signal that asks for the end, or 0 when nobody has used the server for long enough. Meanwhile
// the init system's watchdog hears from a server that is well, and nothing from one that is not.
int wait_for_end(const Options& options,
                 const Stack& stack,
                 const InitNotify& notify,
                 server::Server& server) {
  const auto limit = std::chrono::duration<double, std::ratio<60>>(options.exit_when_idle_minutes);
  const int every_ms = look_every_ms(options, notify);
  ProgressWatch watch;
  bool well = true;
  while (options.exit_when_idle_minutes == 0 || server.idle() < limit) {
    if (notify.watchdog()) {
      const bool still = watch.is_well(pulse_of(stack, server), std::chrono::steady_clock::now());
      if (still) notify.alive();
      if (well && !still) log_error("the server makes no progress: its watchdog is told nothing");
      well = still;
    }
    if (const int signal = wait_for_signal(every_ms); signal != 0) return signal;
  }
  return 0;
}

// The watch ends before the server that it may end.
class WatchesWhileServing {
 public:
  explicit WatchesWhileServing(MemoryWatch& watch) : watch_(watch) {}
  WatchesWhileServing(const WatchesWhileServing&) = delete;
  WatchesWhileServing& operator=(const WatchesWhileServing&) = delete;
  ~WatchesWhileServing() { watch_.stop(); }

 private:
  MemoryWatch& watch_;
};

server::ServerInfo info_of(const Options& options, const Stack& stack) {
  server::ServerInfo info;
  info.version = PENSIEVE_VERSION;
  info.context_length = stack.window.tokens;
  if (stack.upstream != nullptr) {
    info.model_id = info.display_name = stack.upstream->model();
    info.backend = "upstream";
    return info;
  }
  const compute::Capabilities backend = stack.engine->capabilities();
  info.display_name = stack.model.file->name();
  info.model_id = id_of(info.display_name);
  info.model_created_unix_s = created_unix_s(options, stack);
  info.backend = backend.name;
  info.kernels = backend.kernels;
  info.parameters = stack.model.file->parameters();
  return info;
}

Result<KeptRecord> keep_record(const std::string& home, const ServerRecord& record) {
  PENSIEVE_TRY(make_home(home));  // with PENSIEVE_TOKEN nobody else needs it
  return KeptRecord::write(home, record);
}

Result<int> serve_until_a_signal(const Options& options) {
  if (!options.log_file.path.empty()) {
    PENSIEVE_TRY(log_to_file(options.log_file));
  }
  PENSIEVE_TRY(const std::string home, home_directory());
  PENSIEVE_TRY(const Token token, access_token(home));
  const InitNotify notify = InitNotify::from_environment();
  notify.status("Looking for the model");
  PENSIEVE_TRY(ensure_model(options));
  notify.status("Loading the model");
  std::optional<KeptRecord> record;  // goes last: while it is there, the process is not done
  PENSIEVE_TRY(const auto stack, build_stack(options, kConversations));
  PENSIEVE_TRY(const auto watch, MemoryWatch::create(*stack, home));
  server::ServerOptions listen;
  listen.read_memory = [&watch = *watch] { return watch.state(); };
  listen.host = options.host;
  listen.port = options.port;
  listen.tcp = options.tcp;
  if (!options.unix_socket.empty())
    listen.unix_socket = std::filesystem::absolute(options.unix_socket).lexically_normal().string();
  const std::string unix_socket = listen.unix_socket;
  listen.token = token.value;
  listen.allowed_hosts = options.allowed_hosts;
  listen.allowed_origins = options.allowed_origins;
  if (stack->upstream != nullptr) listen.stream_head_wait = kRefusalWait;
  listen.log_prompt_text = options.log_prompt_text;
  if (const auto* tier = stack->tier.get(); tier != nullptr) {
    listen.read_kv_disk = [tier] { return tier->usage(); };
  }
  PENSIEVE_TRY(const auto server,
               server::Server::create(std::move(listen),
                                      info_of(options, *stack),
                                      *stack->service,
                                      stack->engine.get(),
                                      stack->accountant));
  orderly_signals();
  server->start();
  auto kept = keep_record(
      home,
      {.pid = getpid(), .host = options.host, .port = server->port(), .unix_socket = unix_socket});
  if (kept) {
    record.emplace(*std::move(kept));
  } else {  // a full disk, say: no reason not to serve
    log_warning("`pensieve status` and `pensieve stop` will not find this server: " +
                kept.error().message);
  }
  PENSIEVE_TRY(watch->start(*server));
  const WatchesWhileServing until_the_end(*watch);
  announce(options, *stack, watch->state(), *server, token);
  PENSIEVE_TRY(const StateFile state, StateFile::write(options.state_file, server->port()));

  notify.ready();
  notify.status("Serving at " + server->url());
  const int signal = wait_for_end(options, *stack, notify, *server);
  notify.stopping();
  if (signal != 0) {
    log_info("signal " + std::to_string(signal) +
             ": running answers go on for up to 30 s, new requests are refused");
  } else {
    log_info("nobody has used the server for as long as --exit-when-idle says: it ends");
  }
  // Cancelled by a second signal, which ends the process from its handler.
  server->drain(std::chrono::seconds(30));
  server->wait();
  log_info("done");
  return kExitDone;
}

}  // namespace

int serve(const Options& options) {
  const auto status = serve_until_a_signal(options);
  return status ? *status : complain(status.error());
}

}  // namespace pensieve::cli
