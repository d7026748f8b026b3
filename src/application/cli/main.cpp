// The program: reads the command line, calls the command it names.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "foundation/log.h"
#include "foundation/message_digest.h"

#include "application/cli/commands.h"
#include "application/cli/exit_status.h"
#include "application/cli/options.h"
#include "application/cli/signals.h"

namespace {

// Where one of the three standard descriptors is closed, the first file or socket to be opened
// would get its number, and what is printed would land in it.
void occupy_standard_descriptors() {
  int descriptor = 0;
  do {
    descriptor = open("/dev/null", O_RDWR);
  } while (descriptor >= 0 && descriptor <= STDERR_FILENO);
  if (descriptor > STDERR_FILENO) close(descriptor);
}

int run(const pensieve::cli::Options& options) {
  using pensieve::cli::Command;
  const bool serving = options.command == Command::Serve;
  pensieve::configure_log(
      options.log_level.value_or(serving ? pensieve::LogLevel::Info : pensieve::LogLevel::Warning),
      options.log_format);
  switch (options.command) {
    case Command::Serve:
      return pensieve::cli::serve(options);
    case Command::Ask:
      return pensieve::cli::ask(options);
    case Command::Trace:
      return pensieve::cli::trace(options);
    case Command::ModelInspect:
      return pensieve::cli::inspect_model(options);
    case Command::ModelList:
      return pensieve::cli::list_models(options);
    case Command::ModelPull:
      return pensieve::cli::pull_model(options);
    case Command::ModelVerify:
      return pensieve::cli::verify_models(options);
    case Command::ModelRemove:
      return pensieve::cli::remove_model(options);
    case Command::ModelImport:
      return pensieve::cli::import_model(options);
    case Command::ModelPath:
      return pensieve::cli::print_model_path(options);
    case Command::MemoryList:
      return pensieve::cli::list_memory(options);
    case Command::MemoryStats:
      return pensieve::cli::print_memory_stats(options);
    case Command::MemoryClear:
      return pensieve::cli::clear_memory(options);
    case Command::Bench:
      return pensieve::cli::bench(options);
    case Command::Status:
      return pensieve::cli::print_server_status(options);
    case Command::Stop:
      return pensieve::cli::stop_server(options);
    case Command::Doctor:
      return pensieve::cli::examine(options);
    case Command::Service:
      return pensieve::cli::manage_service(options);
    case Command::Claude:
      return pensieve::cli::launch_client(options);
    case Command::Version:
      return pensieve::cli::print_version();
  }
  return pensieve::cli::kExitFailed;
}

}  // namespace

int main(int argc, char** argv) try {
  occupy_standard_descriptors();
  pensieve::cli::install_signal_handlers();
  pensieve::MessageDigest::prepare();
  const auto parsed = pensieve::cli::parse_command_line(
      std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
  if (!parsed.options) {
    std::fprintf(parsed.status == 0 ? stdout : stderr, "%s\n", parsed.text.c_str());
    return parsed.status;
  }
  return run(*parsed.options);
} catch (const std::bad_alloc&) {  // rooms return their other errors
  std::fputs(pensieve::cli::kOutOfMemory, stderr);
  return pensieve::cli::kExitFailed;
} catch (const std::exception& error) {
  std::fprintf(stderr, "pensieve: %s\n", error.what());
  return pensieve::cli::kExitFailed;
}
