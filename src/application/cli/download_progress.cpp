#include "application/cli/download_progress.h"

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

constexpr int kBarWidth = 24;
constexpr std::chrono::milliseconds kTerminalEvery{200};
constexpr std::chrono::seconds kPlainEvery{10};

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

}  // namespace

std::string progress_text(std::uint64_t done, std::uint64_t total, double bytes_per_s) {
  std::string text;
  if (total > 0) {
    const std::uint64_t shown = std::min(done, total);
    const double share = static_cast<double>(shown) / static_cast<double>(total);
    const int filled = static_cast<int>(share * kBarWidth);
    text += "[" + std::string(static_cast<std::size_t>(filled), '#') +
            std::string(static_cast<std::size_t>(kBarWidth - filled), '.') + "] ";
    std::array<char, 16> percent{};
    std::snprintf(percent.data(), percent.size(), "%3d %%", static_cast<int>(share * 100));
    text += std::string(percent.data()) + "  " + human_bytes(shown) + " of " + human_bytes(total);
  } else {
    text += human_bytes(done);
  }
  if (bytes_per_s > 0) {
    text += "  " + human_bytes(static_cast<std::uint64_t>(bytes_per_s)) + "/s";
    if (total > done)
      text += "  " + duration_text(static_cast<double>(total - done) / bytes_per_s) + " left";
  }
  return text;
}

bool stderr_is_terminal() {
  const char* terminal = std::getenv("TERM");
  return isatty(STDERR_FILENO) == 1 &&
         (terminal == nullptr || std::string_view(terminal) != "dumb");
}

DownloadProgress::DownloadProgress(std::string what, bool terminal)
    : what_(std::move(what)), terminal_(terminal) {}

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

void DownloadProgress::tell(std::uint64_t done, std::uint64_t total) {
  const auto now = Clock::now();
  if (!std::exchange(begun_, true) || done < first_) {
    begin_ = last_told_ = now;
    first_ = done;
    return;
  }
  const bool due = now - last_told_ >=
                   (terminal_ ? Clock::duration(kTerminalEvery) : Clock::duration(kPlainEvery));
  if (!due) return;
  last_told_ = now;
  const double seconds = std::chrono::duration<double>(now - begin_).count();
  const double speed = seconds > 0.5 ? static_cast<double>(done - first_) / seconds : 0;
  const std::string text = progress_text(done, total, speed);
  if (terminal_) {
    std::fprintf(stderr, "\r\033[K%s", text.c_str());
    shown_ = true;
  } else {
    std::fprintf(stderr, "%s  %s\n", what_.c_str(), text.c_str());
  }
}

}  // namespace pensieve::cli
