// `pensieve service`: the server as a service of this user.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "foundation/directory.h"
#include "foundation/text.h"

#include "application/cli/child_process.h"
#include "application/cli/commands.h"
#include "application/cli/exit_status.h"
#include "application/cli/home.h"
#include "application/cli/models.h"
#include "application/cli/service_manager.h"

namespace pensieve::cli {
namespace {

// Installing waits for a model to be loaded.
constexpr std::chrono::minutes kCommandLimit{10};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string absolute(const std::string& path) {
  std::error_code error;
  const auto whole = std::filesystem::absolute(path, error);
  return error ? path : whole.lexically_normal().string();
}

// The same arguments for a process with another working directory: paths become absolute. A --model
// is a path when something lies there; else it is a name.
std::vector<std::string> placeless(std::vector<std::string> arguments) {
  const auto settle = [](const std::string& option, const std::string& value) {
    std::error_code ignored;
    const bool path = option == "--unix-socket" || option == "--state-file" ||
                      (option == "--model" && std::filesystem::exists(value, ignored));
    return path ? absolute(value) : value;
  };
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::size_t equals = arguments[i].find('=');
    const std::string option = arguments[i].substr(0, equals);
    if (equals != std::string::npos) {
      arguments[i] = option + "=" + settle(option, arguments[i].substr(equals + 1));
    } else if (arguments[i].starts_with("--") && i + 1 < arguments.size()) {
      arguments[i + 1] = settle(option, arguments[i + 1]);
    }
  }
  return arguments;
}

Result<ServiceSpec> spec_of(const Options& options) {
  if (options.mode == ModelMode::Force) {
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message =
                     "a service with `force` would fetch its model at every start: fetch it "
                     "now with `pensieve model pull --force`, and install without"};
  }
  PENSIEVE_TRY(const std::string home, home_directory());
  PENSIEVE_TRY(const Token token, access_token(home));  // made now: clients can be set up
  PENSIEVE_TRY(ensure_model(options));                  // on this terminal, where it can be watched
  ServiceSpec spec{
      .program = {}, .arguments = placeless(options.server_arguments), .variables = {}};
  PENSIEVE_TRY(spec.program, own_program());
  for (const char* name : {"PENSIEVE_HUB_URL", "HF_ENDPOINT"}) {
    if (!environment(name).empty()) spec.variables.push_back(name + ("=" + environment(name)));
  }
  if (!environment("PENSIEVE_HOME").empty()) spec.variables.push_back("PENSIEVE_HOME=" + home);
  spec.secrets_file = home + "/service.env";
  spec.log = home + "/service.log";
  if (token.file.empty()) {
    std::fprintf(stderr,
                 "PENSIEVE_TOKEN is not kept: the service takes the token in %s, or the one that "
                 "%s sets.\n",
                 home.c_str(),
                 spec.secrets_file.c_str());
  }
  return spec;
}

Program program_of(const std::vector<std::string>& command, const std::string& path) {
  return {.path = path, .arguments = command, .environment = own_environment()};
}

Result<Captured> capture_command(const std::vector<std::string>& command) {
  const auto path = find_program(command.front(), environment("PATH"));
  if (!path) {
    return Error{.kind = ErrorKind::Unavailable,
                 .message = "there is no `" + command.front() + "` here"};
  }
  return capture(program_of(command, *path), kCommandLimit);
}

Result<int> manage(const Options& options) {
  const ServiceRequest request{.action = options.service_action,
                               .make_spec = [&] { return spec_of(options); },
                               .follow = options.follow};
#ifdef __APPLE__
  return manage_with_launchd(request);
#else
  return manage_with_systemd(request);
#endif
}

}  // namespace

Result<void> write_service_file(const std::string& path, const std::string& text) {
  const auto directory = std::filesystem::path(path).parent_path();
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    return Error{.kind = ErrorKind::Internal,
                 .message = directory.string() + " cannot be made: " + error.message()};
  }
  // The directory may be a link: people keep their settings elsewhere.
  PENSIEVE_TRY(const Directory place, Directory::open(directory.string(), false, true));
  return place.replace(std::filesystem::path(path).filename().string(), text);
}

Result<void> run_quietly(const std::vector<std::string>& command) {
  PENSIEVE_TRY(const Captured done, capture_command(command));
  if (done.status == 0) return {};
  std::string line;
  for (const std::string& word : command) line += (line.empty() ? "" : " ") + word;
  return Error{.kind = ErrorKind::Unavailable,
               .message = "`" + line + "` failed: " + printable(trimmed(done.output), 500)};
}

Result<int> run_visibly(const std::vector<std::string>& command) {
  const auto path = find_program(command.front(), environment("PATH"));
  if (!path) {
    return Error{.kind = ErrorKind::Unavailable,
                 .message = "there is no `" + command.front() + "` here"};
  }
  std::fflush(stdout);
  return run_in_foreground(program_of(command, *path));
}

std::optional<std::string> ask_command(const std::vector<std::string>& command) {
  const auto done = capture_command(command);
  if (!done || done->status != 0) return std::nullopt;
  return std::string(trimmed(done->output));
}

int manage_service(const Options& options) {
  return finish(manage(options));
}

}  // namespace pensieve::cli
