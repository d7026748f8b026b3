// What lies beside a file that is not all there (NAME.part.json): enough to go on where a process
// was killed or the power failed, and to know when not to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "foundation/directory.h"

namespace pensieve::store {

// Whether `etag` is a strong entity tag that can be sent back as it came: quoted printable ASCII
// (RFC 9110, 8.8.3; what it allows beyond ASCII has no sure spelling in JSON).
bool is_strong_tag(std::string_view etag);

struct Sidecar {
  std::string url{};                     // of the first hop
  std::string etag{};                    // is_strong_tag(), or empty
  std::optional<std::uint64_t> total{};  // bytes, as promised
  std::string sha256{};                  // expected; empty: nobody said
  std::uint64_t synced = 0;              // so many bytes of NAME.part are on the disk
};

// Nothing for a text that makes no sense.
std::optional<Sidecar> parse_sidecar(std::string_view text);
std::string sidecar_text(const Sidecar& sidecar);

// Nothing for a sidecar that is missing or makes no sense: then the download starts from 0.
std::optional<Sidecar> read_sidecar(const Directory& directory, const std::string& name);
Result<void> write_sidecar(const Directory& directory,
                           const std::string& name,
                           const Sidecar& sidecar);

}  // namespace pensieve::store
