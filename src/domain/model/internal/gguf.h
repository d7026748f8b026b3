// The GGUF container, versions 2 and 3: header, typed key-value pairs, tensor descriptions. Nothing
// is copied: values and tensors are views of the file's bytes, and every length has been checked
// against them. Knows no architecture. Layout: docs/formats/weights.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "foundation/result.h"

#include "domain/compute/weights.h"

namespace pensieve::model {

enum class GgufType : std::uint32_t {
  U8,
  I8,
  U16,
  I16,
  U32,
  I32,
  F32,
  Bool,
  String,
  Array,
  U64,
  I64,
  F64
};
inline constexpr std::uint32_t kGgufTypes = 13;
std::string_view to_string(GgufType type);

// One key-value pair. `bytes` is the number, the text, or the elements of the array one after
// another (strings as they stand in the file, each behind its 64-bit length).
struct GgufValue {
  std::string_view key;
  std::uint64_t offset = 0;  // of the pair, in the file
  GgufType type = GgufType::U8;
  GgufType element = GgufType::U8;  // of an array
  std::uint64_t count = 0;          // of an array
  std::span<const std::byte> bytes;

  // The value if it has that kind; whole numbers of any width and sign count as integers.
  std::optional<std::int64_t> integer() const;  // nothing above 2^63 - 1
  std::optional<double> real() const;           // F32 and F64
  std::optional<bool> boolean() const;
  std::optional<std::string_view> text() const;
  bool is_array_of(GgufType wanted) const { return type == GgufType::Array && element == wanted; }
  // REQUIRES: is_array_of(GgufType::String).
  std::vector<std::string_view> texts() const;

  // For a person: strings escaped and cut, arrays with their length and first elements.
  std::string printed() const;
};

struct GgufTensor {
  std::string_view name;
  std::uint64_t info_offset = 0;  // of its description, in the file
  compute::WeightType type = compute::WeightType::F32;
  int n_dims = 0;
  std::array<std::uint64_t, 4> dims{1, 1, 1, 1};  // the file's order: the row's length comes first
  std::uint64_t begin = 0;                        // of its data, in the file
  std::uint64_t bytes = 0;
};

struct Gguf {
  std::uint32_t version = 0;
  std::uint64_t data_begin = 0;  // everything before is header
  std::vector<GgufValue> values;
  std::vector<GgufTensor> tensors;
  std::unordered_map<std::string_view, std::size_t> value_index, tensor_index;

  const GgufValue* value(std::string_view key) const;
  const GgufTensor* tensor(std::string_view name) const;
};

// Bounds, beside those that the file's own length gives.
inline constexpr std::uint64_t kMaxGgufKeys = 65'536;
inline constexpr std::uint64_t kMaxGgufTensors = 65'536;
inline constexpr std::uint64_t kMaxGgufKeyBytes = 65'535;
inline constexpr std::uint64_t kMaxGgufNameBytes = 64;
inline constexpr std::uint32_t kMaxGgufAlignment = 65'536;

// Errors: BadFile, one sentence with the key or tensor and the byte. Refused: a magic or version
// that is not ours, a count or length beyond the file, arrays of arrays, duplicate keys or names,
// an alignment that is no power of two from 8 on, tensor types outside WeightType, sizes that do
// not fit 64 bits, data that is misplaced, overlaps or lies beyond the end.
// Time and memory grow with the bytes read, never with a number they claim. No recursion.
Result<Gguf> parse_gguf(std::span<const std::byte> file);

}  // namespace pensieve::model
