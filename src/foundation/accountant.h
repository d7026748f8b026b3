// The one place that knows how much memory Pensieve holds. Every large allocation (weights that are
// mapped, KV pages, scratch, caches, connection buffers) takes a Reservation first; a refused one
// is an error in words, not an abort. Any thread.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string_view>

#include "foundation/result.h"

namespace pensieve {

enum class MemoryUse : std::uint8_t { Weights, Kv, Scratch, Cache, Connections };
inline constexpr std::size_t kMemoryUses = 5;
std::string_view to_string(MemoryUse use);

class Accountant;

// Bytes that are held until this object goes. Movable. REQUIRES: the accountant outlives it.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&& other) noexcept;
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  ~Reservation() { release(); }

  std::size_t bytes() const { return bytes_; }
  void release();

  // How many of the bytes have been taken from the system, where that is not all of them: memory
  // costs nothing before it is written to. One thread at a time.
  void set_touched(std::size_t bytes);

 private:
  friend class Accountant;
  Reservation(Accountant* owner, MemoryUse use, std::size_t bytes)
      : owner_(owner), use_(use), bytes_(bytes) {}

  Accountant* owner_ = nullptr;
  MemoryUse use_ = MemoryUse::Scratch;
  std::size_t bytes_ = 0;
  std::size_t untouched_ = 0;
};

class Accountant {
 public:
  // `limit_bytes` bounds the sum over all uses; 0 means no bound.
  explicit Accountant(std::size_t limit_bytes = 0) : limit_bytes_(limit_bytes) {}

  // Errors: Unavailable with the numbers in the sentence; nothing is held then.
  Result<Reservation> reserve(MemoryUse use, std::size_t bytes);

  // Without a lock, so that what is held can be told while everything else stands still.
  std::size_t held(MemoryUse use) const { return held_[static_cast<std::size_t>(use)]; }
  std::size_t total() const { return total_; }

  // Of what is held, what has been taken from the system.
  std::size_t touched(MemoryUse use) const {
    const std::size_t untouched = untouched_[static_cast<std::size_t>(use)], all = held(use);
    return all - std::min(all, untouched);
  }
  std::size_t limit() const { return limit_bytes_; }

 private:
  friend class Reservation;
  void release(MemoryUse use, std::size_t bytes);

  const std::size_t limit_bytes_;
  std::mutex mutex_;  // of those who change the numbers
  std::array<std::atomic<std::size_t>, kMemoryUses> held_{};
  std::array<std::atomic<std::size_t>, kMemoryUses> untouched_{};
  std::atomic<std::size_t> total_ = 0;
};

}  // namespace pensieve
