// The sequences a backend holds: active ones, which a request is working on, and idle ones, which
// are kept for their prefix. Finds the longest prefix that is already there, decides which idle
// sequence goes when pages or slots run out, and counts which pages are shared with whom.
// Knows tokens and pages, no requests. Engine thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "foundation/ids.h"
#include "foundation/result.h"

#include "domain/compute/backend.h"
#include "domain/engine/engine.h"
#include "domain/engine/kv_tier.h"

namespace pensieve::engine {

inline int pages_for(int n_tokens) {
  return (n_tokens + compute::kPageTokens - 1) / compute::kPageTokens;
}

// The number of tokens two spans have in common from their start.
int common_prefix(std::span<const TokenId> a, std::span<const TokenId> b);

enum class SequenceHandle : int { None = -1 };

class SequencePool {
 public:
  // REQUIRES: `backend` outlives the pool and holds no sequence yet. `tier`: is offered pages that
  // are full, and outlives the pool; may be null.
  SequencePool(compute::Backend& backend, int max_idle, KvTier* tier = nullptr);
  ~SequencePool();
  SequencePool(const SequencePool&) = delete;
  SequencePool& operator=(const SequencePool&) = delete;

  struct Prefix {
    SequenceHandle source = SequenceHandle::None;
    int n_tokens = 0;
  };
  // The longest prefix of `tokens`, of `limit` tokens at most, that an active or idle sequence of
  // this rope variant holds. Idle ones win a tie.
  Prefix longest_prefix(std::span<const TokenId> tokens,
                        compute::RopeVariant rope,
                        int limit) const;

  // Where `tokens` part from what was kept. `longest`: of longest_prefix(). Sequences of the group
  // are looked at if that is less than a page; "" is nobody's group. None where the kept sequence
  // merely ends.
  std::optional<Divergence> divergence(std::span<const TokenId> tokens,
                                       compute::RopeVariant rope,
                                       const Prefix& longest,
                                       std::string_view group) const;

  // Whose request works on the sequence.
  void set_group(SequenceHandle handle, std::string_view group);

  // Pages an active sequence needs besides those that active sequences hold already, if it starts
  // from `prefix` and grows to `n_tokens`.
  int pages_wanted(const Prefix& prefix, int n_tokens) const;

  // Pages that active sequences would leave free if every idle one were closed.
  int pages_unless_active() const { return n_pages_ - active_pages_; }

  // An active sequence that holds the prefix's tokens and no others: an idle source that holds just
  // these becomes active again, any other is forked. Closes idle sequences to make room; when that
  // is not enough, the sequence starts from fewer tokens, 0 at worst. `length()` tells.
  // Errors: of Backend::open().
  Result<SequenceHandle> acquire(const Prefix& prefix, compute::RopeVariant rope);

  // The request is done: the sequence becomes idle if it is worth `keep`ing, or is closed.
  void release(SequenceHandle handle, bool keep);

  // A step has appended `n_tokens` to the sequence.
  void appended(SequenceHandle handle, int n_tokens);

  // Closes idle sequences until `n_pages` can be taken. False when they cannot.
  bool make_room(int n_pages);

  // From now on idle sequences go before more than so many pages are in use; active ones may need
  // more all the same. n_pages() is no limit.
  void limit_pages(int n_pages) { page_limit_ = n_pages; }

  // Pages that would be free if every idle sequence were closed, and are not.
  int idle_pages() const { return n_pages_ - backend_.free_pages() - active_pages_; }

  // Closes the idle sequence that is worth least of those whose pages the tier has, as far as it
  // wants them. False when there is none.
  bool evict_stored();

  // Closes the idle sequence that is worth least. False when there is none.
  bool evict_idle();

  // Offers full pages to the tier until it takes no more now, or `limit` were taken. Gives how many
  // were.
  int offer_pages(int limit);

  // Whether every full page was offered, and none is to be offered again.
  bool all_offered() const;

  compute::SequenceId id(SequenceHandle handle) const { return slot(handle).id; }
  int length(SequenceHandle handle) const { return slot(handle).length; }
  std::span<const TokenId> tokens(SequenceHandle handle) const;
  int n_idle() const { return n_idle_; }
  int n_pages() const { return n_pages_; }

 private:
  enum class State : std::uint8_t { Unused, Active, Idle };
  struct Slot {
    State state = State::Unused;
    compute::RopeVariant rope = compute::RopeVariant::Short;
    compute::SequenceId id{};
    int length = 0;
    std::uint64_t credit = 0;   // of an idle sequence, see evict_idle()
    std::vector<int> pages;     // indices into refs_
    std::vector<PageKey> keys;  // of full pages, as far as they were needed
    int n_offered = 0;          // full pages that the tier has or does not want
    std::uint64_t group = 0;    // digest of its name
  };
  struct PageRefs {
    int active = 0;
    int idle = 0;
  };

  Slot& slot(SequenceHandle handle) { return slots_[static_cast<std::size_t>(handle)]; }
  const Slot& slot(SequenceHandle handle) const { return slots_[static_cast<std::size_t>(handle)]; }
  SequenceHandle take_slot();
  void change_state(Slot& slot, State state);
  void close(Slot& slot);
  void add_pages(Slot& slot, int n_tokens);
  void drop_pages(Slot& slot, int n_left);
  void count(int page, State state, int change);
  int pages_held_alone(const Slot& slot) const;
  bool drop_if_covered(Slot& slot);
  bool evict_idle_except(SequenceHandle spared, bool only_stored = false);
  bool stored(const Slot& slot) const;
  Result<SequenceHandle> fork(SequenceHandle source, int n_tokens);
  KvTier::Answer offer_next(Slot& slot);
  void offer_rest(Slot& slot);

  compute::Backend& backend_;
  const compute::KvTypes kv_;
  const int n_pages_;
  const int max_idle_;
  int page_limit_;
  KvTier* const tier_;
  std::vector<Slot> slots_;
  std::vector<PageRefs> refs_;
  std::vector<int> unused_refs_;
  int active_pages_ = 0;  // pages with an active reference
  int n_idle_ = 0;
  std::uint64_t inflation_ = 0;
};

}  // namespace pensieve::engine
