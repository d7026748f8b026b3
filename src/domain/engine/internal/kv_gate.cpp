#include "domain/engine/internal/kv_gate.h"

#include <algorithm>
#include <string>
#include <utility>

#include "foundation/check.h"

namespace pensieve::engine {
namespace {

// RELIABILITY, 4.3: clients sleep exactly this long. Memory does not come back faster than the
// level does, which takes five seconds.
constexpr int kRetryAfterS = 5;

std::string mib(std::uint64_t bytes) {
  return std::to_string(bytes >> 20) + " MiB";
}

}  // namespace

Error too_little_memory(const MemoryPressure& pressure, const std::string& what) {
  return {.kind = ErrorKind::Unavailable,
          .message = "memory is short: " + what + ", " + mib(pressure.room_bytes) +
                     " are available, and " + mib(kWarningAboveBytes) +
                     " are left to other programs",
          .retry_after_s = kRetryAfterS};
}

KvReservation::KvReservation(KvReservation&& other) noexcept
    : gate_(std::exchange(other.gate_, nullptr)), n_pages_(other.n_pages_) {}

KvReservation& KvReservation::operator=(KvReservation&& other) noexcept {
  if (this != &other) {
    release();
    gate_ = std::exchange(other.gate_, nullptr);
    n_pages_ = other.n_pages_;
  }
  return *this;
}

void KvReservation::release() {
  if (gate_ != nullptr) std::exchange(gate_, nullptr)->release(n_pages_);
}

void KvGate::set_arena(std::size_t page_bytes, int n_pages) {
  const std::lock_guard lock(mutex_);
  page_bytes_ = std::max<std::size_t>(page_bytes, 1);
  arena_bytes_ = page_bytes_ * static_cast<std::size_t>(n_pages);
}

void KvGate::set_pressure(const MemoryPressure& pressure, std::size_t touched_bytes) {
  const std::lock_guard lock(mutex_);
  pressure_ = pressure;
  touched_then_ = touched_bytes;
}

Result<KvReservation> KvGate::reserve(int n_pages, int n_tokens, std::size_t touched_bytes) {
  const std::lock_guard lock(mutex_);
  const auto n = static_cast<std::size_t>(n_pages);
  const std::size_t promised = std::min((reserved_pages_ + n) * page_bytes_, arena_bytes_);
  const std::uint64_t more = promised - std::min(promised, touched_bytes);
  const std::uint64_t since = touched_bytes - std::min(touched_bytes, touched_then_);
  const std::uint64_t room = pressure_.room_bytes - std::min(pressure_.room_bytes, since);
  // Where nothing more is taken, nothing gets worse; at Critical new work would all the same.
  const bool fits = more == 0 || (room > more && room - more > kWarningAboveBytes);
  if (pressure_.level >= MemoryLevel::Critical || !fits) {
    return too_little_memory({.level = pressure_.level, .room_bytes = room},
                             "keys and values of " + std::to_string(n_tokens) +
                                 " tokens and of the requests that run " + "need up to " +
                                 mib(more) + " more");
  }
  reserved_pages_ += n;
  return KvReservation(this, n_pages);
}

void KvGate::release(int n_pages) {
  const std::lock_guard lock(mutex_);
  const auto n = static_cast<std::size_t>(n_pages);
  CHECK(reserved_pages_ >= n);
  reserved_pages_ -= n;
}

MemoryLevel KvGate::level() const {
  const std::lock_guard lock(mutex_);
  return pressure_.level;
}

std::size_t KvGate::reserved_bytes() const {
  const std::lock_guard lock(mutex_);
  return reserved_pages_ * page_bytes_;
}

}  // namespace pensieve::engine
