// A model hub: which files a repository holds at a revision, and where each is. Source: the hub's
// API, GET /api/models/OWNER/NAME/revision/REVISION?blobs=true, and
// /OWNER/NAME/resolve/COMMIT/FILE.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/result.h"

#include "domain/store/fetch.h"
#include "domain/store/internal/file_download.h"

namespace pensieve::store {

struct HubFile {
  std::string name{};
  std::uint64_t bytes = 0;
  std::string sha256{};    // of a large file; empty for a small one
  std::string git_blob{};  // of a small one
};

struct HubListing {
  std::string commit{};
  std::vector<HubFile> files{};  // those a model needs, by name
};

// Picks from the API's answer what `file` names, or, when it is empty, what is_needed() says: the
// safetensors and what belongs to them, else the only GGUF file. Errors: Unavailable for an answer
// that makes no sense or names what may not be named; NotFound when the repository has no such
// model; InvalidRequest when there are several GGUF files, with their names.
Result<HubListing> parse_listing(std::string_view json, const std::string& file);

// Asks the hub. `tries` in all. Errors: as parse_listing(), Unavailable when it cannot be reached,
// NotFound, Permission, Cancelled.
Result<HubListing> list_repository(const std::string& hub_url,
                                   const std::string& repository,
                                   const std::string& revision,
                                   const std::string& file,
                                   const std::string& bearer,
                                   const DownloadHooks& hooks,
                                   int tries);

}  // namespace pensieve::store
