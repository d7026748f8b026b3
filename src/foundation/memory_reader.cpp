// Control groups: "Control Group v2" and "Memory Resource Controller" of the kernel's
// admin-guide; /proc/meminfo: proc(5); stalls: "PSI - Pressure Stall Information".
#include "foundation/memory_reader.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <utility>

#ifdef __APPLE__
#include <mach/mach.h>
#include <sys/sysctl.h>
#endif

namespace pensieve {
namespace {

constexpr std::size_t kPathLimit = 8192;
// v1 has no word for "no limit": it is the largest number of pages there can be, which depends on
// their size. No machine has so much.
[[maybe_unused]] constexpr std::uint64_t kNoLimitFrom = std::uint64_t{1} << 62;
[[maybe_unused]] constexpr std::size_t kSampledPages = 1024;
[[maybe_unused]] constexpr unsigned kResidentEvery = 4;

std::optional<std::uint64_t> leading_number(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  return value;
}

// What follows `key` at the start of a line of `text`.
[[maybe_unused]] std::optional<std::string_view> behind(std::string_view text,
                                                        std::string_view key) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (line.starts_with(key)) return line.substr(key.size());
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  return std::nullopt;
}

[[maybe_unused]] std::optional<std::uint64_t> field(std::string_view text, std::string_view key) {
  const auto rest = behind(text, key);
  return rest ? leading_number(*rest) : std::nullopt;
}

void lower(SystemMemory& memory, std::uint64_t bytes, MemorySource source) {
  if (bytes >= memory.available_bytes) return;
  memory.available_bytes = bytes;
  memory.source = source;
}

}  // namespace

MemoryReader::MemoryReader(Options options) : options_(std::move(options)) {
  for (const auto& range : options_.weights) weights_bytes_ += range.size();
  path_.reserve(kPathLimit);
  directory_.reserve(kPathLimit);
}

std::optional<std::string_view> MemoryReader::text_of(std::string_view directory,
                                                      std::string_view file) {
  if (options_.root.size() + directory.size() + file.size() >= kPathLimit) {
    errno = ENAMETOOLONG;
    return std::nullopt;
  }
  path_.assign(options_.root).append(directory).append(file);
  const int opened = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (opened < 0) return std::nullopt;
  std::size_t size = 0;
  ssize_t n = 0;
  while (size < text_.size()) {
    n = ::read(opened, text_.data() + size, text_.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    size += static_cast<std::size_t>(n);
  }
  const int failure = errno;
  ::close(opened);
  errno = failure;
  if (n < 0) return std::nullopt;
  return std::string_view(text_.data(), size);
}

#ifdef __APPLE__
SystemMemory MemoryReader::read() {
  SystemMemory memory;
  std::size_t size = sizeof memory.total_bytes;
  if (sysctlbyname("hw.memsize", &memory.total_bytes, &size, nullptr, 0) != 0) return memory;
  vm_statistics64_data_t stats{};
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  const mach_port_t host = mach_host_self();
  const kern_return_t read =
      host_statistics64(host, HOST_VM_INFO64, reinterpret_cast<host_info64_t>(&stats), &count);
  mach_port_deallocate(mach_task_self(), host);
  if (read != KERN_SUCCESS) return memory;
  const std::uint64_t page = vm_kernel_page_size;
  const std::uint64_t in_use =
      (std::uint64_t{stats.active_count} + stats.inactive_count + stats.speculative_count +
       stats.wire_count + stats.compressor_page_count) *
      page;
  const std::uint64_t droppable =
      (std::uint64_t{stats.purgeable_count} + stats.external_page_count) * page;
  const std::uint64_t used = in_use - std::min(in_use, droppable);
  memory.available_bytes = memory.total_bytes - std::min(memory.total_bytes, used);
  memory.source = MemorySource::Host;
  memory.weights_bytes = weights_bytes_;
  memory.known = true;
  // 1 normal, 2 warning, 4 critical (DISPATCH_MEMORYPRESSURE_*, dispatch/source.h).
  int pressure = 0;
  size = sizeof pressure;
  if (sysctlbyname("kern.memorystatus_vm_pressure_level", &pressure, &size, nullptr, 0) == 0) {
    if (pressure >= 2) memory.at_least = MemoryLevel::Warning;
    if (pressure >= 4) memory.at_least = MemoryLevel::Critical;
  }
  if (options_.gpu_room) {
    if (const auto room = options_.gpu_room()) lower(memory, *room, MemorySource::Gpu);
  }
  return memory;
}
#else
SystemMemory MemoryReader::read() {
  ++readings_;
  SystemMemory memory;
  memory.weights_bytes = weights_bytes_;
  const auto meminfo = text_of("/proc/meminfo", "");
  if (!meminfo) return memory;
  // In kilobytes. No machine has an exbibyte: a larger number is garbage and would wrap around
  // below.
  const auto kilobytes = [&](std::string_view key) {
    const auto number = field(*meminfo, key);
    return number && *number < std::uint64_t{1} << 50 ? number : std::nullopt;
  };
  const auto total = kilobytes("MemTotal:");
  auto available = kilobytes("MemAvailable:");
  if (!available && !behind(*meminfo, "MemAvailable:")) {  // kernels before 3.14, some containers
    const auto get = [&](std::string_view key) { return kilobytes(key).value_or(0); };
    const std::uint64_t sum = get("MemFree:") + get("Cached:") + get("Buffers:");
    if (sum > 0) available = sum - std::min(sum, get("Shmem:"));
    memory.estimated = true;
  }
  if (!total || !available) return memory;
  memory.total_bytes = *total * 1024;
  memory.available_bytes = std::min(*available, *total) * 1024;
  memory.source = MemorySource::Host;
  memory.known = true;
  if (options_.gpu_room) {
    if (const auto room = options_.gpu_room()) lower(memory, *room, MemorySource::Gpu);
  }
  read_groups(memory);
  return memory;
}

// One line for each hierarchy, "ID:CONTROLLERS:PATH" (cgroups(7)); 0 and no controllers: v2. Beside
// v1 hierarchies the unified one is mounted in a place of its own.
void MemoryReader::read_groups(SystemMemory& memory) {
  const auto own = text_of("/proc/self/cgroup", "");
  if (!own) return read_stalls({}, memory);
  const std::size_t size = std::min(own->size(), groups_.size());
  std::copy_n(own->begin(), size, groups_.begin());
  std::string_view unified;
  for (std::string_view lines(groups_.data(), size); !lines.empty();) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(lines.size(), line.size() + 1));
    const auto first = line.find(':');
    const auto second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos || line.substr(second + 1, 1) != "/") continue;
    const std::string_view id = line.substr(0, first);
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string_view path = line.substr(second + 1);
    if (id == "0" && controllers.empty()) {
      unified = path;
      read_tree(Kind::V2, "/sys/fs/cgroup", path, memory);
      read_tree(Kind::V2, "/sys/fs/cgroup/unified", path, memory);
    } else if (controllers == "memory" || controllers.starts_with("memory,") ||
               controllers.ends_with(",memory") ||
               controllers.find(",memory,") != controllers.npos) {
      read_tree(Kind::V1, "/sys/fs/cgroup/memory", path, memory);
    }
  }
  read_stalls(unified, memory);
}

// The group itself and every one above it. In a container the path may be the host's, where the
// mount begins with our own group: then only the last step, the mount itself, finds anything.
void MemoryReader::read_tree(Kind kind,
                             std::string_view mount,
                             std::string_view group,
                             SystemMemory& memory) {
  if (mount.size() + group.size() >= kPathLimit) return;
  while (group.ends_with('/')) group.remove_suffix(1);
  for (;;) {
    directory_.assign(mount).append(group);
    read_group(kind, memory);
    if (group.empty()) return;
    group = group.substr(0, group.rfind('/'));
  }
}

MemoryReader::Value MemoryReader::value(std::string_view file) {
  const auto text = text_of(directory_, file);
  if (!text) {
    const bool absent = errno == ENOENT || errno == ENOTDIR;
    return {.state = absent ? State::Absent : State::Bad};
  }
  if (text->starts_with("max")) return {.state = State::Unlimited};
  const auto number = leading_number(*text);
  if (!number) return {.state = State::Bad};
  return {.state = *number >= kNoLimitFrom ? State::Unlimited : State::Number, .bytes = *number};
}

// What a group leaves: its limit minus what is used and could not be dropped. Page cache that is
// inactive can, and so can the weights' pages even while they are active.
void MemoryReader::read_group(Kind kind, SystemMemory& memory) {
  const bool v2 = kind == Kind::V2;
  std::uint64_t limit = UINT64_MAX;
  bool makes_sense = true;
  const auto lower_to = [&](Value bound) {
    if (bound.state == State::Bad) makes_sense = false;
    if (bound.state == State::Number) limit = std::min(limit, bound.bytes);
  };
  lower_to(value(v2 ? "/memory.max" : "/memory.limit_in_bytes"));
  if (v2) lower_to(value("/memory.high"));
  std::uint64_t inactive = 0, active = 0;
  if (const auto stat = text_of(directory_, "/memory.stat")) {
    inactive = field(*stat, v2 ? "inactive_file " : "total_inactive_file ").value_or(0);
    active = field(*stat, v2 ? "active_file " : "total_active_file ").value_or(0);
    // Of the groups above too, which cannot be seen from inside a container.
    if (const auto all = v2 ? std::nullopt : field(*stat, "hierarchical_memory_limit ")) {
      if (*all < kNoLimitFrom) limit = std::min(limit, *all);
    }
  }
  if (makes_sense && limit == UINT64_MAX) return;
  const Value current = value(v2 ? "/memory.current" : "/memory.usage_in_bytes");
  if (!makes_sense || current.state != State::Number) {
    memory.known = false;
    return;
  }
  inactive = std::min(inactive, current.bytes);
  const std::uint64_t weights =
      active == 0 ? 0 : std::min({active, current.bytes - inactive, resident_weights()});
  const std::uint64_t used = current.bytes - inactive - weights;
  lower(
      memory, limit - std::min(limit, used), v2 ? MemorySource::CgroupV2 : MemorySource::CgroupV1);
}

// "full avg10=12.34 avg60=..." of our own group, or where it has none of the whole machine. Absence
// is normal.
void MemoryReader::read_stalls(std::string_view group, SystemMemory& memory) {
  std::optional<std::string_view> text;
  if (!group.empty()) {
    if (group == "/") group = {};
    for (const std::string_view mount : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
      if (text || mount.size() + group.size() >= kPathLimit) break;
      directory_.assign(mount).append(group);
      text = text_of(directory_, "/memory.pressure");
    }
  }
  if (!text) text = text_of("/proc/pressure/memory", "");
  const auto average = text ? behind(*text, "full avg10=") : std::nullopt;
  if (!average) return;
  const auto whole = leading_number(*average);
  if (!whole || *whole > 100) return;
  std::uint64_t hundredths = *whole * 100;
  if (const auto point = average->find('.'); point != average->npos && point <= 3) {
    const std::string_view digits = average->substr(point + 1, 2);
    if (const auto part = leading_number(digits); part && digits.size() == 2) hundredths += *part;
  }
  memory.stalled = static_cast<std::uint32_t>(hundredths);
}

std::uint64_t MemoryReader::resident_weights() {
  if (weights_bytes_ == 0) return 0;
  if (options_.resident_weights) return options_.resident_weights();
  if (measured_at_ == 0 || readings_ - measured_at_ >= kResidentEvery) {
    resident_ = measure_resident();
    measured_at_ = readings_;
  }
  return resident_;
}

// mincore() on pages at equal distances: with 1,024 of them the share is known to about 1.6 %.
std::uint64_t MemoryReader::measure_resident() const {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t step = std::max(page, weights_bytes_ / kSampledPages / page * page);
  std::uint64_t n_asked = 0, n_resident = 0;
  for (const auto& range : options_.weights) {
    const auto begin = reinterpret_cast<std::uintptr_t>(range.data()) / page * page;
    const auto end = reinterpret_cast<std::uintptr_t>(range.data()) + range.size();
    for (auto at = begin; at < end; at += step) {
      unsigned char state = 0;
      if (mincore(reinterpret_cast<void*>(at), page, &state) != 0) continue;
      ++n_asked;
      n_resident += state & 1U;
    }
  }
  return n_asked == 0 ? 0 : weights_bytes_ / n_asked * n_resident;
}
#endif

}  // namespace pensieve
