// The level over time: worse at once, better only when it has held for a while, so that a number
// that swings around a line does not make the server swing with it. Pure: no clock, no thread.
#pragma once

#include <cstdint>

#include "foundation/system_memory.h"

namespace pensieve {

class LevelTracker {
 public:
  // How long room has to be there, beyond the line and its margin, before the level gets better.
  static constexpr std::uint64_t kRecoveryMs = 5'000;
  // How long the last level stands when nothing can be read; Warning then.
  static constexpr std::uint64_t kBlindMs = 2'000;

  // Takes a reading at a monotonic time and gives the level from now on. A level that is worse is
  // taken at once, but Emergency only when two readings in a row say so; until then it is Critical.
  MemoryLevel update(const SystemMemory& memory, std::uint64_t now_ms);

  MemoryLevel level() const { return level_; }

 private:
  MemoryLevel level_ = MemoryLevel::Safe;
  std::uint64_t known_ms_ = 0;   // time of the last reading that was one
  bool any_ = false;             // there was a reading
  bool emergency_seen_ = false;  // by the last reading
  bool recovering_ = false;
  std::uint64_t better_since_ms_ = 0;
  MemoryLevel worst_since_ = MemoryLevel::Safe;  // while it was better
};

}  // namespace pensieve
