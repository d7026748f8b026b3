// A hash map from 64-bit keys to 32-bit values that is filled once and then only read: open
// addressing in one block of memory, because encoding looks up about three pairs per character.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace pensieve::tokenizer {

class FlatMap {
 public:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  // Keeps the value that is there already if `key` is known. REQUIRES: value != kNone. Amortised
  // O(1).
  void insert(std::uint64_t key, std::uint32_t value) {
    if (2 * (size_ + 1) > slots_.size()) grow();
    Slot& slot = slots_[find_slot(key)];
    if (slot.value != kNone) return;
    slot = {key, value};
    ++size_;
  }

  // The value of `key`, or kNone.
  std::uint32_t find(std::uint64_t key) const {
    return slots_.empty() ? kNone : slots_[find_slot(key)].value;
  }

  std::size_t size() const { return size_; }

 private:
  struct Slot {
    std::uint64_t key = 0;
    std::uint32_t value = kNone;
  };

  std::size_t find_slot(std::uint64_t key) const {
    // Two rounds of multiply and shift spread keys that differ in few bits (two small ids).
    std::uint64_t h = (key ^ (key >> 32)) * 0x9E3779B97F4A7C15;
    h = (h ^ (h >> 29)) * 0xBF58476D1CE4E5B9;
    std::size_t at = static_cast<std::size_t>(h >> 20) & (slots_.size() - 1);
    while (slots_[at].value != kNone && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
    return at;
  }
  void grow() {
    std::vector<Slot> old(slots_.empty() ? 16 : 2 * slots_.size());
    std::swap(old, slots_);
    for (const Slot& slot : old) {
      if (slot.value != kNone) slots_[find_slot(slot.key)] = slot;
    }
  }

  std::vector<Slot> slots_;  // a power of two, at most half of it used
  std::size_t size_ = 0;
};

}  // namespace pensieve::tokenizer
