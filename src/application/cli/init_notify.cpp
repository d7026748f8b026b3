#include "application/cli/init_notify.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace pensieve::cli {
namespace {

// A whole decimal number, or nothing.
std::optional<std::int64_t> number(const char* text) {
  if (text == nullptr) return std::nullopt;
  const std::string_view view = text;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  if (error != std::errc() || end != view.data() + view.size() || value <= 0) return std::nullopt;
  return value;
}

}  // namespace

InitNotify InitNotify::from_environment() {
  InitNotify notify;
  const char* address = std::getenv("NOTIFY_SOCKET");
  // sd_notify(3): a path, or '@' and an abstract name. Others (vsock) are for virtual machines.
  if (address == nullptr || (*address != '/' && *address != '@')) return notify;
  if (std::string_view(address).size() >= sizeof(sockaddr_un::sun_path)) return notify;
  notify.socket_ = Handle(::socket(AF_UNIX, SOCK_DGRAM, 0));
  if (!notify.socket_.open()) return notify;
  fcntl(notify.socket_.get(), F_SETFD, FD_CLOEXEC);
  // A full queue must not hold the server up: a lost message is better.
  fcntl(notify.socket_.get(), F_SETFL, O_NONBLOCK);
  notify.address_ = address;
  const auto interval_us = number(std::getenv("WATCHDOG_USEC"));
  const char* watched = std::getenv("WATCHDOG_PID");
  if (interval_us && (watched == nullptr || number(watched) == getpid())) {
    notify.watchdog_ = std::chrono::milliseconds(std::max<std::int64_t>(1, *interval_us / 1000));
  }
  return notify;
}

void InitNotify::status(std::string_view text) const {
  std::string message = "STATUS=" + std::string(text);
  std::replace(message.begin(), message.end(), '\n', ' ');  // a line end begins the next variable
  send(message);
}

void InitNotify::send(std::string_view message) const {
  if (address_.empty()) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  address_.copy(address.sun_path, sizeof address.sun_path - 1);
  if (address_.front() == '@') address.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size());
  // Who does not listen any more needs no message.
  [[maybe_unused]] const auto sent = ::sendto(socket_.get(),
                                              message.data(),
                                              message.size(),
                                              0,
                                              reinterpret_cast<const sockaddr*>(&address),
                                              size);
}

}  // namespace pensieve::cli
