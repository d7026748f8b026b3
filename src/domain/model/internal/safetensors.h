// The safetensors container: an 8-byte header length, a JSON header, the data. Knows nothing of
// models. Layout: docs/formats/weights.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "foundation/result.h"

namespace pensieve::model {

// The element types of the format that weights are made of; any other one is only carried along.
enum class SafetensorsType : std::uint8_t { F32, F16, BF16, U32, Other };

struct SafetensorsTensor {
  std::string name;
  std::uint64_t entry_offset = 0;  // of its entry in the header, in the file
  SafetensorsType type = SafetensorsType::Other;
  std::string type_name;  // as the file writes it: "BF16"
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0;  // of its data, in the file
  std::uint64_t bytes = 0;
};

struct Safetensors {
  std::uint64_t data_begin = 0;            // everything before is header
  std::vector<SafetensorsTensor> tensors;  // in the order of their data
  std::vector<std::pair<std::string, std::string>> metadata;
};

inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;
inline constexpr std::size_t kMaxSafetensorsTensors = 200'000;
inline constexpr std::size_t kMaxSafetensorsDims = 8;
inline constexpr std::size_t kMaxSafetensorsMetadata = 1'000;

// Errors: BadFile, one sentence with the tensor or the byte. Refused: a header that is longer than
// the file or the bound, is no JSON of exactly that shape, or names a tensor twice; a shape whose
// product or byte count does not fit 64 bits or differs from its data range; data ranges that
// overlap, leave a gap or go beyond the end.
// Time is O(n log n) in the header's length; memory grows with bytes read, not with claims.
Result<Safetensors> parse_safetensors(std::span<const std::byte> file);

}  // namespace pensieve::model
