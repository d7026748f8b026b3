#include "foundation/buffer.h"

#include <sys/mman.h>

#include <string>
#include <utility>

namespace pensieve {

Result<Buffer> Buffer::create(Accountant& accountant, MemoryUse use, std::size_t bytes) {
  CHECK(bytes > 0);
  Buffer buffer;
  PENSIEVE_TRY(buffer.reservation_, accountant.reserve(use, bytes));
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return Error{.kind = ErrorKind::Unavailable,
                 .message = "the system refused " + std::to_string(bytes >> 20) + " MiB for " +
                            std::string(to_string(use)),
                 .retry_after_s = 5};
  }
#ifdef MADV_HUGEPAGE
  // Best effort: 2 MiB pages raise the measured read bandwidth by about a third on x86-64.
  if (bytes >= (std::size_t{4} << 20)) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  buffer.data_ = static_cast<std::byte*>(memory);
  buffer.size_ = bytes;
  return buffer;
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      reservation_(std::move(other.reservation_)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    if (data_ != nullptr) munmap(data_, size_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    reservation_ = std::move(other.reservation_);
  }
  return *this;
}

Buffer::~Buffer() {
  if (data_ != nullptr) munmap(data_, size_);
}

}  // namespace pensieve
