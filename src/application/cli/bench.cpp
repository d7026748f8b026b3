#include "application/cli/bench.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <utility>

#include "domain/engine/engine.h"

#include "application/cli/window.h"

namespace pensieve::cli {
namespace {

using Clock = std::chrono::steady_clock;
using compute::Backend;
using compute::SequenceId;

// The chunks of a prefill that nothing runs beside.
const int kChunk = engine::EngineOptions{}.prefill_chunk;

// Saved KV of one page, in memory.
class PageCopy final : public compute::ByteSink, public compute::ByteSource {
 public:
  Result<void> write(std::span<const std::byte> bytes) override {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return {};
  }
  Result<void> read(std::span<std::byte> bytes) override {
    if (bytes.size() > bytes_.size() - at_)
      return Error{.kind = ErrorKind::Internal, .message = "a saved page of KV is too short"};
    std::memcpy(bytes.data(), bytes_.data() + at_, bytes.size());
    at_ += bytes.size();
    return {};
  }
  void clear() {
    bytes_.clear();
    at_ = 0;
  }

 private:
  std::vector<std::byte> bytes_;
  std::size_t at_ = 0;
};

class Bench {
 public:
  Bench(Backend& backend, const BenchPlan& plan)
      : backend_(backend),
        plan_(plan),
        vocab_(backend.capabilities().vocab),
        kv_(backend.capabilities().default_kv) {}

  ~Bench() {
    for (const SequenceId sequence : sequences_) backend_.close(sequence);
  }

  // Every sequence holds `depth` tokens, each in pages of its own: sequences that share theirs
  // would read them from a cache.
  Result<void> go_to(int depth) {
    if (sequences_.empty()) {
      for (int i = 0; i < *std::max_element(plan_.batches.begin(), plan_.batches.end()); ++i) {
        PENSIEVE_TRY(const SequenceId sequence, backend_.open(compute::RopeVariant::Short, kv_));
        sequences_.push_back(sequence);
      }
    }
    const SequenceId first = sequences_.front();
    if (length(first) > depth) PENSIEVE_TRY(backend_.truncate(first, depth));
    PENSIEVE_TRY(prefill(first, depth - length(first)));
    const int whole = depth / compute::kPageTokens * compute::kPageTokens;
    PageCopy page;
    for (auto other = sequences_.begin() + 1; other != sequences_.end(); ++other) {
      PENSIEVE_TRY(backend_.truncate(
          *other, std::min(length(*other), whole) / compute::kPageTokens * compute::kPageTokens));
      for (int at = length(*other); at < whole; at += compute::kPageTokens) {
        page.clear();
        PENSIEVE_TRY(backend_.save(first, {.begin = at, .end = at + compute::kPageTokens}, page));
        PENSIEVE_TRY(backend_.restore(*other, page));
      }
      PENSIEVE_TRY(prefill(*other, depth - length(*other)));
    }
    depth_ = depth;
    return {};
  }

  // Tokens a second of a prompt of `n` tokens up to and with the first token of its answer.
  Result<double> measure_prefill(int n) {
    const SequenceId sequence = sequences_.front();
    const auto begin = Clock::now();
    PENSIEVE_TRY(prefill(sequence, n, true));
    const std::chrono::duration<double> taken = Clock::now() - begin;
    PENSIEVE_TRY(backend_.truncate(sequence, depth_));
    return n / taken.count();
  }

  // Tokens a second of all `batch` sequences together.
  Result<double> measure_decode(int batch) {
    const compute::SamplingParameters greedy{.temperature = 0};
    std::vector<TokenId> next(static_cast<std::size_t>(batch));
    for (TokenId& token : next) token = any_token();
    const auto begin = Clock::now();
    for (int i = 0; i < plan_.generate; ++i) {
      std::vector<compute::Step> steps;
      for (std::size_t k = 0; k < next.size(); ++k) {
        steps.push_back(
            {.sequence = sequences_[k], .tokens = {&next[k], 1}, .sample = &greedy, .allowed = {}});
      }
      PENSIEVE_TRY(const compute::Ticket ticket, backend_.submit(steps));
      PENSIEVE_TRY(const auto sampled, backend_.collect(ticket));
      for (std::size_t k = 0; k < next.size(); ++k) next[k] = sampled[k].token;
    }
    const std::chrono::duration<double> taken = Clock::now() - begin;
    for (std::size_t k = 0; k < next.size(); ++k)
      PENSIEVE_TRY(backend_.truncate(sequences_[k], depth_));
    return plan_.generate * batch / taken.count();
  }

 private:
  int length(SequenceId sequence) const {
    return static_cast<int>(backend_.tokens(sequence).size());
  }
  TokenId any_token() {
    return static_cast<TokenId>(random_() % static_cast<std::uint32_t>(vocab_));
  }

  Result<void> prefill(SequenceId sequence, int n, bool sample = false) {
    const compute::SamplingParameters greedy{.temperature = 0};
    std::vector<TokenId> tokens(static_cast<std::size_t>(kChunk));
    while (n > 0) {
      const int chunk = std::min(n, kChunk);
      n -= chunk;
      for (TokenId& token : tokens) token = any_token();
      const compute::Step step{.sequence = sequence,
                               .tokens = std::span(tokens).first(static_cast<std::size_t>(chunk)),
                               .sample = sample && n == 0 ? &greedy : nullptr,
                               .allowed = {}};
      PENSIEVE_TRY(const compute::Ticket ticket, backend_.submit({&step, 1}));
      PENSIEVE_TRY(backend_.collect(ticket));
    }
    return {};
  }

  Backend& backend_;
  const BenchPlan& plan_;
  const int vocab_;
  const compute::KvTypes kv_;
  std::vector<SequenceId> sequences_;
  int depth_ = 0;
  std::mt19937 random_{1};
};

double macs_of(const compute::WeightView& view) {
  return static_cast<double>(view.rows) * view.cols;
}
double macs_of(const compute::StackedView& stack) {
  double sum = 0;
  for (const compute::WeightView& part : stack.parts()) sum += macs_of(part);
  return sum;
}
double bytes_of(const compute::StackedView& stack) {
  double sum = 0;
  for (const compute::WeightView& part : stack.parts())
    sum += static_cast<double>(part.total_bytes());
  return sum;
}

}  // namespace

double BenchResult::median() const {
  std::vector<double> sorted = samples;
  std::sort(sorted.begin(), sorted.end());
  const std::size_t middle = sorted.size() / 2;
  if (sorted.empty()) return 0;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

Cost cost_of(const compute::ModelWeights& weights, compute::KvTypes kv) {
  const compute::HyperParameters& hyper = weights.hyper;
  Cost cost;
  for (const compute::LayerWeights& layer : weights.layers) {
    cost.weight_macs += macs_of(layer.qkv) + macs_of(layer.attention_out) + macs_of(layer.gate_up) +
                        macs_of(layer.down);
    cost.weight_bytes += bytes_of(layer.qkv) + bytes_of(layer.attention_out) +
                         bytes_of(layer.gate_up) + bytes_of(layer.down);
  }
  cost.head_macs = macs_of(weights.output);
  cost.weight_bytes += bytes_of(weights.output);
  // A product with each key, and one with each value.
  cost.kv_macs = 2.0 * hyper.n_layers * hyper.n_heads * hyper.head_dim;
  cost.kv_bytes = static_cast<double>(kv_bytes_per_token(hyper, kv));
  return cost;
}

double share_of_roof(const BenchResult& result,
                     const Cost& cost,
                     const compute::cpu::Roofs& roofs) {
  const double in_front = result.depth + result.tokens / 2.0;  // the mean
  if (result.decode) {
    if (roofs.bytes_per_s <= 0) return 0;
    const double step_bytes = cost.weight_bytes + result.batch * in_front * cost.kv_bytes;
    return result.median() / result.batch * step_bytes / roofs.bytes_per_s;
  }
  if (roofs.macs_per_s <= 0) return 0;
  const double macs = result.tokens * (cost.weight_macs + in_front * cost.kv_macs) + cost.head_macs;
  return result.median() / result.tokens * macs / roofs.macs_per_s;
}

std::size_t kv_tokens(const BenchPlan& plan) {
  const auto pages = [](int tokens) {
    return static_cast<std::size_t>((tokens + compute::kPageTokens - 1) / compute::kPageTokens);
  };
  const int depth = *std::max_element(plan.depths.begin(), plan.depths.end());
  const int prompt = *std::max_element(plan.prompts.begin(), plan.prompts.end());
  const int batch = *std::max_element(plan.batches.begin(), plan.batches.end());
  // One sequence prefills, then all of them decode; the others stay at their depth meanwhile.
  return (pages(depth + std::max(prompt, plan.generate)) +
          static_cast<std::size_t>(batch - 1) * pages(depth + plan.generate)) *
         compute::kPageTokens;
}

Result<void> run_bench(Backend& backend,
                       const BenchPlan& plan,
                       const std::function<void(const std::string& doing)>& doing,
                       const std::function<void(const BenchResult& result)>& done) {
  Bench bench(backend, plan);
  std::vector<int> depths = plan.depths;
  std::sort(depths.begin(), depths.end());  // so that no token is computed twice to get there
  const auto measure = [&](BenchResult result, auto&& one) -> Result<void> {
    const std::string what = std::string(result.decode ? "decode " : "prefill ") +
                             std::to_string(result.tokens) + " at depth " +
                             std::to_string(result.depth);
    doing(what);
    PENSIEVE_TRY(one());  // warms up
    for (int i = 0; i < plan.repeat; ++i) {
      doing(what + ", " + std::to_string(i + 1) + " of " + std::to_string(plan.repeat));
      PENSIEVE_TRY(const double sample, one());
      result.samples.push_back(sample);
    }
    done(result);
    return {};
  };
  for (const int depth : depths) {
    if (depth > 0) doing("computing " + std::to_string(depth) + " tokens");
    PENSIEVE_TRY(bench.go_to(depth));
    for (const int prompt : plan.prompts) {
      PENSIEVE_TRY(measure({.decode = false, .tokens = prompt, .depth = depth, .samples = {}},
                           [&] { return bench.measure_prefill(prompt); }));
    }
    for (const int batch : plan.batches) {
      PENSIEVE_TRY(measure(
          {.decode = true, .tokens = plan.generate, .depth = depth, .batch = batch, .samples = {}},
          [&] { return bench.measure_decode(batch); }));
    }
  }
  return {};
}

}  // namespace pensieve::cli
