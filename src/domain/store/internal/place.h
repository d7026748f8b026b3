// How a model gets its name: a hidden directory is filled, and takes the name's place at once.
#pragma once

#include <memory>
#include <string>

#include "foundation/directory.h"
#include "foundation/result.h"

#include "domain/store/store.h"

namespace pensieve::store {

std::string staging_name(const std::string& name);        // ".NAME.partial"
std::string name_of_staging(const std::string& staging);  // NAME; empty: it is no such directory

// One process at a time per model. Released when it goes, and by the system when the process does.
class ModelLock {
 public:
  // Waits for whoever holds it, looking five times a second. Errors: Cancelled; Internal.
  static Result<ModelLock> take(const Directory& models,
                                const std::string& name,
                                const WorkHooks& hooks);

 private:
  explicit ModelLock(Handle file) : file_(std::move(file)) {}
  Handle file_;
};

// models/ under `home`, made if needed, its parent too.
Result<Directory> open_models(const std::string& models);

// Errors: InvalidRequest where something lies under the name that the store did not put there (no
// directory, or one without a manifest): a user's own files are neither replaced nor removed.
Result<void> check_not_foreign(const Directory& models, const std::string& name);

// Writes the manifest into the staging directory and lets it take the place of `name`, whatever is
// there. The name stands for the old files or for the new ones, at every instant where the system
// can exchange two names (Linux), else but for one between two renames, which recover() repairs.
// REQUIRES: the lock; every file in it is on the disk.
Result<void> install(const Directory& models, const Directory& staging, const Manifest& manifest);

// Repairs what a crash inside install() may have left. REQUIRES: the lock.
void recover(const Directory& models, const std::string& name);

}  // namespace pensieve::store
