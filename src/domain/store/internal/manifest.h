// What the store knows about a model: manifest.json beside its files. See
// docs/formats/model-store.md.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "foundation/directory.h"
#include "foundation/result.h"

#include "domain/store/store.h"

namespace pensieve::store {

inline constexpr const char* kManifestFile = "manifest.json";

// Nothing for a text that is no manifest, or that names what may not be named, or a file twice.
std::optional<Manifest> parse_manifest(std::string_view text);
std::string manifest_text(const Manifest& manifest);

// Errors: NotFound when there is none; BadFile when it makes no sense or names what may not be
// named.
Result<Manifest> read_manifest(const Directory& model);
Result<void> write_manifest(const Directory& model, const Manifest& manifest);

}  // namespace pensieve::store
