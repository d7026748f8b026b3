#include "domain/compute/cpu/kv_arena.h"

#include <sys/mman.h>

#include <utility>

namespace pensieve::compute::cpu {

Result<KvArena> KvArena::create(Accountant& accountant, std::size_t page_bytes, int n_pages) {
  CHECK(n_pages > 0);
  PENSIEVE_TRY(
      Buffer buffer,
      Buffer::create(accountant, MemoryUse::Kv, page_bytes * static_cast<std::size_t>(n_pages)));
  return KvArena(std::move(buffer), page_bytes, n_pages);
}

KvArena::KvArena(Buffer buffer, std::size_t page_bytes, int n_pages)
    : buffer_(std::move(buffer)),
      page_bytes_(page_bytes),
      references_(static_cast<std::size_t>(n_pages)),
      touched_(static_cast<std::size_t>(n_pages)) {
  buffer_.set_touched(0);
  free_.reserve(static_cast<std::size_t>(n_pages));
  for (int page = n_pages - 1; page >= 0; --page) free_.push_back(page);
}

KvArena::Page KvArena::take() {
  if (free_.empty()) return -1;
  const Page page = free_.back();
  free_.pop_back();
  const auto i = static_cast<std::size_t>(page);
  references_[i] = 1;
  if (!touched_[i]) {
    touched_[i] = true;
    ++n_touched_;
    buffer_.set_touched(static_cast<std::size_t>(n_touched_) * page_bytes_);
  }
  return page;
}

void KvArena::release(Page page) {
  auto& count = references_[static_cast<std::size_t>(page)];
  CHECK(count > 0);
  if (--count == 0) free_.push_back(page);
}

void KvArena::trim() {
  // Whole system pages inside each free slot; the next use finds zeros there, which nobody reads.
  constexpr std::size_t kSystemPage = 4096;
  for (const Page page : free_) {
    if (!touched_[static_cast<std::size_t>(page)]) continue;
    touched_[static_cast<std::size_t>(page)] = false;
    --n_touched_;
    const auto begin = (static_cast<std::size_t>(page) * page_bytes_ + kSystemPage - 1) /
                       kSystemPage * kSystemPage;
    const auto end = (static_cast<std::size_t>(page) + 1) * page_bytes_ / kSystemPage * kSystemPage;
    if (begin < end) madvise(buffer_.data() + begin, end - begin, MADV_DONTNEED);
  }
  buffer_.set_touched(static_cast<std::size_t>(n_touched_) * page_bytes_);
}

}  // namespace pensieve::compute::cpu
