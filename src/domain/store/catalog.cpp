#include "domain/store/catalog.h"

#include <algorithm>
#include <array>

namespace pensieve::store {
namespace {

// Keys and values of one token: 2 * layers * KV heads * head size elements. f16 takes two bytes of
// each; q8 takes one and an f16 scale per 32, and is what a model with over 64 KiB at f16 gets.
constexpr std::uint64_t f16(std::uint64_t layers, std::uint64_t heads, std::uint64_t size) {
  return 2 * layers * heads * size * 2;
}
constexpr std::uint64_t q8(std::uint64_t layers, std::uint64_t heads, std::uint64_t size) {
  return 2 * layers * heads * size * 34 / 32;
}
// 4.5 bits per weight, and 4 MB for tokenizer and configuration.
constexpr std::uint64_t four_bit(std::uint64_t million_parameters) {
  return million_parameters * 562'500 + 4'000'000;
}

// Layers, KV heads and head sizes: config.json of each model.
constexpr std::array<CatalogEntry, 6> kCatalog = {{
    {.name = kDefaultModel,
     .repository = "mlx-community/Phi-3-mini-128k-instruct-4bit",
     .note = "long windows",
     .download_bytes = four_bit(3821),
     .kv_bytes_per_token = q8(32, 32, 96),
     .context_length = 131'072},
    {.name = "phi-3.5-mini-instruct-4bit",
     .repository = "mlx-community/Phi-3.5-mini-instruct-4bit",
     .note = "more languages",
     .download_bytes = four_bit(3821),
     .kv_bytes_per_token = q8(32, 32, 96),
     .context_length = 131'072},
    {.name = "qwen2.5-coder-1.5b-instruct-4bit",
     .repository = "mlx-community/Qwen2.5-Coder-1.5B-Instruct-4bit",
     .note = "code, quick",
     .download_bytes = four_bit(1544),
     .kv_bytes_per_token = f16(28, 2, 128),
     .context_length = 32'768},
    {.name = "qwen2.5-coder-3b-instruct-4bit",
     .repository = "mlx-community/Qwen2.5-Coder-3B-Instruct-4bit",
     .note = "code",
     .download_bytes = four_bit(3086),
     .kv_bytes_per_token = f16(36, 2, 128),
     .context_length = 32'768},
    {.name = "qwen2.5-coder-7b-instruct-4bit",
     .repository = "mlx-community/Qwen2.5-Coder-7B-Instruct-4bit",
     .note = "code, tools",
     .download_bytes = four_bit(7616),
     .kv_bytes_per_token = f16(28, 4, 128),
     .context_length = 32'768},
    {.name = "qwen3-4b-4bit",
     .repository = "mlx-community/Qwen3-4B-4bit",
     .note = "tools, thinking",
     .download_bytes = four_bit(4022),
     .kv_bytes_per_token = q8(36, 8, 128),
     .context_length = 40'960},
}};

constexpr std::uint64_t kScratchBytes = std::uint64_t{256} << 20;

}  // namespace

std::span<const CatalogEntry> catalog() {
  return kCatalog;
}

const CatalogEntry* find_in_catalog(std::string_view name) {
  const auto* const found =
      std::find_if(kCatalog.begin(), kCatalog.end(), [&](const CatalogEntry& entry) {
        return entry.name == name;
      });
  return found == kCatalog.end() ? nullptr : found;
}

std::uint64_t memory_needed(std::uint64_t weights_bytes,
                            std::uint64_t kv_bytes_per_token,
                            int tokens) {
  return weights_bytes + kv_bytes_per_token * static_cast<std::uint64_t>(tokens) + kScratchBytes;
}

}  // namespace pensieve::store
