#include "domain/store/pull.h"

#include <algorithm>
#include <ctime>
#include <utility>
#include <vector>

#include "foundation/text.h"

#include "domain/store/internal/digest.h"
#include "domain/store/internal/disk_room.h"
#include "domain/store/internal/file_download.h"
#include "domain/store/internal/follow.h"
#include "domain/store/internal/hub.h"
#include "domain/store/internal/place.h"
#include "domain/store/names.h"

namespace pensieve::store {
namespace {

constexpr std::uint64_t kRoomForNames = 64 * 1024;  // a manifest and the directory entries

struct Planned {
  std::string name;
  FileSource source;
};

struct Plan {
  std::string source, revision;
  std::vector<Planned> files;
  std::uint64_t bytes = 0;  // as far as known
};

Result<void> check_request(const PullRequest& request) {
  const auto bad = [](const std::string& what) {
    return Error{.kind = ErrorKind::InvalidRequest, .message = what};
  };
  if (!is_model_name(request.name)) {
    return bad("'" + printable(request.name) + "' cannot be a model's name; --name gives another");
  }
  if (!request.sha256.empty() && !is_sha256(request.sha256)) {
    return bad("a SHA-256 has exactly 64 digits of 0-9 and a-f, not '" +
               printable(request.sha256, 100) + "'");
  }
  if (!request.file.empty() && !is_file_name(request.file)) {
    return bad("'" + printable(request.file) + "' cannot be a file's name");
  }
  return {};
}

Result<Plan> make_plan(const PullRequest& request, const DownloadHooks& hooks) {
  Plan plan;
  if (request.repository.empty()) {
    plan.source = request.url.substr(0, request.url.find_first_of("?#"));
    plan.files.push_back(
        {.name = request.file, .source = {.url = request.url, .sha256 = request.sha256}});
    return plan;
  }
  PENSIEVE_TRY(const HubListing listing,
               list_repository(request.hub_url,
                               request.repository,
                               request.revision,
                               request.file,
                               request.token,
                               hooks,
                               request.patient ? hooks.max_tries : 1));
  plan.source = "hub:" + request.repository;
  plan.revision = listing.commit;
  for (const HubFile& file : listing.files) {
    plan.bytes += file.bytes;
    plan.files.push_back({.name = file.name,
                          .source = {.url = request.hub_url + "/" + request.repository +
                                            "/resolve/" + listing.commit + "/" + file.name,
                                     .bearer = request.token,
                                     .size = file.bytes,
                                     .sha256 = file.sha256,
                                     .git_blob = file.git_blob,
                                     .commit = listing.commit}});
  }
  return plan;
}

// The digest of a file that an earlier process fetched whole, if it is the planned one. Without an
// expectation nothing would show that it is.
std::optional<Downloaded> finished_before(const Directory& staging,
                                          const Planned& planned,
                                          const WorkHooks& work) {
  const FileSource& source = planned.source;
  const auto status = staging.status(planned.name);
  if (!status || !status->regular || !source.size || status->bytes != *source.size) {
    return std::nullopt;
  }
  const auto file = staging.open_to_read(planned.name);
  if (!file) return std::nullopt;
  Digest digest(source.git_blob.empty() ? std::nullopt : source.size);
  std::vector<std::byte> bytes(std::size_t{1} << 20);
  Downloaded done;
  while (true) {
    const auto n = read_some(*file, bytes);
    if (!n || (work.stopped && work.stopped())) return std::nullopt;
    if (*n == 0) break;
    digest.update(std::span(bytes).first(*n));
    done.bytes += *n;
  }
  const Digest::Value value = digest.finish();
  done.sha256 = value.sha256;
  const bool same = done.bytes == *source.size &&
                    (source.sha256.empty() || value.sha256 == source.sha256) &&
                    value.git_blob == source.git_blob;
  if (!same) return std::nullopt;
  return done;
}

// What another revision or another model left in the directory.
void remove_strangers(const Directory& staging, const Plan& plan) {
  const auto names = staging.names();
  if (!names) return;
  for (const std::string& name : *names) {
    const bool ours = std::any_of(plan.files.begin(), plan.files.end(), [&](const Planned& file) {
      return name == file.name || name == file.name + ".part" || name == file.name + ".part.json";
    });
    if (!ours) staging.remove(name);
  }
}

Result<void> check_room(const Directory& models, const Directory& staging, const Plan& plan) {
  std::uint64_t here = 0;
  for (const Planned& file : plan.files) {
    if (const auto status = staging.status(file.name)) {
      here += status->bytes;
    } else {
      here += kept_bytes(staging, file.name, file.source);
    }
  }
  const std::uint64_t need = plan.bytes - std::min(plan.bytes, here);
  const auto free = models.free_bytes();
  if (!free || need <= *free) return {};
  Error error = not_enough_room(models.path(), need, *free);
  error.message += here > 0 ? kGoesOn : "; nothing was fetched";
  return error;
}

Result<std::vector<FileRecord>> fetch_all(const Directory& staging,
                                          const Plan& plan,
                                          const DownloadHooks& hooks,
                                          const WorkHooks& work) {
  std::vector<FileRecord> records;
  std::uint64_t before = 0;
  for (const Planned& planned : plan.files) {
    DownloadHooks own = hooks;
    own.progress = [&](std::uint64_t bytes) {
      if (work.progress) work.progress(before + bytes, plan.bytes);
    };
    own.kept = [&](std::uint64_t bytes) {
      if (work.kept) work.kept(before + bytes, plan.bytes);
    };
    std::optional<Downloaded> done = finished_before(staging, planned, work);
    if (done) {
      own.kept(done->bytes);
    } else {
      staging.remove(planned.name);
      PENSIEVE_TRY(done, download_file(staging, planned.name, planned.source, own));
    }
    before += done->bytes;
    own.progress(0);
    const auto status = staging.status(planned.name);
    records.push_back({.name = planned.name,
                       .bytes = done->bytes,
                       .sha256 = done->sha256,
                       .changed_ns = status ? status->changed_ns : 0});
  }
  return records;
}

}  // namespace

Result<Pulled> pull(const Store& store, const PullRequest& request, const PullHooks& hooks) {
  PENSIEVE_TRY(check_request(request));
  if (!request.force) {
    if (auto here = store.find(request.name)) {
      PENSIEVE_TRY(Manifest manifest, store.check(request.name, hooks.work));
      return Pulled{.manifest = std::move(manifest), .was_here = true};
    }
  }
  // Who asks a private network in the first place may be sent around in it.
  const std::string& from = request.repository.empty() ? request.url : request.hub_url;
  DownloadHooks download{.fetch = hooks.fetch,
                         .wait = hooks.work.wait,
                         .stopped = hooks.work.stopped,
                         .progress = {},
                         .note = hooks.work.note,
                         .allow_private = request.allow_private || is_private_host(from),
                         .sync_every_bytes = hooks.sync_every_bytes};
  PENSIEVE_TRY(const Directory models, open_models(store.models()));
  PENSIEVE_TRY(const ModelLock lock, ModelLock::take(models, request.name, hooks.work));
  recover(models, request.name);
  if (!request.force) {  // whoever held the lock may have fetched it
    if (auto here = store.find(request.name)) {
      return Pulled{.manifest = *std::move(here), .was_here = true};
    }
  }
  PENSIEVE_TRY(check_not_foreign(models, request.name));
  PENSIEVE_TRY(const Plan plan, make_plan(request, download));
  PENSIEVE_TRY(const Directory staging,
               Directory::open(models.path_of(staging_name(request.name)), true));
  remove_strangers(staging, plan);
  PENSIEVE_TRY(check_room(models, staging, plan));
  if (hooks.begin) hooks.begin(request.name, plan.bytes);

  Manifest manifest{.name = request.name, .source = plan.source, .revision = plan.revision};
  PENSIEVE_TRY(manifest.files, fetch_all(staging, plan, download, hooks.work));
  manifest.fetched_unix_s = manifest.verified_unix_s = std::time(nullptr);
  if (auto installed = install(models, staging, manifest); !installed) {
    Error error = explain_full_disk(models, kRoomForNames, installed.error());
    error.message += kGoesOn;  // every file of it is whole, and is not fetched again
    return error;
  }
  return Pulled{.manifest = std::move(manifest)};
}

}  // namespace pensieve::store
