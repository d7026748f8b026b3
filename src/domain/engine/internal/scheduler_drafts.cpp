// Drafts: guesses about the next tokens that a step computes along with what it has to, so that a
// step may give an answer more than one token. They take what is left over: nobody gives way, and
// no sequence is closed, for a guess.
#include <algorithm>
#include <limits>
#include <utility>

#include "domain/engine/internal/scheduler.h"

namespace pensieve::engine {
namespace {

bool holds(std::span<const std::uint32_t> mask, TokenId token) {
  const auto bit = static_cast<std::size_t>(token);
  return (mask[bit / 32] >> (bit % 32) & 1) != 0;
}

}  // namespace

// After everything else was planned. Beside prefill there are no drafts: such steps are as long as
// streams bear already.
void Scheduler::plan_drafts() {
  if (options_.speculation == Speculation::Off || refusals_ > 0) return;
  const bool always = options_.speculation == Speculation::Always;
  DraftRoom room{.rows = capabilities_.max_tokens,
                 .samples = capabilities_.max_samples,
                 .pages = backend_.free_pages() - pages_planned()};
  std::uint64_t which = 0;
  int n_requests = 0;
  for (const auto& entry : entries_) {
    if (entry->planned == 0) continue;
    if (!samples(*entry) && !always) return;
    room.rows -= entry->planned;
    room.samples -= 1;
    which = which * 0x9e3779b97f4a7c15u + entry->number;
    ++n_requests;
  }
  step_costs_.begin(which, n_requests);
  const auto costs = always ? AddedCost{} : step_costs_.added();

  double least_expected = std::numeric_limits<double>::max(), added = 0;
  for (const auto& entry : entries_) {
    if (!samples(*entry)) continue;
    watch(*entry);
    const DraftLength length = costs ? draft(*entry, room, *costs) : DraftLength{};
    least_expected = std::min(least_expected, length.expected);
    if (length.n_tokens > 0) added += (*costs)[static_cast<std::size_t>(length.n_tokens) - 1];
  }
  if (always || worth_it_for_all(least_expected, added)) return;
  for (const auto& entry : entries_)
    if (entry->draft) entry->draft->tokens.clear();
}

// Begins to compare guesses with what comes.
void Scheduler::watch(Entry& entry) {
  if (entry.draft || entry.job->request.top_logprobs > 0) return;
  entry.draft = std::make_unique<Draft>(entry.tokens.capacity());
  entry.draft->index.extend(entry.tokens);
}

// Puts guesses beside the entry's own tokens, and takes what they need out of `room`.
DraftLength Scheduler::draft(Entry& entry, DraftRoom& room, const AddedCost& added) {
  if (!entry.draft) return {};
  const Job& job = *entry.job;
  const int end = pool_.length(entry.sequence) + entry.planned;
  const int in_pages = (pages_for(end) + std::max(room.pages, 0)) * compute::kPageTokens - end;
  // With all guesses right there is one token more than there were guesses.
  const int limit = std::min({kMaxDraft,
                              room.rows,
                              room.samples,
                              in_pages,
                              entry.job->events.room() - 1,
                              job.max_answer - answered(entry) - 1});
  DraftIndex& index = entry.draft->index;
  if (limit <= 0 || index.match() == 0) return {};
  const DraftLength length = options_.speculation == Speculation::Always
                                 ? DraftLength{.n_tokens = limit}
                                 : best_draft(entry.draft->acceptance, index.match(), limit, added);
  index.guess(entry.tokens, length.n_tokens, entry.draft->tokens);
  room.rows -= length.n_tokens;
  room.samples -= length.n_tokens;
  room.pages -= pages_for(end + length.n_tokens) - pages_for(end);
  return length;
}

// Makes `step`, which computes the entry's own tokens, compute its draft too. `entry.allowed` holds
// the first mask if the step has one.
void Scheduler::add_draft(Entry& entry, compute::Step& step) {
  Draft& draft = *entry.draft;
  const bool masked = entry.constraint && mask_draft(entry, !step.allowed.empty());
  draft.row.assign(step.tokens.begin(), step.tokens.end());
  draft.row.insert(draft.row.end(), draft.tokens.begin(), draft.tokens.end());
  step.tokens = draft.row;
  step.n_samples = 1 + n_drafted(entry);
  if (masked) {
    const auto n_words = static_cast<std::size_t>(step.n_samples) * mask_words_;
    step.allowed = std::span<const std::uint32_t>(entry.allowed).first(n_words);
  }
}

// Cuts the draft where the constraint does not allow it, and puts the masks behind its tokens into
// entry.allowed. What the constraint forces there is not sampled: those masks allow everything and
// serve nobody. Whether any mask says anything.
bool Scheduler::mask_draft(Entry& entry, bool masked_first) {
  Draft& draft = *entry.draft;
  auto& guesses = draft.tokens;
  const Job& job = *entry.job;
  const auto& stops = job.request.stop_tokens;
  const int room = entry.job->events.room(), left = job.max_answer - answered(entry);
  draft.behind.clear();
  draft.behind.resize(guesses.size());
  entry.allowed.resize(std::max(entry.allowed.size(), (1 + guesses.size()) * mask_words_));
  const auto mask_at = [&](std::size_t i) {
    return std::span(entry.allowed).subspan(i * mask_words_, mask_words_);
  };
  const auto first_open =
      entry.allowed.begin() + (masked_first ? static_cast<std::ptrdiff_t>(mask_words_) : 0);
  std::fill(first_open, entry.allowed.end(), ~std::uint32_t{0});

  bool masked = masked_first;
  auto state = entry.constraint->clone();
  std::size_t n = 0;  // guesses that stay
  while (n < guesses.size()) {
    if (!holds(mask_at(n), guesses[n])) break;
    if (std::find(stops.begin(), stops.end(), guesses[n]) != stops.end()) break;
    state->accept(guesses[n]);
    const int taken = static_cast<int>(n) + 1;
    forced_.clear();
    state->force(forced_, std::min({kForcedTokens, room - taken, left - taken}));
    if (state->complete()) break;
    const auto behind = std::span<const TokenId>(guesses).subspan(n + 1);
    const auto n_forced = static_cast<std::size_t>(common_prefix(forced_, behind));
    if (n_forced < forced_.size()) {  // it goes on in another way, or beyond the draft
      n += 1 + n_forced;
      break;
    }
    const std::size_t next = n + 1 + n_forced;
    const auto mask = mask_at(next);
    if (state->allowed(mask, left - static_cast<int>(next))) {
      masked = true;
      if (std::all_of(mask.begin(), mask.end(), std::logical_not<>())) break;
    }
    draft.behind[next - 1] = state->clone();
    n = next;
  }
  guesses.resize(n);
  return masked;
}

// How many of the guesses are what the answer went on with behind the first `length` tokens.
int Scheduler::confirmed(const Entry& entry, int length) const {
  return common_prefix(std::span(entry.tokens).subspan(static_cast<std::size_t>(length)),
                       entry.draft->tokens);
}

// After tokens were taken: the sample that follows them all, if every one of them was guessed. The
// constraint is then the one that its mask was made with.
std::optional<std::size_t> Scheduler::next_sample(Entry& entry, int length) {
  const int taken = static_cast<int>(entry.tokens.size()) - length;
  if (taken > n_drafted(entry) || confirmed(entry, length) < taken) return std::nullopt;
  const auto i = static_cast<std::size_t>(taken);
  if (entry.constraint) {
    auto& behind = entry.draft->behind[i - 1];
    if (!behind) return std::nullopt;
    entry.constraint = std::move(behind);
  }
  return i;
}

// Tokens were appended; one that was `sampled` says what the guess about it was worth.
void Scheduler::learn_from(Entry& entry, bool sampled) {
  if (!entry.draft) return;
  DraftIndex& index = entry.draft->index;
  if (sampled && index.match() > 0) {
    const auto before = std::span<const TokenId>(entry.tokens).first(entry.tokens.size() - 1);
    entry.draft->acceptance.learn(index.match(), index.next(before) == entry.tokens.back());
  }
  index.extend(entry.tokens);
}

// From steps in which everybody has one token of their own.
void Scheduler::learn_step_cost(std::uint64_t step_us) {
  if (options_.speculation == Speculation::Off) return;
  int drafted = 0;
  for (std::size_t i = 0; i < planned_.size(); ++i) {
    if (planned_[i]->planned != 1 || steps_[i].sample == nullptr) return;
    drafted += n_drafted(*planned_[i]);
  }
  step_costs_.learn(drafted, step_us);
}

}  // namespace pensieve::engine
