// Where log lines are kept on the disk: one file that is appended to and, when it is full, moved
// aside for a new one (PATH.1 is the youngest of those, the oldest one goes). Knows files and
// bytes. Must not know what a line says.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "foundation/result.h"

namespace pensieve {

struct LogFileOptions {
  std::string path;
  std::uint64_t max_bytes = std::uint64_t{10} << 20;  // of one file; at least 1
  int max_files = 5;                                  // the one that is written among them
};

// Files have mode 0600, whatever the umask, and are neither links nor devices. A line is there
// whole or not at all, also where the disk is full. One caller at a time.
class LogFile {
 public:
  // Appends to a file that is there already. Errors: InvalidRequest, naming the path and what the
  // system said, where it cannot be opened, is no regular file, or is not this user's own.
  static Result<LogFile> open(LogFileOptions options);

  LogFile(LogFile&& other) noexcept;
  LogFile& operator=(LogFile&&) = delete;
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;
  ~LogFile();

  // `line` ends with its line end. A line that is longer than a file may be has a file of its own.
  // False: it could not be written, and nothing of it was. The next call tries again, the opening
  // of the file too where that is what failed.
  bool append(std::string_view line);

 private:
  LogFile(LogFileOptions options, int file, std::uint64_t bytes);

  void rotate();
  bool is_still_at_path() const;
  void close_file();

  const LogFileOptions options_;
  int file_ = -1;  // -1: could not be opened again
  std::uint64_t bytes_ = 0;
};

}  // namespace pensieve
