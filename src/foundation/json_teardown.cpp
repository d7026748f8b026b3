#include "foundation/json_teardown.h"

#include <sys/mman.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <mutex>
#include <new>

namespace pensieve {
namespace {

constexpr std::size_t kReserveBytes = std::size_t{256} << 20;
constexpr std::size_t kAlignment = alignof(std::max_align_t);

// Given out from the beginning to the end; all of it is free again when all that was given out came
// back, which takes as long as one value takes to be destroyed.
class Reserve {
 public:
  Reserve() {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#ifdef MAP_NORESERVE
    flags |= MAP_NORESERVE;
#endif
    void* memory = mmap(nullptr, kReserveBytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory != MAP_FAILED) begin_ = static_cast<std::byte*>(memory);
  }

  void* take(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (begin_ == nullptr || bytes > kReserveBytes - used_) return nullptr;
    void* items = begin_ + used_;
    used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    ++n_given_;
    return items;
  }

  // False where `items` is none of its own.
  bool give_back(void* items) {
    const std::less<> before;
    if (begin_ == nullptr || before(items, begin_) || !before(items, begin_ + kReserveBytes))
      return false;
    const std::lock_guard lock(mutex_);
    if (--n_given_ == 0) {
      madvise(begin_, used_, MADV_DONTNEED);
      used_ = 0;
    }
    return true;
  }

 private:
  std::byte* begin_ = nullptr;
  std::mutex mutex_;
  std::size_t used_ = 0;
  int n_given_ = 0;
};

// Never destroyed: values may be taken apart after main().
Reserve& reserve() {
  alignas(Reserve) static std::byte place[sizeof(Reserve)];
  static Reserve* const made = new (place) Reserve;
  return *made;
}

// Before anything can fail.
[[maybe_unused]] const Reserve& g_set_aside = reserve();

}  // namespace

void* allocate_for_teardown(std::size_t n, std::size_t item_bytes) {
  if (n > std::numeric_limits<std::size_t>::max() / 2 / item_bytes) throw std::bad_alloc();
  const std::size_t bytes = n * item_bytes;
  if (void* items = ::operator new(bytes, std::nothrow)) return items;
  if (void* items = reserve().take(bytes)) return items;
  throw std::bad_alloc();
}

void free_teardown(void* items) noexcept {
  if (!reserve().give_back(items)) ::operator delete(items);
}

}  // namespace pensieve
