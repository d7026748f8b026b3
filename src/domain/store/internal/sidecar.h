// What lies beside a file that is not all there (NAME.part.json): enough to go on where a process
// was killed or the power failed, and to know when not to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "foundation/directory.h"

namespace pensieve::store {

struct Sidecar {
  std::string url{};                     // of the first hop
  std::string etag{};                    // strong, or empty
  std::optional<std::uint64_t> total{};  // bytes, as promised
  std::string sha256{};                  // expected; empty: nobody said
  std::uint64_t synced = 0;              // so many bytes of NAME.part are on the disk
};

// Nothing for a sidecar that is missing or makes no sense: then the download starts from 0.
std::optional<Sidecar> read_sidecar(const Directory& directory, const std::string& name);
Result<void> write_sidecar(const Directory& directory,
                           const std::string& name,
                           const Sidecar& sidecar);

}  // namespace pensieve::store
