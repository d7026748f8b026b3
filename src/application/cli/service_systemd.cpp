// The service under systemd's manager of this user (systemctl(1), --user).
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "application/cli/exit_status.h"
#include "application/cli/service_manager.h"

namespace pensieve::cli {
namespace {

// systemd.unit(5), "User Unit Search Path".
Result<std::string> unit_path() {
  std::string settings;
  if (const char* given = std::getenv("XDG_CONFIG_HOME"); given != nullptr && *given == '/') {
    settings = given;
  } else if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    settings = std::string(home) + "/.config";
  } else {
    return Error{.kind = ErrorKind::NotFound, .message = "HOME is not set"};
  }
  return settings + "/systemd/user/" + kSystemdUnit;
}

std::vector<std::string> systemctl(std::vector<std::string> words) {
  words.insert(words.begin(), {"systemctl", "--user"});
  return words;
}

Error no_systemd() {
  return {.kind = ErrorKind::Unavailable,
          .message =
              "systemd runs no services of this user here, so keep the server yourself: "
              "`nohup pensieve &`, or `pensieve claude`, which starts its own"};
}

Result<int> install(const ServiceRequest& request, const std::string& path, int version) {
  PENSIEVE_TRY(const ServiceSpec spec, request.make_spec());
  PENSIEVE_TRY(write_service_file(path, systemd_unit(spec, version)));
  PENSIEVE_TRY(run_quietly(systemctl({"daemon-reload"})));
  PENSIEVE_TRY(run_quietly(systemctl({"enable", "--quiet", kSystemdUnit})));
  if (const auto started = run_quietly(systemctl({"restart", kSystemdUnit})); !started) {
    return Error{.kind = ErrorKind::Unavailable,
                 .message = "the service is installed (" + path +
                            ") but did not start: `pensieve service logs` says why"};
  }
  std::printf(
      "Pensieve runs as a service of this user, now and from each login on (%s).\n"
      "`pensieve status` shows it, `pensieve service logs` what it says, `pensieve service "
      "uninstall` "
      "removes it.\n"
      "`loginctl enable-linger` lets it run without a login as well.\n",
      path.c_str());
  return kExitDone;
}

Result<int> uninstall(const std::string& path) {
  PENSIEVE_TRY(run_quietly(systemctl({"disable", "--quiet", "--now", kSystemdUnit})));
  std::error_code error;
  std::filesystem::remove(path, error);
  if (error) {
    return Error{.kind = ErrorKind::Internal,
                 .message = path + " cannot be removed: " + error.message()};
  }
  PENSIEVE_TRY(run_quietly(systemctl({"daemon-reload"})));
  std::printf("The service is removed. Models, token and what is remembered stay.\n");
  return kExitDone;
}

}  // namespace

Result<int> manage_with_systemd(const ServiceRequest& request) {
  PENSIEVE_TRY(const std::string path, unit_path());
  const auto version = ask_command(systemctl({"show", "--property=Version", "--value"}));
  if (!version) return no_systemd();
  if (request.action == "install") return install(request, path, systemd_version_of(*version));
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    return Error{.kind = ErrorKind::NotFound,
                 .message = "the service is not installed: `pensieve service install` does that"};
  }
  if (request.action == "uninstall") return uninstall(path);
  if (request.action == "status")
    return run_visibly(systemctl({"--no-pager", "status", kSystemdUnit}));
  if (request.action == "logs") {
    std::vector<std::string> command{"journalctl", "--user-unit", kSystemdUnit, "--lines", "200"};
    command.emplace_back(request.follow ? "--follow" : "--no-pager");
    return run_visibly(command);
  }
  return run_visibly(systemctl({request.action, kSystemdUnit}));
}

}  // namespace pensieve::cli
