// How much memory the machine can still give. Linux: MemAvailable, lowered by the headroom of every
// cgroup v2 level above this process. macOS: host statistics. The levels of docs/ARCHITECTURE.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pensieve {

struct SystemMemory {
  std::uint64_t total_bytes = 0;
  std::uint64_t available_bytes = 0;
  bool known = false;  // false: nothing could be read; never treat that as plenty
};

// Reads the system now. `root` stands before /proc and /sys, so that a test can lay out its own.
SystemMemory read_system_memory(const std::string& root = "");

// The process's resident memory in bytes, as the system says; 0 when unknown.
std::uint64_t resident_bytes();

enum class MemoryLevel { Safe, Caution, Warning, Critical, Emergency };
std::string_view to_string(MemoryLevel level);

inline constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
inline constexpr std::uint64_t kSafeAboveBytes = 3 * kGiB;
inline constexpr std::uint64_t kCautionAboveBytes = 2 * kGiB;
inline constexpr std::uint64_t kWarningAboveBytes = 1 * kGiB;
inline constexpr std::uint64_t kCriticalAboveBytes = kGiB / 2;

// Safe > 3 GiB, Caution 2-3, Warning 1-2, Critical 0.5-1, Emergency below. Unknown reads as
// Warning.
MemoryLevel level_of(const SystemMemory& memory);

}  // namespace pensieve
