// `pensieve claude`: Claude Code on a local model, from nothing to a prompt. Finds or starts the
// server, and runs the client on the terminal with what it needs in its own environment only.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "foundation/text.h"

#include "application/cli/background_server.h"
#include "application/cli/child_process.h"
#include "application/cli/client_environment.h"
#include "application/cli/commands.h"
#include "application/cli/exit_status.h"
#include "application/cli/home.h"
#include "application/cli/local_http.h"
#include "application/cli/models.h"
#include "application/cli/window.h"

namespace pensieve::cli {
namespace {

// The client's settings in a file of this run: they hold the token, which the command line would
// show to everybody on this machine.
class SettingsFile {
 public:
  static Result<SettingsFile> create(const std::string& home, const std::string& text) {
    SettingsFile file(home + "/claude-settings-" + std::to_string(getpid()) + ".json");
    unlink(file.path_.c_str());  // of a run that had this number and was killed
    const int descriptor =
        open(file.path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    const bool written = descriptor >= 0 && write(descriptor, text.data(), text.size()) ==
                                                static_cast<ssize_t>(text.size());
    if (descriptor >= 0) close(descriptor);
    if (written) return file;
    return Error{.kind = ErrorKind::Internal, .message = file.path_ + " cannot be written"};
  }
  SettingsFile(SettingsFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  SettingsFile(const SettingsFile&) = delete;
  SettingsFile& operator=(const SettingsFile&) = delete;
  ~SettingsFile() {
    if (!path_.empty()) unlink(path_.c_str());
  }
  const std::string& path() const { return path_; }

 private:
  explicit SettingsFile(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

void tell(const ServerFound& found, const Options& options) {
  if (found.started) {
    std::fprintf(stderr,
                 "Pensieve runs in the background at %s (process %d, log %s).\n"
                 "It ends 30 minutes after its last use, or with `pensieve stop`.\n",
                 found.server.url.c_str(),
                 found.pid,
                 found.log.c_str());
  } else if (!options.server_arguments.empty()) {
    const std::string end = ": end it with `pensieve stop --port " + std::to_string(found.port) +
                            "` to start one with other options";
    std::fprintf(stderr,
                 "Pensieve already runs at %s with the model %s and keeps its options%s.\n",
                 found.server.url.c_str(),
                 printable(found.server.model).c_str(),
                 end.c_str());
  }
  if (needs_fewer_tools(found.server, options.client_arguments)) {
    std::fprintf(stderr,
                 "A small model (window %s tokens) does better with fewer tools: "
                 "pensieve claude --tools Bash,Read,Write,Edit\n",
                 grouped(static_cast<std::uint64_t>(found.server.context_length)).c_str());
  }
}

Result<int> run_client(const Options& options, const std::string& client) {
  PENSIEVE_TRY(const std::string home, home_directory());
  PENSIEVE_TRY(const Token token, access_token(home));
  PENSIEVE_TRY(const ServerFound found,
               find_or_start_server({.home = home,
                                     .token = token.value,
                                     .port = options.port,
                                     .port_given = options.port_given,
                                     .arguments = options.server_arguments,
                                     .before_start = [&] { return ensure_model(options); }}));
  tell(found, options);

  PENSIEVE_TRY(const SettingsFile settings,
               SettingsFile::create(home, client_settings(found.server)));
  Program program{.path = client,
                  .arguments = client_arguments(options.client_arguments, settings.path()),
                  .environment = client_environment(own_environment(), found.server)};
  program.arguments.insert(program.arguments.begin(), "claude");
  // A client that is left open over lunch is in use: the server stays.
  const Heart heart{.beat = [&] {
    (void)get_local({.port = found.port, .target = "/health", .token = token.value});
  }};
  return run_in_foreground(program, heart);
}

}  // namespace

int launch_client(const Options& options) {
  const char* path = std::getenv("PATH");
  const auto client = find_program("claude", path != nullptr ? path : "");
  if (!client) {
    std::fprintf(stderr,
                 "pensieve: Claude Code is not installed (there is no `claude` in PATH): "
                 "npm install -g @anthropic-ai/claude-code\n");
    return kExitNoClient;
  }
  const auto status = run_client(options, *client);
  return status ? *status : complain(status.error());
}

}  // namespace pensieve::cli
