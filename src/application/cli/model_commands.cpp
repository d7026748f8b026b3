// `pensieve model list|pull|verify|remove|import|path`.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
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
#include "application/cli/models.h"
#include "application/cli/stack.h"
#include "application/cli/window.h"

namespace pensieve::cli {
namespace {

constexpr int kShortWindow = 16'384;
constexpr int kLongWindow = 32'768;

// A model of the catalog, of the store, or of both.
struct Row {
  std::string name{}, repository{}, note{}, path{};
  std::uint64_t bytes = 0;
  std::uint64_t kv_bytes_per_token = 0;  // 0: not known
  std::optional<store::Manifest> here{};
  bool is_default = false;  // what `pensieve` serves
};

// "32k" and "16k": the window that leaves the machine Safe beside it; "tight": 16k runs, and little
// is left for anything else; "no".
std::string fit_of(const Row& row, const SystemMemory& memory) {
  if (!memory.known || row.kv_bytes_per_token == 0) return "?";
  const auto need = [&](int tokens) {
    return store::memory_needed(row.bytes, row.kv_bytes_per_token, tokens);
  };
  if (need(kLongWindow) + kSafeAboveBytes <= memory.available_bytes) return "32k";
  if (need(kShortWindow) + kSafeAboveBytes <= memory.available_bytes) return "16k";
  return need(kShortWindow) <= memory.available_bytes ? "tight" : "no";
}

// From the file itself: its header names the sizes.
std::uint64_t kv_bytes_of(const std::string& path) {
  Accountant accountant;
  const auto opened = open_model(path, accountant);
  if (!opened) return 0;
  const auto& hyper = opened->file->weights().hyper;
  return kv_bytes_per_token(hyper, default_kv(hyper));
}

void add_installed(std::vector<Row>& rows, store::Manifest manifest, const store::Store& store) {
  Row* row = nullptr;
  for (Row& known : rows) {
    if (known.name == manifest.name) row = &known;
  }
  if (row == nullptr) row = &rows.emplace_back(Row{.name = manifest.name});
  row->bytes = manifest.bytes();
  if (const auto path = store.path(manifest.name)) row->path = *path;
  if (row->kv_bytes_per_token == 0) row->kv_bytes_per_token = kv_bytes_of(row->path);
  if (row->note.empty()) row->note = manifest.source;
  row->here = std::move(manifest);
}

std::vector<Row> all_rows(const std::string& home) {
  const store::Store store(home);
  std::vector<Row> rows;
  for (const store::CatalogEntry& entry : store::catalog()) {
    rows.push_back({.name = std::string(entry.name),
                    .repository = std::string(entry.repository),
                    .note = std::string(entry.note),
                    .bytes = entry.download_bytes,
                    .kv_bytes_per_token = entry.kv_bytes_per_token});
  }
  for (store::Manifest& manifest : store.list()) add_installed(rows, std::move(manifest), store);
  if (const auto chosen = default_model(home)) {
    Row row{.name = "default", .note = "the user's own", .path = *chosen, .is_default = true};
    std::error_code error;
    const auto target = std::filesystem::canonical(*chosen, error);
    Accountant accountant;
    if (const auto opened = open_model(*chosen, accountant)) {
      row.bytes = opened->file->file_bytes();
      row.kv_bytes_per_token = kv_bytes_per_token(opened->file->weights().hyper,
                                                  default_kv(opened->file->weights().hyper));
    }
    if (!error) row.note = "the user's own: " + target.string();
    rows.insert(rows.begin(), std::move(row));
  } else {
    rows.front().is_default = true;
  }
  return rows;
}

Json json_of(const Row& row, const SystemMemory& memory) {
  Json json = {{"name", row.name},
               {"repository", row.repository},
               {"note", row.note},
               {"bytes", row.bytes},
               {"memory_16k_bytes", nullptr},
               {"memory_32k_bytes", nullptr},
               {"fits", fit_of(row, memory)},
               {"here", row.here.has_value() || !row.path.empty()},
               {"default", row.is_default},
               {"path", row.path}};
  if (row.kv_bytes_per_token > 0) {
    json["memory_16k_bytes"] =
        store::memory_needed(row.bytes, row.kv_bytes_per_token, kShortWindow);
    json["memory_32k_bytes"] = store::memory_needed(row.bytes, row.kv_bytes_per_token, kLongWindow);
  }
  return json;
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

void print(const Json& json) {
  std::printf("%s\n", json.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
}

int print_rows(const std::vector<Row>& rows, const SystemMemory& memory) {
  std::printf("%-33s %-9s %-9s %-9s %-6s %-5s %s\n",
              "MODEL",
              "SIZE",
              "RAM, 16k",
              "RAM, 32k",
              "FITS",
              "HERE",
              "");
  for (const Row& row : rows) {
    const auto need = [&](int tokens) {
      return row.kv_bytes_per_token == 0
                 ? std::string("?")
                 : human_bytes(store::memory_needed(row.bytes, row.kv_bytes_per_token, tokens));
    };
    std::printf("%-33s %-9s %-9s %-9s %-6s %-5s %s\n",
                row.name.c_str(),
                human_bytes(row.bytes).c_str(),
                need(kShortWindow).c_str(),
                need(kLongWindow).c_str(),
                fit_of(row, memory).c_str(),
                row.path.empty() ? "-" : "yes",
                printable(row.note, 200).c_str());
  }
  std::printf(
      "\nRAM: what it takes with a window of so many tokens. FITS: the window for which this "
      "machine,\n"
      "with %s of memory available now, keeps 3 GiB for everything else; tight: it keeps less.\n"
      "Fetch one with `pensieve model pull NAME`, serve it with `pensieve --model NAME`; any other "
      "with\n"
      "hub:OWNER/NAME instead of a name.\n",
      memory.known ? human_bytes(memory.available_bytes).c_str() : "an unknown amount");
  return kExitDone;
}

Result<store::Store> open_store() {
  PENSIEVE_TRY(std::string home, home_directory());
  return store::Store(std::move(home));
}

int finish(const Result<int>& status) {
  return status ? *status : complain(status.error());
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
    print(json);
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
    for (const store::Manifest& manifest : store.list()) names.push_back(manifest.name);
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
    if (worst) complain(*worst);
    worst = verified.error();
  }
  if (options.json) print(all);
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
    print({{"name", options.reference}, {"freed_bytes", freed}});
  } else {
    std::printf(
        "%s is gone; %s are free again\n", options.reference.c_str(), human_bytes(freed).c_str());
  }
  return kExitDone;
}

// "…/Phi-3-mini-q4.gguf" -> "Phi-3-mini-q4"
std::string name_from_path(const std::string& text) {
  std::filesystem::path path = std::filesystem::path(text).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  const std::string name = path.filename().string();
  return name.ends_with(".gguf") ? name.substr(0, name.size() - 5) : name;
}

Result<int> import_one(const Options& options) {
  PENSIEVE_TRY(const store::Store store, open_store());
  {
    Accountant accountant;  // what cannot be opened here is not taken in
    PENSIEVE_TRY(const OpenedModel opened, open_model(options.reference, accountant));
    std::error_code error;
    if (opened.file->format().starts_with("GGUF") &&
        (!opened.file->files().empty() ||
         std::filesystem::is_directory(options.reference, error))) {
      return Error{.kind = ErrorKind::InvalidRequest,
                   .message =
                       "a GGUF model is imported as one file; serve this one where it lies: "
                       "pensieve --model " +
                       printable(options.reference)};
    }
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
    print(json_of(*imported, path));
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
    print(json_of(manifest, path));
  } else {
    std::printf("%s\n", path.c_str());
  }
  return kExitDone;
}

Result<int> list_all(const Options& options) {
  PENSIEVE_TRY(const std::string home, home_directory());
  const SystemMemory memory = read_system_memory();
  const std::vector<Row> rows = all_rows(home);
  if (!options.json) return print_rows(rows, memory);
  Json json = {{"available_bytes", memory.known ? Json(memory.available_bytes) : Json(nullptr)},
               {"models", Json::array()}};
  for (const Row& row : rows) json["models"].push_back(json_of(row, memory));
  print(json);
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
