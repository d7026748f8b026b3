// One file from a URL into a directory, whatever the network and the disk do meanwhile. The file
// appears under its name only when it is whole, verified and on the disk; until then it is
// NAME.part with its sidecar NAME.part.json, from which a later call goes on.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "foundation/directory.h"
#include "foundation/result.h"

#include "domain/store/fetch.h"

namespace pensieve::store {

struct FileSource {
  std::string url{};
  std::string bearer{};                 // for the URL's own origin
  std::optional<std::uint64_t> size{};  // expected; nothing: whatever the response promises
  std::string sha256{};                 // expected; empty: unknown, unless the response says it
  std::string git_blob{};               // expected; empty: unknown
  std::string commit{};                 // expected in x-repo-commit, if that is sent; empty: any
};

struct DownloadHooks {
  Fetch fetch;
  // Waits; false when it was told to stop meanwhile.
  std::function<bool(std::int64_t ms)> wait;
  std::function<bool()> stopped;
  std::function<void(std::uint64_t bytes)> progress;  // of this file, with each piece
  // Instead of progress() for what was not fetched now: at the beginning, and when it begins anew.
  // May be empty.
  std::function<void(std::uint64_t bytes)> kept{};
  std::function<void(const std::string&)> note;  // a sentence about a retry
  bool allow_private = false;                    // redirects may lead into private networks
  std::uint64_t sync_every_bytes = std::uint64_t{64} << 20;
  int max_tries = 6;  // without a MiB of progress in between
};

struct Downloaded {
  std::uint64_t bytes = 0;
  std::string sha256{};
};

// Goes on from what is there, else begins. `name` is checked by is_file_name(). Errors, each with a
// sentence for the user:
//   Cancelled         stopped() said so; what has come is kept
//   Unavailable       the network or the server, after all tries; or the disk is full, with how
//   much
//                     it takes and how much there is; kept
//   NotFound, Permission   the server's own answer
//   DigestMismatch    the whole file has another digest; kept as NAME.rejected, never used
//   Internal          the disk
Result<Downloaded> download_file(const Directory& directory,
                                 const std::string& name,
                                 const FileSource& source,
                                 const DownloadHooks& hooks);

// How many bytes of `name` need not be fetched again. Same checks as download_file() makes.
std::uint64_t kept_bytes(const Directory& directory,
                         const std::string& name,
                         const FileSource& source);

}  // namespace pensieve::store
