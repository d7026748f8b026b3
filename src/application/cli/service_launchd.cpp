// The service under macOS's launchd, as an agent of this user (launchctl(1)). Nothing in it needs
// macOS to compile.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "application/cli/exit_status.h"
#include "application/cli/home.h"
#include "application/cli/service_manager.h"

namespace pensieve::cli {
namespace {

std::string domain() {
  return "gui/" + std::to_string(getuid());
}

std::string target() {
  return domain() + "/" + kLaunchLabel;
}

Result<std::string> agent_path() {
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home != '/')
    return Error{.kind = ErrorKind::NotFound, .message = "HOME is not set"};
  return std::string(home) + "/Library/LaunchAgents/" + kLaunchLabel + ".plist";
}

bool is_loaded() {
  return ask_command({"launchctl", "print", target()}).has_value();
}

Result<void> unload() {
  if (!is_loaded()) return {};
  return run_quietly({"launchctl", "bootout", target()});
}

}  // namespace

Result<int> manage_with_launchd(const ServiceRequest& request) {
  PENSIEVE_TRY(const std::string path, agent_path());
  if (!ask_command({"launchctl", "print", domain()})) {
    return Error{.kind = ErrorKind::Unavailable,
                 .message =
                     "launchd runs no agents of this user here, so keep the server yourself: "
                     "`nohup pensieve &`, or `pensieve claude`, which starts its own"};
  }
  const std::string& action = request.action;
  if (action == "install") {
    PENSIEVE_TRY(const ServiceSpec spec, request.make_spec());
    PENSIEVE_TRY(write_service_file(path, launch_agent(spec)));
    PENSIEVE_TRY(unload());
    PENSIEVE_TRY(run_quietly({"launchctl", "bootstrap", domain(), path}));
    std::printf("Pensieve runs as a service of this user, now and from each login on (%s).\n",
                path.c_str());
    return kExitDone;
  }
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return Error{.kind = ErrorKind::NotFound,
                 .message = "the service is not installed: `pensieve service install` does that"};
  }
  if (action == "status") return run_visibly({"launchctl", "print", target()});
  if (action == "logs") {
    PENSIEVE_TRY(const std::string home, home_directory());
    const std::string log = home + "/service.log";
    if (request.follow) return run_visibly({"tail", "-n", "200", "-F", log});
    return run_visibly({"tail", "-n", "200", log});
  }
  if (action == "uninstall" || action == "stop" || action == "restart") PENSIEVE_TRY(unload());
  if (action == "uninstall") {
    std::filesystem::remove(path, error);
    if (error) {
      return Error{.kind = ErrorKind::Internal,
                   .message = path + " cannot be removed: " + error.message()};
    }
    std::printf("The service is removed. Models, token and what is remembered stay.\n");
  }
  if (action == "start" || action == "restart") {
    if (!is_loaded()) PENSIEVE_TRY(run_quietly({"launchctl", "bootstrap", domain(), path}));
  }
  return kExitDone;
}

}  // namespace pensieve::cli
