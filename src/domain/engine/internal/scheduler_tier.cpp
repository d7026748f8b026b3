// Pages of KV that come back from the tier ahead of a prefill, and go to it between steps.
#include <algorithm>
#include <chrono>
#include <thread>

#include "foundation/log.h"

#include "domain/engine/internal/scheduler.h"

namespace pensieve::engine {
namespace {

// Pages that are copied in or out between two steps: a copy takes milliseconds, and streams should
// hardly notice.
constexpr int kPagesBesideSteps = 1;
constexpr int kPagesAlone = 8;
constexpr std::chrono::milliseconds kSaveAgain{5};

}  // namespace

// How many of the entry's tokens the tier may hold, the last one left out: it has to be computed.
int Scheduler::stored_prefix(Entry& entry, int n_held) {
  if (options_.tier == nullptr) return 0;
  const std::size_t n_full = (entry.tokens.size() - 1) / compute::kPageTokens;
  options_.tier->extend_keys(
      entry.keys, std::span(entry.tokens).first(n_full * compute::kPageTokens), entry.job->rope);
  return options_.tier->n_known(std::span(entry.keys).first(n_full),
                                n_held / compute::kPageTokens) *
         compute::kPageTokens;
}

bool Scheduler::restore() {
  bool any = false;
  const bool others = std::any_of(
      entries_.begin(), entries_.end(), [&](const auto& entry) { return computes(*entry); });
  for (const auto& entry : entries_) {
    for (int n = 0; entry->reader && n < (others ? kPagesBesideSteps : kPagesAlone); ++n) {
      if (!restore_page(*entry)) break;
      any = true;
    }
  }
  return any;
}

// Appends the next page that has come back. What cannot be had is computed.
bool Scheduler::restore_page(Entry& entry) {
  compute::ByteSource* bytes = nullptr;
  const auto state = entry.reader->next(bytes);
  if (state == PageReader::State::Wait) return false;
  entry.moved_us = moved_us_ = now_us();
  if (state == PageReader::State::Page && pool_.make_room(1)) {
    const auto restored = backend_.restore(pool_.id(entry.sequence), *bytes);
    if (restored) {
      pool_.appended(entry.sequence, compute::kPageTokens);
      entry.restored += compute::kPageTokens;
      entry.job->prefilled_tokens = pool_.length(entry.sequence);
      return true;
    }
    log_warning("a page of KV was not restored: " + restored.error().message);
  }
  entry.reader = nullptr;
  tell_started(entry);
  return true;
}

bool Scheduler::offer_pages(bool stepped) {
  return pool_.offer_pages(stepped ? kPagesBesideSteps : kPagesAlone) > 0;
}

// The last pages go to the tier before the arena does.
void Scheduler::save_what_is_left() {
  const std::uint64_t deadline = now_us() + options_.save_timeout_ms * 1000;
  pool_.offer_pages(kPagesAlone);
  if (pool_.all_offered()) return;
  log_info("saving what was computed last");
  while (!pool_.all_offered() && now_us() < deadline && !options_.tier->stalled()) {
    if (pool_.offer_pages(kPagesAlone) == 0) std::this_thread::sleep_for(kSaveAgain);
  }
}

}  // namespace pensieve::engine
