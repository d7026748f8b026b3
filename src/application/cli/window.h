// How large the context window and the KV arena may be on this machine. Pure arithmetic on bytes:
// knows no files and takes no memory.
#pragma once

#include <cstddef>
#include <string>

#include "foundation/result.h"
#include "foundation/system_memory.h"

#include "domain/compute/backend.h"
#include "domain/compute/weights.h"

namespace pensieve::cli {

// Keys and values of one token over all layers, in bytes. Q8: groups of 32 with an f16 scale
// each, Q4: with an f16 minimum too.
std::size_t kv_bytes_per_token(const compute::HyperParameters& hyper, compute::KvTypes kv);

// The type `--kv auto` means: Q8 where f16 would cost more than 64 KiB per token, else F16.
compute::KvTypes default_kv(const compute::HyperParameters& hyper);

struct WindowQuestion {
  SystemMemory memory;  // now, before the weights are touched
  std::size_t weights_bytes = 0;
  compute::KvTypes kv = compute::KvType::Q8;
  int asked = 0;          // tokens, as --context says; 0: as many as fit
  int at_most = 0;        // tokens when nothing was asked; 0: the model's own length
  int conversations = 1;  // windows the KV arena should hold at once, if there is room
  int step_tokens = 512;  // tokens of one step, for the scratch
};

struct Window {
  int tokens = 0;
  std::size_t kv_budget_bytes = 0;  // of the arena, whole pages, one window at least
  std::size_t scratch_bytes = 0;    // estimate
  std::string warning;              // one sentence if the machine leaves Safe, else empty
};

// The largest window for which weights, KV and scratch leave the machine Safe (more than 3 GiB
// available). If not even 4,096 tokens do, those, with a warning. Errors: InvalidRequest when
// `asked` is beyond the model or beyond memory, with the numbers.
Result<Window> fit_window(const compute::HyperParameters& hyper, const WindowQuestion& question);

// "1.5 GiB", "640 MiB", "12 KiB"
std::string human_bytes(std::uint64_t bytes);
// 131072 -> "131,072"
std::string grouped(std::uint64_t number);

}  // namespace pensieve::cli
