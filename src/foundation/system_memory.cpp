#include "foundation/system_memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <optional>

#include "foundation/memory_reader.h"

#ifdef __APPLE__
#include <mach/mach.h>
#include <malloc/malloc.h>
#elif defined(__GLIBC__)
#include <malloc.h>
#endif

namespace pensieve {
namespace {

constexpr std::uint64_t kSmallestMargin = kGiB / 4;

MemoryLevel level_at(std::uint64_t bytes, Lines lines) {
  const auto above = [&](std::uint64_t line) {
    if (lines == Lines::Recovering) line += std::max(kSmallestMargin, line / 10);
    return bytes > line;
  };
  if (above(kSafeAboveBytes)) return MemoryLevel::Safe;
  if (above(kCautionAboveBytes)) return MemoryLevel::Caution;
  if (above(kWarningAboveBytes)) return MemoryLevel::Warning;
  if (above(kCriticalAboveBytes)) return MemoryLevel::Critical;
  return MemoryLevel::Emergency;
}

}  // namespace

SystemMemory read_system_memory(const std::string& root) {
  return MemoryReader({.root = root}).read();
}

#ifdef __APPLE__
std::uint64_t resident_bytes() {
  mach_task_basic_info info{};
  mach_msg_type_number_t count = MACH_TASK_BASIC_INFO_COUNT;
  if (task_info(
          mach_task_self(), MACH_TASK_BASIC_INFO, reinterpret_cast<task_info_t>(&info), &count) !=
      KERN_SUCCESS) {
    return 0;
  }
  return info.resident_size;
}

std::uint64_t anonymous_bytes() {
  task_vm_info_data_t info{};
  mach_msg_type_number_t count = TASK_VM_INFO_COUNT;
  if (task_info(mach_task_self(), TASK_VM_INFO, reinterpret_cast<task_info_t>(&info), &count) !=
      KERN_SUCCESS) {
    return 0;
  }
  return info.internal + info.compressed;
}

std::uint64_t heap_bytes() {
  malloc_statistics_t statistics{};
  malloc_zone_statistics(nullptr, &statistics);
  return statistics.size_in_use;
}

void trim_heap() {
  malloc_zone_pressure_relief(nullptr, 0);
}
#else
namespace {

// The n-th number of /proc/self/statm, pages as bytes (proc(5)): 1 is resident, 2 resident and
// shared with files.
std::uint64_t statm(int n) {
  std::array<char, 256> text{};
  const int file = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  const ssize_t size = ::read(file, text.data(), text.size());
  ::close(file);
  if (size <= 0) return 0;
  const char* at = text.data();
  const char* const end = at + size;
  for (; n > 0; --n) {
    at = std::find(at, end, ' ');
    if (at == end) return 0;
    ++at;
  }
  std::uint64_t pages = 0;
  std::from_chars(at, end, pages);
  return pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

std::uint64_t resident_bytes() {
  return statm(1);
}

std::uint64_t anonymous_bytes() {
  const std::uint64_t all = statm(1);
  return all - std::min(all, statm(2));
}

std::uint64_t heap_bytes() {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
#else
  return 0;
#endif
}

void trim_heap() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}
#endif

std::string_view to_string(MemoryLevel level) {
  switch (level) {
    case MemoryLevel::Safe:
      return "safe";
    case MemoryLevel::Caution:
      return "caution";
    case MemoryLevel::Warning:
      return "warning";
    case MemoryLevel::Critical:
      return "critical";
    case MemoryLevel::Emergency:
      return "emergency";
  }
  return "warning";
}

std::string_view to_string(MemorySource source) {
  switch (source) {
    case MemorySource::Unknown:
      return "unknown";
    case MemorySource::Host:
      return "host";
    case MemorySource::CgroupV2:
      return "cgroup v2";
    case MemorySource::CgroupV1:
      return "cgroup v1";
    case MemorySource::Gpu:
      return "gpu";
  }
  return "unknown";
}

MemoryLevel level_of(const SystemMemory& memory, Lines lines) {
  MemoryLevel level = MemoryLevel::Warning;
  if (memory.known) {
    // Weights that are dropped make us slow, not the machine unusable: that is no emergency.
    level = std::min(level_at(memory.room_bytes(), lines), MemoryLevel::Critical);
    if (level == MemoryLevel::Critical) {
      level = std::max(level, level_at(memory.available_bytes, lines));
    }
  }
  if (memory.stalled >= kStalledFrom && level != MemoryLevel::Emergency) {
    level = static_cast<MemoryLevel>(static_cast<int>(level) + 1);
  }
  return std::max(level, memory.at_least);
}

}  // namespace pensieve
