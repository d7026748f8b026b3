#include "application/cli/download_progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "foundation/text.h"

#include "application/cli/window.h"

namespace pensieve::cli {
namespace {

constexpr int kWidestBar = 24, kNarrowestBar = 8;
constexpr int kUsualColumns = 80;
constexpr std::chrono::milliseconds kTerminalEvery{200};
constexpr std::chrono::seconds kMostOften{1}, kLeastOften{30};

std::string duration_text(double seconds) {
  const auto whole = static_cast<long>(std::clamp(seconds, 0.0, 359'999.0));
  std::array<char, 32> text{};
  if (whole >= 3600) {
    std::snprintf(text.data(), text.size(), "%ld h %02ld min", whole / 3600, whole / 60 % 60);
  } else if (whole >= 60) {
    std::snprintf(text.data(), text.size(), "%ld min %02ld s", whole / 60, whole % 60);
  } else {
    std::snprintf(text.data(), text.size(), "%ld s", whole);
  }
  return text.data();
}

std::string bar_text(double share, int width) {
  const int filled = static_cast<int>(share * width);
  return "[" + std::string(static_cast<std::size_t>(filled), '#') +
         std::string(static_cast<std::size_t>(width - filled), '.') + "] ";
}

std::uint64_t tenths(std::uint64_t done, std::uint64_t total) {
  return total == 0 ? 0 : std::min(done, total) * 10 / total;
}

int error_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col
                                                                         : kUsualColumns;
}

}  // namespace

std::string progress_text(std::uint64_t done,
                          std::uint64_t total,
                          double bytes_per_s,
                          int columns) {
  const std::uint64_t shown = total > 0 ? std::min(done, total) : done;
  const double share = total > 0 ? static_cast<double>(shown) / static_cast<double>(total) : 0;
  std::string text;
  if (total > 0) {
    std::array<char, 16> percent{};
    std::snprintf(percent.data(), percent.size(), "%3d %%  ", static_cast<int>(share * 100));
    text = percent.data();
  }
  text += human_bytes(shown);
  if (total > 0) text += " of " + human_bytes(total);
  std::string speed, left;
  if (bytes_per_s > 0) {
    speed = "  " + human_bytes(static_cast<std::uint64_t>(bytes_per_s)) + "/s";
    if (total > shown) {
      left = "  " + duration_text(static_cast<double>(total - shown) / bytes_per_s) + " left";
    }
  }
  // A line of exactly `columns` already wraps on some terminals. What is left matters more than how
  // fast it goes.
  const auto room = [&] { return columns - 1 - static_cast<int>(text.size()); };
  const bool both = static_cast<int>(speed.size() + left.size()) <= room();
  if (both) text += speed;
  if (static_cast<int>(left.size()) <= room()) text += left;
  const int bar = std::min(kWidestBar, room() - static_cast<int>(bar_text(0, 0).size()));
  if (total > 0 && bar >= kNarrowestBar) text.insert(0, bar_text(share, bar));
  return text;
}

bool stderr_is_terminal() {
  const char* terminal = std::getenv("TERM");
  return isatty(STDERR_FILENO) == 1 &&
         (terminal == nullptr || std::string_view(terminal) != "dumb");
}

LinePace::LinePace(Time begin, std::uint64_t done, std::uint64_t total)
    : told_(begin), told_tenths_(tenths(done, total)) {}

bool LinePace::due(Time now, std::uint64_t done, std::uint64_t total) {
  const auto since = now - told_;
  const std::uint64_t reached = tenths(done, total);
  if (since < kMostOften || (reached <= told_tenths_ && since < kLeastOften)) return false;
  told_ = now;
  told_tenths_ = reached;
  return true;
}

DownloadProgress::DownloadProgress(std::string what, bool terminal)
    : what_(std::move(what)), terminal_(terminal), pace_(Clock::now(), 0, 0) {}

DownloadProgress::~DownloadProgress() {
  clear();
}

void DownloadProgress::clear() {
  if (std::exchange(shown_, false)) std::fputs("\r\033[K", stderr);
}

void DownloadProgress::note(const std::string& sentence) {
  clear();
  std::fprintf(stderr, "%s\n", printable(sentence, 2000).c_str());
}

bool DownloadProgress::due(Clock::time_point now, std::uint64_t done, std::uint64_t total) {
  if (!terminal_) return pace_.due(now, done, total);
  if (now - last_shown_ < kTerminalEvery) return false;
  last_shown_ = now;
  return true;
}

void DownloadProgress::begin_at(std::uint64_t done) {
  begin_ = Clock::now();
  if (!std::exchange(begun_, true)) last_shown_ = begin_;  // small files come first
  first_ = done;
}

void DownloadProgress::tell(std::uint64_t done, std::uint64_t total) {
  const auto now = Clock::now();
  if (!begun_ || done < first_) return begin_at(done);
  if (!due(now, done, total)) return;
  const double seconds = std::chrono::duration<double>(now - begin_).count();
  const double speed = seconds > 0.5 ? static_cast<double>(done - first_) / seconds : 0;
  if (terminal_) {
    std::fprintf(stderr, "\r\033[K%s", progress_text(done, total, speed, error_columns()).c_str());
    shown_ = true;
  } else {
    const std::string text = progress_text(done, total, speed, kUsualColumns);
    std::fprintf(stderr, "%s  %s\n", what_.c_str(), text.c_str());
  }
}

}  // namespace pensieve::cli
