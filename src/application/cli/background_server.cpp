#include "application/cli/background_server.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

#include "foundation/json.h"
#include "foundation/text.h"

#include "application/cli/child_process.h"
#include "application/cli/home.h"
#include "application/cli/server_health.h"
#include "application/cli/server_state.h"

namespace pensieve::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kStartLimit = std::chrono::minutes(5);  // a large model from a slow disk
constexpr int kPollMs = 25;
constexpr const char* kIdleMinutes = "30";

// Held while looking and starting. The system lets go of it when this process ends.
class Lock {
 public:
  static Result<Lock> take(const std::string& path) {
    Lock lock(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    int error = lock.file_ < 0 ? errno : 0;
    while (error == 0 && flock(lock.file_, LOCK_EX) != 0) error = errno == EINTR ? 0 : errno;
    if (error != 0) {
      return Error{
          .kind = ErrorKind::Internal,
          .message = path + " cannot be locked: " + std::generic_category().message(error)};
    }
    return lock;
  }
  Lock(Lock&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  ~Lock() {
    if (file_ >= 0) close(file_);
  }

 private:
  explicit Lock(int file) : file_(file) {}
  int file_;
};

std::string text_field(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::uint64_t number_field(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

// What waits says, once a second, on one line of a terminal; elsewhere only the beginning.
class Progress {
 public:
  explicit Progress(const std::string& log) : terminal_(isatty(STDERR_FILENO) == 1) {
    if (!terminal_) {
      std::fprintf(stderr, "Starting Pensieve in the background (log: %s)\n", log.c_str());
    }
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() {
    if (terminal_) std::fprintf(stderr, "\r\033[K");
  }
  void tell(Clock::duration since) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since).count();
    if (!terminal_ || seconds == told_) return;
    told_ = seconds;
    std::fprintf(
        stderr, "\rStarting Pensieve in the background … %ld s", static_cast<long>(seconds));
  }

 private:
  bool terminal_;
  std::int64_t told_ = -1;
};

// The last line that is not empty.
std::string last_words(const std::string& path) {
  std::ifstream log(path);
  std::string line;
  std::string last;
  while (std::getline(log, line)) {
    if (!line.empty()) last = line;
  }
  constexpr std::string_view kName = "pensieve: ";
  if (last.starts_with(kName)) last.erase(0, kName.size());
  return last.empty() ? "it said nothing" : printable(last, 500);
}

// The server behind the state file, when the file tells the truth.
std::optional<ServerFound> known_server(const ServerWanted& wanted, const std::string& log) {
  const auto state = read_server_state(server_state_path(wanted.home));
  if (!state) return std::nullopt;
  const auto server = ask_server(state->port, wanted.token);
  if (!server) return std::nullopt;
  return ServerFound{.server = *server, .port = state->port, .pid = state->pid, .log = log};
}

Error did_not_start(const std::string& what, const std::string& log) {
  return {.kind = ErrorKind::Unavailable,
          .message = "the server did not start: " + what + " (its log is " + log + ")"};
}

// Waits until the server that was started as `pid` answers.
Result<ServerFound> wait_until_ready(const ServerWanted& wanted, int pid, const std::string& log) {
  const auto begin = Clock::now();
  Progress progress(log);
  while (Clock::now() - begin < kStartLimit) {
    if (ended(pid)) return did_not_start(last_words(log), log);
    const auto state = read_server_state(server_state_path(wanted.home));
    if (state && state->pid == pid) {
      if (const auto server = ask_server(state->port, wanted.token)) {
        return ServerFound{
            .server = *server, .port = state->port, .pid = pid, .started = true, .log = log};
      }
    }
    progress.tell(Clock::now() - begin);
    poll(nullptr, 0, kPollMs);
  }
  kill(pid, SIGTERM);
  return did_not_start("it did not answer within five minutes", log);
}

Result<ServerFound> start(const ServerWanted& wanted, int port, const std::string& log) {
  if (wanted.before_start) PENSIEVE_TRY(wanted.before_start());
  rename(log.c_str(), (log + ".1").c_str());  // of the server before; there may be none
  Program program;
  PENSIEVE_TRY(program.path, own_program());
  program.arguments = {"pensieve"};
  program.arguments.insert(
      program.arguments.end(), wanted.arguments.begin(), wanted.arguments.end());
  for (const std::string& word : {std::string("--port"),
                                  std::to_string(port),
                                  std::string("--exit-when-idle"),
                                  std::string(kIdleMinutes),
                                  std::string("--state-file"),
                                  server_state_path(wanted.home)}) {
    program.arguments.push_back(word);
  }
  program.environment = own_environment();
  PENSIEVE_TRY(const int pid, start_in_background(program, log));
  return wait_until_ready(wanted, pid, log);
}

}  // namespace

Result<ClientServer> ask_server(int port, const std::string& token) {
  PENSIEVE_TRY(const Json known, ask_health({.port = port}, token));
  const std::uint64_t window = number_field(known, "context_length");
  if (window == 0 || window > 100'000'000 || text_field(known, "model").empty()) {
    return Error{.kind = ErrorKind::Unavailable,
                 .message = "the server on port " + std::to_string(port) +
                            " does not say which model it has"};
  }
  return ClientServer{.url = "http://127.0.0.1:" + std::to_string(port),
                      .token = token,
                      .model = text_field(known, "model"),
                      .context_length = static_cast<int>(window),
                      .parameters = number_field(known, "parameters")};
}

Result<ServerFound> find_or_start_server(const ServerWanted& wanted) {
  PENSIEVE_TRY(make_home(wanted.home));
  PENSIEVE_TRY(const Lock lock, Lock::take(wanted.home + "/server.lock"));
  const std::string log = wanted.home + "/server.log";
  const auto known = known_server(wanted, log);
  int port = wanted.port;
  if (known && (!wanted.port_given || port == 0 || port == known->port)) return *known;
  if (port != 0) {
    const auto server = ask_server(port, wanted.token);
    if (server) return ServerFound{.server = *server, .port = port};
    if (server.error().kind != ErrorKind::NotFound) {
      if (known) return *known;
      std::fprintf(
          stderr, "Port %d belongs to another program, so the server takes a free one.\n", port);
      port = 0;
    }
  }
  return start(wanted, port, log);
}

}  // namespace pensieve::cli
