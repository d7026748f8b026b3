// The machine's free memory as the answers report it, read at most every 250 ms. Any thread.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>

#include "foundation/system_memory.h"

namespace pensieve::server {

class MemorySampler {
 public:
  explicit MemorySampler(std::function<SystemMemory()> read) : read_(std::move(read)) {}

  SystemMemory sample() {
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (!taken_ || now - at_ >= std::chrono::milliseconds(250)) {
      last_ = read_();
      at_ = now;
      taken_ = true;
    }
    return last_;
  }

 private:
  const std::function<SystemMemory()> read_;
  std::mutex mutex_;
  SystemMemory last_;
  std::chrono::steady_clock::time_point at_;
  bool taken_ = false;
};

}  // namespace pensieve::server
