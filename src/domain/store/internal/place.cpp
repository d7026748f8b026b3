#include "domain/store/internal/place.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string_view>

#include "domain/store/internal/manifest.h"

namespace pensieve::store {
namespace {

constexpr std::int64_t kLookAgainMs = 200;
constexpr std::string_view kPartial = ".partial";

std::string old_name(const std::string& name) {
  return "." + name + ".old";
}

// True: the two names have changed places, in one step.
bool exchange(const Directory& models, const std::string& a, const std::string& b) {
#ifdef RENAME_EXCHANGE
  const int at = models.handle().get();
  return renameat2(at, a.c_str(), at, b.c_str(), RENAME_EXCHANGE) == 0;
#else
  static_cast<void>(models), static_cast<void>(a), static_cast<void>(b);
  return false;
#endif
}

}  // namespace

std::string staging_name(const std::string& name) {
  return "." + name + std::string(kPartial);
}

std::string name_of_staging(const std::string& staging) {
  if (!staging.starts_with('.') || !staging.ends_with(kPartial)) return {};
  return staging.substr(1, staging.size() - 1 - kPartial.size());
}

Result<ModelLock> ModelLock::take(const Directory& models,
                                  const std::string& name,
                                  const WorkHooks& hooks) {
  PENSIEVE_TRY(Handle file, models.open_to_write("." + name + ".lock"));
  bool told = false;
  while (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return system_error(models.path_of(name), "cannot be locked");
    }
    if (!told && hooks.note) hooks.note("another process works on " + name + "; waiting for it");
    told = true;
    if (!hooks.wait || !hooks.wait(kLookAgainMs)) {
      return Error{.kind = ErrorKind::Cancelled,
                   .message = "stopped; another process works on " + name};
    }
  }
  return ModelLock(std::move(file));
}

Result<Directory> open_models(const std::string& models) {
  const std::string home = models.substr(0, models.rfind('/'));
  if (mkdir(home.c_str(), 0700) != 0 && errno != EEXIST) {
    return system_error(home, "cannot be made");
  }
  return Directory::open(models, true, true);  // people put their models on another disk
}

Result<void> check_not_foreign(const Directory& models, const std::string& name) {
  const auto status = models.status(name);
  if (!status) return {};
  if (status->directory) {
    const auto directory = Directory::open(models.path_of(name), false);
    if (directory && directory->status(kManifestFile)) return {};
  }
  return Error{.kind = ErrorKind::InvalidRequest,
               .message = models.path_of(name) +
                          " was not put there by Pensieve and stays as it is: `pensieve --model " +
                          models.path_of(name) + "` serves it; moved away, it makes room for " +
                          name};
}

Result<void> install(const Directory& models, const Directory& staging, const Manifest& manifest) {
  PENSIEVE_TRY(write_manifest(staging, manifest));
  PENSIEVE_TRY(staging.sync());
  const std::string& name = manifest.name;
  const std::string from = staging_name(name);
  if (!models.status(name)) return models.rename(from, name);
  if (exchange(models, from, name)) {
    PENSIEVE_TRY(models.sync());
    models.remove_tree(from);
    return {};
  }
  PENSIEVE_TRY(models.rename(name, old_name(name)));
  PENSIEVE_TRY(models.rename(from, name));
  models.remove_tree(old_name(name));
  return {};
}

void recover(const Directory& models, const std::string& name) {
  const std::string old = old_name(name);
  if (!models.status(old)) return;
  if (models.status(name)) {
    models.remove_tree(old);
  } else if (auto back = models.rename(old, name); !back) {
    return;  // the next one may succeed
  }
}

}  // namespace pensieve::store
