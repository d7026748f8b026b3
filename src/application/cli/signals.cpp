#include "application/cli/signals.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <functional>

#include "foundation/check.h"

#include "application/cli/exit_status.h"

namespace pensieve::cli {
namespace {

// Everything the handler touches is lock-free, and write() and _exit() are allowed in it.
std::array<int, 2> g_pipe = {-1, -1};
std::atomic<int> g_signal{0};
std::atomic<bool> g_orderly{false};
std::atomic<int> g_exit_status{0};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

void on_signal(int number) {
  const int saved = errno;
  int none = 0;
  if (!g_orderly || !g_signal.compare_exchange_strong(none, number)) _exit(kExitSignal + number);
  const char byte = 1;
  [[maybe_unused]] const auto written = write(g_pipe[1], &byte, 1);
  errno = saved;
}

// Filled before the handler is installed, read by it alone.
constexpr std::size_t kMaxRanges = 64;
std::array<std::span<const std::byte>, kMaxRanges> g_mapped;
std::size_t g_n_mapped = 0;

void on_bus_error(int number, siginfo_t* info, void*) {
  const auto* address = static_cast<const std::byte*>(info->si_addr);
  for (std::size_t i = 0; i < g_n_mapped; ++i) {
    const std::less<> before;
    if (before(address, g_mapped[i].data()) ||
        !before(address, g_mapped[i].data() + g_mapped[i].size())) {
      continue;
    }
    static constexpr char kLine[] =
        "pensieve: the model file was cut short or its disk failed while it was in use; put the "
        "whole "
        "file back and start again\n";
    [[maybe_unused]] const auto written = write(STDERR_FILENO, kLine, sizeof kLine - 1);
    _exit(kExitFileGone);
  }
  signal(number, SIG_DFL);  // raised again when the instruction is
}

}  // namespace

void guard_mapped_files(std::span<const std::span<const std::byte>> files) {
  for (const auto& file : files) {
    if (g_n_mapped < kMaxRanges) g_mapped[g_n_mapped++] = file;
  }
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);
}

void install_signal_handlers() {
  CHECK(g_pipe[0] == -1);
  CHECK(pipe(g_pipe.data()) == 0);
  for (const int end : g_pipe) {
    fcntl(end, F_SETFD, FD_CLOEXEC);
    fcntl(end, F_SETFL, O_NONBLOCK);
  }
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
}

void orderly_signals() {
  g_orderly = true;
}

void immediate_signals() {
  g_orderly = false;
}

void exit_after(int seconds, int status) {
  g_exit_status = status;
  struct sigaction action {};
  action.sa_handler = [](int) { _exit(g_exit_status); };
  sigemptyset(&action.sa_mask);
  sigaction(SIGALRM, &action, nullptr);
  alarm(static_cast<unsigned>(seconds));
}

int wait_for_signal(int timeout_ms) {
  pollfd ready{.fd = g_pipe[0], .events = POLLIN, .revents = 0};
  while (g_signal == 0) {
    // The byte stays in the pipe: whoever asks again is told again.
    const int n = poll(&ready, 1, timeout_ms);
    if (n == 0) break;
    if (n < 0 && errno != EINTR) break;
  }
  return g_signal;
}

}  // namespace pensieve::cli
