// SIGINT and SIGTERM as something to wait for. The first asks for an orderly end, the second ends
// the process at once with 128 plus its number. SIGPIPE is ignored: a client that goes is an error
// code; so is SIGXFSZ: a file that grows beyond a limit is one too.
#pragma once

#include <cstddef>
#include <span>

namespace pensieve::cli {

// Installs the handlers. Once per process. Until orderly_signals() is called even the first signal
// ends the process at once: nothing is in flight while a model is loaded.
void install_signal_handlers();

// From now on the first signal is kept for wait_for_signal().
void orderly_signals();

// Ends what orderly_signals() began: the first signal ends the process at once again.
void immediate_signals();

// From now on a read of these bytes that the system cannot serve (the mapped file was cut short
// while in use, or its disk failed) ends the process at once with one line on stderr and
// kExitFileGone: an answer computed from what is not there would be garbage. Any other SIGBUS is
// left to the system. At most 64 ranges, which stay mapped until the process ends. Source:
// RELIABILITY, case 28.
void guard_mapped_files(std::span<const std::span<const std::byte>> files);

// Ends the process with `status` after so many seconds, whatever it does then. Allocates nothing.
void exit_after(int seconds, int status);

// The signal that came, or 0 after `timeout_ms` (-1: without end). A signal is reported each time.
int wait_for_signal(int timeout_ms);

}  // namespace pensieve::cli
