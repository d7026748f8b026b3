// Any bytes as a directory: config.json up to the first NUL, then a safetensors file. The same
// text also plays the other JSON files, so that their readers meet it too. What is accepted is
// quantised as well.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "domain/model/internal/fuzz_use.h"
#include "domain/model/internal/mlx_config.h"
#include "domain/model/internal/plain_weights.h"
#include "domain/model/internal/readers.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pensieve;
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto end = std::find(bytes.begin(), bytes.end(), std::byte{0});
  const auto config_size = static_cast<std::size_t>(end - bytes.begin());
  std::vector<std::byte> file;  // of its own, aligned as a mapping would be
  if (end != bytes.end()) file.assign(end + 1, bytes.end());
  model::MlxParts parts;
  parts.name = "fuzz";
  parts.config.assign(reinterpret_cast<const char*>(data), config_size);
  static_cast<void>(model::parse_tokenizer_config(parts.config));
  if (auto names = model::parse_shard_names(parts.config)) {
    for (const std::string& name : *names) CHECK(name.find('/') == std::string::npos);
  }
  parts.generation_config = parts.config;
  parts.shards.push_back({.name = "model.safetensors", .bytes = file});
  Accountant accountant;  // outlives the model
  auto model = model::read_mlx_model(std::move(parts));
  if (model) {
    model::use(**model);
    CHECK(model::quantize_plain(**model, {.plain = model::PlainWeights::Q8}, accountant));
    model::use(**model);
  } else {
    CHECK(model.error().kind == ErrorKind::BadFile && !model.error().message.empty());
  }
  return 0;
}
