// What a directory of pages has cost and saved, in ledger.json: shared by all processes that hold
// its lock.
#pragma once

#include <cstdint>

#include "foundation/directory.h"
#include "foundation/result.h"

#include "domain/kv_store/kv_store.h"

namespace pensieve::kv_store {

struct Ledger {
  std::int64_t day = 0;  // days since 1970, UTC
  std::uint64_t bytes_today = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t tokens_restored = 0;

  // Starts a new day if it is one. A clock that went back a little does not.
  void begin_day(std::int64_t now_s);
  Usage usage() const;
};

Ledger read_ledger(const Directory& root);  // an empty one if there is none that makes sense
Result<void> write_ledger(const Directory& root, const Ledger& ledger);

}  // namespace pensieve::kv_store
