// The loop of the engine thread. Nobody starves: nobody overtakes a request that waits for pages,
// and a running one takes them from younger ones if need be, so the oldest always gets on. A
// request's tokens depend on its own history alone, so being preempted, cached or batched never
// changes an answer.
#include "domain/engine/internal/scheduler.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <new>
#include <string>
#include <utility>

#include "foundation/check.h"
#include "foundation/log.h"

namespace pensieve::engine {
namespace {

// Answer tokens a request must find room for when it starts, beside its prompt. Clients ask for
// far more (Claude Code: 32,000) than answers take; reserving all of it would let one request run
// at a time on a laptop. Who grows beyond it may have to preempt a younger request.
constexpr int kAnswerAllowance = 256;

// Waiting to share another request's prefill pays from one page on.
constexpr int kWorthWaitingFor = compute::kPageTokens;

// Chunks are multiples of this (a kernel's row block) or fill one up, and never shorter while there
// is more.
constexpr int kChunkRows = 16;

// Without a stream beside it, a chunk may take this many times the step target: longer chunks
// compute faster, and only cancellation and joining wait for them.
constexpr int kAloneFactor = 5;
constexpr int kAloneMinimum = 64;

// Reading pages back pays from here on, beyond what the arena holds.
constexpr int kWorthRestoring = 2 * compute::kPageTokens;

// Without the bell, stuck requests are looked at this often.
constexpr std::chrono::milliseconds kLookAgain{100};
constexpr std::chrono::milliseconds kSleep{3'600'000};

}  // namespace

Scheduler::Scheduler(compute::Backend& backend,
                     const EngineOptions& options,
                     Desk& desk,
                     Counters& counters)
    : backend_(backend),
      options_(options),
      desk_(desk),
      counters_(counters),
      capabilities_(backend.capabilities()),
      pool_(backend, options.idle_sequences, options.tier),
      mask_words_((static_cast<std::size_t>(capabilities_.vocab) + 31) / 32) {}

void Scheduler::run() {
  if (options_.tier != nullptr) {
    options_.tier->begin(
        capabilities_.kv_format, capabilities_.page_bytes, [desk = &desk_] { desk->ring(); });
  }
  bool more = false;
  for (;;) {
    const auto wait = entries_.empty() && !idle_limit_ ? kSleep : kLookAgain;
    if (!desk_.take(incoming_, more ? std::nullopt : std::optional(wait))) break;
    try {
      more = iterate();
    } catch (const std::bad_alloc&) {
      fail_everything("Out of memory.");
      more = true;
    } catch (...) {
      fail_everything("Engine failure.");
      more = true;
    }
  }
  for (const auto& job : incoming_)
    if (job) job->finish(FinishReason::Cancelled, std::nullopt);
  incoming_.clear();
  for (const auto& entry : entries_)
    if (entry->job) finish(*entry, FinishReason::Cancelled);
  entries_.clear();
  if (options_.tier != nullptr) {
    save_what_is_left();
    options_.tier->end();
  }
}

bool Scheduler::iterate() {
  follow_level();
  accept();
  end_cancelled_and_stuck();
  admit();
  const bool restored = restore();
  plan();
  const bool stepped = run_step();
  const bool offered = offer_pages(stepped);
  forget_finished();
  shed();
  publish();
  return stepped || restored || offered;
}

// ---- in

void Scheduler::accept() {
  for (auto& job : incoming_) {
    auto entry = std::make_unique<Entry>();
    const std::vector<TokenId>& prompt = job->request.prompt;
    entry->tokens.reserve(prompt.size() + static_cast<std::size_t>(job->max_answer));
    entry->tokens.assign(prompt.begin(), prompt.end());
    entry->number = next_number_++;
    entry->moved_us = now_us();
    entries_.reserve(entries_.size() + 1);
    entry->job = std::move(job);  // from here on nothing throws
    entries_.push_back(std::move(entry));
    counters_.requests += 1;
    counters_.prompt_tokens += prompt.size();
    Entry& accepted = *entries_.back();
    if (const auto& make = accepted.job->request.make_constraint) {
      accepted.constraint = make();
      accepted.allowed.resize(mask_words_);
    }
    if (accepted.job->max_answer == 0) {
      accepted.job->events.push({.kind = TokenEvent::Kind::Started});
      finish(accepted, FinishReason::ContextFull);  // the prompt alone fills the window
    }
  }
  incoming_.clear();
  forget_finished();
}

void Scheduler::end_cancelled_and_stuck() {
  for (const auto& entry : entries_)
    if (entry->job->cancelled) finish(*entry, FinishReason::Cancelled);

  // Readers first: who waits for the pages of a request that ends here has waited for something.
  const std::uint64_t now = now_us();
  const std::uint64_t limit_us = options_.progress_timeout_ms * 1000;
  for (const auto& entry : entries_) {
    if (!entry->job || !entry->paused || now - entry->moved_us <= limit_us) continue;
    finish(*entry,
           FinishReason::Failed,
           Error{ErrorKind::Timeout,
                 "The client did not read for " + std::to_string(limit_us / 1'000'000) + " s."});
    moved_us_ = now;
  }
  for (const auto& entry : entries_) {
    if (!entry->job || entry->paused) continue;
    if (now - std::max(entry->moved_us, moved_us_) <= limit_us) continue;
    finish(*entry,
           FinishReason::Failed,
           Error{ErrorKind::Overloaded,
                 "The request made no progress for " + std::to_string(limit_us / 1'000'000) +
                     " s, try again.",
                 10});
  }
  forget_finished();
}

// ---- admission

// In order of arrival, and nobody overtakes a request that waits for pages: it would starve.
void Scheduler::admit() {
  if (refusals_ > 0) return;
  for (const auto& entry : entries_) {
    if (running(*entry) || !entry->job) continue;
    if (n_running() >= std::min(capabilities_.max_batch, capabilities_.max_tokens)) break;
    entry->paused = entry->started && !entry->job->events.has_room();
    if (entry->paused) continue;
    const auto prefix = pool_.longest_prefix(
        entry->tokens, entry->job->rope, static_cast<int>(entry->tokens.size()) - 1);
    if (waits_for_leader(*entry, prefix)) continue;
    if (!fits(*entry, prefix) || !start(*entry, prefix)) break;
  }
}

// Whether another request is about to compute more of this one's prompt than is there already.
bool Scheduler::waits_for_leader(Entry& entry, const SequencePool::Prefix& prefix) {
  const auto still_leads = [&](const Entry& other) {
    return running(other) && !other.paused && pending(other) > 1 &&
           pool_.length(other.sequence) < entry.leader_tokens;
  };
  if (entry.leader != 0) {
    for (const auto& other : entries_)
      if (other->number == entry.leader && still_leads(*other)) return true;
  }
  entry.leader = 0;
  entry.leader_tokens = prefix.n_tokens + kWorthWaitingFor;
  for (const auto& other : entries_) {
    if (!other->job || other->paused || other->job->rope != entry.job->rope) continue;
    if (!running(*other) || pending(*other) <= 1) continue;
    const int common = std::min(common_prefix(entry.tokens, other->tokens),
                                static_cast<int>(entry.tokens.size()) - 1);
    if (common <= entry.leader_tokens || common <= pool_.length(other->sequence)) continue;
    entry.leader = other->number;
    entry.leader_tokens = common;
  }
  return entry.leader != 0;
}

int Scheduler::pages_to_reserve(const Entry& entry) const {
  const int left = entry.job->max_answer - answered(entry);
  return pages_for(static_cast<int>(entry.tokens.size()) + std::min(left, kAnswerAllowance));
}

bool Scheduler::fits(const Entry& entry, const SequencePool::Prefix& prefix) const {
  if (n_running() == 0) return true;  // the window is no larger than the arena
  int promised = 0;
  for (const auto& other : entries_)
    if (running(*other))
      promised += std::max(0, other->reserved_pages - pages_for(pool_.length(other->sequence)));
  const int wanted =
      pool_.pages_wanted(prefix, pages_to_reserve(entry) * compute::kPageTokens) + promised;
  return wanted <= pool_.pages_unless_active();
}

// Gives the entry a sequence, or ends it. False when it has to wait.
bool Scheduler::start(Entry& entry, const SequencePool::Prefix& in_arena) {
  SequencePool::Prefix prefix = in_arena;
  const int stored = stored_prefix(entry, prefix.n_tokens);
  const bool restores = stored >= prefix.n_tokens + kWorthRestoring;
  // Pages come back whole, behind whole pages.
  if (restores) prefix.n_tokens -= prefix.n_tokens % compute::kPageTokens;
  // Before the arena makes room: what is looked at may go.
  entry.divergence.reset();
  if (!entry.started && static_cast<int>(entry.tokens.size()) - in_arena.n_tokens >= kLongMiss)
    entry.divergence =
        pool_.divergence(entry.tokens, entry.job->rope, in_arena, entry.job->request.group);
  auto sequence = pool_.acquire(prefix, entry.job->rope);
  if (!sequence) {
    if (sequence.error().kind == ErrorKind::Unavailable && n_running() > 0) return false;
    finish(entry, FinishReason::Failed, std::move(sequence).error());
    return true;
  }
  entry.sequence = *sequence;
  pool_.set_group(entry.sequence, entry.job->request.group);
  entry.restored = 0;  // it may have been preempted on the way
  entry.reserved_pages = pages_to_reserve(entry);
  entry.moved_us = now_us();
  const int length = pool_.length(entry.sequence);
  if (restores && length % compute::kPageTokens == 0) {
    entry.reader = options_.tier->read(
        std::span(entry.keys).first(static_cast<std::size_t>(stored / compute::kPageTokens)),
        length / compute::kPageTokens,
        entry.tokens);
  } else {
    tell_started(entry);
  }
  return true;
}

void Scheduler::tell_started(Entry& entry) {
  if (entry.started) return;  // it was preempted and is back
  entry.started = true;
  const int cached = pool_.length(entry.sequence);
  entry.job->prefilled_tokens = cached;
  counters_.cached_tokens += static_cast<std::uint64_t>(cached);
  const int missed = static_cast<int>(entry.tokens.size()) - cached;
  counters_.hit_tokens += static_cast<std::uint64_t>(cached - entry.restored);
  counters_.restored_tokens += static_cast<std::uint64_t>(entry.restored);
  counters_.missed_tokens += static_cast<std::uint64_t>(missed);
  // What the tier had beyond it goes on like the prompt.
  const bool tells =
      missed >= kLongMiss && entry.divergence && entry.divergence->n_common >= cached;
  entry.job->events.push({.kind = TokenEvent::Kind::Started,
                          .cached_tokens = cached,
                          .restored_tokens = entry.restored,
                          .divergence = tells ? entry.divergence : std::nullopt});
}

// ---- the next step

void Scheduler::plan() {
  planned_.clear();
  steps_.clear();
  for (const auto& entry : entries_) {
    entry->planned = 0;
    if (entry->draft) entry->draft->tokens.clear();
    if (running(*entry)) entry->paused = !entry->job->events.has_room();
  }

  // Oldest first: whoever cannot get pages preempts from the young end. One row is everybody's due,
  // forced tokens share what is left.
  int rows = 0;
  int more = capabilities_.max_tokens - n_running();
  for (const auto& entry : entries_) {
    if (!computes(*entry) || !decodes(*entry)) continue;
    const int forced = std::min(pending(*entry) - 1, more);
    more -= forced;
    plan_entry(*entry, 1 + forced);
  }
  for (const auto& entry : entries_) rows += entry->planned;
  if (Entry* entry = next_to_prefill(); entry != nullptr && rows < capabilities_.max_tokens) {
    last_prefilled_ = entry->number;
    plan_entry(*entry,
               std::min({pending(*entry), chunk_limit(rows), capabilities_.max_tokens - rows}));
  }

  plan_drafts();
  for (const auto& entry : entries_) {
    if (entry->planned == 0) continue;
    const auto begin = static_cast<std::size_t>(pool_.length(entry->sequence));
    const auto n_tokens = static_cast<std::size_t>(entry->planned);
    const bool last = samples(*entry);
    const bool masked = last && mask(*entry);
    const auto allowed =
        std::span<const std::uint32_t>(entry->allowed).first(masked ? mask_words_ : 0);
    if (masked && std::all_of(allowed.begin(), allowed.end(), std::logical_not<>())) {
      finish(*entry, FinishReason::StopToken);  // no token may come
      continue;
    }
    planned_.push_back(entry.get());
    steps_.push_back({.sequence = pool_.id(entry->sequence),
                      .tokens = std::span(entry->tokens).subspan(begin, n_tokens),
                      .sample = last ? &entry->job->request.sampling : nullptr,
                      .allowed = allowed,
                      .return_logits = last && entry->job->request.top_logprobs > 0});
    if (n_drafted(*entry) > 0) add_draft(*entry, steps_.back());
  }
}

// Whether the prompt is there, so that what is left are the last token and forced ones.
bool Scheduler::decodes(const Entry& entry) const {
  const int n_prompt = static_cast<int>(entry.job->request.prompt.size());
  const int n_pending = pending(entry);
  return n_pending == 1 ||
         (n_pending <= 1 + kForcedTokens && pool_.length(entry.sequence) >= n_prompt);
}

// Whether the step computes the last of the entry's tokens, so that the next one is sampled.
bool Scheduler::samples(const Entry& entry) const {
  return entry.planned > 0 && entry.planned == pending(entry);
}

// Whether the first mask of entry.allowed holds what the entry's next token may be.
bool Scheduler::mask(Entry& entry) {
  return entry.constraint && entry.constraint->allowed(std::span(entry.allowed).first(mask_words_),
                                                       entry.job->max_answer - answered(entry));
}

// Puts the entry's next tokens into the step if there are pages for them, or can be: from idle
// sequences, then from younger requests. Otherwise it stands still until others finish.
void Scheduler::plan_entry(Entry& entry, int n_tokens) {
  entry.planned = n_tokens;
  while (!pool_.make_room(pages_planned())) {
    if (n_running() == 1) return;  // cannot be, by the size of the window: the backend will say
    Entry* youngest = youngest_running();
    if (youngest == &entry) {
      entry.planned = 0;
      return;
    }
    preempt(*youngest);
  }
}

int Scheduler::pages_planned() const {
  int pages = 0;
  for (const auto& entry : entries_) {
    if (entry->planned == 0) continue;
    const int length = pool_.length(entry->sequence);
    pages += pages_for(length + entry->planned) - pages_for(length);
  }
  return pages;
}

Scheduler::Entry* Scheduler::next_to_prefill() {
  Entry* first = nullptr;
  for (const auto& entry : entries_) {
    if (!computes(*entry) || decodes(*entry)) continue;
    if (entry->number > last_prefilled_) return entry.get();
    if (first == nullptr) first = entry.get();
  }
  return first;
}

int Scheduler::chunk_limit(int decode_rows) const {
  if (prefill_us_per_token_ <= 0) return options_.prefill_chunk;
  const bool beside_decoding = decode_rows > 0;
  const double target_us = 1000.0 * options_.step_target_ms * (beside_decoding ? 1 : kAloneFactor);
  const double affordable = std::min(target_us / prefill_us_per_token_, 1e6);
  const int rows = static_cast<int>(affordable) / kChunkRows * kChunkRows;
  // Where even the streams alone take longer than the target, the chunk fills the block of rows
  // that they have begun: that costs them less than as much again.
  const int fill = kChunkRows - decode_rows % kChunkRows;
  return std::min(std::max(rows, beside_decoding ? fill : kAloneMinimum), options_.prefill_chunk);
}

// ---- the step

bool Scheduler::run_step() {
  if (planned_.empty()) return false;
  const std::uint64_t start_us = now_us();
  const auto ticket = backend_.submit(steps_);
  if (!ticket) {
    step_refused(ticket.error());
    return true;
  }
  const auto sampled = backend_.collect(*ticket);
  std::size_t n_samples = 0;
  for (const compute::Step& step : steps_) n_samples += static_cast<std::size_t>(step.n_samples);
  if (!sampled || sampled->size() != n_samples) {
    const Error error =
        sampled ? Error{ErrorKind::Internal, "The backend lost a result."} : sampled.error();
    for (Entry* entry : planned_) finish(*entry, FinishReason::Failed, error);
    return true;
  }
  refusals_ = 0;
  counters_.steps += 1;
  moved_us_ = now_us();
  learn_prefill_speed(moved_us_ - start_us);
  learn_step_cost(moved_us_ - start_us);
  std::span<const compute::Sampled> left = *sampled;
  for (std::size_t i = 0; i < planned_.size(); ++i) {
    const auto n = static_cast<std::size_t>(steps_[i].n_samples);
    advance(*planned_[i], left.first(n), steps_[i].allowed);
    left = left.subspan(n);
  }
  return true;
}

// A moving average over steps with a chunk, decode rows included: that errs towards short chunks.
void Scheduler::learn_prefill_speed(std::uint64_t step_us) {
  int chunk = 0;
  for (const Entry* entry : planned_) chunk = std::max(chunk, entry->planned);
  if (chunk < kChunkRows) return;
  const double measured = static_cast<double>(step_us) / chunk;
  prefill_us_per_token_ =
      prefill_us_per_token_ > 0 ? 0.7 * prefill_us_per_token_ + 0.3 * measured : measured;
}

// The entry's tokens are computed, and what comes next is sampled: one token, and one more behind
// every guess that came true. Guesses that did not are forgotten before anyone can see them.
void Scheduler::advance(Entry& entry,
                        std::span<const compute::Sampled> sampled,
                        std::span<const std::uint32_t> allowed) {
  Job& job = *entry.job;
  pool_.appended(entry.sequence, entry.planned);
  entry.moved_us = moved_us_;
  const int length = pool_.length(entry.sequence);
  job.prefilled_tokens = std::max(job.prefilled_tokens.load(),
                                  std::min(length, static_cast<int>(job.request.prompt.size())));
  if (length < static_cast<int>(entry.tokens.size())) return;

  std::optional<End> end;
  for (std::optional<std::size_t> i = 0; i && !end;
       i = end ? std::nullopt : next_sample(entry, length)) {
    const std::size_t words = allowed.empty() ? 0 : mask_words_;
    end = take(entry, sampled[*i], allowed.subspan(*i * words, words));
  }
  if (n_drafted(entry) > 0) {
    const int n_right = confirmed(entry, length);
    if (n_right < n_drafted(entry)) {
      if (auto cut = backend_.truncate(pool_.id(entry.sequence), length + n_right); !cut)
        return finish(entry, FinishReason::Failed, std::move(cut).error());
    }
    pool_.appended(entry.sequence, n_right);
    counters_.drafted_tokens += static_cast<std::uint64_t>(n_drafted(entry));
    counters_.accepted_tokens += static_cast<std::uint64_t>(n_right);
  }
  if (end) finish(entry, end->reason, std::move(end->error));
}

// Goes on with a token that was sampled and those it forces. Gives how the answer ends, if it does.
std::optional<Scheduler::End> Scheduler::take(Entry& entry,
                                              const compute::Sampled& sampled,
                                              std::span<const std::uint32_t> allowed) {
  Job& job = *entry.job;
  const auto& request = job.request;
  const TokenId token = sampled.token;
  if (token < 0 || token >= capabilities_.vocab) {
    return End{FinishReason::Failed,
               Error{ErrorKind::Internal, "The backend sampled no valid token."}};
  }
  const auto& stops = request.stop_tokens;
  if (std::find(stops.begin(), stops.end(), token) != stops.end()) {
    return End{FinishReason::StopToken};
  }
  append(entry,
         {.token = token,
          .logprob = sampled.logprob,
          .top = compute::most_probable(sampled.logits, allowed, request.top_logprobs)});
  learn_from(entry, /*sampled=*/true);
  if (entry.constraint) {
    entry.constraint->accept(token);
    forced_.clear();
    entry.constraint->force(
        forced_, std::min({kForcedTokens, job.events.room(), job.max_answer - answered(entry)}));
    for (const TokenId forced : forced_) append(entry, {.token = forced});
    if (!forced_.empty()) learn_from(entry, /*sampled=*/false);
  }
  const bool complete = entry.constraint && entry.constraint->complete();
  if (complete && !entry.constraint->cut_short()) return End{FinishReason::StopToken};
  if (!complete && answered(entry) < job.max_answer) return std::nullopt;
  return End{job.max_answer < request.max_tokens ? FinishReason::ContextFull
                                                 : FinishReason::MaxTokens};
}

void Scheduler::append(Entry& entry, TokenEvent event) {
  Job& job = *entry.job;
  entry.tokens.push_back(event.token);
  job.output_tokens = answered(entry);
  counters_.output_tokens += 1;
  job.events.push(std::move(event));
}

int Scheduler::answered(const Entry& entry) const {
  return static_cast<int>(entry.tokens.size() - entry.job->request.prompt.size());
}

// The backend took nothing of the step. Without room although it had promised some: make more, and
// start nobody until a step succeeds, so that this ends.
void Scheduler::step_refused(const Error& error) {
  if (error.kind == ErrorKind::Unavailable) {
    ++refusals_;
    const auto drafts = [&](const Entry* entry) { return n_drafted(*entry) > 0; };
    if (std::any_of(planned_.begin(), planned_.end(), drafts)) return;  // without them next time
    if (pool_.evict_idle()) return;
    if (n_running() > 1) return preempt(*youngest_running());
  }
  refusals_ = 0;
  for (Entry* entry : planned_) finish(*entry, FinishReason::Failed, error);
}

// ---- out

Scheduler::Entry* Scheduler::youngest_running() {
  for (auto it = entries_.rbegin(); it != entries_.rend(); ++it)
    if (running(**it)) return it->get();
  return nullptr;
}

// Takes the entry's pages. It keeps its tokens, waits for its turn and computes them again.
void Scheduler::preempt(Entry& entry) {
  entry.reader = nullptr;
  pool_.release(entry.sequence, /*keep=*/false);
  entry.sequence = SequenceHandle::None;
  entry.planned = 0;
  entry.leader = 0;
}

void Scheduler::finish(Entry& entry, FinishReason reason, std::optional<Error> error) {
  const auto job = std::move(entry.job);
  entry.job = nullptr;
  entry.planned = 0;
  entry.reader = nullptr;
  if (running(entry)) pool_.release(entry.sequence, reason != FinishReason::Failed);
  entry.sequence = SequenceHandle::None;
  publish();
  job->finish(reason, std::move(error));
}

// After an exception: no sequence that took part can be trusted. `message` is short enough to need
// no memory.
void Scheduler::fail_everything(const char* message) {
  try {
    log_error(std::string("the engine ends all requests: ") + message);
  } catch (...) {  // there may be no memory for a log line either
  }
  planned_.clear();
  refusals_ = 0;
  for (const auto& entry : entries_) {
    if (!entry->job) continue;
    finish(*entry, FinishReason::Failed, Error{ErrorKind::Internal, message});
  }
  for (const auto& job : incoming_) {
    if (job) job->finish(FinishReason::Failed, Error{ErrorKind::Internal, message});
  }
  incoming_.clear();
  forget_finished();
  publish();
}

void Scheduler::forget_finished() {
  std::erase_if(entries_, [](const auto& entry) { return entry->job == nullptr; });
}

void Scheduler::publish() {
  int running_now = 0, waiting_now = 0;
  for (const auto& entry : entries_)
    if (entry->job) ++(running(*entry) ? running_now : waiting_now);
  counters_.running = running_now;
  counters_.waiting = waiting_now;
  counters_.idle_sequences = pool_.n_idle();
}

int Scheduler::pending(const Entry& entry) const {
  return static_cast<int>(entry.tokens.size()) - pool_.length(entry.sequence);
}

int Scheduler::n_running() const {
  return static_cast<int>(std::count_if(
      entries_.begin(), entries_.end(), [&](const auto& entry) { return running(*entry); }));
}

}  // namespace pensieve::engine
