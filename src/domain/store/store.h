// The models in the home directory: models/NAME/ holds a model's files and a manifest that says
// where they are from and what their digests are. A model that is there is whole and was verified;
// what is on its way lies beside it, under a hidden name. Any number of processes may use one
// store: whoever changes a model holds its lock. Knows files. Must not know what the files mean.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "foundation/result.h"

namespace pensieve::store {

struct FileRecord {
  std::string name{};
  std::uint64_t bytes = 0;
  std::string sha256{};
  std::int64_t changed_ns = 0;  // modification time when the digest was last computed
};

struct Manifest {
  std::string name{};
  std::string source{};    // "hub:OWNER/NAME", a URL without its query, or "import:PATH"
  std::string revision{};  // the hub's commit; empty: not from a hub
  std::int64_t fetched_unix_s = 0;
  std::int64_t verified_unix_s = 0;  // when every digest was last computed
  std::vector<FileRecord> files{};

  std::uint64_t bytes() const;
};

// How long work tells about itself and lets itself be stopped. Any may be empty.
struct WorkHooks {
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress{};
  // Instead of progress() for bytes that nobody waited for: they were here.
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> kept{};
  std::function<bool()> stopped{};                 // true: end with Cancelled
  std::function<bool(std::int64_t ms)> wait{};     // false: told to stop meanwhile
  std::function<void(const std::string&)> note{};  // a sentence for the user
};

class Store {
 public:
  // The store of a home directory, `home`/models. Makes nothing.
  explicit Store(std::string home);

  // The names of all models here, damaged ones too: find() says what is wrong with one. In order.
  // An absent store is empty.
  std::vector<std::string> names() const;
  // Those of them whose manifest can be read.
  std::vector<Manifest> list() const;
  // Whether every file of a model is there and has its length. Computes no digest.
  bool is_complete(const Manifest& manifest) const;

  // What was begun and is not here, by name, with the bytes that lie there. What another process
  // fetches at this moment is among it.
  struct Partial {
    std::string name{};
    std::uint64_t bytes = 0;
  };
  std::vector<Partial> partials() const;

  // Errors: InvalidRequest for what is no name, before any file is looked at; NotFound; BadFile.
  Result<Manifest> find(const std::string& name) const;

  // Where the model opens: its only GGUF file, else its directory. Errors: as find().
  Result<std::string> path(const std::string& name) const;

  // find(), and that its files are the ones of the manifest: by length and modification time, and
  // by the digest again where these differ. Errors: DigestMismatch with both digests; as find().
  Result<Manifest> check(const std::string& name, const WorkHooks& hooks) const;

  // Computes every digest, and notes when. Errors: as check(), and Cancelled.
  Result<Manifest> verify(const std::string& name, const WorkHooks& hooks) const;

  // Gives the bytes that became free, a partial download's among them. Errors: NotFound when there
  // is neither; InvalidRequest, also for what lies there and is not the store's; Internal.
  Result<std::uint64_t> remove(const std::string& name, const WorkHooks& hooks) const;

  // Copies a GGUF file (with the shards that belong to it), or the model files of a directory, into
  // the store under `name`; a file's own name is made plain_name() where it has to. Errors:
  // InvalidRequest for a name that is taken or none, and for a directory of several GGUF models;
  // NotFound; Unavailable for a full disk; Cancelled. Nothing appears unless it is whole.
  Result<Manifest> import(const std::string& from,
                          const std::string& name,
                          const WorkHooks& hooks) const;

  const std::string& models() const { return models_; }

 private:
  std::string models_{};
};

}  // namespace pensieve::store
