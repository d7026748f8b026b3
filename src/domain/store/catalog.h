// The models that have a name without any configuration: where each comes from and what it needs.
// Knows numbers and names. Must not know this machine, files or the network.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace pensieve::store {

struct CatalogEntry {
  std::string_view name;
  std::string_view repository;  // on the hub: MLX safetensors, 4 bit in groups of 64
  std::string_view note;        // what it is good for, a few words
  // Weights: 4.5 bits each (4, and an f16 scale and bias per 64), of the parameter counts on the
  // models' own pages. Rounded; what is downloaded is checked against the hub's exact sizes.
  std::uint64_t download_bytes = 0;
  std::uint64_t kv_bytes_per_token = 0;  // in the KV type that `--kv auto` takes for it
  int context_length = 0;                // tokens, of the model itself
};

// The default first, then by family and size.
std::span<const CatalogEntry> catalog();

// Null when there is no such name.
const CatalogEntry* find_in_catalog(std::string_view name);

// The model that `pensieve` fetches when there is none.
inline constexpr std::string_view kDefaultModel = "phi-3-mini-128k-instruct-4bit";

// What a model takes while it runs with a window of `tokens`: weights, keys and values, and
// scratch.
std::uint64_t memory_needed(std::uint64_t weights_bytes,
                            std::uint64_t kv_bytes_per_token,
                            int tokens);

}  // namespace pensieve::store
