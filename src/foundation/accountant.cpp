#include "foundation/accountant.h"

#include <string>
#include <utility>

namespace pensieve {

std::string_view to_string(MemoryUse use) {
  switch (use) {
    case MemoryUse::Weights:
      return "weights";
    case MemoryUse::Kv:
      return "kv";
    case MemoryUse::Scratch:
      return "scratch";
    case MemoryUse::Cache:
      return "cache";
    case MemoryUse::Connections:
      return "connections";
  }
  return "unknown";
}

Reservation::Reservation(Reservation&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)),
      use_(other.use_),
      bytes_(std::exchange(other.bytes_, 0)),
      untouched_(std::exchange(other.untouched_, 0)) {}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  if (this != &other) {
    release();
    owner_ = std::exchange(other.owner_, nullptr);
    use_ = other.use_;
    bytes_ = std::exchange(other.bytes_, 0);
    untouched_ = std::exchange(other.untouched_, 0);
  }
  return *this;
}

void Reservation::release() {
  set_touched(bytes_);
  if (owner_ != nullptr) owner_->release(use_, bytes_);
  owner_ = nullptr;
  bytes_ = 0;
}

void Reservation::set_touched(std::size_t bytes) {
  CHECK(bytes <= bytes_);
  if (owner_ == nullptr) return;
  std::atomic<std::size_t>& untouched = owner_->untouched_[static_cast<std::size_t>(use_)];
  const std::size_t now = bytes_ - bytes;
  untouched += now;
  untouched -= std::exchange(untouched_, now);
}

Result<Reservation> Accountant::reserve(MemoryUse use, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  const bool overflows = bytes > SIZE_MAX - total_;
  if (overflows || (limit_bytes_ != 0 && total_ + bytes > limit_bytes_)) {
    const auto mib = [](std::size_t n) { return std::to_string(n >> 20) + " MiB"; };
    return Error{.kind = ErrorKind::Unavailable,
                 .message = "not enough memory: " + mib(bytes) + " more for " +
                            std::string(to_string(use)) + " on top of " + mib(total()) +
                            " would pass the limit of " + mib(limit_bytes_),
                 .retry_after_s = 5};
  }
  total_ += bytes;
  held_[static_cast<std::size_t>(use)] += bytes;
  return Reservation(this, use, bytes);
}

void Accountant::release(MemoryUse use, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  CHECK(held_[static_cast<std::size_t>(use)] >= bytes);
  held_[static_cast<std::size_t>(use)] -= bytes;
  total_ -= bytes;
}

}  // namespace pensieve
