#include "domain/model/internal/gguf_shards.h"

#include <array>
#include <cstdio>

namespace pensieve::model {
namespace {

constexpr std::string_view kEnding = ".gguf";
constexpr std::string_view kOf = "-of-";
constexpr std::size_t kDigits = 5;

// Takes exactly five digits from the end of `text`.
std::optional<int> take_number(std::string_view& text) {
  if (text.size() < kDigits) return std::nullopt;
  int number = 0;
  for (const char c : text.substr(text.size() - kDigits)) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + (c - '0');
  }
  text.remove_suffix(kDigits);
  return number;
}

bool take(std::string_view& text, std::string_view ending) {
  if (!text.ends_with(ending)) return false;
  text.remove_suffix(ending.size());
  return true;
}

}  // namespace

std::optional<GgufShardName> parse_gguf_shard_name(std::string_view file) {
  if (!take(file, kEnding)) return std::nullopt;
  const auto count = take_number(file);
  if (!count || !take(file, kOf)) return std::nullopt;
  const auto number = take_number(file);
  if (!number || !take(file, "-") || file.empty()) return std::nullopt;
  if (*count > kMaxGgufShards || *number < 1 || *number > *count) return std::nullopt;
  return GgufShardName{.model = std::string(file), .number = *number, .count = *count};
}

std::vector<std::string> gguf_shard_names(const GgufShardName& any) {
  std::vector<std::string> names;
  for (int i = 1; i <= any.count; ++i) {
    std::array<char, 32> numbers{};
    std::snprintf(numbers.data(), numbers.size(), "-%05d-of-%05d.gguf", i, any.count);
    names.push_back(any.model + numbers.data());
  }
  return names;
}

}  // namespace pensieve::model
