// What the commands share, and the ones that are too short for a file.
#include "application/cli/commands.h"

#include <cerrno>
#include <cstdio>
#include <new>
#include <string>
#include <system_error>

#include "foundation/text.h"

#include "domain/model/inspect.h"

#include "application/cli/exit_status.h"
#include "application/cli/models.h"
#include "application/cli/signals.h"
#include "application/cli/stack.h"

namespace pensieve::cli {

int complain(const Error& error) {
  try {
    std::fprintf(stderr, "pensieve: %s\n", printable(error.message, 2000).c_str());
  } catch (const std::bad_alloc&) {
    std::fputs(kOutOfMemory, stderr);
  }
  if (error.kind == ErrorKind::Cancelled) {
    if (const int signal = wait_for_signal(0); signal != 0) return kExitSignal + signal;
  }
  return exit_status(error);
}

int finish(const Result<int>& status) {
  if (!status) return complain(status.error());
  // Whoever closes a pipe early has read enough; a full disk is another matter.
  if (std::fflush(stdout) != 0 && errno != EPIPE) {
    return complain({.kind = ErrorKind::Internal,
                     .message = "standard output cannot be written: " +
                                std::generic_category().message(errno)});
  }
  return *status;
}

Result<std::string> read_input(const std::string& path, std::size_t limit_bytes) {
  std::FILE* file = path == "-" ? stdin : std::fopen(path.c_str(), "rbe");
  if (file == nullptr) {
    return Error{.kind = ErrorKind::NotFound,
                 .message = path + ": " + std::generic_category().message(errno)};
  }
  std::string text;
  char part[65536];
  std::size_t n = 0;
  while (text.size() <= limit_bytes && (n = std::fread(part, 1, sizeof part, file)) > 0)
    text.append(part, n);
  const bool failed = std::ferror(file) != 0;
  if (file != stdin) std::fclose(file);
  if (failed) return Error{.kind = ErrorKind::NotFound, .message = path + " cannot be read"};
  if (text.size() > limit_bytes) {
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message = path + " holds more than " + human_bytes(limit_bytes)};
  }
  return text;
}

int inspect_model(const Options& options) {
  Options wanted = options;
  wanted.model = options.inspect_path;
  const auto path = find_model(wanted);
  if (!path) return complain(path.error());
  Accountant accountant;
  const auto opened = open_model(path->value_or(options.inspect_path), accountant);
  if (!opened) return complain(opened.error());
  const std::string text =
      options.json ? model::inspect_json(*opened->file) : model::inspect_text(*opened->file);
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (!text.ends_with('\n')) std::fputc('\n', stdout);
  return kExitDone;
}

int print_version() {
  std::string kernels;
  for (const std::string& name : compute::cpu::runnable_kernel_names()) kernels += " " + name;
  std::printf("pensieve %s\nkernels:%s\n", PENSIEVE_VERSION, kernels.c_str());
  return kExitDone;
}

}  // namespace pensieve::cli
