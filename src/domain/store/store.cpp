#include "domain/store/store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <functional>
#include <system_error>
#include <utility>

#include "foundation/directory.h"
#include "foundation/text.h"

#include "domain/store/internal/digest.h"
#include "domain/store/internal/disk_room.h"
#include "domain/store/internal/manifest.h"
#include "domain/store/internal/place.h"
#include "domain/store/names.h"

namespace pensieve::store {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 20;

Result<void> check_name(const std::string& name) {
  if (is_model_name(name)) return {};
  if (name == "tiny" || name == "default") {
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message = name == "tiny"
                                ? "'tiny' is inside the program: the store has no files of it"
                                : "'default' is what you put there yourself: the store "
                                  "leaves it alone"};
  }
  return Error{.kind = ErrorKind::InvalidRequest,
               .message = "'" + printable(name) +
                          "' cannot be a model's name: letters, digits, '.', '_' and '-' can, at "
                          "most 100, none of the signs in front"};
}

Error not_here(const std::string& name) {
  return {.kind = ErrorKind::NotFound,
          .message = "there is no model " + name +
                     " here: `pensieve model list` shows what is and what can be fetched"};
}

// Reads a file piece by piece; `use` may fail.
Result<void> for_each_piece(const Handle& file,
                            const std::string& path,
                            const WorkHooks& hooks,
                            const std::function<Result<void>(std::span<const std::byte>)>& use) {
  std::vector<std::byte> bytes(kPiece);
  while (true) {
    if (hooks.stopped && hooks.stopped()) {
      return Error{.kind = ErrorKind::Cancelled, .message = "stopped"};
    }
    const auto n = ::read(file.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error(path, "cannot be read");
    if (n == 0) return {};
    PENSIEVE_TRY(use(std::span(bytes).first(static_cast<std::size_t>(n))));
  }
}

Result<std::string> digest_of(const Directory& model,
                              const std::string& name,
                              const WorkHooks& hooks,
                              const std::function<void(std::uint64_t)>& progress) {
  PENSIEVE_TRY(const Handle file, model.open_to_read(name));
  Digest digest;
  PENSIEVE_TRY(for_each_piece(
      file, model.path_of(name), hooks, [&](std::span<const std::byte> bytes) -> Result<void> {
        digest.update(bytes);
        if (progress) progress(bytes.size());
        return {};
      }));
  return digest.finish().sha256;
}

// Computes the digests of the files that `wanted` picks and compares them; true if any was
// computed.
Result<bool> compare(const Directory& model,
                     Manifest& manifest,
                     const WorkHooks& hooks,
                     const std::function<bool(const FileRecord&, const FileStatus&)>& wanted) {
  bool computed = false;
  std::uint64_t done = 0;
  for (FileRecord& file : manifest.files) {
    const auto status = model.status(file.name);
    if (!status || !status->regular) {
      return Error{.kind = ErrorKind::BadFile,
                   .message = model.path_of(file.name) + " is missing: `pensieve model pull " +
                              manifest.name + " --force` fetches it again"};
    }
    if (!wanted(file, *status)) {
      done += file.bytes;
      continue;
    }
    computed = true;
    PENSIEVE_TRY(const std::string sha256, digest_of(model, file.name, hooks, [&](std::uint64_t n) {
                   done += n;
                   if (hooks.progress) hooks.progress(done, manifest.bytes());
                 }));
    if (sha256 != file.sha256) {
      return Error{.kind = ErrorKind::DigestMismatch,
                   .message = model.path_of(file.name) + " has changed: expected SHA-256 " +
                              file.sha256 + ", got " + sha256 + "; `pensieve model pull " +
                              manifest.name + " --force` fetches it again"};
    }
    file.changed_ns = status->changed_ns;
  }
  return computed;
}

std::uint64_t bytes_in(const Directory& models, const std::string& name) {
  std::uint64_t bytes = 0;
  const auto directory = Directory::open(models.path_of(name), false);
  if (!directory) return 0;
  const auto names = directory->names();
  if (!names) return 0;
  for (const std::string& file : *names) {
    if (const auto status = directory->status(file)) bytes += status->bytes;
  }
  return bytes;
}

// What is stored under another name than it had: "My model (1).gguf" as "My-model-1.gguf".
std::string storable(const std::string& name) {
  const std::string stem = plain_name(name.substr(0, name.rfind('.')));
  return is_file_name(name) || stem.empty() ? name : stem + ".gguf";
}

std::vector<std::string> names_in(const std::filesystem::path& directory, std::error_code& error) {
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end;
       at.increment(error))
    names.push_back(at->path().filename().string());
  return names;
}

struct ToCopy {
  std::string path, name;
  std::uint64_t bytes = 0;
};

// The files of a model that somebody has: itself and the shards that belong to it, or those of the
// directory that a model needs.
Result<std::vector<ToCopy>> files_of(const std::string& from) {
  std::error_code error;
  std::filesystem::path root(from);
  const auto status = std::filesystem::status(root, error);  // links are the user's own choice here
  if (error || !std::filesystem::exists(status)) {
    return Error{.kind = ErrorKind::NotFound, .message = from + " is not there"};
  }
  std::vector<ToCopy> files;
  const auto add = [&](const std::filesystem::path& path) {
    const auto bytes = std::filesystem::file_size(path, error);
    if (!error) files.push_back({path.string(), path.filename().string(), bytes});
  };
  const auto is_shard = [](const std::filesystem::path& path) {
    return shard_set(path.filename().string()) != path.filename().string();
  };
  // A link may have a name of its own; the shards lie where it leads.
  if (const auto real = std::filesystem::canonical(root, error); !error && is_shard(real))
    root = real;
  const bool is_directory = std::filesystem::is_directory(status);
  if (is_directory || is_shard(root)) {
    const auto directory = is_directory ? root : root.parent_path();
    const auto names = files_of_model(names_in(directory, error),
                                      is_directory ? std::string() : root.filename().string());
    if (are_several_ggufs(names)) {
      return Error{.kind = ErrorKind::InvalidRequest,
                   .message = "the directory holds several GGUF models; name one file of it"};
    }
    for (const std::string& name : names) add(directory / name);
  } else {
    add(root);
  }
  for (ToCopy& file : files)
    if (file.name.ends_with(".gguf")) file.name = storable(file.name);
  if (error) {
    return Error{.kind = ErrorKind::NotFound, .message = from + ": " + error.message()};
  }
  std::sort(
      files.begin(), files.end(), [](const ToCopy& a, const ToCopy& b) { return a.name < b.name; });
  for (const ToCopy& file : files) {
    if (!is_file_name(file.name)) {
      return Error{.kind = ErrorKind::InvalidRequest,
                   .message = "the file name '" + printable(file.name) +
                              "' cannot stand in the store: letters, digits, '.', '_' and '-' can"};
    }
  }
  return files;
}

Result<FileRecord> copy(const ToCopy& file,
                        const Directory& staging,
                        const WorkHooks& hooks,
                        const std::function<void(std::uint64_t)>& progress) {
  const Handle from(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!from.open()) return system_error(file.path, "cannot be opened");
  PENSIEVE_TRY(const Handle to, staging.open_to_write(file.name));
  FileRecord record{.name = file.name};
  Digest digest;
  PENSIEVE_TRY(
      for_each_piece(from, file.path, hooks, [&](std::span<const std::byte> bytes) -> Result<void> {
        PENSIEVE_TRY(write_all(to, bytes, staging.path_of(file.name)));
        digest.update(bytes);
        record.bytes += bytes.size();
        progress(bytes.size());
        return {};
      }));
  PENSIEVE_TRY(sync_file(to, staging.path_of(file.name)));
  record.sha256 = digest.finish().sha256;
  if (const auto status = staging.status(file.name)) record.changed_ns = status->changed_ns;
  return record;
}

}  // namespace

std::uint64_t Manifest::bytes() const {
  std::uint64_t sum = 0;
  for (const FileRecord& file : files) sum += file.bytes;
  return sum;
}

Store::Store(std::string home) : models_(std::move(home) + "/models") {}

std::vector<std::string> Store::names() const {
  std::vector<std::string> found;
  const auto models = Directory::open(models_, false, true);
  if (!models) return found;
  const auto names = models->names();
  if (!names) return found;
  for (const std::string& name : *names) {
    if (!is_model_name(name)) continue;
    const auto model = Directory::open(models->path_of(name), false);
    if (model && model->status(kManifestFile)) found.push_back(name);
  }
  return found;
}

std::vector<Manifest> Store::list() const {
  std::vector<Manifest> found;
  for (const std::string& name : names()) {
    if (auto manifest = find(name)) found.push_back(*std::move(manifest));
  }
  return found;
}

bool Store::is_complete(const Manifest& manifest) const {
  const auto model = Directory::open(models_ + "/" + manifest.name, false);
  return model &&
         std::all_of(manifest.files.begin(), manifest.files.end(), [&](const FileRecord& file) {
           const auto status = model->status(file.name);
           return status && status->regular && status->bytes == file.bytes;
         });
}

std::vector<Store::Partial> Store::partials() const {
  std::vector<Partial> found;
  const auto models = Directory::open(models_, false, true);
  if (!models) return found;
  const auto names = models->names();
  if (!names) return found;
  for (const std::string& staging : *names) {
    const std::string name = name_of_staging(staging);
    if (!is_model_name(name) || find(name)) continue;
    found.push_back({.name = name, .bytes = bytes_in(*models, staging)});
  }
  return found;
}

Result<Manifest> Store::find(const std::string& name) const {
  PENSIEVE_TRY(check_name(name));
  const auto model = Directory::open(models_ + "/" + name, false);
  if (!model) return not_here(name);
  auto manifest = read_manifest(*model);
  if (!manifest && manifest.error().kind == ErrorKind::NotFound) return not_here(name);
  if (manifest && manifest->name != name) {
    return Error{.kind = ErrorKind::BadFile,
                 .message = model->path_of(kManifestFile) + " is about another model"};
  }
  return manifest;
}

Result<std::string> Store::path(const std::string& name) const {
  PENSIEVE_TRY(const Manifest manifest, find(name));
  const std::string directory = models_ + "/" + name;
  for (const FileRecord& file : manifest.files) {
    if (file.name.ends_with(".gguf")) return directory + "/" + file.name;
  }
  return directory;
}

Result<Manifest> Store::check(const std::string& name, const WorkHooks& hooks) const {
  PENSIEVE_TRY(Manifest manifest, find(name));
  PENSIEVE_TRY(const Directory model, Directory::open(models_ + "/" + name, false));
  const auto changed = [](const FileRecord& file, const FileStatus& status) {
    return status.bytes != file.bytes || status.changed_ns != file.changed_ns;
  };
  PENSIEVE_TRY(const bool computed, compare(model, manifest, hooks, changed));
  if (computed) {
    // Copied to another disk, say. A store that cannot be written only means to look again next
    // time.
    if (auto noted = write_manifest(model, manifest); !noted && hooks.note) {
      hooks.note(noted.error().message);
    }
  }
  return manifest;
}

Result<Manifest> Store::verify(const std::string& name, const WorkHooks& hooks) const {
  PENSIEVE_TRY(find(name));
  PENSIEVE_TRY(const Directory models, open_models(models_));
  PENSIEVE_TRY(const ModelLock lock, ModelLock::take(models, name, hooks));
  PENSIEVE_TRY(Manifest manifest, find(name));
  PENSIEVE_TRY(const Directory model, Directory::open(models_ + "/" + name, false));
  PENSIEVE_TRY(
      compare(model, manifest, hooks, [](const FileRecord&, const FileStatus&) { return true; }));
  manifest.verified_unix_s = std::time(nullptr);
  PENSIEVE_TRY(write_manifest(model, manifest));
  return manifest;
}

Result<std::uint64_t> Store::remove(const std::string& name, const WorkHooks& hooks) const {
  PENSIEVE_TRY(check_name(name));
  const auto models = Directory::open(models_, false, true);
  if (!models) return not_here(name);
  const std::string staging = staging_name(name);
  if (!models->status(name) && !models->status(staging)) return not_here(name);
  PENSIEVE_TRY(const ModelLock lock, ModelLock::take(*models, name, hooks));
  recover(*models, name);
  PENSIEVE_TRY(check_not_foreign(*models, name));
  std::uint64_t bytes = bytes_in(*models, staging);
  models->remove_tree(staging);
  if (models->status(name)) {
    bytes += bytes_in(*models, name);
    // Out of sight first: a crash leaves something hidden, never half a model under its name.
    PENSIEVE_TRY(models->rename(name, staging));
    models->remove_tree(staging);
  }
  PENSIEVE_TRY(models->sync());
  return bytes;
}

Result<Manifest> Store::import(const std::string& from,
                               const std::string& name,
                               const WorkHooks& hooks) const {
  PENSIEVE_TRY(check_name(name));
  PENSIEVE_TRY(const std::vector<ToCopy> files, files_of(from));
  PENSIEVE_TRY(const Directory models, open_models(models_));
  PENSIEVE_TRY(const ModelLock lock, ModelLock::take(models, name, hooks));
  recover(models, name);
  if (models.status(name)) {
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message = "there is a model " + name +
                            " already: give another one with --name, "
                            "or `pensieve model remove " +
                            name + "` first"};
  }
  std::uint64_t total = 0;
  std::uint64_t done = 0;
  for (const ToCopy& file : files) total += file.bytes;
  if (const auto free = models.free_bytes(); free && total > *free) {
    return not_enough_room(models_, total, *free);
  }
  const std::string staging_directory = staging_name(name);
  models.remove_tree(staging_directory);
  PENSIEVE_TRY(const Directory staging, Directory::open(models.path_of(staging_directory), true));
  Manifest manifest{.name = name, .source = "import:" + from, .revision = {}};
  manifest.fetched_unix_s = manifest.verified_unix_s = std::time(nullptr);
  const auto copied = [&]() -> Result<void> {
    for (const ToCopy& file : files) {
      PENSIEVE_TRY(FileRecord record, copy(file, staging, hooks, [&](std::uint64_t n) {
                     done += n;
                     if (hooks.progress) hooks.progress(done, total);
                   }));
      manifest.files.push_back(std::move(record));
    }
    return install(models, staging, manifest);
  }();
  if (!copied) {
    models.remove_tree(staging_directory);
    return explain_full_disk(models, total, copied.error());
  }
  return manifest;
}

}  // namespace pensieve::store
