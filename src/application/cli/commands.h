// The commands of the program, one function each; it returns the exit status. They print to
// standard output what was asked for, and everything else to standard error.
#pragma once

#include "application/cli/options.h"

namespace pensieve::cli {

int serve(const Options& options);
int ask(const Options& options);
int trace(const Options& options);
int inspect_model(const Options& options);
int list_models(const Options& options);
int pull_model(const Options& options);
int verify_models(const Options& options);
int remove_model(const Options& options);
int import_model(const Options& options);
int print_model_path(const Options& options);
int bench(const Options& options);
int list_memory(const Options& options);
int print_memory_stats(const Options& options);
int clear_memory(const Options& options);
int print_server_status(const Options& options);
int stop_server(const Options& options);
int examine(const Options& options);
int manage_service(const Options& options);
int launch_client(const Options& options);
int print_version();

// Said where there is no memory to say more.
inline constexpr const char* kOutOfMemory = "pensieve: out of memory\n";

// Prints "pensieve: sentence" to standard error; gives the exit status that fits: for Cancelled,
// that of the signal.
int complain(const Error& error);

// The exit status of a command that has printed its answer: `status`, or what complain() gives for
// its error or for standard output that could not be written.
int finish(const Result<int>& status);

// The file's bytes, or standard input for "-". Errors: NotFound, TooLarge beyond `limit_bytes`.
Result<std::string> read_input(const std::string& path, std::size_t limit_bytes);

}  // namespace pensieve::cli
