// What the store knows about a model: manifest.json beside its files. See
// docs/formats/model-store.md.
#pragma once

#include <string>

#include "foundation/directory.h"
#include "foundation/result.h"

#include "domain/store/store.h"

namespace pensieve::store {

inline constexpr const char* kManifestFile = "manifest.json";

// Errors: NotFound when there is none; BadFile when it makes no sense or names what may not be
// named.
Result<Manifest> read_manifest(const Directory& model);
Result<void> write_manifest(const Directory& model, const Manifest& manifest);

}  // namespace pensieve::store
