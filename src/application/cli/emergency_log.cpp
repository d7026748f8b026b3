#include "application/cli/emergency_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <span>
#include <string_view>
#include <utility>

namespace pensieve::cli {
namespace {

constexpr const char* kName = "emergency.log";
constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 20;

// Text in a buffer of fixed size; what does not fit is left out.
class Line {
 public:
  explicit Line(std::span<char> buffer) : buffer_(buffer) {}
  Line& operator<<(std::string_view text) {
    const std::size_t n = std::min(text.size(), buffer_.size() - size_);
    std::copy_n(text.begin(), n, buffer_.begin() + static_cast<std::ptrdiff_t>(size_));
    size_ += n;
    return *this;
  }
  Line& operator<<(std::uint64_t number) { return padded(number, 1); }
  Line& padded(std::uint64_t number, std::size_t width) {
    std::array<char, 20> digits{};
    const auto end = std::to_chars(digits.begin(), digits.end(), number).ptr;
    const std::string_view text(digits.data(), static_cast<std::size_t>(end - digits.data()));
    for (std::size_t i = text.size(); i < width; ++i) *this << "0";
    return *this << text;
  }
  std::string_view text() const { return {buffer_.data(), size_}; }

 private:
  std::span<char> buffer_;
  std::size_t size_ = 0;
};

// "2026-01-31T23:59:59.123Z". The C library's own conversion may allocate. Years and months from a
// number of days: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
void add_time(Line& line, const timespec& now) {
  const auto seconds = static_cast<std::uint64_t>(now.tv_sec);
  const std::uint64_t days = seconds / 86400 + 719468, of_day = seconds % 86400;
  const std::uint64_t era = days / 146097, of_era = days % 146097;
  const std::uint64_t year_of_era =
      (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  const std::uint64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::uint64_t from_march = (5 * of_year + 2) / 153;
  const std::uint64_t day = of_year - (153 * from_march + 2) / 5 + 1;
  const std::uint64_t month = from_march < 10 ? from_march + 3 : from_march - 9;
  const std::uint64_t year = year_of_era + era * 400 + (month <= 2 ? 1 : 0);
  line.padded(year, 4) << "-";
  line.padded(month, 2) << "-";
  line.padded(day, 2) << "T";
  line.padded(of_day / 3600, 2) << ":";
  line.padded(of_day / 60 % 60, 2) << ":";
  line.padded(of_day % 60, 2) << ".";
  line.padded(static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000, 3) << "Z";
}

}  // namespace

Result<EmergencyLog> EmergencyLog::open(const std::string& home) {
  PENSIEVE_TRY(const Directory directory, Directory::open(home, false));
  const std::string path = directory.path_of(kName);
  Handle file(::openat(directory.handle().get(),
                       kName,
                       O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
                       S_IRUSR | S_IWUSR));
  if (!file.open()) return system_error(path, "cannot be opened");
  struct stat status {};
  if (fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return Error{.kind = ErrorKind::Internal, .message = path + " is no plain file"};
  }
  if (fchmod(file.get(), S_IRUSR | S_IWUSR) != 0) return system_error(path, "its mode");
  if (static_cast<std::uint64_t>(status.st_size) > kMaxBytes && ftruncate(file.get(), 0) != 0) {
    return system_error(path, "cannot be cut");
  }
  PENSIEVE_TRY(directory.sync());
  std::uint64_t n_lines = 0;
  std::array<std::byte, 4096> buffer{};
  for (auto n = read_some(file, buffer); n && *n > 0; n = read_some(file, buffer)) {
    n_lines += static_cast<std::uint64_t>(std::count(
        buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(*n), std::byte{'\n'}));
  }
  return EmergencyLog(std::move(file), path, n_lines);
}

bool EmergencyLog::write(const Emergency& emergency) {
  const SystemMemory& memory = emergency.state.memory;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  Line line{std::span<char>(line_)};
  line << "{\"seq\":" << ++n_lines_ << ",\"time\":\"";
  add_time(line, now);
  line << "\",\"level\":\"" << to_string(emergency.state.level)
       << "\",\"available_bytes\":" << memory.available_bytes
       << ",\"room_bytes\":" << memory.room_bytes() << ",\"total_bytes\":" << memory.total_bytes
       << ",\"weights_bytes\":" << memory.weights_bytes << ",\"source\":\""
       << to_string(memory.source)
       << "\",\"stalled_percent\":" << std::uint64_t{memory.stalled / 100}
       << ",\"samples\":" << emergency.state.samples
       << ",\"resident_bytes\":" << emergency.resident_bytes
       << ",\"anonymous_bytes\":" << emergency.anonymous_bytes << ",\"held\":{";
  for (std::size_t i = 0; i < kMemoryUses; ++i) {
    const auto use = static_cast<MemoryUse>(i);
    line << (i == 0 ? "\"" : ",\"") << to_string(use)
         << "_bytes\":" << std::uint64_t{emergency.accountant.held(use)};
  }
  line << "},\"requests_in_flight\":" << std::uint64_t{emergency.requests_in_flight}
       << ",\"pid\":" << static_cast<std::uint64_t>(getpid()) << "}\n";
  ssize_t n = -1;
  do {
    n = ::write(file_.get(), line.text().data(), line.text().size());
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(line.text().size());
}

bool EmergencyLog::sync() {
  return fsync(file_.get()) == 0;
}

}  // namespace pensieve::cli
