// The files that one GGUF model may be split over, by their names: NAME-00001-of-00003.gguf to
// NAME-00003-of-00003.gguf, as llama.cpp's gguf-split writes them. Knows names alone.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pensieve::model {

inline constexpr int kMaxGgufShards = 1'000;

struct GgufShardName {
  std::string model;  // what stands before the numbers
  int number = 0;     // from 1 to count
  int count = 0;      // up to kMaxGgufShards
};

// What a file's name says, or nothing where it is no shard's name.
std::optional<GgufShardName> parse_gguf_shard_name(std::string_view file);

// The names of all files of that model, in order.
std::vector<std::string> gguf_shard_names(const GgufShardName& any);

}  // namespace pensieve::model
