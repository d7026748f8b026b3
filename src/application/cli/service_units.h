// The texts by which an init system starts the server: a user unit of systemd, a launch agent of
// macOS, each with its own way of quoting. Pure functions on strings: nothing is read or written.
#pragma once

#include <string>
#include <vector>

namespace pensieve::cli {

struct ServiceSpec {
  std::string program;                 // an absolute path
  std::vector<std::string> arguments;  // of the server, without the program's name
  std::vector<std::string> variables;  // "NAME=value", nothing secret
  std::string secrets_file{};          // more of them, read at start; may be missing (systemd)
  std::string log{};                   // where output goes (launchd)
};

inline constexpr const char* kSystemdUnit = "pensieve.service";
inline constexpr const char* kLaunchLabel = "local.pensieve.server";

// A unit of Type=notify with a watchdog, started again when it fails: after 1 s, then less and less
// often up to every 5 minutes where systemd knows how (`systemd_version` 254 and later), else every
// 10 s. Not started again when its command line or its model file cannot be used. Source:
// systemd.service(5), systemd.unit(5), systemd.syntax(7).
std::string systemd_unit(const ServiceSpec& spec, int systemd_version);

// A property list of an agent that runs from login on and again after a failure, at most every 10
// s. Source: launchd.plist(5).
std::string launch_agent(const ServiceSpec& spec);

// The number that a version of systemd begins with ("252 (252.38-1~deb12u1)", "v256.7"), 0 when
// there is none.
int systemd_version_of(const std::string& text);

}  // namespace pensieve::cli
