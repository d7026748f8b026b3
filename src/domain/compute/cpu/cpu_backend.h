// The CPU backend: our own kernels over the weights where they lie, KV in pages of 64 tokens, rows
// that do not depend on their neighbours (batch invariance).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "foundation/accountant.h"
#include "foundation/result.h"

#include "domain/compute/backend.h"
#include "domain/compute/weights.h"

namespace pensieve::compute::cpu {

// How activations enter a matrix product with quantised weights. Int8: rounded to 8 bits in groups
// of 32, integer dot products. F32: weights are expanded in registers, nothing is rounded. Auto:
// F32 for models under 256 MiB of weights, where it costs little, Int8 above.
enum class Activations : std::uint8_t { Auto, Int8, F32 };

struct CpuOptions {
  int n_threads = 0;     // 0: one per physical core
  std::string kernel{};  // "scalar", "avx2", "avx512vnni", "neon"; "": the best
  Activations activations = Activations::Auto;
  KvTypes kv = KvType::Q8;  // what `capabilities().default_kv` names and the arena is made for
  int max_context = 0;      // tokens of one sequence; 0: the model's
  int max_sequences = 64;
  std::size_t kv_budget_bytes = 0;  // of the page arena; 0: enough for one sequence of max_context
  int max_tokens = 512;             // in one submit
};

// Kernel names this machine can run, best first ("scalar" always last).
std::vector<std::string> runnable_kernel_names();

// `weights` and what they view outlive the backend, as does the accountant. Errors: InvalidRequest
// for a kernel this CPU cannot run (the sentence lists those it can), Unavailable for memory.
Result<std::unique_ptr<Backend>> create_backend(const ModelWeights& weights,
                                                const CpuOptions& options,
                                                Accountant& accountant);

}  // namespace pensieve::compute::cpu
