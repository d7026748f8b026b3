#include "domain/compute/cpu/cpu_backend.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>
#include <utility>

#include "domain/compute/cpu/forward.h"
#include "domain/compute/cpu/kv_arena.h"
#include "domain/compute/cpu/thread_pool.h"
#include "domain/compute/kernels/kernels.h"
#include "domain/compute/kernels/kv_layout.h"

namespace pensieve::compute::cpu {
namespace {

// Weights below this many bytes run with f32 activations unless told otherwise: rounding them costs
// such a model more than it saves.
constexpr std::size_t kInt8FromBytes = std::size_t{256} << 20;

std::string join(const std::vector<std::string>& names) {
  std::string out;
  for (const auto& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

// Tag of what save() writes: magic and version, then what must agree. Little endian, like all the
// machines we run on. Page contents follow, whole pages, in order; before them the token ids.
struct SavedHeader {
  char magic[8] = {'P', 'N', 'S', 'V', 'K', 'V', '0', '1'};
  char backend[8] = "cpu";
  std::int32_t kv_types = 0, rope = 0, n_layers = 0, n_kv_heads = 0, head_dim = 0;
  std::int32_t begin = 0, end = 0, reserved = 0;
  std::uint64_t page_bytes = 0;
  char fingerprint[64] = {};
};

class CpuBackend final : public Backend {
 public:
  CpuBackend(const ModelWeights& weights,
             const CpuOptions& options,
             const Kernels& kernels,
             bool int8,
             int n_threads)
      : weights_(weights), options_(options), kernels_(kernels), int8_(int8), pool_(n_threads) {}

  Result<void> prepare(Accountant& accountant);

  Capabilities capabilities() const override;
  Result<SequenceId> open(RopeVariant rope, KvTypes kv) override;
  Result<SequenceId> fork(SequenceId source, int n_tokens) override;
  Result<void> truncate(SequenceId id, int n_tokens) override;
  std::span<const TokenId> tokens(SequenceId id) const override { return at(id).tokens; }
  Result<void> save(SequenceId id, TokenRange range, ByteSink& sink) override;
  Result<void> restore(SequenceId id, ByteSource& source) override;
  void close(SequenceId id) override;
  int free_pages() const override { return arena_->free_pages(); }
  Result<Ticket> submit(std::span<const Step> steps) override;
  Result<std::span<const Sampled>> collect(Ticket ticket) override;
  BackendMemory memory() const override;
  void trim() override {
    arena_->trim();
    count_pages();
  }

 private:
  struct Sequence {
    bool open = false;
    RopeVariant rope = RopeVariant::Short;
    KvTypes kv = KvType::Q8;
    std::vector<TokenId> tokens;
    std::vector<KvArena::Page> pages;
  };

  // Rows of logits there is scratch for: one for every sequence, and few of those decode at once.
  int max_samples() const {
    return std::min(std::max(1, options_.max_tokens), options_.max_sequences);
  }

  static int pages_for(int n_tokens) { return (n_tokens + kPageTokens - 1) / kPageTokens; }
  Sequence& at(SequenceId id) {
    const auto i = static_cast<std::size_t>(id);
    CHECK(i < sequences_.size() && sequences_[i].open);
    return sequences_[i];
  }
  const Sequence& at(SequenceId id) const { return const_cast<CpuBackend*>(this)->at(id); }

  // Pages of `sequence` that must be taken before `n_new` tokens can be appended: new ones, and a
  // copy of the last one if it is partly filled and shared.
  int pages_needed(const Sequence& sequence, int n_new) const;
  void make_room(Sequence& sequence, int n_new);
  void count_pages() {
    used_pages_.store(arena_->n_pages() - arena_->free_pages(), std::memory_order_relaxed);
    touched_pages_.store(arena_->touched_pages(), std::memory_order_relaxed);
  }
  SavedHeader header_for(const Sequence& sequence, TokenRange range) const;

  const ModelWeights& weights_;
  const CpuOptions options_;
  const Kernels& kernels_;
  const bool int8_;
  ThreadPool pool_;
  std::optional<Forward> forward_;
  std::optional<KvArena> arena_;
  int max_context_ = 0;
  std::size_t page_bytes_ = 0;
  std::vector<Sequence> sequences_;
  std::vector<TokenId> batch_tokens_;
  std::vector<Segment> segments_;
  std::vector<int> output_rows_;
  std::vector<Sampled> sampled_;
  std::vector<float> original_logits_;  // of the steps that ask for them, [n][vocab]
  std::uint64_t tickets_ = 0;
  bool in_flight_ = false;
  std::atomic<int> used_pages_{0};
  std::atomic<int> touched_pages_{0};
};

Result<void> CpuBackend::prepare(Accountant& accountant) {
  const HyperParameters& h = weights_.hyper;
  max_context_ = options_.max_context > 0 ? options_.max_context : h.context_length;
  page_bytes_ = kv_block_bytes(options_.kv, h.head_dim) * static_cast<std::size_t>(h.n_layers) *
                static_cast<std::size_t>(h.n_kv_heads);
  const std::size_t one_window = static_cast<std::size_t>(pages_for(max_context_));
  std::size_t n_pages =
      options_.kv_budget_bytes > 0 ? options_.kv_budget_bytes / page_bytes_ : one_window;
  n_pages = std::clamp<std::size_t>(n_pages, 1, 1u << 24);
  const int max_rows = std::max(1, options_.max_tokens);
  PENSIEVE_TRY(
      forward_,
      Forward::create(weights_, kernels_, int8_, max_rows, max_samples(), pool_, accountant));
  PENSIEVE_TRY(arena_, KvArena::create(accountant, page_bytes_, static_cast<int>(n_pages)));
  sequences_.resize(static_cast<std::size_t>(options_.max_sequences));
  batch_tokens_.reserve(static_cast<std::size_t>(max_rows));
  segments_.reserve(static_cast<std::size_t>(max_rows));
  output_rows_.reserve(static_cast<std::size_t>(max_rows));
  sampled_.reserve(static_cast<std::size_t>(max_rows));
  return {};
}

Capabilities CpuBackend::capabilities() const {
  return {.name = "cpu",
          .kernels = std::string(kernels_.name) +
                     (int8_ ? ", int8 activations" : ", f32 activations") + ", " +
                     std::to_string(pool_.size()) + (pool_.size() == 1 ? " thread" : " threads"),
          .max_batch = max_samples(),
          .max_tokens = std::max(1, options_.max_tokens),
          .max_samples = max_samples(),
          .max_context = max_context_,
          .vocab = weights_.hyper.vocab,
          .page_bytes = page_bytes_,
          .default_kv = options_.kv,
          .kv_format = "cpu 2 " + std::string(kernels_.name) + (int8_ ? " int8 " : " f32 ") +
                       to_string(options_.kv) + " " + std::to_string(page_bytes_) + " " +
                       weights_.fingerprint};
}

Result<SequenceId> CpuBackend::open(RopeVariant rope, KvTypes kv) {
  if (kv_block_bytes(kv, weights_.hyper.head_dim) >
      kv_block_bytes(options_.kv, weights_.hyper.head_dim)) {
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message = "KV type " + to_string(kv) + " does not fit pages made for " +
                            to_string(options_.kv)};
  }
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    Sequence& sequence = sequences_[i];
    if (sequence.open) continue;
    sequence.open = true;
    sequence.rope = rope;
    sequence.kv = kv;
    return static_cast<SequenceId>(i);
  }
  return Error{
      .kind = ErrorKind::Unavailable,
      .message = "no more than " + std::to_string(sequences_.size()) + " sequences can be held",
      .retry_after_s = 2};
}

Result<SequenceId> CpuBackend::fork(SequenceId source_id, int n_tokens) {
  const Sequence& source = at(source_id);
  CHECK(n_tokens >= 0 && n_tokens <= static_cast<int>(source.tokens.size()));
  const bool partial = n_tokens % kPageTokens != 0;
  if (partial && arena_->free_pages() == 0) {
    return Error{.kind = ErrorKind::Unavailable,
                 .message = "no free KV page for a copy",
                 .retry_after_s = 2};
  }
  PENSIEVE_TRY(const SequenceId id, open(source.rope, source.kv));
  Sequence& copy = at(id);
  copy.tokens.assign(source.tokens.begin(), source.tokens.begin() + n_tokens);
  for (int i = 0; i < n_tokens / kPageTokens; ++i) {
    const auto page = source.pages[static_cast<std::size_t>(i)];
    arena_->share(page);
    copy.pages.push_back(page);
  }
  if (partial) {
    const auto page = arena_->take();
    std::memcpy(arena_->data(page),
                arena_->data(source.pages[static_cast<std::size_t>(n_tokens / kPageTokens)]),
                page_bytes_);
    copy.pages.push_back(page);
  }
  count_pages();
  return id;
}

Result<void> CpuBackend::truncate(SequenceId id, int n_tokens) {
  Sequence& sequence = at(id);
  CHECK(n_tokens >= 0 && n_tokens <= static_cast<int>(sequence.tokens.size()));
  sequence.tokens.resize(static_cast<std::size_t>(n_tokens));
  while (static_cast<int>(sequence.pages.size()) > pages_for(n_tokens)) {
    arena_->release(sequence.pages.back());
    sequence.pages.pop_back();
  }
  count_pages();
  return {};
}

void CpuBackend::close(SequenceId id) {
  Sequence& sequence = at(id);
  for (const auto page : sequence.pages) arena_->release(page);
  sequence.pages.clear();
  sequence.tokens.clear();
  sequence.open = false;
  count_pages();
}

int CpuBackend::pages_needed(const Sequence& sequence, int n_new) const {
  const int length = static_cast<int>(sequence.tokens.size());
  const int more = pages_for(length + n_new) - static_cast<int>(sequence.pages.size());
  // A page that truncate() left partly filled may still be shared with a longer sequence.
  const bool copy = length % kPageTokens != 0 && arena_->shared(sequence.pages.back());
  return more + (copy ? 1 : 0);
}

void CpuBackend::make_room(Sequence& sequence, int n_new) {
  const int length = static_cast<int>(sequence.tokens.size());
  if (length % kPageTokens != 0 && arena_->shared(sequence.pages.back())) {
    const auto own = arena_->take();
    std::memcpy(arena_->data(own), arena_->data(sequence.pages.back()), page_bytes_);
    arena_->release(sequence.pages.back());
    sequence.pages.back() = own;
  }
  while (static_cast<int>(sequence.pages.size()) < pages_for(length + n_new)) {
    sequence.pages.push_back(arena_->take());
  }
}

Result<Ticket> CpuBackend::submit(std::span<const Step> steps) {
  CHECK(!in_flight_ && !steps.empty() &&
        static_cast<int>(steps.size()) <= capabilities().max_batch);
  int n_pages = 0, n_tokens = 0, n_samples = 0;
  for (const Step& step : steps) {
    const Sequence& sequence = at(step.sequence);
    CHECK(!step.tokens.empty());
    CHECK(step.n_samples >= 1 && step.n_samples <= static_cast<int>(step.tokens.size()));
    if (step.sample != nullptr) n_samples += step.n_samples;
    const int n_new = static_cast<int>(step.tokens.size());
    if (static_cast<int>(sequence.tokens.size()) + n_new > max_context_) {
      return Error{
          .kind = ErrorKind::TooLarge,
          .message = "the context window of " + std::to_string(max_context_) + " tokens is full"};
    }
    n_pages += pages_needed(sequence, n_new);
    n_tokens += n_new;
  }
  CHECK(n_tokens <= options_.max_tokens && n_samples <= max_samples());
  if (n_pages > arena_->free_pages()) {
    return Error{.kind = ErrorKind::Unavailable,
                 .message = "the KV cache is full: " + std::to_string(n_pages) + " pages needed, " +
                            std::to_string(arena_->free_pages()) + " free",
                 .retry_after_s = 2};
  }

  batch_tokens_.clear();
  segments_.clear();
  output_rows_.clear();
  for (const Step& step : steps) {
    Sequence& sequence = at(step.sequence);
    const int n_new = static_cast<int>(step.tokens.size());
    make_room(sequence, n_new);
    segments_.push_back({.first_row = static_cast<int>(batch_tokens_.size()),
                         .n_rows = n_new,
                         .position = static_cast<int>(sequence.tokens.size()),
                         .rope = sequence.rope,
                         .kv = sequence.kv,
                         .pages = sequence.pages});
    for (const TokenId token : step.tokens) {
      CHECK(token >= 0 && token < weights_.hyper.vocab);
      batch_tokens_.push_back(token);
    }
    sequence.tokens.insert(sequence.tokens.end(), step.tokens.begin(), step.tokens.end());
    const int end = static_cast<int>(batch_tokens_.size());
    for (int row = end - step.n_samples; step.sample != nullptr && row < end; ++row)
      output_rows_.push_back(row);
  }
  count_pages();
  forward_->run(batch_tokens_, segments_, output_rows_, *arena_);

  sampled_.clear();
  const auto vocab = static_cast<std::size_t>(weights_.hyper.vocab);
  std::size_t n_kept = 0;
  for (const Step& step : steps)
    n_kept += step.return_logits ? static_cast<std::size_t>(step.n_samples) : 0;
  if (original_logits_.size() < n_kept * vocab) original_logits_.resize(n_kept * vocab);
  int output = 0;
  n_kept = 0;
  for (const Step& step : steps) {
    if (step.sample == nullptr) {
      sampled_.push_back({.sequence = step.sequence, .logits = {}});
      continue;
    }
    const std::size_t mask_words = step.allowed.empty() ? 0 : (vocab + 31) / 32;
    const auto n = static_cast<std::size_t>(step.n_samples);
    CHECK(step.allowed.size() == n * mask_words);
    const std::span<const TokenId> tokens = at(step.sequence).tokens;
    for (std::size_t i = 0; i < n; ++i) {
      Sampled result{.sequence = step.sequence, .logits = {}};
      const std::span<float> logits = forward_->logits(output++);
      if (step.return_logits) {
        float* const kept = original_logits_.data() + n_kept++ * vocab;
        std::copy(logits.begin(), logits.end(), kept);
        result.logits = {kept, vocab};
      }
      const auto seen = tokens.first(tokens.size() - n + i + 1);
      const auto allowed = step.allowed.subspan(i * mask_words, mask_words);
      const Choice choice = sample(logits, *step.sample, seen, allowed, seen.size());
      result.token = choice.token;
      result.logprob = choice.logprob;
      sampled_.push_back(result);
    }
  }
  in_flight_ = true;
  return static_cast<Ticket>(++tickets_);
}

Result<std::span<const Sampled>> CpuBackend::collect(Ticket ticket) {
  CHECK(in_flight_ && static_cast<std::uint64_t>(ticket) == tickets_);
  in_flight_ = false;
  return std::span<const Sampled>(sampled_);
}

SavedHeader CpuBackend::header_for(const Sequence& sequence, TokenRange range) const {
  const HyperParameters& h = weights_.hyper;
  SavedHeader header;
  header.kv_types = static_cast<std::int32_t>(sequence.kv.keys) |
                    static_cast<std::int32_t>(sequence.kv.values) << 8;
  header.rope = static_cast<std::int32_t>(sequence.rope);
  header.n_layers = h.n_layers;
  header.n_kv_heads = h.n_kv_heads;
  header.head_dim = h.head_dim;
  header.begin = range.begin;
  header.end = range.end;
  header.page_bytes = page_bytes_;
  std::memcpy(header.fingerprint,
              weights_.fingerprint.data(),
              std::min(weights_.fingerprint.size(), sizeof header.fingerprint));
  return header;
}

Result<void> CpuBackend::save(SequenceId id, TokenRange range, ByteSink& sink) {
  const Sequence& sequence = at(id);
  CHECK(range.begin >= 0 && range.begin % kPageTokens == 0 && range.begin < range.end &&
        range.end <= static_cast<int>(sequence.tokens.size()));
  const SavedHeader header = header_for(sequence, range);
  PENSIEVE_TRY(sink.write(std::as_bytes(std::span(&header, 1))));
  const auto ids = std::span(sequence.tokens)
                       .subspan(static_cast<std::size_t>(range.begin),
                                static_cast<std::size_t>(range.end - range.begin));
  PENSIEVE_TRY(sink.write(std::as_bytes(ids)));
  for (int i = range.begin / kPageTokens; i < pages_for(range.end); ++i) {
    PENSIEVE_TRY(
        sink.write({arena_->data(sequence.pages[static_cast<std::size_t>(i)]), page_bytes_}));
  }
  return {};
}

Result<void> CpuBackend::restore(SequenceId id, ByteSource& source) {
  Sequence& sequence = at(id);
  const auto refuse = [](const char* why) {
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message = std::string("saved KV does not fit: ") + why};
  };
  SavedHeader header;
  PENSIEVE_TRY(source.read(std::as_writable_bytes(std::span(&header, 1))));
  const int length = static_cast<int>(sequence.tokens.size());
  if (header.begin != length || length % kPageTokens != 0 || header.end <= header.begin ||
      header.end > max_context_) {
    return refuse("it continues another length");
  }
  const SavedHeader expected = header_for(sequence, {.begin = header.begin, .end = header.end});
  if (std::memcmp(&header, &expected, sizeof header) != 0)
    return refuse("another model, shape or format");
  const int n_tokens = header.end - header.begin;
  if (pages_needed(sequence, n_tokens) > arena_->free_pages()) {
    return Error{.kind = ErrorKind::Unavailable,
                 .message = "no free KV pages to restore into",
                 .retry_after_s = 2};
  }
  std::vector<TokenId> ids(static_cast<std::size_t>(n_tokens));
  PENSIEVE_TRY(source.read(std::as_writable_bytes(std::span(ids))));
  for (const TokenId token : ids) {
    if (token < 0 || token >= weights_.hyper.vocab) return refuse("a token id out of range");
  }
  make_room(sequence, n_tokens);
  for (int i = header.begin / kPageTokens; i < pages_for(header.end); ++i) {
    auto read =
        source.read({arena_->data(sequence.pages[static_cast<std::size_t>(i)]), page_bytes_});
    if (!read) {
      PENSIEVE_TRY(truncate(id, length));  // gives the new pages back
      return std::move(read).error();
    }
  }
  sequence.tokens.insert(sequence.tokens.end(), ids.begin(), ids.end());
  count_pages();
  return {};
}

BackendMemory CpuBackend::memory() const {
  const auto bytes = [&](const std::atomic<int>& pages) {
    return static_cast<std::size_t>(pages.load(std::memory_order_relaxed)) * page_bytes_;
  };
  return {.weights_bytes = weights_.total_bytes,
          .kv_bytes = bytes(used_pages_),
          .kv_touched_bytes = bytes(touched_pages_),
          .kv_capacity_bytes = static_cast<std::size_t>(arena_->n_pages()) * page_bytes_,
          .scratch_bytes = forward_->scratch_bytes(),
          .cache_bytes = 0};
}

}  // namespace

std::vector<std::string> runnable_kernel_names() {
  std::vector<std::string> names;
  for (const Kernels* kernels : compute::runnable_kernels()) names.emplace_back(kernels->name);
  return names;
}

Result<std::unique_ptr<Backend>> create_backend(const ModelWeights& weights,
                                                const CpuOptions& options,
                                                Accountant& accountant) {
  const Kernels* kernels =
      options.kernel.empty() ? compute::runnable_kernels().front() : find_kernels(options.kernel);
  if (kernels == nullptr) {
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message = "this CPU cannot run the kernels \"" + options.kernel +
                            "\"; it can run: " + join(runnable_kernel_names())};
  }
  const bool int8 =
      options.activations == Activations::Int8 ||
      (options.activations == Activations::Auto && weights.total_bytes >= kInt8FromBytes);
  const int n_threads = options.n_threads > 0 ? options.n_threads : physical_cores();
  auto backend = std::make_unique<CpuBackend>(weights, options, *kernels, int8, n_threads);
  PENSIEVE_TRY(backend->prepare(accountant));
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace pensieve::compute::cpu
