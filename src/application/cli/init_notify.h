// What the init system hears from a server that it started: sd_notify(3)'s protocol, one datagram a
// message to the socket that NOTIFY_SOCKET names. Knows environment variables and that socket. Must
// not know what is served.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "foundation/directory.h"

namespace pensieve::cli {

class InitNotify {
 public:
  // Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, as sd_watchdog_enabled(3) does. Without
  // them, or with ones that cannot be used, it says nothing to anybody.
  static InitNotify from_environment();

  void ready() const { send("READY=1"); }
  void stopping() const { send("STOPPING=1"); }
  void alive() const { send("WATCHDOG=1"); }
  // One line for `systemctl status`.
  void status(std::string_view text) const;

  // How often alive() has to be said at least; nothing: nobody waits for it.
  std::optional<std::chrono::milliseconds> watchdog() const { return watchdog_; }

 private:
  void send(std::string_view message) const;

  std::string address_;  // empty: nobody listens; begins with '@' in the abstract name space
  Handle socket_;
  std::optional<std::chrono::milliseconds> watchdog_;
};

}  // namespace pensieve::cli
