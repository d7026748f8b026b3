// Memory watched while the server serves: the monitor's levels carried to the engine, and the end
// for want of memory. Composition of foundation, engine and server; knows no bytes of its own.
#pragma once

#include <memory>
#include <string>

#include "foundation/memory_monitor.h"
#include "foundation/memory_reader.h"
#include "foundation/result.h"

#include "application/cli/emergency_log.h"
#include "application/cli/stack.h"
#include "application/server/server.h"

namespace pensieve::cli {

class MemoryWatch {
 public:
  // Reads once. The stack outlives the watch. PENSIEVE_MEMORY_ROOT names the directory that stands
  // before /proc and /sys. Errors: of EmergencyLog::open().
  static Result<std::unique_ptr<MemoryWatch>> create(const Stack& stack, const std::string& home);

  MemoryState state() const { return monitor_.state(); }

  // Begins to watch for `server`, which outlives the next stop(). When memory has run out, on the
  // watch's thread and without allocating: writes the line, ends the server at once and then the
  // process with status kExitFailed, all within five seconds. Errors: of MemoryMonitor::start().
  Result<void> start(server::Server& server);
  void stop() { monitor_.stop(); }

 private:
  MemoryWatch(const Stack& stack, EmergencyLog log);
  void carry(const MemoryState& state);
  [[noreturn]] void end(const MemoryState& state, server::Server& server);

  const Stack& stack_;
  EmergencyLog log_;
  MemoryReader reader_;
  MemoryMonitor monitor_;
};

}  // namespace pensieve::cli
