#include "application/cli/memory_reserve.h"

#include <functional>
#include <new>

#include "foundation/check.h"

namespace pensieve::cli {

void* MemoryReserve::take(std::size_t bytes, std::size_t alignment) noexcept {
  if (bytes > kLargestBlock || alignment > kAlignment) return nullptr;
  const Lock lock(lock_);
  std::byte* begin = bytes_.data();
  for (std::size_t i = 0; i < kSizes.size(); ++i) {
    const auto [block_bytes, n_blocks] = kSizes[i];
    if (bytes <= block_bytes && (free_[i] != nullptr || used_[i] < n_blocks)) {
      ++taken_;
      if (free_[i] == nullptr) return begin + block_bytes * used_[i]++;
      FreeBlock* const block = free_[i];
      free_[i] = block->next;
      return block;
    }
    begin += block_bytes * n_blocks;
  }
  return nullptr;
}

bool MemoryReserve::owns(const void* block) const noexcept {
  const std::byte* const begin = bytes_.data();
  const auto* const at = static_cast<const std::byte*>(block);
  return !std::less<>()(at, begin) && std::less<>()(at, begin + bytes_.size());
}

void MemoryReserve::give_back(void* block) noexcept {
  const Lock lock(lock_);
  std::size_t offset = static_cast<std::size_t>(static_cast<std::byte*>(block) - bytes_.data());
  for (std::size_t i = 0; i < kSizes.size(); ++i) {
    const auto [block_bytes, n_blocks] = kSizes[i];
    if (offset < block_bytes * n_blocks) {
      DCHECK(offset % block_bytes == 0);
      free_[i] = new (block) FreeBlock{free_[i]};
      --taken_;
      return;
    }
    offset -= block_bytes * n_blocks;
  }
}

}  // namespace pensieve::cli
