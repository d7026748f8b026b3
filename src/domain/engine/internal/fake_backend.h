// A backend for the engine's tests: no model, but real bookkeeping. The next token is a hash of
// everything the sequence's pages hold, so that any mix-up of pages, positions or variants changes
// the text; every precondition of Backend is checked, the calling thread included.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "domain/compute/backend.h"

namespace pensieve::engine {

struct FakeOptions {
  int n_pages = 1000;
  int max_sequences = 64;
  int max_batch = 16;
  int max_tokens = 512;
  int max_samples = 64;
  int max_context = 4096;
  int vocab = 100;
};

// The model: what follows `tokens`, among the tokens that `allowed` has a bit for, if it is not
// empty. A draw changes the text with the seed, temperature 0 does not. Where a text goes depends
// on all of it for one token in eight, and on the token before alone for the others: so it repeats
// itself, as real texts do.
inline TokenId fake_next_token(std::span<const TokenId> tokens,
                               compute::RopeVariant rope,
                               const compute::SamplingParameters& sampling,
                               int vocab,
                               std::span<const std::uint32_t> allowed = {}) {
  std::uint64_t hash = 0xcbf29ce484222325u + static_cast<std::uint64_t>(rope);
  const auto mix = [&](std::uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
  };
  for (const TokenId token : tokens) mix(static_cast<std::uint64_t>(token) + 1);
  if (hash % 8 != 0) {
    hash = 0;
    mix(static_cast<std::uint64_t>(tokens.back()) + 1);
  }
  if (sampling.temperature > 0) mix(sampling.seed * 2 + 1);
  if (allowed.empty()) return static_cast<TokenId>(hash % static_cast<std::uint64_t>(vocab));
  std::vector<TokenId> choices;
  for (TokenId token = 0; token < vocab; ++token) {
    const auto bit = static_cast<std::uint32_t>(token);
    if ((allowed[bit / 32] >> (bit % 32) & 1) != 0) choices.push_back(token);
  }
  EXPECT_FALSE(choices.empty()) << "a mask without a bit";
  return choices.empty() ? 0 : choices[hash % choices.size()];
}

// What a test sees and steers from outside; it outlives the backend. Any thread.
struct FakeControl {
  FakeOptions options;

  // Called on the engine thread in submit(), before anything changes. An error is returned from
  // submit(); a throw goes through.
  std::function<Result<void>(std::span<const compute::Step>)> on_submit;
  std::function<Result<void>()> on_collect;  // in collect(); the step is lost if it fails

  std::atomic<int> pages_in_use{0};
  std::atomic<int> pages_touched{0};
  std::atomic<int> trims{0};
  std::atomic<int> sequences{0};
  std::atomic<int> steps{0};
  std::atomic<int> tokens_computed{0};
  std::atomic<int> forks{0};
};

class FakeBackend final : public compute::Backend {
 public:
  explicit FakeBackend(FakeControl& control) : control_(control), thread_(here()) {
    pages_.resize(static_cast<std::size_t>(control.options.n_pages));
  }
  ~FakeBackend() override {
    expect_thread();
    EXPECT_TRUE(sequences_.empty()) << "sequences left open";
  }

  compute::Capabilities capabilities() const override {
    const FakeOptions& o = control_.options;
    return {.name = "fake",
            .kernels = "none",
            .max_batch = o.max_batch,
            .max_tokens = o.max_tokens,
            .max_samples = std::max(o.max_batch, o.max_samples),
            .max_context = o.max_context,
            .vocab = o.vocab,
            .page_bytes = 64,
            .default_kv = compute::KvType::F32,
            .kv_format = "fake"};
  }

  Result<compute::SequenceId> open(compute::RopeVariant rope, compute::KvTypes kv) override {
    expect_idle_on_thread();
    EXPECT_EQ(kv, compute::KvType::F32);
    if (static_cast<int>(sequences_.size()) >= control_.options.max_sequences)
      return unavailable("no sequence left");
    const compute::SequenceId id{next_id_++};
    sequences_[id].rope = rope;
    control_.sequences = static_cast<int>(sequences_.size());
    return id;
  }

  Result<compute::SequenceId> fork(compute::SequenceId source, int n_tokens) override {
    expect_idle_on_thread();
    Sequence& from = at(source);
    EXPECT_GE(n_tokens, 0);
    EXPECT_LE(n_tokens, static_cast<int>(from.tokens.size()));
    if (static_cast<int>(sequences_.size()) >= control_.options.max_sequences)
      return unavailable("no sequence left");
    const int partial = n_tokens % compute::kPageTokens;
    if (partial != 0 && free_pages() < 1) return unavailable("no page left");
    const compute::SequenceId id{next_id_++};
    Sequence& to = sequences_[id];
    to.rope = from.rope;
    to.tokens.assign(from.tokens.begin(), from.tokens.begin() + n_tokens);
    const auto full = static_cast<std::size_t>(n_tokens / compute::kPageTokens);
    for (std::size_t i = 0; i < full; ++i) {
      ++pages_[from.pages[i]].references;
      to.pages.push_back(from.pages[i]);
    }
    if (partial != 0) {
      to.pages.push_back(take_page());
      pages_[to.pages.back()].kv = pages_[from.pages[full]].kv;
    }
    ++control_.forks;
    control_.sequences = static_cast<int>(sequences_.size());
    return id;
  }

  Result<void> truncate(compute::SequenceId sequence, int n_tokens) override {
    expect_idle_on_thread();
    Sequence& s = at(sequence);
    EXPECT_GE(n_tokens, 0);
    EXPECT_LE(n_tokens, static_cast<int>(s.tokens.size()));
    s.tokens.resize(static_cast<std::size_t>(n_tokens));
    while (s.pages.size() * compute::kPageTokens >= s.tokens.size() + compute::kPageTokens) {
      give_page(s.pages.back());
      s.pages.pop_back();
    }
    return {};
  }

  std::span<const TokenId> tokens(compute::SequenceId sequence) const override {
    expect_thread();
    return const_cast<FakeBackend*>(this)->at(sequence).tokens;
  }

  Result<void> save(compute::SequenceId sequence,
                    compute::TokenRange range,
                    compute::ByteSink& sink) override {
    expect_idle_on_thread();
    const Sequence& s = at(sequence);
    EXPECT_EQ(range.begin % compute::kPageTokens, 0);
    EXPECT_EQ(range.end, range.begin + compute::kPageTokens) << "the engine saves page by page";
    EXPECT_LE(range.end, static_cast<int>(s.tokens.size()));
    const Page& page =
        pages_[s.pages[static_cast<std::size_t>(range.begin / compute::kPageTokens)]];
    PENSIEVE_TRY(sink.write(std::as_bytes(std::span(&range.begin, 1))));
    PENSIEVE_TRY(sink.write(std::as_bytes(
        std::span(s.tokens).subspan(static_cast<std::size_t>(range.begin), compute::kPageTokens))));
    return sink.write(std::as_bytes(std::span(page.kv)));
  }
  Result<void> restore(compute::SequenceId sequence, compute::ByteSource& source) override {
    expect_idle_on_thread();
    Sequence& s = at(sequence);
    int begin = 0;
    std::array<TokenId, compute::kPageTokens> tokens{}, kv{};
    PENSIEVE_TRY(source.read(std::as_writable_bytes(std::span(&begin, 1))));
    EXPECT_EQ(begin, static_cast<int>(s.tokens.size()));
    if (free_pages() < 1) return unavailable("no page left");
    PENSIEVE_TRY(source.read(std::as_writable_bytes(std::span(tokens))));
    PENSIEVE_TRY(source.read(std::as_writable_bytes(std::span(kv))));
    s.pages.push_back(take_page());
    pages_[s.pages.back()].kv = kv;
    s.tokens.insert(s.tokens.end(), tokens.begin(), tokens.end());
    return {};
  }

  void close(compute::SequenceId sequence) override {
    expect_thread();
    for (const std::size_t page : at(sequence).pages) give_page(page);
    sequences_.erase(sequence);
    control_.sequences = static_cast<int>(sequences_.size());
  }

  int free_pages() const override {
    expect_thread();
    return control_.options.n_pages - control_.pages_in_use;
  }

  Result<compute::Ticket> submit(std::span<const compute::Step> steps) override {
    expect_idle_on_thread();
    check_batch(steps);
    if (control_.on_submit) {
      if (auto refused = control_.on_submit(steps); !refused) return std::move(refused).error();
    }
    int wanted = 0;
    for (const compute::Step& step : steps) {
      const Sequence& s = at(step.sequence);
      if (s.tokens.size() + step.tokens.size() >
          static_cast<std::size_t>(control_.options.max_context))
        return Error{ErrorKind::TooLarge, "beyond the context"};
      wanted += pages_to_append(s, step.tokens.size());
    }
    if (wanted > free_pages()) return unavailable("the arena is full");
    sampled_.clear();
    for (const compute::Step& step : steps) run(step);
    ++control_.steps;
    in_flight_ = true;
    return compute::Ticket{++ticket_};
  }

  Result<std::span<const compute::Sampled>> collect(compute::Ticket ticket) override {
    expect_thread();
    EXPECT_TRUE(in_flight_);
    EXPECT_EQ(ticket, compute::Ticket{ticket_});
    in_flight_ = false;
    if (control_.on_collect) {
      if (auto lost = control_.on_collect(); !lost) return std::move(lost).error();
    }
    return std::span<const compute::Sampled>(sampled_);
  }

  compute::BackendMemory memory() const override {
    const auto page = std::size_t{64};
    return {.kv_bytes = static_cast<std::size_t>(control_.pages_in_use) * page,
            .kv_touched_bytes = static_cast<std::size_t>(control_.pages_touched) * page,
            .kv_capacity_bytes = static_cast<std::size_t>(control_.options.n_pages) * page};
  }
  void trim() override {
    expect_idle_on_thread();
    control_.pages_touched = control_.pages_in_use.load();
    ++control_.trims;
  }

 private:
  struct Page {
    int references = 0;
    std::array<TokenId, compute::kPageTokens> kv{};  // the tokens stand for their keys and values
  };
  struct Sequence {
    compute::RopeVariant rope = compute::RopeVariant::Short;
    std::vector<TokenId> tokens;
    std::vector<std::size_t> pages;
  };

  static std::thread::id here() { return std::this_thread::get_id(); }
  static Error unavailable(const char* why) { return {ErrorKind::Unavailable, why, 1}; }
  void expect_thread() const { EXPECT_EQ(thread_, here()) << "called from another thread"; }
  void expect_idle_on_thread() const {
    expect_thread();
    EXPECT_FALSE(in_flight_) << "a step is in flight";
  }

  Sequence& at(compute::SequenceId id) {
    const auto found = sequences_.find(id);
    EXPECT_NE(found, sequences_.end()) << "no sequence " << static_cast<int>(id);
    return found->second;
  }

  void check_batch(std::span<const compute::Step> steps) {
    EXPECT_FALSE(steps.empty());
    EXPECT_LE(static_cast<int>(steps.size()), control_.options.max_batch);
    std::set<compute::SequenceId> seen;
    std::size_t n_tokens = 0;
    int n_samples = 0;
    for (const compute::Step& step : steps) {
      EXPECT_TRUE(seen.insert(step.sequence).second) << "a sequence twice in a step";
      EXPECT_FALSE(step.tokens.empty());
      n_tokens += step.tokens.size();
      EXPECT_GE(step.n_samples, 1);
      EXPECT_LE(step.n_samples, static_cast<int>(step.tokens.size()));
      n_samples += step.sample != nullptr ? step.n_samples : 0;
      for (const TokenId token : step.tokens) {
        EXPECT_GE(token, 0);
        EXPECT_LT(token, control_.options.vocab);
      }
    }
    EXPECT_LE(n_tokens, static_cast<std::size_t>(control_.options.max_tokens));
    EXPECT_LE(n_samples, capabilities().max_samples);
  }

  // A partial last page that others share too (after truncate()) is copied before it is written.
  int pages_to_append(const Sequence& s, std::size_t n_tokens) const {
    const std::size_t pages =
        (s.tokens.size() + n_tokens + compute::kPageTokens - 1) / compute::kPageTokens;
    return static_cast<int>(pages - s.pages.size()) + (shares_partial_page(s) ? 1 : 0);
  }
  bool shares_partial_page(const Sequence& s) const {
    return s.tokens.size() % compute::kPageTokens != 0 && pages_[s.pages.back()].references > 1;
  }

  void run(const compute::Step& step) {
    Sequence& s = at(step.sequence);
    if (shares_partial_page(s)) {
      const std::size_t copy = take_page();
      pages_[copy].kv = pages_[s.pages.back()].kv;
      give_page(s.pages.back());
      s.pages.back() = copy;
    }
    for (const TokenId token : step.tokens) {
      const std::size_t slot = s.tokens.size() % compute::kPageTokens;
      if (slot == 0) s.pages.push_back(take_page());
      pages_[s.pages.back()].kv[slot] = token;
      s.tokens.push_back(token);
    }
    control_.tokens_computed += static_cast<int>(step.tokens.size());
    if (step.sample == nullptr) {
      sampled_.push_back({.sequence = step.sequence, .logits = {}});
      return;
    }
    std::vector<TokenId> kv;  // from the pages, not from the list of tokens
    for (std::size_t i = 0; i < s.tokens.size(); ++i)
      kv.push_back(pages_[s.pages[i / compute::kPageTokens]].kv[i % compute::kPageTokens]);
    const auto n = static_cast<std::size_t>(step.n_samples);
    const std::size_t words =
        step.allowed.empty() ? 0 : (static_cast<std::size_t>(control_.options.vocab) + 31) / 32;
    EXPECT_EQ(step.allowed.size(), n * words);
    for (std::size_t i = 0; i < n; ++i) {
      sampled_.push_back({.sequence = step.sequence,
                          .token = fake_next_token(std::span(kv).first(kv.size() - n + i + 1),
                                                   s.rope,
                                                   *step.sample,
                                                   control_.options.vocab,
                                                   step.allowed.subspan(i * words, words)),
                          .logprob = -1.0f,
                          .logits = {}});
    }
  }

  std::size_t take_page() {
    for (std::size_t i = 0; i < pages_.size(); ++i) {
      if (pages_[i].references > 0) continue;
      pages_[i].references = 1;
      ++control_.pages_in_use;
      control_.pages_touched =
          std::max(control_.pages_touched.load(), control_.pages_in_use.load());
      return i;
    }
    ADD_FAILURE() << "no page left";
    std::abort();
  }
  void give_page(std::size_t page) {
    if (--pages_[page].references > 0) return;
    pages_[page].kv.fill(kNoToken);  // whoever still reads it gets other text
    --control_.pages_in_use;
  }

  FakeControl& control_;
  const std::thread::id thread_;
  std::vector<Page> pages_;
  std::map<compute::SequenceId, Sequence> sequences_;
  std::vector<compute::Sampled> sampled_;
  std::int32_t next_id_ = 1;
  std::uint64_t ticket_ = 0;
  bool in_flight_ = false;
};

}  // namespace pensieve::engine
