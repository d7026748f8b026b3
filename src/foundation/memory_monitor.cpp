#include "foundation/memory_monitor.h"

#include <exception>
#include <string>
#include <system_error>
#include <utility>

#include "foundation/log.h"

namespace pensieve {
namespace {

std::uint64_t steady_ms() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                        std::chrono::steady_clock::now().time_since_epoch())
                                        .count());
}

std::string mib(std::uint64_t bytes) {
  return std::to_string(bytes >> 20) + " MiB";
}

void log_change(MemoryLevel before, const MemoryState& state) {
  const SystemMemory& memory = state.memory;
  std::string line = "memory: " + std::string(to_string(before)) + " -> " +
                     std::string(to_string(state.level)) + ", ";
  if (memory.known) {
    line +=
        mib(memory.available_bytes) + " available (" + std::string(to_string(memory.source)) + ")";
    if (memory.weights_bytes > 0) line += ", " + mib(memory.weights_bytes) + " of them for weights";
  } else {
    line += "the system does not say how much is available";
  }
  if (memory.stalled >= kStalledFrom) {
    line += ", the machine stood still for " + std::to_string(memory.stalled / 100) +
            " % of the last 10 s";
  }
  log(state.level > before ? LogLevel::Warning : LogLevel::Info, line);
}

}  // namespace

MemoryMonitor::MemoryMonitor(Options options) : options_(std::move(options)) {
  const SystemMemory memory = options_.read();
  const auto now = options_.now_ms ? options_.now_ms() : steady_ms();
  state_ = {.memory = memory, .level = tracker_.update(memory, now), .samples = 1};
}

MemoryMonitor::~MemoryMonitor() {
  stop();
}

void MemoryMonitor::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Result<void> MemoryMonitor::start(Listener on_sample, Listener on_emergency) {
  CHECK(!thread_.joinable());
  on_sample_ = std::move(on_sample);
  on_emergency_ = std::move(on_emergency);
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& failure) {
    return Error{.kind = ErrorKind::Unavailable,
                 .message = std::string("memory cannot be watched: ") + failure.what()};
  }
  return {};
}

MemoryState MemoryMonitor::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

void MemoryMonitor::sample() {
  const SystemMemory memory = options_.read();
  const MemoryLevel before = tracker_.level();
  const MemoryLevel level =
      tracker_.update(memory, options_.now_ms ? options_.now_ms() : steady_ms());
  MemoryState now;
  {
    const std::lock_guard lock(mutex_);
    state_.memory = memory;
    state_.level = level;
    ++state_.samples;
    if (level != before) ++state_.changes_to[static_cast<std::size_t>(level)];
    now = state_;
  }
  if (level == MemoryLevel::Emergency && level != before && on_emergency_) on_emergency_(now);
  // What follows may want memory. Without it a line is missing, not the watch.
  try {
    if (level != before) log_change(before, now);
    if (on_sample_ && level != MemoryLevel::Emergency) on_sample_(now);
  } catch (const std::exception&) {
  }
}

void MemoryMonitor::run() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, options_.interval, [&] { return stopping_; })) {
    lock.unlock();
    sample();
    lock.lock();
  }
}

}  // namespace pensieve
