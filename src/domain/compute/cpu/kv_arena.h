// The pages of the KV cache: equal slots of one accounted buffer, shared between sequences by
// reference count. A page holds 64 tokens of every layer; layouts inside: kernels/kv_layout.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "foundation/buffer.h"

#include "domain/compute/backend.h"

namespace pensieve::compute::cpu {

// Engine thread only.
class KvArena {
 public:
  using Page = std::int32_t;

  static Result<KvArena> create(Accountant& accountant, std::size_t page_bytes, int n_pages);

  // A page with one reference, or -1 when none is free. Its content is whatever it held before.
  Page take();
  void share(Page page) { ++references_[static_cast<std::size_t>(page)]; }
  void release(Page page);
  bool shared(Page page) const { return references_[static_cast<std::size_t>(page)] > 1; }

  std::byte* data(Page page) {
    return buffer_.data() + static_cast<std::size_t>(page) * page_bytes_;
  }
  const std::byte* data(Page page) const {
    return buffer_.data() + static_cast<std::size_t>(page) * page_bytes_;
  }

  int free_pages() const { return static_cast<int>(free_.size()); }
  int n_pages() const { return static_cast<int>(references_.size()); }
  std::size_t page_bytes() const { return page_bytes_; }

  // Pages that have been written to since they were last given back: these take memory.
  int touched_pages() const { return n_touched_; }

  // Returns the memory of free pages to the system.
  void trim();

 private:
  KvArena(Buffer buffer, std::size_t page_bytes, int n_pages);

  Buffer buffer_;
  std::size_t page_bytes_;
  std::vector<std::int32_t> references_;
  std::vector<bool> touched_;
  int n_touched_ = 0;
  // Taken from the back: the page used last is the warmest, and has its memory already.
  std::vector<Page> free_;
};

}  // namespace pensieve::compute::cpu
