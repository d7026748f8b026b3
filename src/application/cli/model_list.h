// What `pensieve model list` says: the models that are here and those that can be fetched, and what
// each of them could do on this machine. Arithmetic and text; knows no files and no network.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "foundation/system_memory.h"

namespace pensieve::cli {

// A model of the catalog, of the store, or of both.
struct ModelRow {
  std::string name{}, repository{};
  std::string note{};  // what it is good for, or where it is from
  std::string path{};  // empty: not here
  bool here = false;
  bool damaged = false;     // here, but a file is missing or cut, or the manifest cannot be read
  std::uint64_t bytes = 0;  // its files', here or on the hub; 0: not known
  std::uint64_t partial_bytes = 0;       // fetched of it so far, when it is not here
  std::uint64_t kv_bytes_per_token = 0;  // 0: not known
  int context_length = 0;                // the model's own, in tokens
  bool is_default = false;               // what `pensieve` serves
};

struct ModelFit {
  enum class Kind {
    Unknown,  // of the model or of the machine
    Yes,      // kUsefulWindow or all of its own length, and 3 GiB stay available to other programs
    Tight,    // it runs, with a smaller window or with less left for others
    No,       // not even kSmallestWindow
  };
  Kind kind = Kind::Unknown;
  int window_tokens = 0;  // serving it would choose that or a little more; 0: No, Unknown
};
inline constexpr int kUsefulWindow = 16'384;
inline constexpr int kSmallestWindow = 4'096;

ModelFit fit_of(const ModelRow& row, const SystemMemory& memory);

// "yes", "tight", "no", "unknown"
std::string_view to_string(ModelFit::Kind kind);

// A table with a line before and an explanation behind it. `columns`: of the terminal, at least 80
// are used; 0: no terminal, as wide as it needs to be.
std::string list_text(std::span<const ModelRow> rows, const SystemMemory& memory, int columns);

// An object: available_bytes, and the models with their numbers.
std::string list_json(std::span<const ModelRow> rows, const SystemMemory& memory);

}  // namespace pensieve::cli
