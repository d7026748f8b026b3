// The ladder: what the engine holds, by the level of the machine's memory. Applied between steps.
#include <string>

#include "foundation/log.h"

#include "domain/engine/internal/scheduler.h"

namespace pensieve::engine {
namespace {

// What is not on the disk by then goes without: memory is short now.
constexpr std::uint64_t kShedUs = 2'000'000;

}  // namespace

int Scheduler::touched_pages() const {
  return static_cast<int>(backend_.memory().kv_touched_bytes / capabilities_.page_bytes);
}

// The level has changed, or not.
void Scheduler::follow_level() {
  const MemoryLevel level = desk_.gate().level();
  if (level == level_) return;
  const bool worse = level > level_;
  level_ = level;
  if (level == MemoryLevel::Safe) {
    pool_.limit_pages(pool_.n_pages());
  } else if (worse) {
    pool_.limit_pages(touched_pages());
  }
  idle_limit_.reset();
  if (level == MemoryLevel::Warning && worse) idle_limit_ = pool_.idle_pages() / 2;
  if (level >= MemoryLevel::Critical) idle_limit_ = 0;
  shed_by_us_ = now_us() + kShedUs;
}

// Closes idle sequences as far as has to be, those first that the tier can give back, and returns
// all memory that no page needs.
void Scheduler::shed() {
  if (!idle_limit_) return;
  while (pool_.idle_pages() > *idle_limit_ && pool_.evict_stored()) {
  }
  const bool late = now_us() >= shed_by_us_;
  while (late && pool_.idle_pages() > *idle_limit_ && pool_.evict_idle()) {
  }
  const bool waits = pool_.n_idle() > 0 && pool_.idle_pages() > *idle_limit_;
  if (waits) return;  // the tier rings when it can take more
  const std::size_t before = backend_.memory().kv_touched_bytes;
  if (before > backend_.memory().kv_bytes) {
    backend_.trim();
    trim_heap();
    pool_.limit_pages(touched_pages());
    log_info("memory: " + std::to_string((before - backend_.memory().kv_touched_bytes) >> 20) +
             " MiB of keys and values were given back");
  }
  shed_by_us_ = now_us() + kShedUs;
  // At Critical what finishes later goes too.
  if (level_ < MemoryLevel::Critical) idle_limit_.reset();
}

}  // namespace pensieve::engine
