#include "application/cli/models.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <utility>

#include "foundation/text.h"

#include "domain/store/catalog.h"

#include "application/cli/curl_fetch.h"
#include "application/cli/download_progress.h"
#include "application/cli/home.h"
#include "application/cli/signals.h"
#include "application/cli/window.h"

namespace pensieve::cli {
namespace {

constexpr const char* kPublicHub = "https://huggingface.co";
constexpr std::chrono::milliseconds kPatientConnect{10'000};
constexpr std::chrono::milliseconds kImpatientConnect{5'000};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// The catalog's entry for a reference that means one: by name, or by its repository.
const store::CatalogEntry* entry_of(const store::Reference& reference) {
  using Kind = store::Reference::Kind;
  if (reference.kind == Kind::Name) return store::find_in_catalog(reference.name);
  if (reference.kind != Kind::Hub || !reference.file.empty() || reference.revision != "main") {
    return nullptr;
  }
  const auto entries = store::catalog();
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const auto& entry) {
    return entry.repository == reference.repository;
  });
  return found == entries.end() ? nullptr : &*found;
}

// " (did you mean a or b?)": names of the catalog that hold `text`, without regard to case.
std::string suggestion(const std::string& text) {
  std::string names;
  for (const store::CatalogEntry& entry : store::catalog()) {
    if (lower_ascii(entry.name).find(lower_ascii(text)) == std::string::npos) continue;
    names += (names.empty() ? "" : " or ") + std::string(entry.name);
  }
  return names.empty() ? "" : " (did you mean " + names + "?)";
}

bool is_path(const store::Reference& reference, const std::string& text) {
  std::error_code error;
  return reference.kind == store::Reference::Kind::Path ||
         (reference.kind == store::Reference::Kind::Name && entry_of(reference) == nullptr &&
          std::filesystem::exists(text, error));
}

std::string name_of(const store::Reference& reference) {
  const store::CatalogEntry* entry = entry_of(reference);
  return entry != nullptr ? std::string(entry->name) : reference.name;
}

Result<void> fetch_named(const store::Store& store, const Options& options) {
  PENSIEVE_TRY(const store::Reference reference, store::parse_reference(options.model));
  const bool force = options.mode == ModelMode::Force;
  if (!force && store.find(name_of(reference))) return {};
  if (is_path(reference, options.model)) {
    if (!force) return {};
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message = "force fetches a model again, and " + options.model + " is a path"};
  }
  // What is neither here nor known is find_model()'s to complain about.
  if (reference.kind == store::Reference::Kind::Name && entry_of(reference) == nullptr) return {};
  PENSIEVE_TRY(store::PullRequest request, pull_request(reference));
  request.force = force;
  PENSIEVE_TRY(pull_here(store, std::move(request), {}));
  return {};
}

Result<void> fetch_default(const store::Store& store, const std::string& home, bool force) {
  const std::string name(store::kDefaultModel);
  if (!force && (default_model(home) || store.find(name))) return {};
  PENSIEVE_TRY(store::PullRequest request,
               pull_request({.kind = store::Reference::Kind::Name, .name = name}));
  request.force = force;
  if (!force) std::fprintf(stderr, "No model is here yet. `pensieve skip` never looks for one.\n");
  const auto pulled = pull_here(store, std::move(request), {.patient = force});
  if (pulled) return {};
  const ErrorKind kind = pulled.error().kind;
  const bool elsewhere = kind == ErrorKind::Unavailable || kind == ErrorKind::Permission ||
                         kind == ErrorKind::NotFound;
  if (force || !elsewhere) return pulled.error();
  std::fprintf(stderr,
               "The default model was not fetched: %s.\n",
               printable(pulled.error().message, 1000).c_str());
  return {};
}

}  // namespace

OrderlyWork::OrderlyWork() {
  orderly_signals();
}
OrderlyWork::~OrderlyWork() {
  immediate_signals();
}

Result<Hub> model_hub() {
  std::string url = environment("PENSIEVE_HUB_URL");
  if (url.empty()) url = environment("HF_ENDPOINT");
  if (url.empty()) return Hub{.url = kPublicHub};
  while (url.ends_with('/')) url.pop_back();
  const bool http = url.starts_with("https://") || url.starts_with("http://");
  const bool clean = std::all_of(url.begin(), url.end(), [](char c) { return c > ' ' && c < 127; });
  if (!http || !clean || url.find_first_of("?#") != std::string::npos) {
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message = "the model hub '" + printable(url) + "' is not an http or https URL"};
  }
  return Hub{.url = std::move(url), .public_one = false};
}

Result<store::PullRequest> pull_request(const store::Reference& reference) {
  using Kind = store::Reference::Kind;
  store::PullRequest request{.name = name_of(reference)};
  if (reference.kind == Kind::Url) {
    request.url = reference.url;
    request.file = reference.file;
    return request;
  }
  if (reference.kind == Kind::Path) {
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message = "'" + printable(reference.path) +
                            "' is a path: `pensieve model import` copies what lies elsewhere"};
  }
  const store::CatalogEntry* entry = entry_of(reference);
  if (entry == nullptr && reference.kind == Kind::Name) {
    return Error{.kind = ErrorKind::NotFound,
                 .message = "no model is called " + reference.name + suggestion(reference.name) +
                            ": `pensieve model list` shows those that have a name, and "
                            "hub:OWNER/NAME takes any other"};
  }
  PENSIEVE_TRY(const Hub hub, model_hub());
  request.hub_url = hub.url;
  request.repository = entry != nullptr ? std::string(entry->repository) : reference.repository;
  if (!reference.revision.empty()) request.revision = reference.revision;
  request.file = reference.file;
  request.token = environment("HF_TOKEN");
  request.allow_private = !hub.public_one;
  return request;
}

store::WorkHooks terminal_hooks(DownloadProgress& progress) {
  return {.progress = [&](std::uint64_t done, std::uint64_t total) { progress.tell(done, total); },
          .kept = [&](std::uint64_t done, std::uint64_t) { progress.begin_at(done); },
          .stopped = [] { return wait_for_signal(0) != 0; },
          .wait = [](std::int64_t ms) { return wait_for_signal(static_cast<int>(ms)) == 0; },
          .note = [&](const std::string& sentence) { progress.note(sentence); }};
}

Result<store::Pulled> pull_here(const store::Store& store,
                                store::PullRequest request,
                                const PullOptions& options) {
  request.patient = options.patient;
  if (request.token.find_first_of("\r\n") != std::string::npos) {
    return Error{.kind = ErrorKind::InvalidRequest, .message = "HF_TOKEN holds a line break"};
  }
  PENSIEVE_TRY(const std::string home, home_directory());
  PENSIEVE_TRY(make_home(home));
  const std::string from = request.repository.empty() ? request.url.substr(0, request.url.find('?'))
                                                      : request.hub_url + "/" + request.repository;
  DownloadProgress progress(request.name, stderr_is_terminal());
  const OrderlyWork orderly;
  const store::PullHooks hooks{
      .work = terminal_hooks(progress),
      .fetch = curl_fetch({.connect = options.patient ? kPatientConnect : kImpatientConnect,
                           .stall = options.stall}),
      .begin = [&](const std::string& name, std::uint64_t bytes) {
        progress.note("Fetching " + name + (bytes > 0 ? ", " + human_bytes(bytes) : "") +
                      ", from " + from + " (Ctrl-C stops; what has come is kept)");
      }};
  return store::pull(store, request, hooks);
}

Result<void> ensure_model(const Options& options) {
  if (!options.upstream.empty() || options.mode == ModelMode::Skip || options.model == "tiny") {
    return {};
  }
  PENSIEVE_TRY(const std::string home, home_directory());
  const store::Store store(home);
  if (!options.model.empty()) return fetch_named(store, options);
  return fetch_default(store, home, options.mode == ModelMode::Force);
}

Result<std::optional<std::string>> find_model(const Options& options) {
  if (options.model == "tiny") return std::optional<std::string>("tiny");
  PENSIEVE_TRY(const std::string home, home_directory());
  const store::Store store(home);
  std::string name(store::kDefaultModel);
  if (!options.model.empty()) {
    PENSIEVE_TRY(const store::Reference reference, store::parse_reference(options.model));
    const bool here = reference.kind != store::Reference::Kind::Path &&
                      store.find(name_of(reference)).has_value();
    if (!here && is_path(reference, options.model)) {
      return std::optional<std::string>(options.model);
    }
    name = name_of(reference);
    if (!here) {
      return Error{.kind = ErrorKind::NotFound,
                   .message = "there is no model " + printable(name) +
                              " here, and no file of that name" + suggestion(name) +
                              ": `pensieve model list` shows what "
                              "is, `pensieve model pull " +
                              printable(options.model) + "` may fetch it"};
    }
  } else {
    if (auto chosen = default_model(home)) return chosen;
    if (auto found = store.find(name); !found) {
      if (found.error().kind == ErrorKind::NotFound) return std::optional<std::string>();
      return found.error();
    }
  }
  DownloadProgress progress(name, stderr_is_terminal());
  PENSIEVE_TRY(store.check(name, {.note = [&](const std::string& s) { progress.note(s); }}));
  PENSIEVE_TRY(std::string path, store.path(name));
  return std::optional<std::string>(std::move(path));
}

}  // namespace pensieve::cli
