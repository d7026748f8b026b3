// The page references here mirror what the contract of Backend::fork() says about sharing. They
// serve predictions (what would be free if…); what is free now only the backend says.
#include "domain/engine/internal/sequence_pool.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>

#include "foundation/check.h"

namespace pensieve::engine {
namespace {

// 0 is nobody's.
std::uint64_t digest_of(std::string_view group) {
  return group.empty() ? 0 : std::hash<std::string_view>()(group) | 1;
}

}  // namespace

int common_prefix(std::span<const TokenId> a, std::span<const TokenId> b) {
  const std::size_t n = std::min(a.size(), b.size());
  return static_cast<int>(
      std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(n), b.begin()).first -
      a.begin());
}

SequencePool::SequencePool(compute::Backend& backend, int max_idle, KvTier* tier)
    : backend_(backend),
      kv_(backend.capabilities().default_kv),
      n_pages_(backend.free_pages()),
      max_idle_(max_idle),
      page_limit_(n_pages_),
      tier_(tier) {}

SequencePool::~SequencePool() {
  for (Slot& slot : slots_)
    if (slot.state != State::Unused) backend_.close(slot.id);
}

std::span<const TokenId> SequencePool::tokens(SequenceHandle handle) const {
  return backend_.tokens(slot(handle).id);
}

SequencePool::Prefix SequencePool::longest_prefix(std::span<const TokenId> tokens,
                                                  compute::RopeVariant rope,
                                                  int limit) const {
  Prefix best;
  bool best_is_idle = false;
  tokens = tokens.first(std::min(tokens.size(), static_cast<std::size_t>(std::max(limit, 0))));
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    if (slot.state == State::Unused || slot.rope != rope) continue;
    const int n = common_prefix(tokens, backend_.tokens(slot.id));
    const bool idle = slot.state == State::Idle;
    if (n > best.n_tokens || (n == best.n_tokens && n > 0 && idle && !best_is_idle)) {
      best = {static_cast<SequenceHandle>(i), n};
      best_is_idle = idle;
    }
  }
  return best;
}

std::optional<Divergence> SequencePool::divergence(std::span<const TokenId> tokens,
                                                   compute::RopeVariant rope,
                                                   const Prefix& longest,
                                                   std::string_view group) const {
  Prefix nearest = longest;
  const std::uint64_t wanted = digest_of(group);
  if (longest.n_tokens < compute::kPageTokens) {
    nearest = {};
    for (std::size_t i = 0; i < slots_.size() && wanted != 0; ++i) {
      const Slot& slot = slots_[i];
      if (slot.state == State::Unused || slot.rope != rope || slot.group != wanted) continue;
      const int n = common_prefix(tokens, backend_.tokens(slot.id));
      if (nearest.source == SequenceHandle::None || n > nearest.n_tokens)
        nearest = {static_cast<SequenceHandle>(i), n};
    }
  }
  if (nearest.source == SequenceHandle::None) return std::nullopt;
  const auto kept = this->tokens(nearest.source);
  const auto at = static_cast<std::size_t>(nearest.n_tokens);
  if (at >= kept.size() || at >= tokens.size() || kept[at] == tokens[at]) return std::nullopt;
  return Divergence{.n_common = nearest.n_tokens,
                    .kept = kept[at],
                    .now = tokens[at],
                    .same_group = wanted != 0 && slot(nearest.source).group == wanted};
}

void SequencePool::set_group(SequenceHandle handle, std::string_view group) {
  slot(handle).group = digest_of(group);
}

int SequencePool::pages_wanted(const Prefix& prefix, int n_tokens) const {
  int wanted = pages_for(n_tokens);
  if (prefix.source == SequenceHandle::None) return wanted;
  const auto shared = static_cast<std::size_t>(prefix.n_tokens / compute::kPageTokens);
  const Slot& source = slot(prefix.source);
  for (std::size_t i = 0; i < std::min(shared, source.pages.size()); ++i)
    if (refs_[static_cast<std::size_t>(source.pages[i])].active > 0) --wanted;
  return wanted;
}

Result<SequenceHandle> SequencePool::acquire(const Prefix& prefix, compute::RopeVariant rope) {
  if (prefix.source != SequenceHandle::None && prefix.n_tokens > 0) {
    Slot& source = slot(prefix.source);
    if (source.state == State::Idle && source.length == prefix.n_tokens) {
      change_state(source, State::Active);
      return prefix.source;
    }
    const int full_pages = prefix.n_tokens / compute::kPageTokens * compute::kPageTokens;
    for (const int n_tokens : {prefix.n_tokens, full_pages}) {
      if (n_tokens == 0) continue;
      for (;;) {
        auto forked = fork(prefix.source, n_tokens);
        if (forked) return forked;
        if (forked.error().kind != ErrorKind::Unavailable) break;
        if (!evict_idle_except(prefix.source)) break;
      }
    }
    // Nothing else can go. An idle source is cut down to the prefix; that takes no page.
    Slot& last = slot(prefix.source);
    if (last.state == State::Idle && backend_.truncate(last.id, prefix.n_tokens)) {
      drop_pages(last, pages_for(prefix.n_tokens));
      last.length = prefix.n_tokens;
      const int n_full = last.length / compute::kPageTokens;
      last.keys.resize(std::min(last.keys.size(), static_cast<std::size_t>(n_full)));
      last.n_offered = std::min(last.n_offered, n_full);
      change_state(last, State::Active);
      return prefix.source;
    }
  }
  const SequenceHandle handle = take_slot();
  for (;;) {
    auto id = backend_.open(rope, kv_);
    if (id) {
      slot(handle).rope = rope;
      slot(handle).id = *id;
      change_state(slot(handle), State::Active);
      return handle;
    }
    if (id.error().kind != ErrorKind::Unavailable || !evict_idle()) return std::move(id).error();
  }
}

Result<SequenceHandle> SequencePool::fork(SequenceHandle source_handle, int n_tokens) {
  const SequenceHandle handle = take_slot();
  Slot& forked = slot(handle);
  Slot& source = slot(source_handle);
  PENSIEVE_TRY(const auto id, backend_.fork(source.id, n_tokens));
  forked.rope = source.rope;
  forked.id = id;
  const int full = n_tokens / compute::kPageTokens;
  forked.pages.assign(source.pages.begin(), source.pages.begin() + full);
  forked.length = full * compute::kPageTokens;
  forked.keys.assign(source.keys.begin(),
                     source.keys.begin() + std::min<std::ptrdiff_t>(full, std::ssize(source.keys)));
  forked.n_offered = std::min(full, source.n_offered);
  change_state(forked, State::Active);
  add_pages(forked, n_tokens - forked.length);
  source.credit = inflation_;  // it was of use
  return handle;
}

void SequencePool::release(SequenceHandle handle, bool keep) {
  Slot& finished = slot(handle);
  CHECK(finished.state == State::Active);
  if (!keep || finished.length == 0 || max_idle_ == 0 || drop_if_covered(finished)) {
    if (keep) offer_rest(finished);
    close(finished);
    return;
  }
  change_state(finished, State::Idle);
  finished.credit = inflation_;
  while (n_idle_ > max_idle_) evict_idle();
}

// Whether an idle sequence holds everything that `slot` holds; it is then fresh again. Idle
// sequences that `slot` covers itself are closed, as nothing would be lost with them.
bool SequencePool::drop_if_covered(Slot& finished) {
  const auto tokens = backend_.tokens(finished.id);
  for (Slot& other : slots_) {
    if (other.state != State::Idle || other.rope != finished.rope) continue;
    const int common = common_prefix(tokens, backend_.tokens(other.id));
    if (common == finished.length) {
      other.credit = inflation_;
      return true;
    }
    if (common == other.length) close(other);
  }
  return false;
}

void SequencePool::appended(SequenceHandle handle, int n_tokens) {
  add_pages(slot(handle), n_tokens);
}

void SequencePool::add_pages(Slot& slot, int n_tokens) {
  CHECK(slot.state == State::Active);
  slot.length += n_tokens;
  while (static_cast<int>(slot.pages.size()) < pages_for(slot.length)) {
    if (unused_refs_.empty()) {
      refs_.emplace_back();
      unused_refs_.reserve(refs_.capacity());  // so that giving pages back never allocates
      unused_refs_.push_back(static_cast<int>(refs_.size()) - 1);
    }
    const int page = unused_refs_.back();
    unused_refs_.pop_back();
    slot.pages.push_back(page);
    count(page, State::Active, 1);
  }
}

void SequencePool::drop_pages(Slot& slot, int n_left) {
  while (static_cast<int>(slot.pages.size()) > n_left) {
    count(slot.pages.back(), slot.state, -1);
    slot.pages.pop_back();
  }
}

void SequencePool::change_state(Slot& slot, State state) {
  // New references first, so that no page is without any in between.
  for (const int page : slot.pages) count(page, state, 1);
  for (const int page : slot.pages) count(page, slot.state, -1);
  n_idle_ += static_cast<int>(state == State::Idle) - static_cast<int>(slot.state == State::Idle);
  slot.state = state;
}

void SequencePool::count(int page, State state, int change) {
  if (state == State::Unused) return;
  PageRefs& refs = refs_[static_cast<std::size_t>(page)];
  const bool was_active = refs.active > 0;
  (state == State::Active ? refs.active : refs.idle) += change;
  active_pages_ += static_cast<int>(refs.active > 0) - static_cast<int>(was_active);
  if (refs.active == 0 && refs.idle == 0) unused_refs_.push_back(page);
}

void SequencePool::close(Slot& slot) {
  backend_.close(slot.id);
  drop_pages(slot, 0);
  change_state(slot, State::Unused);
  slot.length = 0;
  slot.group = 0;
  slot.keys.clear();
  slot.n_offered = 0;
}

int SequencePool::pages_held_alone(const Slot& slot) const {
  return static_cast<int>(std::count_if(slot.pages.begin(), slot.pages.end(), [&](int page) {
    const PageRefs& refs = refs_[static_cast<std::size_t>(page)];
    return refs.active + refs.idle == 1;
  }));
}

bool SequencePool::make_room(int n_pages) {
  while (n_pages_ - backend_.free_pages() + n_pages > page_limit_ && evict_idle()) {
  }
  while (backend_.free_pages() < n_pages)
    if (!evict_idle()) return false;
  return true;
}

bool SequencePool::evict_idle() {
  return evict_idle_except(SequenceHandle::None);
}

bool SequencePool::evict_stored() {
  return evict_idle_except(SequenceHandle::None, /*only_stored=*/true);
}

bool SequencePool::stored(const Slot& slot) const {
  return tier_ == nullptr || slot.n_offered == slot.length / compute::kPageTokens;
}

// GreedyDual-Size (Cao and Irani, USENIX 1997): a sequence is worth the pages that only it holds,
// which is what computing it again would cost, plus a credit that grows for everyone who is used
// again by the worth of whatever was evicted last. So a long prefix outlives many short requests,
// but not for ever.
bool SequencePool::evict_idle_except(SequenceHandle spared, bool only_stored) {
  Slot* least = nullptr;
  std::uint64_t least_worth = std::numeric_limits<std::uint64_t>::max();
  for (Slot& slot : slots_) {
    if (slot.state != State::Idle || (only_stored && !stored(slot))) continue;
    if (spared != SequenceHandle::None && &slot == &this->slot(spared)) continue;
    const std::uint64_t worth = slot.credit + static_cast<std::uint64_t>(pages_held_alone(slot));
    if (worth < least_worth) {
      least = &slot;
      least_worth = worth;
    }
  }
  if (least == nullptr) return false;
  inflation_ = std::max(inflation_, least_worth);
  offer_rest(*least);
  close(*least);
  return true;
}

int SequencePool::offer_pages(int limit) {
  int n_taken = 0;
  for (Slot& slot : slots_) {
    if (tier_ == nullptr || slot.state == State::Unused) continue;
    while (slot.n_offered < slot.length / compute::kPageTokens) {
      if (n_taken == limit) return n_taken;
      const auto answer = offer_next(slot);
      if (answer == KvTier::Answer::Later) return n_taken;
      if (answer == KvTier::Answer::Taken) ++n_taken;
    }
  }
  return n_taken;
}

// Offers the slot's first page that has not been, if there is one.
KvTier::Answer SequencePool::offer_next(Slot& slot) {
  const int begin = slot.n_offered * compute::kPageTokens, end = begin + compute::kPageTokens;
  if (end > slot.length) return KvTier::Answer::Known;
  const auto tokens = backend_.tokens(slot.id).first(static_cast<std::size_t>(end));
  tier_->extend_keys(slot.keys, tokens, slot.rope);
  const auto answer = tier_->offer(
      slot.keys[static_cast<std::size_t>(slot.n_offered)], tokens, [&](compute::ByteSink& sink) {
        return backend_.save(slot.id, {begin, end}, sink);
      });
  if (answer != KvTier::Answer::Later) ++slot.n_offered;
  return answer;
}

// The last chance for pages that have not been offered; what the tier cannot take now is lost.
void SequencePool::offer_rest(Slot& slot) {
  if (tier_ == nullptr) return;
  while (slot.n_offered < slot.length / compute::kPageTokens)
    if (offer_next(slot) == KvTier::Answer::Later) return;
}

bool SequencePool::all_offered() const {
  return std::all_of(slots_.begin(), slots_.end(), [&](const Slot& slot) {
    return slot.state == State::Unused || stored(slot);
  });
}

SequenceHandle SequencePool::take_slot() {
  auto unused = std::find_if(
      slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.state == State::Unused; });
  if (unused == slots_.end()) {
    slots_.emplace_back();
    unused = slots_.end() - 1;
  }
  return static_cast<SequenceHandle>(unused - slots_.begin());
}

}  // namespace pensieve::engine
