#include "application/cli/other_process.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#ifdef __linux__
#include <sys/syscall.h>
#endif

namespace pensieve::cli {
namespace {

constexpr std::chrono::milliseconds kPoll{20};

// The process's handle, or -1 with errno.
int open_process([[maybe_unused]] int pid) {
#if defined(__linux__) && defined(SYS_pidfd_open)
  return static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
#else
  errno = ENOSYS;
  return -1;
#endif
}

int send([[maybe_unused]] int process, int pid, int number) {
#if defined(__linux__) && defined(SYS_pidfd_send_signal)
  if (process >= 0)
    return static_cast<int>(syscall(SYS_pidfd_send_signal, process, number, nullptr, 0));
#endif
  return kill(pid, number);
}

}  // namespace

std::optional<OtherProcess> OtherProcess::find(int pid) {
  Handle handle(open_process(pid));
  if (!handle.open() && errno == ESRCH) return std::nullopt;
  OtherProcess process(pid, std::move(handle));
  if (!process.handle_.open() && kill(pid, 0) != 0 && errno == ESRCH) return std::nullopt;
  return process;
}

bool OtherProcess::signal(int number) const {
  return send(handle_.get(), pid_, number) == 0;
}

bool OtherProcess::ends_within(std::chrono::milliseconds limit) const {
  if (handle_.open()) {
    pollfd one{.fd = handle_.get(), .events = POLLIN, .revents = 0};
    return poll(&one, 1, static_cast<int>(limit.count())) > 0;  // pidfd_open(2): at its end
  }
  const auto end = std::chrono::steady_clock::now() + limit;
  while (kill(pid_, 0) == 0 || errno != ESRCH) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    poll(nullptr, 0, static_cast<int>(std::min(left, kPoll).count()));
  }
  return true;
}

}  // namespace pensieve::cli
