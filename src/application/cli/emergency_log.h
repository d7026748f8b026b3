// The log of ends for want of memory: one JSON line each, durable before the process is gone. The
// file is opened at the start, when there is memory; writing allocates nothing and takes no lock.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "foundation/accountant.h"
#include "foundation/directory.h"
#include "foundation/memory_monitor.h"
#include "foundation/result.h"

namespace pensieve::cli {

// What the line says beside its number and the time.
struct Emergency {
  const MemoryState& state;
  const Accountant& accountant;
  std::uint64_t resident_bytes = 0;
  std::uint64_t anonymous_bytes = 0;
  std::size_t requests_in_flight = 0;
};

class EmergencyLog {
 public:
  // `home`/emergency.log, mode 0600, made if missing; a link is refused. Of a file that has grown
  // beyond 1 MiB nothing is kept. Errors: as of Directory.
  static Result<EmergencyLog> open(const std::string& home);

  const std::string& path() const { return path_; }

  // Appends the line in a single write. False when the system refuses. One thread.
  bool write(const Emergency& emergency);
  // Returns when the line is on the disk, or cannot be.
  bool sync();

 private:
  EmergencyLog(Handle file, std::string path, std::uint64_t n_lines)
      : file_(std::move(file)), path_(std::move(path)), n_lines_(n_lines) {}

  Handle file_;
  std::string path_;
  std::uint64_t n_lines_;  // of earlier ends
  std::array<char, 2048> line_{};
};

}  // namespace pensieve::cli
