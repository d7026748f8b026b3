// A model from a hub or a URL into the store: asks what there is, checks that there is room,
// fetches file by file, verifies, and lets the whole take its name at once.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "foundation/result.h"

#include "domain/store/fetch.h"
#include "domain/store/store.h"

namespace pensieve::store {

struct PullRequest {
  std::string name{};        // in the store
  std::string hub_url{};     // without a slash at the end
  std::string repository{};  // "owner/name"; empty: `url`
  std::string revision = "main";
  std::string file{};  // a GGUF file; empty: the model's files, see is_needed()
  std::string url{};
  std::string sha256{};  // of the file at `url`, if the user knows it
  std::string token{};   // for the hub alone
  bool force = false;    // fetch although it is here; the old one stays until the new one is whole
  bool patient = true;   // several tries to reach the hub; else one
  bool allow_private = false;  // redirects may lead into private networks
};

struct PullHooks {
  WorkHooks work;  // progress counts all files; wait and stopped are needed, as for DownloadHooks
  Fetch fetch;
  std::function<void(const std::string& name, std::uint64_t bytes)>
      begin;  // once what comes is known
  std::uint64_t sync_every_bytes = std::uint64_t{64} << 20;
};

struct Pulled {
  Manifest manifest;
  bool was_here = false;  // nothing was fetched
};

// Blocks until the model is here. A second process that wants the same one waits and then finds it.
// Errors, each with a sentence for the user; what has come is kept unless it says otherwise:
// InvalidRequest (before the first look at a file), Unavailable (the network, the hub, a full disk:
// "need X, have Y"), NotFound, Permission, DigestMismatch, Cancelled, Internal.
Result<Pulled> pull(const Store& store, const PullRequest& request, const PullHooks& hooks);

}  // namespace pensieve::store
