// How much memory the machine can still give, and what that means: the levels of
// docs/ARCHITECTURE.md. Numbers are read by foundation/memory_reader.h, and followed over time by
// foundation/memory_monitor.h.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace pensieve {

enum class MemoryLevel : std::uint8_t { Safe, Caution, Warning, Critical, Emergency };
inline constexpr std::size_t kMemoryLevels = 5;
std::string_view to_string(MemoryLevel level);

// What bounds the number of available bytes.
enum class MemorySource : std::uint8_t { Unknown, Host, CgroupV2, CgroupV1, Gpu };
std::string_view to_string(MemorySource source);

struct SystemMemory {
  std::uint64_t total_bytes = 0;
  // What can be taken before the system has to swap or to kill: MemAvailable, or less where a
  // control group leaves less. Pages of mapped files count as available: they can be dropped.
  std::uint64_t available_bytes = 0;
  bool known = false;  // false: nothing could be read; never treat that as plenty

  // Of available_bytes, what mapped weights take, or will take as soon as they are read.
  std::uint64_t weights_bytes = 0;
  MemorySource source = MemorySource::Unknown;
  // Of the last ten seconds, how long everything stood still for want of memory, in 1/100 percent
  // (Linux: pressure stall information, "full avg10").
  std::uint32_t stalled = 0;
  MemoryLevel at_least = MemoryLevel::Safe;  // what the system itself says (macOS)
  bool estimated = false;                    // the system has no number of its own for `available`

  // What is left when the weights have what they need, whether they are in memory now or not.
  std::uint64_t room_bytes() const {
    return available_bytes - std::min(available_bytes, weights_bytes);
  }
};

// Reads the system now. `root` stands before /proc and /sys, so that a test can lay out its own.
SystemMemory read_system_memory(const std::string& root = "");

// The process's memory in bytes, as the system says; 0 when unknown. Allocates nothing.
std::uint64_t resident_bytes();   // all of it, mapped files too
std::uint64_t anonymous_bytes();  // without mapped files: what nobody can drop

// What the allocator has handed out, in bytes; 0 where it does not say.
std::uint64_t heap_bytes();
// Gives memory that the allocator keeps for later back to the system. Milliseconds.
void trim_heap();

inline constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
inline constexpr std::uint64_t kSafeAboveBytes = 3 * kGiB;
inline constexpr std::uint64_t kCautionAboveBytes = 2 * kGiB;
inline constexpr std::uint64_t kWarningAboveBytes = 1 * kGiB;
inline constexpr std::uint64_t kCriticalAboveBytes = kGiB / 2;
// From here on (10 %) stalls count as one level more.
inline constexpr std::uint32_t kStalledFrom = 1000;

// Lines as they are, or each raised by max(256 MiB, 10 %), as it has to be passed on the way back.
enum class Lines : std::uint8_t { Worsening, Recovering };

// Safe with room for more than 3 GiB, Caution 2-3, Warning 1-2, Critical below; Emergency when not
// even with the weights dropped half a GiB is available. One more where the machine stalls. Unknown
// reads as Warning.
MemoryLevel level_of(const SystemMemory& memory, Lines lines = Lines::Worsening);

}  // namespace pensieve
