// Programs started by this one: the client, which gets the terminal and is waited for, the
// background server, which gets neither, and others whose output is read. A server itself starts
// none. No shell is involved. Knows processes and signals. Must not know what the programs do. One
// thread, and before any other is started.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "foundation/result.h"

namespace pensieve::cli {

// The first executable file `name` in the directories of `path` (as PATH lists them).
std::optional<std::string> find_program(const std::string& name, const std::string& path);

// The program this process runs, as a path. Errors: Internal when the system does not say.
Result<std::string> own_program();

// This process's environment as "NAME=value".
std::vector<std::string> own_environment();

struct Program {
  std::string path;
  std::vector<std::string> arguments;      // with the name it is called by in front
  std::vector<std::string> environment{};  // "NAME=value"
};

// Something to do about every `interval` while a program runs; nothing without `beat`.
struct Heart {
  std::chrono::milliseconds interval = std::chrono::minutes(1);
  std::function<void()> beat{};
};

// Starts a program in a session of its own: no terminal, no input, output and errors into `log`
// (created with mode 0600, appended to), no other descriptor of ours. Gives its process id. Errors:
// Internal, naming what failed.
Result<int> start_in_background(const Program& program, const std::string& log);

// The status a background program ended with (128 plus the number if by a signal), or nothing while
// it runs.
std::optional<int> ended(int pid);

// Runs a program on our terminal until it ends; gives its exit status, or 128 plus the number of
// the signal that ended it. Meanwhile SIGINT and SIGQUIT, which the terminal sends to both, are the
// program's affair; SIGTERM and SIGHUP to us are passed on; when it is stopped, so are we, and both
// go on together. The heart beats until it ends. Errors: Internal when it cannot be started.
Result<int> run_in_foreground(const Program& program, const Heart& heart = {});

struct Captured {
  int status = 0;      // as run_in_foreground() gives it
  std::string output;  // standard output and errors as they came, at most 64 KiB of them
};

// Runs a program without input to its end; what still runs after `limit` is killed. Errors:
// Internal when it cannot be started, Unavailable when it was killed.
Result<Captured> capture(const Program& program, std::chrono::milliseconds limit);

}  // namespace pensieve::cli
