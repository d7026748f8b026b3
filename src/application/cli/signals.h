// SIGINT and SIGTERM as something to wait for. The first asks for an orderly end, the second ends
// the process at once with 128 plus its number. SIGPIPE is ignored: a client that goes is an error
// code.
#pragma once

namespace pensieve::cli {

// Installs the handlers. Once per process. Until orderly_signals() is called even the first signal
// ends the process at once: nothing is in flight while a model is loaded.
void install_signal_handlers();

// From now on the first signal is kept for wait_for_signal().
void orderly_signals();

// The signal that came, or 0 after `timeout_ms` (-1: without end). A signal is reported each time.
int wait_for_signal(int timeout_ms);

}  // namespace pensieve::cli
