#include "application/cli/memory_watch.h"

#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <exception>
#include <span>
#include <utility>
#include <vector>

#include "foundation/log.h"

#include "application/cli/exit_status.h"
#include "application/cli/home.h"
#include "application/cli/signals.h"

namespace pensieve::cli {
namespace {

constexpr int kEndS = 5;
// Of these, for clients whose connection is busy or slow. What is left is for the disk.
constexpr std::chrono::milliseconds kTellClients{2'000};

// Weights that are read where they lie. Those that were made over are the process's own memory, and
// their file is not needed any more.
std::vector<std::span<const std::byte>> mapped_weights(const Stack& stack) {
  if (stack.model.file == nullptr || !stack.model.file->made_from().empty()) return {};
  return stack.model.file->mapped();
}

}  // namespace

Result<std::unique_ptr<MemoryWatch>> MemoryWatch::create(const Stack& stack,
                                                         const std::string& home) {
  PENSIEVE_TRY(EmergencyLog log, EmergencyLog::open(home));
  auto watch = std::unique_ptr<MemoryWatch>(new MemoryWatch(stack, std::move(log)));
  if (watch->state().memory.estimated) {
    log_warning("the system does not say how much memory is available: it is estimated");
  }
  return watch;
}

MemoryWatch::MemoryWatch(const Stack& stack, EmergencyLog log)
    : stack_(stack),
      log_(std::move(log)),
      reader_({.root = memory_root(), .weights = mapped_weights(stack)}),
      monitor_({.read = [this] { return reader_.read(); }}) {}

Result<void> MemoryWatch::start(server::Server& server) {
  carry(state());
  return monitor_.start([this](const MemoryState& state) { carry(state); },
                        [this, &server](const MemoryState& state) { end(state, server); });
}

void MemoryWatch::carry(const MemoryState& state) {
  if (stack_.engine == nullptr) return;
  engine::MemoryPressure pressure{.level = state.level};
  if (state.memory.known) pressure.room_bytes = state.memory.room_bytes();
  stack_.engine->set_pressure(pressure);
}

void MemoryWatch::end(const MemoryState& state, server::Server& server) {
  exit_after(kEndS, kExitFailed);
  // A thread that finds no memory and knows no way on must not take the end out of our hands.
  std::set_terminate([] {
    for (;;) pause();
  });
  log_.write({.state = state,
              .accountant = stack_.accountant,
              .resident_bytes = resident_bytes(),
              .anonymous_bytes = anonymous_bytes(),
              .requests_in_flight = server.answering()});
  server.end_at_once(kTellClients);
  log_.sync();
  static constexpr char kLine[] =
      "pensieve: the machine has run out of memory, so the server ends before the machine does; "
      "emergency.log in the home directory has the numbers\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, kLine, sizeof kLine - 1);
  _exit(kExitFailed);
}

}  // namespace pensieve::cli
