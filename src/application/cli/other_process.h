// A process that is not our child: to signal it and to wait for its end, without ever meaning
// another that got its number later (pidfd_open(2) where the system has it).
#pragma once

#include <chrono>
#include <optional>

#include "foundation/directory.h"

namespace pensieve::cli {

class OtherProcess {
 public:
  // Nothing when there is no such process.
  static std::optional<OtherProcess> find(int pid);

  // False when it is gone, or belongs to somebody else.
  bool signal(int number) const;
  // True once it has ended.
  bool ends_within(std::chrono::milliseconds limit) const;

 private:
  OtherProcess(int pid, Handle handle) : pid_(pid), handle_(std::move(handle)) {}
  int pid_;
  Handle handle_;  // not open where the system has none: then the number has to do
};

}  // namespace pensieve::cli
