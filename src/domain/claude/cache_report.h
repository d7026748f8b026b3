// Where the tokens of a prompt came from, and where a long beginning that had to be computed again
// parts from what was kept. A plain value.
#pragma once

#include <optional>
#include <string>

namespace pensieve::claude {

// Sequences of less than a page in common are compared only within a session.
struct PrefixMiss {
  int n_common = 0;       // tokens before the first that differs
  std::string part;       // of the request, counted from 1: "message 7 (user), block 1"
  std::string now, kept;  // the tokens' own text, which is the user's: not for logs by default
  bool same_session = false;
};

// hit + restored + missed is the whole prompt.
struct CacheReport {
  int hit = 0;       // found in memory
  int restored = 0;  // read back from the disk
  int missed = 0;    // computed
  std::optional<PrefixMiss> miss = std::nullopt;
};

}  // namespace pensieve::claude
