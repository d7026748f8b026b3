// `pensieve model list|pull|verify|remove|import|path`.
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "foundation/json.h"
#include "foundation/system_memory.h"
#include "foundation/text.h"

#include "domain/store/catalog.h"
#include "domain/store/store.h"

#include "application/cli/commands.h"
#include "application/cli/download_progress.h"
#include "application/cli/exit_status.h"
#include "application/cli/home.h"
#include "application/cli/model_list.h"
#include "application/cli/models.h"
#include "application/cli/print_json.h"
#include "application/cli/stack.h"
#include "application/cli/window.h"

namespace pensieve::cli {
namespace {

// The numbers that a file's own header gives.
void read_numbers(ModelRow& row) {
  Accountant accountant;
  const auto opened = open_model(row.path, accountant);
  if (!opened) return;
  const compute::HyperParameters& hyper = opened->file->weights().hyper;
  row.kv_bytes_per_token = kv_bytes_per_token(hyper, default_kv(hyper));
  row.context_length = hyper.context_length;
  if (row.bytes == 0) row.bytes = opened->file->file_bytes();
}

// The row of that name, made behind the others if there is none.
ModelRow& row_of(std::vector<ModelRow>& rows, const std::string& name) {
  const auto found =
      std::find_if(rows.begin(), rows.end(), [&](const ModelRow& row) { return row.name == name; });
  return found != rows.end() ? *found : rows.emplace_back(ModelRow{.name = name});
}

void add_installed(std::vector<ModelRow>& rows, const store::Store& store) {
  for (const std::string& name : store.names()) {
    ModelRow& row = row_of(rows, name);
    const auto manifest = store.find(name);
    row.here = true;
    row.damaged = !manifest || !store.is_complete(*manifest);
    if (const auto path = store.path(name)) row.path = *path;
    if (manifest) row.bytes = manifest->bytes();
    if (manifest && row.note.empty()) row.note = manifest->source;
    if (row.damaged) row.note = "`pensieve model verify` says what is wrong";
    if (!row.damaged) read_numbers(row);
  }
  for (const store::Store::Partial& partial : store.partials()) {
    ModelRow& row = row_of(rows, partial.name);
    row.partial_bytes = partial.bytes;
    if (row.note.empty()) row.note = "begun: `pensieve model pull` as before goes on";
  }
}

// models/default of the home directory: the user's own.
ModelRow own_default(const std::string& path) {
  ModelRow row{.name = "default", .note = "your own", .path = path, .here = true};
  std::error_code error;
  const auto target = std::filesystem::canonical(path, error);
  if (!error) row.note = "your own: " + target.string();
  read_numbers(row);
  row.is_default = true;
  return row;
}

std::vector<ModelRow> all_rows(const std::string& home) {
  const store::Store store(home);
  std::vector<ModelRow> rows;
  if (const auto chosen = default_model(home)) rows.push_back(own_default(*chosen));
  for (const store::CatalogEntry& entry : store::catalog()) {
    rows.push_back({.name = std::string(entry.name),
                    .repository = std::string(entry.repository),
                    .note = std::string(entry.note),
                    .bytes = entry.download_bytes,
                    .kv_bytes_per_token = entry.kv_bytes_per_token,
                    .context_length = entry.context_length});
  }
  rows.front().is_default = true;
  add_installed(rows, store);
  ModelRow tiny{.name = "tiny", .note = "a demonstration", .path = "tiny", .here = true};
  read_numbers(tiny);
  tiny.path.clear();  // it is inside the program
  tiny.context_length = std::min(tiny.context_length, kEmbeddedWindow);
  rows.push_back(std::move(tiny));
  return rows;
}

// Of the terminal that standard output is; 0: it is none.
int output_columns() {
  winsize size{};
  if (isatty(STDOUT_FILENO) != 1) return 0;
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

Json json_of(const store::Manifest& manifest, const std::string& path) {
  Json json = {{"name", manifest.name},
               {"path", path},
               {"source", manifest.source},
               {"revision", manifest.revision},
               {"bytes", manifest.bytes()},
               {"fetched_unix_s", manifest.fetched_unix_s},
               {"verified_unix_s", manifest.verified_unix_s},
               {"files", Json::array()}};
  for (const store::FileRecord& file : manifest.files) {
    json["files"].push_back({{"name", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  }
  return json;
}

Result<store::Store> open_store() {
  PENSIEVE_TRY(std::string home, home_directory());
  return store::Store(std::move(home));
}

Result<int> pull_one(const Options& options) {
  PENSIEVE_TRY(const store::Store store, open_store());
  const std::string text =
      options.reference.empty() ? std::string(store::kDefaultModel) : options.reference;
  PENSIEVE_TRY(const store::Reference reference, store::parse_reference(text));
  if (!options.sha256.empty() && reference.kind != store::Reference::Kind::Url) {
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message = "--sha256 is for a URL: a hub says its files' digests itself"};
  }
  PENSIEVE_TRY(store::PullRequest request, pull_request(reference));
  if (!options.name.empty()) request.name = options.name;
  request.sha256 = options.sha256;
  request.force = options.again;
  PENSIEVE_TRY(
      const store::Pulled pulled,
      pull_here(
          store, std::move(request), {.stall = std::chrono::seconds(options.stall_timeout_s)}));
  const std::string name = pulled.manifest.name;
  PENSIEVE_TRY(const std::string path, store.path(name));
  if (options.json) {
    Json json = json_of(pulled.manifest, path);
    json["was_here"] = pulled.was_here;
    print_json(json);
    return kExitDone;
  }
  std::printf("%s is %s: %s\nServe it with: pensieve --model %s\n",
              name.c_str(),
              pulled.was_here ? "here already" : "here and verified",
              path.c_str(),
              name.c_str());
  return kExitDone;
}

Result<int> verify_all(const Options& options) {
  PENSIEVE_TRY(const store::Store store, open_store());
  std::vector<std::string> names;
  if (!options.reference.empty()) {
    names.push_back(options.reference);
  } else {
    names = store.names();
  }
  Json all = Json::array();
  std::optional<Error> worst;
  const OrderlyWork orderly;
  for (const std::string& name : names) {
    Result<store::Manifest> verified = [&] {
      DownloadProgress progress(name, isatty(STDERR_FILENO) == 1);
      return store.verify(name, terminal_hooks(progress));
    }();
    if (!verified && verified.error().kind == ErrorKind::Cancelled) return verified.error();
    if (verified && !options.json)
      std::printf("%s: every file is as it was fetched\n", name.c_str());
    all.push_back({{"name", name}, {"good", verified.has_value()}, {"error", nullptr}});
    if (verified) continue;
    all.back()["error"] = verified.error().message;
    Error error = verified.error();
    // The exit status says that a digest differs wherever one does.
    if (worst && worst->kind == ErrorKind::DigestMismatch) std::swap(*worst, error);
    if (worst) complain(*worst);
    worst = std::move(error);
  }
  if (options.json) print_json(all);
  if (!options.json && names.empty()) std::printf("No models are here.\n");
  if (worst) return *worst;
  return kExitDone;
}

Result<int> remove_one(const Options& options) {
  PENSIEVE_TRY(const store::Store store, open_store());
  DownloadProgress progress(options.reference, false);
  const OrderlyWork orderly;
  PENSIEVE_TRY(const std::uint64_t freed,
               store.remove(options.reference, terminal_hooks(progress)));
  if (options.json) {
    print_json({{"name", options.reference}, {"freed_bytes", freed}});
  } else {
    std::printf(
        "%s is gone; %s are free again\n", options.reference.c_str(), human_bytes(freed).c_str());
  }
  return kExitDone;
}

// "…/Phi-3-mini-q4.gguf" -> "Phi-3-mini-q4", "…/My model.gguf" -> "My-model",
// "…/big-00001-of-00003.gguf" -> "big"
std::string name_from_path(const std::string& text) {
  std::filesystem::path path = std::filesystem::path(text).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  const std::string name = path.filename().string();
  std::string stem = name.ends_with(".gguf") ? name.substr(0, name.size() - 5) : name;
  if (store::shard_set(name) != name)
    stem.resize(stem.size() - std::string_view("-00001-of-00003").size());
  const std::string plain = store::plain_name(stem);
  return plain.empty() ? stem : plain;
}

Result<int> import_one(const Options& options) {
  PENSIEVE_TRY(const store::Store store, open_store());
  {
    Accountant accountant;  // what cannot be opened here is not taken in
    PENSIEVE_TRY(const OpenedModel opened, open_model(options.reference, accountant));
  }
  const std::string name = options.name.empty() ? name_from_path(options.reference) : options.name;
  PENSIEVE_TRY(const std::string home, home_directory());
  PENSIEVE_TRY(make_home(home));
  const OrderlyWork orderly;
  Result<store::Manifest> imported = [&] {
    DownloadProgress progress(name, isatty(STDERR_FILENO) == 1);
    return store.import(options.reference, name, terminal_hooks(progress));
  }();
  if (!imported) return imported.error();
  PENSIEVE_TRY(const std::string path, store.path(name));
  if (options.json) {
    print_json(json_of(*imported, path));
  } else {
    std::printf("%s is here: %s\nServe it with: pensieve --model %s\n",
                name.c_str(),
                path.c_str(),
                name.c_str());
  }
  return kExitDone;
}

Result<int> print_path(const Options& options) {
  PENSIEVE_TRY(const store::Store store, open_store());
  PENSIEVE_TRY(const std::string path, store.path(options.reference));
  if (options.json) {
    PENSIEVE_TRY(const store::Manifest manifest, store.find(options.reference));
    print_json(json_of(manifest, path));
  } else {
    std::printf("%s\n", path.c_str());
  }
  return kExitDone;
}

Result<int> list_all(const Options& options) {
  PENSIEVE_TRY(const std::string home, home_directory());
  const SystemMemory memory = read_system_memory(memory_root());
  const std::vector<ModelRow> rows = all_rows(home);
  const std::string text =
      options.json ? list_json(rows, memory) + "\n" : list_text(rows, memory, output_columns());
  std::fputs(text.c_str(), stdout);
  return kExitDone;
}

}  // namespace

int list_models(const Options& options) {
  return finish(list_all(options));
}
int pull_model(const Options& options) {
  return finish(pull_one(options));
}
int verify_models(const Options& options) {
  return finish(verify_all(options));
}
int remove_model(const Options& options) {
  return finish(remove_one(options));
}
int import_model(const Options& options) {
  return finish(import_one(options));
}
int print_model_path(const Options& options) {
  return finish(print_path(options));
}

}  // namespace pensieve::cli
