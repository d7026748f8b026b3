// The KV tier on disk: pages of 64 tokens in files, written in the background and read back ahead
// of the engine, so that a prompt that was computed once is there again after a restart. Knows
// token ids, bytes and files. Must not know models, text or requests.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "foundation/accountant.h"
#include "foundation/result.h"

#include "domain/engine/kv_tier.h"

namespace pensieve::kv_store {

struct Budget {
  std::uint64_t max_bytes = 0;          // of all page files in the directory
  std::uint64_t max_bytes_per_day = 0;  // written; days are UTC's
  std::uint64_t min_free_bytes = 0;     // of the file system, left to others
};

struct Usage {
  std::uint64_t pages = 0;            // of this format
  std::uint64_t bytes = 0;            // of all formats
  std::uint64_t bytes_today = 0;      // written
  std::uint64_t bytes_written = 0;    // ever
  std::uint64_t tokens_restored = 0;  // ever
};

struct Options {
  std::string directory;
  std::string model;  // for people who list what is kept
  Budget budget;
  std::size_t buffer_bytes = std::size_t{64} << 20;  // of pages on their way
  // So long nothing is written after the disk failed several times in a row.
  std::chrono::milliseconds retry_after = std::chrono::seconds(60);
};

class KvStore : public engine::KvTier {
 public:
  // The directory is made by begin(); what fails there or later turns the tier off for a while,
  // with one line in the log, and never ends anything. The accountant outlives the store.
  static std::unique_ptr<KvStore> create(const Options& options, Accountant& accountant);

  // Any thread.
  virtual Usage usage() const = 0;
};

// ---- for the command line

// A history that is kept, as far as it is there from its first token on.
struct Remembered {
  std::string model;
  int n_tokens = 0;
  int n_own_tokens = 0;     // what several share counts for one of them
  std::uint64_t bytes = 0;  // of its own tokens
  std::int64_t used_s = 0;  // since 1970
};

struct Memory {
  std::vector<Remembered> histories;  // last used first
  Usage usage;
};

// Errors: NotFound for no directory.
Result<Memory> look_at(const std::string& directory);
// Removes every page file; gives the number of bytes.
Result<std::uint64_t> clear(const std::string& directory);

}  // namespace pensieve::kv_store
