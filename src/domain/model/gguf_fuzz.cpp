// Any bytes as a GGUF image: refused with a BadFile sentence, or a model whose every view can be
// read. What follows a second magic number is a second file of the same model, and so on. Seeds:
// small models of several block types, with and without LongRoPE, in one file and in three.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "domain/model/internal/cursor.h"
#include "domain/model/internal/fuzz_use.h"
#include "domain/model/internal/gguf_shards.h"
#include "domain/model/internal/readers.h"
#include "domain/model/model_file.h"

namespace {

using namespace pensieve;

template <typename Model>
void check(const Result<std::unique_ptr<Model>>& model) {
  if (model) {
    model::use(**model);
  } else {
    CHECK(model.error().kind == ErrorKind::BadFile && !model.error().message.empty());
  }
}

// Each part has memory of its own, aligned as a mapping would be.
void read_parts(std::span<const std::byte> bytes) {
  constexpr std::size_t kMaxParts = 4;
  const std::string_view text = model::as_text(bytes);
  std::vector<std::vector<std::byte>> memory;
  std::size_t begin = 0;
  while (memory.size() < kMaxParts && begin < bytes.size()) {
    const std::size_t end = std::min(text.find("GGUF", begin + 4), bytes.size());
    const auto part = bytes.subspan(begin, end - begin);
    memory.emplace_back(part.begin(), part.end());
    begin = end;
  }
  if (memory.size() < 2) return;
  const model::GgufShardName any{
      .model = "fuzz", .number = 1, .count = static_cast<int>(memory.size())};
  const auto names = model::gguf_shard_names(any);
  std::vector<model::ModelPart> parts;
  for (std::size_t i = 0; i < memory.size(); ++i) {
    parts.push_back({.name = names[i], .bytes = memory[i]});
  }
  check(model::read_gguf_model(parts, "fuzz"));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Accountant accountant;
  const auto bytes = std::as_bytes(std::span(data, size));
  check(model::ModelFile::from_memory(bytes, "fuzz", accountant));
  read_parts(bytes);
  const auto name =
      model::parse_gguf_shard_name(model::as_text(bytes.first(std::min<std::size_t>(size, 64))));
  if (name) CHECK(model::gguf_shard_names(*name).size() == static_cast<std::size_t>(name->count));
  return 0;
}
