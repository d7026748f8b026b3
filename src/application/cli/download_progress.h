// How far a long piece of work is, on standard error: on a terminal one line that changes, with a
// bar, the speed and the time left; elsewhere a plain line now and then.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace pensieve::cli {

// "[#####.....]  52 %  1.1 of 2.0 GiB  24.3 MiB/s  41 s left" in less than `columns`: a narrow
// terminal gets a shorter bar or none, then less text. `bytes_per_s` 0: not known yet; `total` 0:
// not known.
std::string progress_text(std::uint64_t done, std::uint64_t total, double bytes_per_s, int columns);

// When a line is due that nobody overwrites: every tenth of the whole, but at most one a second,
// and at least one in half a minute.
class LinePace {
 public:
  using Time = std::chrono::steady_clock::time_point;
  LinePace(Time begin, std::uint64_t done, std::uint64_t total);
  bool due(Time now, std::uint64_t done, std::uint64_t total);  // true: it counts as told

 private:
  Time told_;
  std::uint64_t told_tenths_;
};

// Whether standard error is a terminal that lines can be changed on.
bool stderr_is_terminal();

class DownloadProgress {
 public:
  // `terminal`: whether standard error is one that understands "\r".
  DownloadProgress(std::string what, bool terminal);
  ~DownloadProgress();
  DownloadProgress(const DownloadProgress&) = delete;
  DownloadProgress& operator=(const DownloadProgress&) = delete;

  void tell(std::uint64_t done, std::uint64_t total);
  void begin_at(std::uint64_t done);       // so much is here: the speed counts from now
  void note(const std::string& sentence);  // a line of its own

 private:
  using Clock = std::chrono::steady_clock;
  bool due(Clock::time_point now, std::uint64_t done, std::uint64_t total);
  void clear();
  std::string what_;
  bool terminal_;
  bool shown_ = false;
  bool begun_ = false;
  Clock::time_point begin_, last_shown_;
  LinePace pace_;
  std::uint64_t first_ = 0;  // bytes that were there before
};

}  // namespace pensieve::cli
