#include "domain/compute/cpu/forward.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "domain/compute/kernels/kv_layout.h"

namespace pensieve::compute::cpu {
namespace {

// Groups of 32 columns that are packed and used together: 8 KiB of integers, so that a slab stays
// in the first-level cache between packing and use.
constexpr int kSlabGroups = 8;
// Tokens that share one pass over a packed panel: their accumulators take 8 KiB.
constexpr int kTileTokens = 128;

std::size_t aligned(std::size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

// Asks for this slab's share of the next block of 16 rows. The kernel walks 16 rows side by side,
// more streams than the hardware follows; the next block lies in one piece behind them, so its
// lines can be asked for in order, one block (27 KiB for 3,072 columns of Q4_0) ahead of their use.
void prefetch_next_block(const WeightView& w, int first_row, int group, int n_groups) {
  const int next = first_row + kBlockRows;
  if (next + kBlockRows > w.rows) return;
  const std::size_t block_bytes = w.row_bytes() * kBlockRows;
  const auto all_groups = static_cast<std::size_t>(w.cols / kGroupColumns);
  const std::byte* const block = w.data + static_cast<std::size_t>(next) * w.row_bytes();
  const std::size_t begin = block_bytes * static_cast<std::size_t>(group) / all_groups;
  const std::size_t end = block_bytes * static_cast<std::size_t>(group + n_groups) / all_groups;
  for (std::size_t at = begin / 64 * 64; at < end; at += 64) __builtin_prefetch(block + at, 0, 2);
}

Result<void> check_shapes(const ModelWeights& weights) {
  const HyperParameters& h = weights.hyper;
  const auto refuse = [](const std::string& what) {
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message = "the CPU backend cannot run this model: " + what};
  };
  if (h.head_dim % 32 != 0 || h.head_dim > 256) {
    return refuse("a head has " + std::to_string(h.head_dim) +
                  " dimensions, not a multiple of 32 up to 256");
  }
  if (h.hidden % 32 != 0 || h.ffn % 32 != 0) return refuse("its widths are not multiples of 32");
  if (h.rope_dims % 2 != 0 || h.rope_dims > h.head_dim)
    return refuse("its rotary dimensions do not fit a head");
  return {};
}

}  // namespace

Forward::ThreadLayout Forward::thread_layout(const HyperParameters& h,
                                             std::size_t widest,
                                             int max_rows) {
  ThreadLayout layout;
  const auto take = [&](std::size_t bytes) {
    const std::size_t begin = layout.total;
    layout.total += aligned(bytes);
    return begin;
  };
  // A panel is kept whole only when more than one tile of tokens uses it.
  const std::size_t n_groups = max_rows > kTileTokens ? widest / kGroupColumns : kSlabGroups;
  constexpr std::size_t kF32GroupBytes = std::size_t{kGroupColumns} * kBlockRows * 4;
  static_assert(kF32GroupBytes >= Int8Panel::kBytesPerGroup);
  layout.panel_q = take(n_groups * kF32GroupBytes);
  layout.panel_scale = take(n_groups * Int8Panel::kScalesPerGroup * 4);
  layout.panel_offset = take(n_groups * Int8Panel::kOffsetsPerGroup * 4);
  layout.acc = take(std::size_t{kTileTokens} * kBlockRows * 4);
  const std::size_t block = static_cast<std::size_t>(h.head_dim) * kPageTokens * 4;
  layout.keys = take(block);
  layout.values = take(block);
  const auto rows =
      static_cast<std::size_t>(max_rows) * static_cast<std::size_t>(h.n_heads / h.n_kv_heads);
  layout.rows = take(rows * sizeof(AttentionRow));
  return layout;
}

Forward::Forward(const ModelWeights& weights,
                 const Kernels& kernels,
                 bool int8_activations,
                 int max_rows,
                 int max_outputs,
                 ThreadPool& pool)
    : weights_(&weights),
      kernels_(&kernels),
      int8_activations_(int8_activations),
      max_rows_(max_rows),
      max_outputs_(max_outputs),
      pool_(&pool) {}

Result<Forward> Forward::create(const ModelWeights& weights,
                                const Kernels& kernels,
                                bool int8_activations,
                                int max_rows,
                                int max_outputs,
                                ThreadPool& pool,
                                Accountant& accountant) {
  PENSIEVE_TRY(check_shapes(weights));
  Forward forward(weights, kernels, int8_activations, max_rows, max_outputs, pool);
  const HyperParameters& h = weights.hyper;
  const auto rows = static_cast<std::size_t>(max_rows);
  const auto hidden = static_cast<std::size_t>(h.hidden);
  const auto q_width = static_cast<std::size_t>(h.n_heads) * static_cast<std::size_t>(h.head_dim);
  const auto kv_width =
      static_cast<std::size_t>(h.n_kv_heads) * static_cast<std::size_t>(h.head_dim);
  const auto ffn = static_cast<std::size_t>(h.ffn);
  const std::size_t widest = std::max({hidden, q_width, ffn});
  const auto half = static_cast<std::size_t>(h.rope_dims / 2);
  const std::size_t qkv_width = std::max(q_width + 2 * kv_width, ffn);
  forward.layout_ = thread_layout(h, widest, max_rows);
  const std::size_t thread_bytes = forward.layout_.total * static_cast<std::size_t>(pool.size());

  std::size_t total = 0;
  const auto place = [&](std::size_t bytes) {
    const std::size_t begin = total;
    total += aligned(bytes);
    return begin;
  };
  const std::size_t x = place(rows * hidden * 4),
                    normed = place(rows * std::max(hidden, q_width) * 4);
  const std::size_t qkv = place(rows * qkv_width * 4);
  const std::size_t gate_up = place(rows * 2 * ffn * 4);
  const std::size_t logits =
      place(static_cast<std::size_t>(max_outputs) * static_cast<std::size_t>(h.vocab) * 4);
  const std::size_t rope_cos = place(rows * half * 4), rope_sin = place(rows * half * 4);
  const std::size_t norms = place((2 * static_cast<std::size_t>(h.n_layers) + 1) * hidden * 4);
  const LayerWeights& first = weights.layers.front();
  const std::size_t layers = static_cast<std::size_t>(h.n_layers);
  const std::size_t bias_width = first.qkv_bias.parts().empty() ? 0 : q_width + 2 * kv_width;
  const std::size_t head_norm_width =
      first.q_norm.empty() ? 0 : 2 * static_cast<std::size_t>(h.head_dim);
  const std::size_t biases = place(layers * bias_width * 4);
  const std::size_t head_norms = place(layers * head_norm_width * 4);
  const std::size_t frequencies = place(2 * half * 4);
  const std::size_t q8 = place(rows * widest);
  const std::size_t scale = place(rows * widest / 32 * 4), sum = place(rows * widest / 32 * 4);
  const std::size_t half_sum = place(rows * widest / 32 * 4);
  const std::size_t scaled_sum = place(rows * widest / 32 * 4);
  const std::size_t threads = place(thread_bytes);

  PENSIEVE_TRY(forward.scratch_, Buffer::create(accountant, MemoryUse::Scratch, total));
  Buffer& s = forward.scratch_;
  s.set_touched(0);
  forward.x_ = s.as<float>(x, rows * hidden);
  forward.normed_ = s.as<float>(normed, rows * std::max(hidden, q_width));
  forward.attention_ = forward.normed_;
  forward.qkv_ = s.as<float>(qkv, rows * qkv_width);
  forward.activated_ = forward.qkv_;
  forward.gate_up_ = s.as<float>(gate_up, rows * 2 * ffn);
  forward.logits_ = s.as<float>(
      logits, static_cast<std::size_t>(max_outputs) * static_cast<std::size_t>(h.vocab));
  forward.rope_cos_ = s.as<float>(rope_cos, rows * half);
  forward.rope_sin_ = s.as<float>(rope_sin, rows * half);
  forward.norm_weights_ =
      s.as<float>(norms, (2 * static_cast<std::size_t>(h.n_layers) + 1) * hidden);
  forward.qkv_bias_ = s.as<float>(biases, layers * bias_width);
  forward.head_norms_ = s.as<float>(head_norms, layers * head_norm_width);
  forward.inverse_frequency_ = s.as<float>(frequencies, 2 * half);
  forward.int8_.q = s.as<std::int8_t>(q8, rows * widest).data();
  forward.int8_.scale = s.as<float>(scale, rows * widest / 32).data();
  forward.int8_.sum = s.as<std::int32_t>(sum, rows * widest / 32).data();
  forward.int8_.half_sum = s.as<std::int32_t>(half_sum, rows * widest / 32).data();
  forward.int8_.scaled_sum = s.as<float>(scaled_sum, rows * widest / 32).data();
  forward.thread_scratch_ = s.as<std::byte>(threads, thread_bytes);

  for (int i = 0; i < h.n_layers; ++i) {
    const LayerWeights& layer = weights.layers[static_cast<std::size_t>(i)];
    float* at = forward.norm_weights_.data() + static_cast<std::size_t>(2 * i) * hidden;
    dequantize_row(layer.attention_norm, 0, at);
    dequantize_row(layer.ffn_norm, 0, at + hidden);
    if (head_norm_width > 0) {
      float* norms_at = forward.head_norms_.data() + static_cast<std::size_t>(i) * head_norm_width;
      dequantize_row(layer.q_norm, 0, norms_at);
      dequantize_row(layer.k_norm, 0, norms_at + h.head_dim);
    }
    float* bias_at = forward.qkv_bias_.data() + static_cast<std::size_t>(i) * bias_width;
    for (const WeightView& part : layer.qkv_bias.parts()) {
      dequantize_row(part, 0, bias_at);
      bias_at += part.cols;
    }
  }
  dequantize_row(weights.output_norm,
                 0,
                 forward.norm_weights_.data() + 2 * static_cast<std::size_t>(h.n_layers) * hidden);

  // As Hugging Face computes them: theta^(2 i / d) and the division in f32.
  for (int variant = 0; variant < 2; ++variant) {
    const auto& factors = variant == 0 ? h.rope_short : h.rope_long;
    for (std::size_t i = 0; i < half; ++i) {
      const float exponent = static_cast<float>(2 * i) / static_cast<float>(h.rope_dims);
      const float base = std::pow(h.rope_theta, exponent);
      const float factor = factors.empty() ? 1.0f : factors[i];
      forward.inverse_frequency_[static_cast<std::size_t>(variant) * half + i] =
          1.0f / (factor * base);
    }
  }
  return forward;
}

std::span<float> Forward::logits(int i) {
  const auto vocab = static_cast<std::size_t>(weights_->hyper.vocab);
  return logits_.subspan(static_cast<std::size_t>(i) * vocab, vocab);
}

bool Forward::takes_int8(const WeightView& w) const {
  return int8_activations_ && !is_plain(w.type);
}

void Forward::matmul(
    const StackedView& w, const float* x, int n_rows, float* out, bool accumulate) {
  const auto parts = w.parts();
  if (std::any_of(parts.begin(), parts.end(), [&](const auto& part) { return takes_int8(part); })) {
    const int cols = parts[0].cols;
    int8_.n_tokens = n_rows;
    pool_->run(n_rows, [&](int row, int) {
      kernels_->quantize_row(
          x + static_cast<std::size_t>(row) * static_cast<std::size_t>(cols), cols, row, int8_);
    });
  }
  const auto stride = static_cast<std::size_t>(w.rows());
  for (const WeightView& part : parts) {
    multiply(part, x, n_rows, out, stride, accumulate);
    out += part.rows;
  }
}

void Forward::multiply(const WeightView& w,
                       const float* x,
                       int n_rows,
                       float* out,
                       std::size_t stride,
                       bool accumulate) {
  const bool int8 = takes_int8(w);
  const auto cols = static_cast<std::size_t>(w.cols);
  const PanelFormat format = panel_format(w.type);
  const int n_groups = w.cols / kGroupColumns;
  // With one tile of tokens nothing is kept; with several the whole panel is packed once.
  const bool keep_panel = n_rows > kTileTokens;

  const int n_blocks = (w.rows + kBlockRows - 1) / kBlockRows;
  // Blocks of 16 rows to an item: few enough that each thread takes at least eight items and a slow
  // one holds nobody up, and up to 16 so that a block asked for ahead is mostly used by who asked.
  const int item_blocks = std::clamp(n_blocks / (pool_->size() * 8), 1, 16);
  const int n_items = (n_blocks + item_blocks - 1) / item_blocks;
  pool_->run(n_items, [&](int item, int thread) {
    std::byte* mine = thread_scratch_.data() + static_cast<std::size_t>(thread) * layout_.total;
    auto* const acc = reinterpret_cast<float*>(mine + layout_.acc);
    for (int block = item * item_blocks; block < std::min(n_blocks, (item + 1) * item_blocks);
         ++block) {
      const int first_row = block * kBlockRows;
      for (int tile = 0; tile < n_rows; tile += kTileTokens) {
        const int n = std::min(kTileTokens, n_rows - tile);
        std::memset(acc, 0, static_cast<std::size_t>(n) * kBlockRows * 4);
        for (int g = 0; g < n_groups; g += kSlabGroups) {
          const int slab = std::min(kSlabGroups, n_groups - g);
          const auto at = static_cast<std::size_t>(keep_panel ? g : 0);
          if (int8) {
            const Int8Panel panel{.q = reinterpret_cast<std::uint8_t*>(mine + layout_.panel_q) +
                                       at * Int8Panel::kBytesPerGroup,
                                  .scale = reinterpret_cast<float*>(mine + layout_.panel_scale) +
                                           at * Int8Panel::kScalesPerGroup,
                                  .offset = reinterpret_cast<float*>(mine + layout_.panel_offset) +
                                            at * Int8Panel::kOffsetsPerGroup};
            if (!keep_panel) {
              prefetch_next_block(w, first_row, g, slab);
              kernels_->product_int8(w, first_row, g, slab, panel, int8_, 0, n, acc);
              continue;
            }
            if (tile == 0) kernels_->pack_int8(w, first_row, g, slab, panel);
            kernels_->dot_int8(format, panel, g, slab, int8_, tile, n, acc);
          } else {
            auto* panel =
                reinterpret_cast<float*>(mine + layout_.panel_q) + at * kGroupColumns * kBlockRows;
            if (tile == 0) kernels_->pack_f32(w, first_row, g, slab, panel);
            kernels_->dot_f32(panel,
                              slab * kGroupColumns,
                              x + static_cast<std::size_t>(tile) * cols +
                                  static_cast<std::size_t>(g) * kGroupColumns,
                              cols,
                              n,
                              acc);
          }
        }
        const int width = std::min(kBlockRows, w.rows - first_row);
        for (int t = 0; t < n; ++t) {
          float* to = out + static_cast<std::size_t>(tile + t) * stride + first_row;
          const float* from = acc + t * kBlockRows;
          if (accumulate) {
            for (int r = 0; r < width; ++r) to[r] += from[r];
          } else {
            std::memcpy(to, from, static_cast<std::size_t>(width) * 4);
          }
        }
      }
    }
  });
}

void Forward::norm(const float* x, const float* weight, int n_rows, float* out) {
  const HyperParameters& h = weights_->hyper;
  pool_->run(n_rows, [&](int row, int) {
    const auto at = static_cast<std::size_t>(row) * static_cast<std::size_t>(h.hidden);
    kernels_->rmsnorm(out + at, x + at, weight, h.hidden, h.rms_eps);
  });
}

void Forward::embed(std::span<const TokenId> tokens) {
  pool_->run(static_cast<int>(tokens.size()), [&](int row, int) {
    const auto i = static_cast<std::size_t>(row);
    dequantize_row(weights_->token_embedding,
                   tokens[i],
                   x_.data() + i * static_cast<std::size_t>(weights_->hyper.hidden));
  });
}

void Forward::prepare_rope(std::span<const Segment> segments) {
  const HyperParameters& h = weights_->hyper;
  const auto half = static_cast<std::size_t>(h.rope_dims / 2);
  for (const Segment& segment : segments) {
    const float* frequency =
        inverse_frequency_.data() + (segment.rope == RopeVariant::Long ? half : 0);
    pool_->run(segment.n_rows, [&](int i, int) {
      const auto row = static_cast<std::size_t>(segment.first_row + i);
      const auto position = static_cast<float>(segment.position + i);
      for (std::size_t j = 0; j < half; ++j) {
        const float angle = position * frequency[j];  // f32, as Hugging Face does
        rope_cos_[row * half + j] = std::cos(angle) * h.rope_attention_scale;
        rope_sin_[row * half + j] = std::sin(angle) * h.rope_attention_scale;
      }
    });
  }
}

std::byte* Forward::head_block(
    KvArena& arena, KvArena::Page page, KvTypes kv, int layer, int kv_head) const {
  const HyperParameters& h = weights_->hyper;
  return arena.data(page) +
         static_cast<std::size_t>(layer * h.n_kv_heads + kv_head) * kv_block_bytes(kv, h.head_dim);
}

void Forward::prepare_head(float* head, const float* bias, const float* norm) const {
  const int head_dim = weights_->hyper.head_dim;
  if (bias != nullptr) {
    for (int j = 0; j < head_dim; ++j) head[j] += bias[j];
  }
  if (norm != nullptr) kernels_->rmsnorm(head, head, norm, head_dim, weights_->hyper.rms_eps);
}

void Forward::rotate_and_store(std::span<const Segment> segments, int layer, KvArena& arena) {
  const HyperParameters& h = weights_->hyper;
  const auto half = static_cast<std::size_t>(h.rope_dims / 2);
  const auto head_dim = static_cast<std::size_t>(h.head_dim);
  const auto q_width = static_cast<std::size_t>(h.n_heads) * head_dim;
  const auto kv_width = static_cast<std::size_t>(h.n_kv_heads) * head_dim;
  const float query_scale = 1.0f / std::sqrt(static_cast<float>(h.head_dim));
  const auto i_layer = static_cast<std::size_t>(layer);
  const float* const q_norm =
      head_norms_.empty() ? nullptr : head_norms_.data() + i_layer * 2 * head_dim;
  const float* const k_norm = q_norm == nullptr ? nullptr : q_norm + head_dim;
  // Of the head that begins at column `at` of the qkv row.
  const auto bias_of = [&](std::size_t at) -> const float* {
    if (qkv_bias_.empty()) return nullptr;
    return qkv_bias_.data() + i_layer * (q_width + 2 * kv_width) + at;
  };
  for (const Segment& segment : segments) {
    // One head of all rows an item, so that no two threads write into the same cache lines of a
    // block.
    pool_->run(h.n_heads, [&](int head, int) {
      const int group = h.n_heads / h.n_kv_heads;
      for (int i = 0; i < segment.n_rows; ++i) {
        const auto row = static_cast<std::size_t>(segment.first_row + i);
        const float* cos = rope_cos_.data() + row * half;
        const float* sin = rope_sin_.data() + row * half;
        // Su et al., arXiv:2104.09864. Pairs of dimension j with j + rope_dims / 2 (NeoX), or of
        // neighbours, as the paper has it.
        const std::size_t step = h.rope_interleaved ? 2 : 1, apart = h.rope_interleaved ? 1 : half;
        const auto rotate = [&](float* v) {
          for (std::size_t j = 0; j < half; ++j) {
            const float a = v[j * step], b = v[j * step + apart];
            v[j * step] = a * cos[j] - b * sin[j];
            v[j * step + apart] = b * cos[j] + a * sin[j];
          }
        };
        float* const base = qkv_.data() + row * (q_width + 2 * kv_width);
        float* const query = base + static_cast<std::size_t>(head) * head_dim;
        prepare_head(query, bias_of(static_cast<std::size_t>(head) * head_dim), q_norm);
        rotate(query);
        for (std::size_t j = 0; j < head_dim; ++j) query[j] *= query_scale;
        if (is_rotated(segment.kv.keys)) rotate_groups(query, h.head_dim);
        if (head % group != 0) continue;
        const int kv_head = head / group;
        const std::size_t key_at = q_width + static_cast<std::size_t>(kv_head) * head_dim;
        float* const key = base + key_at;
        prepare_head(key, bias_of(key_at), k_norm);
        prepare_head(key + kv_width, bias_of(key_at + kv_width), nullptr);
        rotate(key);
        const int position = segment.position + i;
        const auto page = segment.pages[static_cast<std::size_t>(position / kPageTokens)];
        std::byte* const block = head_block(arena, page, segment.kv, layer, kv_head);
        const int slot = position % kPageTokens;
        store_key(segment.kv.keys, block, h.head_dim, slot, key);
        store_value(segment.kv.values,
                    block + kv_half_block_bytes(segment.kv.keys, h.head_dim),
                    h.head_dim,
                    slot,
                    key + kv_width);
      }
    });
  }
}

void Forward::attend(std::span<const Segment> segments, int layer, KvArena& arena) {
  const HyperParameters& h = weights_->hyper;
  const auto head_dim = static_cast<std::size_t>(h.head_dim);
  const auto q_width = static_cast<std::size_t>(h.n_heads) * head_dim;
  const auto kv_width = static_cast<std::size_t>(h.n_kv_heads) * head_dim;
  const int group = h.n_heads / h.n_kv_heads;
  const int n_segments = static_cast<int>(segments.size());
  pool_->run(n_segments * h.n_kv_heads, [&](int item, int thread) {
    const Segment& segment = segments[static_cast<std::size_t>(item / h.n_kv_heads)];
    const int kv_head = item % h.n_kv_heads;
    std::byte* mine = thread_scratch_.data() + static_cast<std::size_t>(thread) * layout_.total;
    auto* const keys = reinterpret_cast<float*>(mine + layout_.keys);
    auto* const values = reinterpret_cast<float*>(mine + layout_.values);
    auto* const rows = reinterpret_cast<AttentionRow*>(mine + layout_.rows);
    const int n_rows = segment.n_rows * group;
    for (int n = 0; n < n_rows; ++n) {
      const auto row = static_cast<std::size_t>(segment.first_row + n / group);
      const auto head = static_cast<std::size_t>(kv_head * group + n % group);
      float* const out = attention_.data() + row * q_width + head * head_dim;
      std::fill_n(out, head_dim, 0.0f);
      rows[n] = {.query = qkv_.data() + row * (q_width + 2 * kv_width) + head * head_dim,
                 .out = out,
                 .max = -std::numeric_limits<float>::infinity(),
                 .sum = 0,
                 .begin = 0,
                 .end = 0};
    }
    const int last = segment.position + segment.n_rows - 1;
    const int oldest =
        h.sliding_window > 0 ? std::max(0, segment.position - h.sliding_window + 1) : 0;
    for (int page = oldest / kPageTokens; page <= last / kPageTokens; ++page) {
      const int first = page * kPageTokens;
      for (int n = 0; n < n_rows; ++n) {
        const int position = segment.position + n / group;
        const int from = h.sliding_window > 0 ? std::max(0, position - h.sliding_window + 1) : 0;
        rows[n].begin = std::clamp(from - first, 0, kPageTokens);
        rows[n].end = std::clamp(position + 1 - first, 0, kPageTokens);
      }
      const std::byte* block = head_block(
          arena, segment.pages[static_cast<std::size_t>(page)], segment.kv, layer, kv_head);
      kernels_->load_keys(segment.kv.keys, block, h.head_dim, keys);
      kernels_->load_values(segment.kv.values,
                            block + kv_half_block_bytes(segment.kv.keys, h.head_dim),
                            h.head_dim,
                            values);
      kernels_->attend_page(keys, values, h.head_dim, rows, n_rows);
    }
    for (int n = 0; n < n_rows; ++n) {
      for (std::size_t j = 0; j < head_dim; ++j) rows[n].out[j] /= rows[n].sum;
      if (is_rotated(segment.kv.values)) rotate_groups(rows[n].out, h.head_dim);
    }
  });
}

void Forward::run(std::span<const TokenId> tokens,
                  std::span<const Segment> segments,
                  std::span<const int> output_rows,
                  KvArena& arena) {
  const HyperParameters& h = weights_->hyper;
  const int n_rows = static_cast<int>(tokens.size());
  CHECK(n_rows > 0 && n_rows <= max_rows_ && static_cast<int>(output_rows.size()) <= max_outputs_);
  if (n_rows > touched_rows_) {  // what lies behind has never been written to
    touched_rows_ = n_rows;
    scratch_.set_touched(scratch_.size() / static_cast<std::size_t>(max_rows_) *
                         static_cast<std::size_t>(n_rows));
  }
  const auto hidden = static_cast<std::size_t>(h.hidden);
  const auto ffn = static_cast<std::size_t>(h.ffn);
  embed(tokens);
  prepare_rope(segments);
  for (int i = 0; i < h.n_layers; ++i) {
    const LayerWeights& layer = weights_->layers[static_cast<std::size_t>(i)];
    const float* norms = norm_weights_.data() + static_cast<std::size_t>(2 * i) * hidden;
    norm(x_.data(), norms, n_rows, normed_.data());
    matmul(layer.qkv, normed_.data(), n_rows, qkv_.data(), false);
    rotate_and_store(segments, i, arena);
    attend(segments, i, arena);
    matmul(layer.attention_out, attention_.data(), n_rows, x_.data(), true);
    norm(x_.data(), norms + hidden, n_rows, normed_.data());
    matmul(layer.gate_up, normed_.data(), n_rows, gate_up_.data(), false);
    pool_->run(n_rows, [&](int row, int) {
      const float* gate = gate_up_.data() + static_cast<std::size_t>(row) * 2 * ffn;
      kernels_->swiglu(
          activated_.data() + static_cast<std::size_t>(row) * ffn, gate, gate + ffn, h.ffn);
    });
    matmul(layer.down, activated_.data(), n_rows, x_.data(), true);
  }
  if (output_rows.empty()) return;
  // Only the rows that are asked for go through the output head; they move to the front, in order.
  for (std::size_t i = 0; i < output_rows.size(); ++i) {
    std::memmove(x_.data() + i * hidden,
                 x_.data() + static_cast<std::size_t>(output_rows[i]) * hidden,
                 hidden * 4);
  }
  const int n_outputs = static_cast<int>(output_rows.size());
  norm(x_.data(),
       norm_weights_.data() + 2 * static_cast<std::size_t>(h.n_layers) * hidden,
       n_outputs,
       normed_.data());
  matmul(weights_->output, normed_.data(), n_outputs, logits_.data(), false);
}

}  // namespace pensieve::compute::cpu
