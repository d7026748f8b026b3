// Memory for small blocks when the system gives none: what the server's own housekeeping needs so
// that requests end with an error and not the process. Libraries that we use allocate in
// destructors (a coroutine of Asio's that is dropped, a JSON value that is taken apart), where a
// failure would be the end. Costs address space only: its pages are touched by nobody before the
// system has refused.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>

namespace pensieve::cli {

class MemoryReserve {
 public:
  static constexpr std::size_t kAlignment = 64;
  static constexpr std::size_t kLargestBlock = 4096;

  // A block of at least `bytes`, aligned to `alignment`, or null: larger than kLargestBlock or
  // kAlignment, or none of that size is left. Any thread; never waits for memory.
  void* take(std::size_t bytes, std::size_t alignment) noexcept;

  bool owns(const void* block) const noexcept;

  // REQUIRES: owns(block), and it is taken.
  void give_back(void* block) noexcept;

  std::size_t taken() const noexcept { return taken_; }  // blocks

 private:
  struct FreeBlock {
    FreeBlock* next;
  };
  struct Size {
    std::size_t block_bytes;
    std::size_t n_blocks;
  };
  // What lives at a time while a few requests end: mostly handlers, frames and strings.
  static constexpr std::array<Size, 4> kSizes{
      {{64, 16384}, {256, 8192}, {1024, 2048}, {kLargestBlock, 512}}};
  static constexpr std::size_t kBytes = 64 * 16384 + 256 * 8192 + 1024 * 2048 + kLargestBlock * 512;

  class Lock {
   public:
    explicit Lock(std::atomic_flag& flag) noexcept : flag_(flag) {
      while (flag_.test_and_set(std::memory_order_acquire)) {
      }
    }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;
    ~Lock() { flag_.clear(std::memory_order_release); }

   private:
    std::atomic_flag& flag_;
  };

  // Each size's blocks lie behind those of the size before. Blocks that were never taken are
  // counted, not linked, so that their pages stay untouched.
  alignas(kAlignment) std::array<std::byte, kBytes> bytes_{};
  std::array<std::size_t, kSizes.size()> used_{};
  std::array<FreeBlock*, kSizes.size()> free_{};
  std::atomic<std::size_t> taken_{0};
  std::atomic_flag lock_ = ATOMIC_FLAG_INIT;
};

}  // namespace pensieve::cli
