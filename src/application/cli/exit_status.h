// What the process says when it ends. Documented in `pensieve --help`.
#pragma once

#include "foundation/result.h"

namespace pensieve::cli {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;      // port taken, not enough memory, the engine failed
inline constexpr int kExitBadInput = 2;    // the command line, a request file or a model file
inline constexpr int kExitDigest = 3;      // a model's file is not what it was promised to be
inline constexpr int kExitNotRunning = 3;  // `pensieve status` without a server, as systemctl(1)
inline constexpr int kExitNoClient = 127;  // `pensieve claude` without Claude Code, as in a shell
inline constexpr int kExitFileGone = 70;   // the model file was cut short while in use
inline constexpr int kExitSignal = 128;    // plus the signal's number: 130 SIGINT, 143 SIGTERM

inline int exit_status(const Error& error) {
  switch (error.kind) {
    case ErrorKind::BadFile:
    case ErrorKind::InvalidRequest:
    case ErrorKind::NotFound:
      return kExitBadInput;
    case ErrorKind::DigestMismatch:
      return kExitDigest;
    default:
      return kExitFailed;
  }
}

}  // namespace pensieve::cli
