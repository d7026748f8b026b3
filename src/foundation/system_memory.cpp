#include "foundation/system_memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>

#ifdef __APPLE__
#include <mach/mach.h>
#include <sys/sysctl.h>
#else
#include <unistd.h>
#endif

namespace pensieve {
namespace {

[[maybe_unused]] std::optional<std::string> read_file(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

[[maybe_unused]] std::optional<std::uint64_t> leading_number(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  return value;
}

// The number behind `key` at the start of a line of `text`.
[[maybe_unused]] std::optional<std::uint64_t> field(const std::string& text, std::string_view key) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(key)) return leading_number(std::string_view(line).substr(key.size()));
  }
  return std::nullopt;
}

#ifndef __APPLE__
// Headroom of one cgroup v2 directory: the lower of memory.max and memory.high, minus what is used
// and could not be dropped. Page cache that is inactive counts as free; "max" is no bound.
std::optional<std::uint64_t> cgroup_headroom(const std::string& directory) {
  const auto number = [&](const char* file) -> std::optional<std::uint64_t> {
    const auto text = read_file(directory + file);
    return text ? leading_number(*text) : std::nullopt;
  };
  const auto max = number("/memory.max");
  const auto high = number("/memory.high");
  const auto current = number("/memory.current");
  if (!current || (!max && !high)) return std::nullopt;
  std::uint64_t inactive = 0;
  if (const auto stat = read_file(directory + "/memory.stat")) {
    inactive = field(*stat, "inactive_file ").value_or(0);
  }
  const std::uint64_t limit = std::min(max.value_or(UINT64_MAX), high.value_or(UINT64_MAX));
  const std::uint64_t used = *current - std::min(*current, inactive);
  return limit - std::min(limit, used);
}
#endif

}  // namespace

#ifdef __APPLE__
SystemMemory read_system_memory(const std::string&) {
  SystemMemory memory;
  std::size_t size = sizeof memory.total_bytes;
  if (sysctlbyname("hw.memsize", &memory.total_bytes, &size, nullptr, 0) != 0) return memory;
  vm_statistics64_data_t stats{};
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  if (host_statistics64(
          mach_host_self(), HOST_VM_INFO64, reinterpret_cast<host_info64_t>(&stats), &count) !=
      KERN_SUCCESS) {
    return memory;
  }
  const std::uint64_t page = vm_kernel_page_size;
  const std::uint64_t in_use =
      (std::uint64_t{stats.active_count} + stats.inactive_count + stats.speculative_count +
       stats.wire_count + stats.compressor_page_count) *
      page;
  const std::uint64_t droppable =
      (std::uint64_t{stats.purgeable_count} + stats.external_page_count) * page;
  const std::uint64_t used = in_use - std::min(in_use, droppable);
  memory.available_bytes = memory.total_bytes - std::min(memory.total_bytes, used);
  memory.known = true;
  return memory;
}

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
#else
SystemMemory read_system_memory(const std::string& root) {
  SystemMemory memory;
  const auto meminfo = read_file(root + "/proc/meminfo");
  if (!meminfo) return memory;
  // In kilobytes. No machine has an exbibyte: a larger number is garbage and would wrap around
  // below.
  const auto kilobytes = [&](std::string_view key) {
    const auto value = field(*meminfo, key);
    return value && *value < std::uint64_t{1} << 50 ? value : std::nullopt;
  };
  const auto total = kilobytes("MemTotal:");
  auto available = kilobytes("MemAvailable:");
  if (!available) {  // kernels before 3.14, some containers
    const auto get = [&](std::string_view key) { return kilobytes(key).value_or(0); };
    const std::uint64_t sum = get("MemFree:") + get("Cached:") + get("Buffers:");
    if (sum > 0) available = sum - std::min(sum, get("Shmem:"));
  }
  if (!total || !available) return memory;
  memory.total_bytes = *total * 1024;
  memory.available_bytes = std::min(*available, *total) * 1024;
  memory.known = true;

  // cgroup v2: our own path, then every level up to the root of the hierarchy.
  if (const auto own = read_file(root + "/proc/self/cgroup")) {
    std::istringstream lines(*own);
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with("0::/")) continue;
      std::string path = line.substr(3);
      while (true) {
        if (path == "/") path.clear();
        if (const auto headroom = cgroup_headroom(root + "/sys/fs/cgroup" + path)) {
          memory.available_bytes = std::min(memory.available_bytes, *headroom);
        }
        if (path.empty()) break;
        path.resize(path.rfind('/'));
      }
    }
  }
  return memory;
}

std::uint64_t resident_bytes() {
  const auto statm = read_file("/proc/self/statm");
  if (!statm) return 0;
  const auto space = statm->find(' ');
  if (space == std::string::npos) return 0;
  const auto pages = leading_number(std::string_view(*statm).substr(space));
  return pages.value_or(0) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
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

MemoryLevel level_of(const SystemMemory& memory) {
  if (!memory.known) return MemoryLevel::Warning;
  if (memory.available_bytes > kSafeAboveBytes) return MemoryLevel::Safe;
  if (memory.available_bytes > kCautionAboveBytes) return MemoryLevel::Caution;
  if (memory.available_bytes > kWarningAboveBytes) return MemoryLevel::Warning;
  if (memory.available_bytes > kCriticalAboveBytes) return MemoryLevel::Critical;
  return MemoryLevel::Emergency;
}

}  // namespace pensieve
