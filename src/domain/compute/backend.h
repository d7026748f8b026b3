// The seam between engine and compute: a whole-model forward pass over a batch of tokens, sampling
// included. No tensor crosses it. What lies above (scheduler, prefix index, eviction, cancellation)
// counts tokens and bytes and is the same for every backend.
// Created and called on the engine thread only, memory() excepted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/ids.h"
#include "foundation/result.h"

#include "domain/compute/sampling.h"

namespace pensieve::compute {

inline constexpr int kPageTokens = 64;  // tokens of one KV page

// How keys or values are kept. Q8 and Q4: groups of 32 dimensions with a scale each, see
// kernels/kv_layout.h.
enum class KvType : std::uint8_t { F32, F16, Q8, Q4 };
std::string_view to_string(KvType type);

// The types of a sequence's keys and of its values. A single type stands for both.
struct KvTypes {
  constexpr KvTypes(KvType both) : keys(both), values(both) {}
  constexpr KvTypes(KvType of_keys, KvType of_values) : keys(of_keys), values(of_values) {}
  bool operator==(const KvTypes&) const = default;

  KvType keys, values;
};
// "q8", and "q8/q4" where keys and values differ.
std::string to_string(KvTypes types);
// The same read back. Nothing for any other text.
std::optional<KvTypes> parse_kv_types(std::string_view text);

// LongRoPE's two sets of factors. Chosen per sequence when it opens; part of the KV key.
enum class RopeVariant : std::uint8_t { Short, Long };

enum class SequenceId : std::int32_t {};

struct TokenRange {
  int begin = 0;
  int end = 0;
};

struct Capabilities {
  std::string name;     // "cpu"
  std::string kernels;  // "avx512-vnni, int8 activations"
  int max_batch = 0;    // steps in one submit
  int max_tokens = 0;   // tokens in one submit, all steps together
  int max_samples = 0;  // samples in one submit, all steps together; at least max_batch
  int max_context = 0;  // tokens of one sequence
  int vocab = 0;
  std::size_t page_bytes = 0;  // of one KV page of 64 tokens, at the default KV types
  KvTypes default_kv = KvType::Q8;
  // Everything beside token ids and rope variant that a page's bytes depend on: backend, kernels,
  // model, shape, KV types. Pages are exchangeable between backends that say the same.
  std::string kv_format;
};

struct BackendMemory {
  std::size_t weights_bytes = 0;
  std::size_t kv_bytes = 0;          // pages in use
  std::size_t kv_touched_bytes = 0;  // those, and free ones that have not been given back
  std::size_t kv_capacity_bytes = 0;
  std::size_t scratch_bytes = 0;
  std::size_t cache_bytes = 0;
};

// One sequence's part of a step: append `tokens` at its end (at least one) and, if `sample` is set,
// choose the token that follows the last of them; with `n_samples` > 1 also, for each of the last
// `n_samples` tokens, the one that follows it, exactly as if the step had ended there. So guesses
// about what comes are checked in one step (speculative decoding, Leviathan et al.,
// arXiv:2211.17192). The spans outlive collect().
struct Step {
  SequenceId sequence{};
  std::span<const TokenId> tokens;
  const SamplingParameters* sample = nullptr;  // null: a prefill chunk that is not the last
  // Bitmasks over the vocabulary, one behind the other, (vocab + 31) / 32 words for each sample;
  // or empty: everything.
  std::span<const std::uint32_t> allowed;
  bool return_logits = false;  // needs `sample`
  int n_samples = 1;           // 1..tokens.size(); means nothing without `sample`
};

struct Sampled {
  SequenceId sequence{};
  TokenId token = kNoToken;  // kNoToken for a step without `sample`
  float logprob = 0;
  std::span<const float> logits;  // [vocab] before any modification if asked for; until next submit
};

enum class Ticket : std::uint64_t {};

// Bytes out of and into a backend, for save() and restore().
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual Result<void> write(std::span<const std::byte> bytes) = 0;
};
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual Result<void> read(std::span<std::byte> bytes) = 0;  // all of it, or an error
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual Capabilities capabilities() const = 0;

  // A new, empty sequence. Errors: Unavailable when no more sequences can be held; InvalidRequest
  // for KV types whose pages are larger than those of `default_kv`.
  virtual Result<SequenceId> open(RopeVariant rope, KvTypes kv) = 0;

  // A new sequence that shares the first `n_tokens` tokens' KV with `source` (full pages by
  // reference, the last partial page by copy). 0 <= n_tokens <= length(source).
  // Errors: Unavailable (no page, no sequence); nothing changed.
  virtual Result<SequenceId> fork(SequenceId source, int n_tokens) = 0;

  // Forgets all tokens from `n_tokens` on.
  virtual Result<void> truncate(SequenceId sequence, int n_tokens) = 0;

  // Tokens the sequence holds, in order. The span lives until the sequence changes.
  virtual std::span<const TokenId> tokens(SequenceId sequence) const = 0;

  // Writes the KV of `range`, tagged with backend, KV types and shape; page-aligned begin.
  // restore() appends what save() wrote to a sequence of `range.begin` tokens.
  // Errors: of the sink or source; InvalidRequest if the tag does not fit (sequence unchanged).
  virtual Result<void> save(SequenceId sequence, TokenRange range, ByteSink& sink) = 0;
  virtual Result<void> restore(SequenceId sequence, ByteSource& source) = 0;

  virtual void close(SequenceId sequence) = 0;

  // KV pages that can still be taken without closing a sequence.
  virtual int free_pages() const = 0;

  // Starts a step; at most one may be in flight. A sequence occurs at most once in `steps`.
  // Errors: Unavailable when the arena has no page left (no sequence changed), TooLarge when a
  // sequence would pass max_context.
  virtual Result<Ticket> submit(std::span<const Step> steps) = 0;

  // Waits for the step; for each Step, in order, one Sampled, or with `sample` its n_samples, in
  // the order of the tokens they follow. The span lives until the next submit.
  virtual Result<std::span<const Sampled>> collect(Ticket ticket) = 0;

  virtual BackendMemory memory() const = 0;  // any thread

  // Gives memory that is not in use back to the system. Milliseconds.
  virtual void trim() = 0;
};

}  // namespace pensieve::compute
