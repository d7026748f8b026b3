// Whether the KV of one more request fits the machine. Counts the pages that accepted requests may
// come to hold, and lets another one in only if the machine would not become Critical by it even if
// all of them did. Knows pages and bytes. Any thread.
#pragma once

#include <cstddef>
#include <mutex>
#include <string>

#include "foundation/result.h"

#include "domain/engine/engine.h"

namespace pensieve::engine {

class KvGate;

// Pages that a request may come to hold, until this object goes. Movable. REQUIRES: the gate
// outlives it.
class KvReservation {
 public:
  KvReservation() = default;
  KvReservation(KvReservation&& other) noexcept;
  KvReservation& operator=(KvReservation&& other) noexcept;
  KvReservation(const KvReservation&) = delete;
  KvReservation& operator=(const KvReservation&) = delete;
  ~KvReservation() { release(); }
  void release();

 private:
  friend class KvGate;
  KvReservation(KvGate* gate, int n_pages) : gate_(gate), n_pages_(n_pages) {}
  KvGate* gate_ = nullptr;
  int n_pages_ = 0;
};

class KvGate {
 public:
  // Of the arena. Before anything else.
  void set_arena(std::size_t page_bytes, int n_pages);

  // What the machine had when the arena's `touched_bytes` were in memory. Until it is called
  // everything fits.
  void set_pressure(const MemoryPressure& pressure, std::size_t touched_bytes);

  // Reserves `n_pages` for a request of `n_tokens`. Pages that are in memory already cost nothing,
  // whoever holds them now: what is only kept makes room for what is wanted. Errors: Unavailable
  // with the numbers; nothing is reserved then.
  Result<KvReservation> reserve(int n_pages, int n_tokens, std::size_t touched_bytes);

  MemoryLevel level() const;
  std::size_t reserved_bytes() const;

 private:
  friend class KvReservation;
  void release(int n_pages);

  mutable std::mutex mutex_;
  std::size_t page_bytes_ = 1;
  std::size_t arena_bytes_ = 0;
  std::size_t reserved_pages_ = 0;
  MemoryPressure pressure_;
  std::size_t touched_then_ = 0;  // when pressure_ was told
};

// The refusal for want of memory, with the numbers; `what` is what there is too little for.
Error too_little_memory(const MemoryPressure& pressure, const std::string& what);

}  // namespace pensieve::engine
