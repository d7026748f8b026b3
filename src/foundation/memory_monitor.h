// Watches the machine's memory: one thread that reads every 250 ms, follows the level and tells
// those who act on it. Knows numbers and levels. Must not know what anybody does about them.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "foundation/level_tracker.h"
#include "foundation/result.h"
#include "foundation/system_memory.h"

namespace pensieve {

struct MemoryState {
  SystemMemory memory;
  MemoryLevel level = MemoryLevel::Warning;
  std::array<std::uint64_t, kMemoryLevels> changes_to{};  // how often each level was entered
  std::uint64_t samples = 0;

  // Of one reading, without a past.
  static MemoryState of(const SystemMemory& memory) {
    return {.memory = memory, .level = level_of(memory), .changes_to = {}, .samples = 1};
  }
};

class MemoryMonitor {
 public:
  struct Options {
    std::function<SystemMemory()> read;       // one call at a time; should allocate nothing
    std::function<std::uint64_t()> now_ms{};  // monotonic; empty: the steady clock
    std::chrono::milliseconds interval{250};
  };

  // Reads once, so that there is a state from the beginning.
  explicit MemoryMonitor(Options options);
  ~MemoryMonitor();  // joins the thread
  MemoryMonitor(const MemoryMonitor&) = delete;
  MemoryMonitor& operator=(const MemoryMonitor&) = delete;

  using Listener = std::function<void(const MemoryState&)>;
  // Starts the thread. `on_sample` is called after each reading, on that thread; `on_emergency`
  // instead of it, before anything else is done and without anything having been allocated, when
  // the level has become Emergency. Errors: Unavailable when there can be no thread.
  Result<void> start(Listener on_sample, Listener on_emergency);

  // Ends the thread; on_sample and on_emergency are not called after it.
  void stop();

  // Any thread; what the last reading said.
  MemoryState state() const;

  // One reading now, as the thread does it. A change of the level is one line in the log.
  void sample();

 private:
  void run();

  const Options options_;
  Listener on_sample_, on_emergency_;
  LevelTracker tracker_;  // of whoever calls sample()
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  MemoryState state_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace pensieve
