// One forward pass of a Phi-3-architecture model over a batch of rows on the CPU. A row is one
// token of one sequence; what it computes depends on its own sequence alone, never on the other
// rows. Knows weights, kernels and KV pages. Must not know scheduling or sampling.
#pragma once

#include <span>
#include <vector>

#include "foundation/buffer.h"

#include "domain/compute/cpu/cpu_backend.h"
#include "domain/compute/cpu/kv_arena.h"
#include "domain/compute/cpu/thread_pool.h"
#include "domain/compute/kernels/kernels.h"
#include "domain/compute/weights.h"

namespace pensieve::compute::cpu {

// The consecutive new tokens of one sequence: rows [first_row, first_row + n_rows) of the batch at
// positions [position, position + n_rows). `pages` covers every position up to the last of them.
struct Segment {
  int first_row = 0;
  int n_rows = 0;
  int position = 0;
  RopeVariant rope = RopeVariant::Short;
  KvTypes kv = KvType::Q8;
  std::span<const KvArena::Page> pages;
};

class Forward {
 public:
  // Errors: InvalidRequest for shapes the kernels do not cover (head_dim not a multiple of 32 or
  // beyond 256, widths not multiples of 32), Unavailable for memory. Arguments outlive it.
  static Result<Forward> create(const ModelWeights& weights,
                                const Kernels& kernels,
                                bool int8_activations,
                                int max_rows,
                                int max_outputs,
                                ThreadPool& pool,
                                Accountant& accountant);

  // Runs all layers for `tokens` (one per row), writes their KV into the arena, and leaves the
  // logits of `output_rows` in logits(). tokens.size() <= max_rows, output_rows.size() <=
  // max_outputs. No allocation.
  void run(std::span<const TokenId> tokens,
           std::span<const Segment> segments,
           std::span<const int> output_rows,
           KvArena& arena);

  // [vocab] of the i-th output row of the last run.
  std::span<float> logits(int i);

  std::size_t scratch_bytes() const { return scratch_.size(); }

 private:
  // Scratch of one compute thread, as offsets: a panel of 16 rows in kernel order, accumulators,
  // one head's keys and values of a page as f32, and the attention rows of one head.
  struct ThreadLayout {
    std::size_t panel_q = 0, panel_scale = 0, panel_offset = 0, acc = 0, keys = 0, values = 0,
                rows = 0;
    std::size_t total = 0;
  };
  static ThreadLayout thread_layout(const HyperParameters& h, std::size_t widest, int max_rows);

  Forward(const ModelWeights& weights,
          const Kernels& kernels,
          bool int8_activations,
          int max_rows,
          int max_outputs,
          ThreadPool& pool);

  // out[row][0, w.rows()) = x[row] . w, or += with `accumulate`; x [n_rows][cols].
  void matmul(const StackedView& w, const float* x, int n_rows, float* out, bool accumulate);
  // One part of it; `out` is its first column, `stride` the columns of all parts.
  void multiply(const WeightView& w,
                const float* x,
                int n_rows,
                float* out,
                std::size_t stride,
                bool accumulate);
  bool takes_int8(const WeightView& w) const;
  void norm(const float* x, const float* weight, int n_rows, float* out);
  void embed(std::span<const TokenId> tokens);
  void prepare_rope(std::span<const Segment> segments);
  // One head of one row before it is rotated: its bias, and its norm with `norm` [head_dim] or
  // null.
  void prepare_head(float* head, const float* bias, const float* norm) const;
  void rotate_and_store(std::span<const Segment> segments, int layer, KvArena& arena);
  void attend(std::span<const Segment> segments, int layer, KvArena& arena);
  std::byte* head_block(
      KvArena& arena, KvArena::Page page, KvTypes kv, int layer, int kv_head) const;

  const ModelWeights* weights_;
  const Kernels* kernels_;
  bool int8_activations_;
  int max_rows_;
  int touched_rows_ = 0;  // the most a run had
  int max_outputs_;
  ThreadPool* pool_;

  Buffer scratch_;
  std::span<float> x_, normed_, qkv_, gate_up_, logits_, rope_cos_, rope_sin_;
  std::span<float> attention_;           // is normed_: the normed input is spent once qkv is known
  std::span<float> activated_;           // is qkv_: spent once attention is done
  std::span<float> norm_weights_;        // all norm vectors as f32: [2 * n_layers + 1][hidden]
  std::span<float> qkv_bias_;            // [n_layers][qkv rows], or empty
  std::span<float> head_norms_;          // of q, of k: [n_layers][2][head_dim], or empty
  std::span<float> inverse_frequency_;   // [2 variants][rope_dims / 2]
  Int8Rows int8_;                        // activations of the matmul in progress
  std::span<std::byte> thread_scratch_;  // [threads][layout_.total]
  ThreadLayout layout_;
};

}  // namespace pensieve::compute::cpu
