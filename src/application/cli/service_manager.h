// `pensieve service` by the init system that there is. Knows its commands and where its files lie.
// One thread; the commands run as children of this one, never of a server.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "foundation/result.h"

#include "application/cli/service_units.h"

namespace pensieve::cli {

struct ServiceRequest {
  std::string action;  // "install", "uninstall", "start", "stop", "restart", "status", "logs"
  // install: asked once it is known that there is somebody to run it, since it may take long.
  std::function<Result<ServiceSpec>()> make_spec{};
  bool follow = true;  // logs: go on showing what is said
};

// Gives the exit status: of the init system's own command for status and logs. Errors: Unavailable
// when there is no init system that runs services of this user, with the way out; NotFound when the
// service is not installed; Internal when a file or a command fails.
Result<int> manage_with_systemd(const ServiceRequest& request);
Result<int> manage_with_launchd(const ServiceRequest& request);

// Puts the file there with the directories above it. Errors: Internal, naming the path.
Result<void> write_service_file(const std::string& path, const std::string& text);

// Runs a command of the init system quietly. Errors: Unavailable with its last words when it fails.
Result<void> run_quietly(const std::vector<std::string>& command);
// Runs one on our terminal; gives its exit status.
Result<int> run_visibly(const std::vector<std::string>& command);
// What one prints, without the line end; nothing when it fails.
std::optional<std::string> ask_command(const std::vector<std::string>& command);

}  // namespace pensieve::cli
