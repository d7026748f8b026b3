#include "foundation/level_tracker.h"

#include <algorithm>

namespace pensieve {

MemoryLevel LevelTracker::update(const SystemMemory& memory, std::uint64_t now_ms) {
  const bool first = !any_;
  any_ = true;
  if (memory.known) {
    known_ms_ = now_ms;
  } else if (!first && now_ms - known_ms_ < kBlindMs) {
    emergency_seen_ = false;
    return level_;
  }

  MemoryLevel worse = level_of(memory, Lines::Worsening);
  if (worse == MemoryLevel::Emergency) {
    if (!emergency_seen_ && level_ != MemoryLevel::Emergency) worse = MemoryLevel::Critical;
    emergency_seen_ = true;
  } else {
    emergency_seen_ = false;
  }
  if (first || worse > level_) {
    level_ = worse;
    recovering_ = false;
    return level_;
  }

  const MemoryLevel better = level_of(memory, Lines::Recovering);
  if (better >= level_) {
    recovering_ = false;
    return level_;
  }
  if (!recovering_) {
    recovering_ = true;
    better_since_ms_ = now_ms;
    worst_since_ = better;
  }
  worst_since_ = std::max(worst_since_, better);
  if (now_ms - better_since_ms_ < kRecoveryMs) return level_;
  level_ = worst_since_;
  recovering_ = false;
  return level_;
}

}  // namespace pensieve
