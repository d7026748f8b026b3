#include "application/cli/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <system_error>
#include <utility>

#include "foundation/directory.h"

#include "application/cli/exit_status.h"

#ifdef __APPLE__
#include <mach-o/dyld.h>
#endif

extern char** environ;

namespace pensieve::cli {
namespace {

constexpr std::size_t kMostCaptured = 64 * 1024;  // bytes

Error failed(const std::string& what, int code) {
  return {.kind = ErrorKind::Internal,
          .message = what + ": " + std::generic_category().message(code)};
}

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> list;
  list.reserve(words.size() + 1);
  for (const std::string& word : words) list.push_back(const_cast<char*>(word.c_str()));
  list.push_back(nullptr);
  return list;
}

// posix_spawn()'s two objects, and the program's signals as a shell would give them: what this
// process ignores or blocks would otherwise stay so over exec.
class Spawn {
 public:
  Spawn() {
    posix_spawnattr_init(&attributes_);
    posix_spawn_file_actions_init(&actions_);
    sigset_t all;
    sigemptyset(&all);
    posix_spawnattr_setsigmask(&attributes_, &all);
    for (const int number : {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGPIPE, SIGALRM, SIGCHLD}) {
      sigaddset(&all, number);
    }
    posix_spawnattr_setsigdefault(&attributes_, &all);
  }
  Spawn(const Spawn&) = delete;
  Spawn& operator=(const Spawn&) = delete;
  ~Spawn() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }

  posix_spawn_file_actions_t* actions() { return &actions_; }

  Result<int> run(const Program& program, int flags = 0) {
    posix_spawnattr_setflags(
        &attributes_, static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | flags));
    pid_t pid = 0;
    const int error = posix_spawn(&pid,
                                  program.path.c_str(),
                                  &actions_,
                                  &attributes_,
                                  pointers(program.arguments).data(),
                                  pointers(program.environment).data());
    if (error != 0) return failed(program.path + " cannot be started", error);
    return static_cast<int>(pid);
  }

 private:
  posix_spawnattr_t attributes_{};
  posix_spawn_file_actions_t actions_{};
};

int status_of(int wait_status) {
  return WIFSIGNALED(wait_status) ? kExitSignal + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

volatile sig_atomic_t g_foreground = 0;  // the process that gets our signals
volatile sig_atomic_t g_alarm = 0;

void pass_on(int number) {
  const int saved = errno;
  kill(g_foreground, number);
  errno = saved;
}

void on_alarm(int /*number*/) {
  g_alarm = 1;
}

// Sets how signals are handled, and puts back what was when it goes.
class SignalHandlers {
 public:
  SignalHandlers() = default;
  SignalHandlers(const SignalHandlers&) = delete;
  SignalHandlers& operator=(const SignalHandlers&) = delete;
  ~SignalHandlers() {
    for (const auto& [number, action] : before_) sigaction(number, &action, nullptr);
  }
  void set(int number, void (*handler)(int)) {
    struct sigaction action {};
    struct sigaction old {};
    action.sa_handler = handler;  // no SA_RESTART: the wait is to be interrupted
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, &old);
    before_.emplace_back(number, old);
  }

 private:
  std::vector<std::pair<int, struct sigaction>> before_;
};

// Blocks a few signals for a moment.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGTERM, SIGHUP}) sigaddset(&set, number);
    sigprocmask(SIG_BLOCK, &set, &before_);
  }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;
  ~BlockedSignals() { sigprocmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

// SIGALRM every so often, so that a wait comes back; an alarm that comes just before the wait costs
// one interval. A child does not inherit it (POSIX, fork).
class Alarm {
 public:
  explicit Alarm(std::chrono::milliseconds interval) { set(interval); }
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;
  ~Alarm() { set({}); }

 private:
  static void set(std::chrono::milliseconds interval) {
    const timeval time{.tv_sec = static_cast<time_t>(interval.count() / 1000),
                       .tv_usec = static_cast<suseconds_t>(interval.count() % 1000 * 1000)};
    const itimerval timer{.it_interval = time, .it_value = time};
    setitimer(ITIMER_REAL, &timer, nullptr);
  }
};

}  // namespace

std::optional<std::string> find_program(const std::string& name, const std::string& path) {
  std::size_t begin = 0;
  while (begin <= path.size()) {
    const std::size_t end = std::min(path.find(':', begin), path.size());
    // POSIX, 8.3: an empty entry is the current directory.
    const std::string directory = end > begin ? path.substr(begin, end - begin) : ".";
    std::string candidate = directory;
    candidate.append("/").append(name);
    struct stat status {};
    if (stat(candidate.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
        access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
    begin = end + 1;
  }
  return std::nullopt;
}

Result<std::string> own_program() {
#ifdef __APPLE__
  std::array<char, 4096> path{};
  auto size = static_cast<std::uint32_t>(path.size());
  if (_NSGetExecutablePath(path.data(), &size) == 0) return std::string(path.data());
  return failed("the path of this program", ENAMETOOLONG);
#else
  std::error_code error;
  const auto path = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return failed("the path of this program", error.value());
  return path.string();
#endif
}

std::vector<std::string> own_environment() {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    variables.emplace_back(*variable);
  }
  return variables;
}

Result<int> start_in_background(const Program& program, const std::string& log) {
  Spawn spawn;
  posix_spawn_file_actions_addopen(spawn.actions(), STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(spawn.actions(),
                                   STDOUT_FILENO,
                                   log.c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW,
                                   0600);
  posix_spawn_file_actions_adddup2(spawn.actions(), STDOUT_FILENO, STDERR_FILENO);
  // A pipe of ours in a server's hands would keep whoever reads it waiting for as long as it runs.
#ifdef __APPLE__
  return spawn.run(program, POSIX_SPAWN_SETSID | POSIX_SPAWN_CLOEXEC_DEFAULT);
#else
  posix_spawn_file_actions_addclosefrom_np(spawn.actions(), STDERR_FILENO + 1);
  return spawn.run(program, POSIX_SPAWN_SETSID);
#endif
}

std::optional<int> ended(int pid) {
  int status = 0;
  if (waitpid(pid, &status, WNOHANG) != pid) return std::nullopt;
  return status_of(status);
}

Result<Captured> capture(const Program& program, std::chrono::milliseconds limit) {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) return failed(program.path + " cannot be started", errno);
  const Handle reader(ends[0]);
  Handle writer(ends[1]);
  for (const int end : ends) fcntl(end, F_SETFD, FD_CLOEXEC);
  Spawn spawn;
  posix_spawn_file_actions_addopen(spawn.actions(), STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(spawn.actions(), writer.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(spawn.actions(), writer.get(), STDERR_FILENO);
  PENSIEVE_TRY(const int pid, spawn.run(program));
  writer = Handle();
  Captured captured;
  bool in_time = true;
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (true) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd one{.fd = reader.get(), .events = POLLIN, .revents = 0};
    const int ready = left.count() > 0 ? poll(&one, 1, static_cast<int>(left.count())) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) {
      in_time = false;
      break;
    }
    std::array<char, 4096> part{};
    const auto n = read(reader.get(), part.data(), part.size());
    if (n <= 0) break;
    if (captured.output.size() < kMostCaptured)
      captured.output.append(part.data(), static_cast<std::size_t>(n));
  }
  if (!in_time) kill(pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!in_time) {
    return Error{.kind = ErrorKind::Unavailable,
                 .message = program.path + " did not answer in time"};
  }
  captured.status = status_of(status);
  return captured;
}

Result<int> run_in_foreground(const Program& program, const Heart& heart) {
  SignalHandlers handlers;
  handlers.set(SIGINT, SIG_IGN);
  handlers.set(SIGQUIT, SIG_IGN);
  handlers.set(SIGALRM, on_alarm);
  int pid = 0;
  {
    const BlockedSignals blocked;  // until there is somebody to pass them on to
    Spawn spawn;
    PENSIEVE_TRY(pid, spawn.run(program));
    g_foreground = pid;
    handlers.set(SIGTERM, pass_on);
    handlers.set(SIGHUP, pass_on);
  }
  const Alarm alarm(heart.beat ? heart.interval : std::chrono::milliseconds(0));
  while (true) {
    int status = 0;
    const pid_t changed = waitpid(pid, &status, WUNTRACED);
    if (changed == pid && WIFSTOPPED(status)) {
      // The shell must see its job stopped; it continues the whole group, or us alone.
      kill(getpid(), SIGSTOP);
      kill(pid, SIGCONT);
    } else if (changed == pid) {
      return status_of(status);
    } else if (errno != EINTR) {
      return failed("waiting for " + program.path, errno);
    }
    if (g_alarm != 0) {
      g_alarm = 0;
      heart.beat();
    }
  }
}

}  // namespace pensieve::cli
