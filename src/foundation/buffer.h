// Large, zeroed, page-aligned memory that is accounted for, taken straight from the system and
// given straight back to it (no allocator in between keeps it).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "foundation/accountant.h"
#include "foundation/result.h"

namespace pensieve {

// Owns one mapping. Movable. Aligned to 4,096 bytes at least; transparent huge pages are asked for.
class Buffer {
 public:
  Buffer() = default;
  // Errors: Unavailable when the accountant or the system refuses.
  static Result<Buffer> create(Accountant& accountant, MemoryUse use, std::size_t bytes);

  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

  // As Reservation::set_touched(); all of it until then.
  void set_touched(std::size_t bytes) { reservation_.set_touched(bytes); }

  // The memory as `count` objects of T from byte `offset` on. REQUIRES: it fits and is aligned.
  template <typename T>
  std::span<T> as(std::size_t offset, std::size_t count) {
    CHECK(offset % alignof(T) == 0 && offset <= size_ && count <= (size_ - offset) / sizeof(T));
    return {reinterpret_cast<T*>(data_ + offset), count};
  }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  Reservation reservation_;
};

}  // namespace pensieve
