// The scheduler: which tokens of which request go into the next step. Continuous batching: the
// decode rows of every running request and one chunk of prefill, in turn between those that
// prefill; a request joins and leaves between two steps.
// Owns the backend's sequences; lives on the engine thread, which calls run() and nothing else.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "domain/compute/backend.h"
#include "domain/engine/engine.h"
#include "domain/engine/internal/draft_index.h"
#include "domain/engine/internal/draft_policy.h"
#include "domain/engine/internal/job.h"
#include "domain/engine/internal/sequence_pool.h"

namespace pensieve::engine {

// Numbers for Engine::stats(), written by the engine thread.
struct Counters {
  std::atomic<int> running{0};
  std::atomic<int> waiting{0};
  std::atomic<int> idle_sequences{0};
  std::atomic<std::uint64_t> requests{0};
  std::atomic<std::uint64_t> prompt_tokens{0};
  std::atomic<std::uint64_t> cached_tokens{0};
  std::atomic<std::uint64_t> hit_tokens{0};
  std::atomic<std::uint64_t> restored_tokens{0};
  std::atomic<std::uint64_t> missed_tokens{0};
  std::atomic<std::uint64_t> output_tokens{0};
  std::atomic<std::uint64_t> drafted_tokens{0};
  std::atomic<std::uint64_t> accepted_tokens{0};
  std::atomic<std::uint64_t> steps{0};
};

// Tokens that a constraint forces at once. They are computed like a chunk of prefill, in one step,
// and streams beside them should hardly notice.
inline constexpr int kForcedTokens = 32;

class Scheduler {
 public:
  // All arguments outlive the scheduler; the options are complete (context length, clock).
  Scheduler(compute::Backend& backend,
            const EngineOptions& options,
            Desk& desk,
            Counters& counters);

  // Serves until the desk is stopped; what is left then ends as Cancelled.
  void run();

 private:
  struct Draft;

  // One accepted request. It waits while it has no sequence; with one it prefills while its prompt
  // is not computed, and then decodes: one token a step, or a few where a constraint forced some or
  // guesses came true.
  struct Entry {
    std::shared_ptr<Job> job;
    std::uint64_t number = 0;     // by arrival
    std::vector<TokenId> tokens;  // prompt and answer so far
    std::unique_ptr<Constraint> constraint;
    std::vector<std::uint32_t> allowed;  // of the tokens that are sampled, if there is a constraint
    SequenceHandle sequence = SequenceHandle::None;
    int reserved_pages = 0;                // what admission counted on, of its sequence as a whole
    int planned = 0;                       // tokens in the step that is being made
    bool paused = false;                   // its reader lags behind
    bool started = false;                  // Started was given out
    std::uint64_t moved_us = 0;            // last time it got further
    std::vector<PageKey> keys;             // of the tokens' full pages, if there is a tier
    std::unique_ptr<PageReader> reader;    // while pages come back from the tier
    int restored = 0;                      // tokens that have come
    std::optional<Divergence> divergence;  // from what was in the arena when it got its sequence
    std::uint64_t leader = 0;      // request whose prefill it waits to share, until that request
    int leader_tokens = 0;         // holds so many tokens
    std::unique_ptr<Draft> draft;  // from the first decode step on, if the request may have drafts
  };

  // One request's guesses about its next tokens.
  struct Draft {
    explicit Draft(std::size_t capacity) : index(capacity) {}
    DraftIndex index;  // of the entry's tokens
    Acceptance acceptance;
    std::vector<TokenId> tokens;  // the guesses in that step, behind the entry's own tokens
    std::vector<TokenId> row;     // both together, as the step has them
    // The constraint behind each guess, as far as a token may have to be sampled there.
    std::vector<std::unique_ptr<Constraint>> behind;
  };

  bool iterate();  // whether there may be more to do at once
  void accept();
  void end_cancelled_and_stuck();

  // What is held, by the level of the machine's memory (scheduler_memory.cpp).
  void follow_level();
  void shed();
  int touched_pages() const;

  // Who gets a sequence.
  void admit();
  bool waits_for_leader(Entry& entry, const SequencePool::Prefix& prefix);
  bool fits(const Entry& entry, const SequencePool::Prefix& prefix) const;
  bool start(Entry& entry, const SequencePool::Prefix& prefix);
  int stored_prefix(Entry& entry, int n_held);
  void tell_started(Entry& entry);

  // What comes from the tier, and goes there. Whether anything did.
  bool restore();
  bool restore_page(Entry& entry);
  bool offer_pages(bool stepped);
  void save_what_is_left();
  int pages_to_reserve(const Entry& entry) const;

  // What the next step computes.
  void plan();
  void plan_entry(Entry& entry, int n_tokens);
  bool decodes(const Entry& entry) const;
  bool samples(const Entry& entry) const;
  bool mask(Entry& entry);
  Entry* next_to_prefill();
  int chunk_limit(int decode_rows) const;
  int pages_planned() const;

  // Guesses beside what has to be computed (scheduler_drafts.cpp).
  struct DraftRoom {  // what the step has left for them
    int rows = 0;
    int samples = 0;
    int pages = 0;
  };
  void plan_drafts();
  void watch(Entry& entry);
  DraftLength draft(Entry& entry, DraftRoom& room, const AddedCost& added);
  void add_draft(Entry& entry, compute::Step& step);
  bool mask_draft(Entry& entry, bool masked_first);
  int confirmed(const Entry& entry, int length) const;
  std::optional<std::size_t> next_sample(Entry& entry, int length);
  void learn_from(Entry& entry, bool sampled);
  void learn_step_cost(std::uint64_t step_us);
  int n_drafted(const Entry& entry) const {
    return entry.draft ? static_cast<int>(entry.draft->tokens.size()) : 0;
  }

  // The step and its outcome.
  bool run_step();
  void learn_prefill_speed(std::uint64_t step_us);
  void advance(Entry& entry,
               std::span<const compute::Sampled> sampled,
               std::span<const std::uint32_t> allowed);
  struct End {
    FinishReason reason = FinishReason::StopToken;
    std::optional<Error> error = std::nullopt;
  };
  std::optional<End> take(Entry& entry,
                          const compute::Sampled& sampled,
                          std::span<const std::uint32_t> allowed);
  void append(Entry& entry, TokenEvent event);
  int answered(const Entry& entry) const;
  void step_refused(const Error& error);

  // The ways out.
  Entry* youngest_running();
  void preempt(Entry& entry);
  void finish(Entry& entry, FinishReason reason, std::optional<Error> error = std::nullopt);
  void fail_everything(const char* message);
  void forget_finished();
  void publish();

  bool running(const Entry& entry) const { return entry.sequence != SequenceHandle::None; }
  bool computes(const Entry& entry) const {
    return running(entry) && !entry.paused && !entry.reader;
  }
  int pending(const Entry& entry) const;
  int n_running() const;
  std::uint64_t now_us() const { return options_.clock_us(); }

  compute::Backend& backend_;
  const EngineOptions& options_;
  Desk& desk_;
  Counters& counters_;
  const compute::Capabilities capabilities_;
  SequencePool pool_;
  std::vector<std::shared_ptr<Job>> incoming_;   // taken from the desk, not accepted yet
  std::vector<std::unique_ptr<Entry>> entries_;  // in order of arrival
  std::vector<Entry*> planned_;                  // of this step, in the order of steps_
  std::vector<compute::Step> steps_;
  std::vector<TokenId> forced_;  // of one entry
  std::size_t mask_words_ = 0;   // of one mask over the vocabulary
  std::uint64_t next_number_ = 1;
  std::uint64_t last_prefilled_ = 0;  // number of the entry that had the last chunk
  std::uint64_t moved_us_ = 0;        // last time anything got further
  double prefill_us_per_token_ = 0;   // 0: not known yet
  StepCosts step_costs_;
  MemoryLevel level_ = MemoryLevel::Safe;
  std::optional<int> idle_limit_;  // pages of idle sequences that may stay; none: all
  std::uint64_t shed_by_us_ = 0;   // until then idle sequences wait for the tier
  int refusals_ = 0;               // steps in a row for which the backend found no room
};

}  // namespace pensieve::engine
