#include "domain/model/internal/plain_weights.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <utility>
#include <vector>

#include "foundation/buffer.h"

#include "domain/compute/cpu/thread_pool.h"
#include "domain/compute/quantize.h"
#include "domain/model/internal/cursor.h"
#include "domain/model/internal/fingerprint.h"

namespace pensieve::model {
namespace {

using compute::WeightType;
using compute::WeightView;

// Smaller models run with f32 activations, where 8 bits save nothing that anybody would notice;
// with half of this they no longer do (cpu_backend.cpp).
constexpr std::size_t kQuantizeFromBytes = std::size_t{512} << 20;
constexpr int kRowsPerItem = 64;

bool can_be_quantized(const WeightView& view) {
  return !view.empty() && compute::is_plain(view.type) && view.rows > 1 && view.cols % 32 == 0;
}

std::size_t aligned(std::size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

// Hands every matrix that the forward pass multiplies with to `change`, to be replaced.
template <typename Change>
void change_matrices(compute::ModelWeights& weights, const Change& change) {
  const auto stack = [&](compute::StackedView& whole) {
    std::vector<WeightView> parts(whole.parts().begin(), whole.parts().end());
    for (WeightView& part : parts) change(part);
    if (parts.size() == 1) whole = compute::StackedView(parts[0]);
    if (parts.size() == 2) whole = compute::StackedView(parts[0], parts[1]);
    if (parts.size() == 3) whole = compute::StackedView(parts[0], parts[1], parts[2]);
  };
  for (compute::LayerWeights& layer : weights.layers) {
    stack(layer.qkv);
    change(layer.attention_out);
    stack(layer.gate_up);
    change(layer.down);
  }
  const bool tied = weights.output.data == weights.token_embedding.data;
  change(weights.output);
  if (tied) weights.token_embedding = weights.output;
}

bool quantize_matrix(const WeightView& from, std::byte* to, compute::cpu::ThreadPool& pool) {
  std::atomic<bool> fits{true};
  pool.run((from.rows + kRowsPerItem - 1) / kRowsPerItem, [&](int item, int) {
    const int first = item * kRowsPerItem;
    const int n = std::min(kRowsPerItem, from.rows - first);
    if (fits.load(std::memory_order_relaxed) && !compute::quantize_q8_0(from, first, n, to)) {
      fits.store(false, std::memory_order_relaxed);
    }
  });
  return fits.load(std::memory_order_relaxed);
}

}  // namespace

bool wants_quantization(const OpenedModel& model, PlainWeights plain) {
  return plain == PlainWeights::Q8 ||
         (plain == PlainWeights::Auto && model.weights_.total_bytes >= kQuantizeFromBytes);
}

Result<std::size_t> quantize_plain(OpenedModel& model,
                                   const OpenOptions& options,
                                   Accountant& accountant) {
  std::size_t new_bytes = 0, plain_bytes = 0;
  std::map<WeightType, std::size_t> bytes_by_type;
  change_matrices(model.weights_, [&](WeightView& view) {
    if (!can_be_quantized(view)) return;
    new_bytes += aligned(compute::q8_0_bytes(view.rows, view.cols));
    plain_bytes += view.total_bytes();
    bytes_by_type[view.type] += view.total_bytes();
  });
  if (new_bytes == 0) return std::size_t{0};
  PENSIEVE_TRY(model.quantized_, Buffer::create(accountant, MemoryUse::Weights, new_bytes));

  compute::cpu::ThreadPool pool(std::max(1, options.n_threads));
  std::size_t at = 0, made_bytes = 0;
  std::uint64_t done = 0;
  int n_quantized = 0;
  change_matrices(model.weights_, [&](WeightView& view) {
    if (!can_be_quantized(view)) return;
    if (options.progress) options.progress(done, plain_bytes);
    done += view.total_bytes();
    std::byte* const to = model.quantized_.data() + at;
    const bool fits = quantize_matrix(view, to, pool);
    // Not at the end: where memory is bounded, mapped pages are the last that the system takes
    // back.
    for (const MappedFile& file : model.files_) file.forget({view.data, view.total_bytes()});
    if (!fits) return;
    view.type = WeightType::Q8_0;
    view.data = to;
    made_bytes += view.total_bytes();
    at += aligned(view.total_bytes());
    ++n_quantized;
  });
  if (options.progress) options.progress(plain_bytes, plain_bytes);
  if (n_quantized == 0) {
    model.quantized_ = Buffer();
    return std::size_t{0};
  }
  const auto most = std::max_element(
      bytes_by_type.begin(), bytes_by_type.end(), [](const auto& a, const auto& b) {
        return a.second < b.second;
      });
  model.made_from_ = compute::to_string(most->first);
  Fingerprint fingerprint;
  fingerprint.add("model", as_bytes(model.weights_.fingerprint));
  fingerprint.add("matrices as Q8_0", static_cast<std::uint64_t>(n_quantized));
  model.weights_.fingerprint = fingerprint.hex();
  summarize(model);
  return made_bytes;
}

}  // namespace pensieve::model
