#include "domain/store/internal/manifest.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "foundation/json.h"

#include "domain/store/names.h"

namespace pensieve::store {
namespace {

constexpr std::size_t kLongest = 1024 * 1024;
constexpr int kFormat = 1;
// Far beyond any model; together they keep the sum of all lengths below 2^64.
constexpr std::uint64_t kLargestFile = std::uint64_t{1} << 42;
constexpr std::size_t kMostFiles = 10'000;

bool read_text(const Json& json, const char* key, std::string& out) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_string()) return false;
  out = found->get<std::string>();
  return true;
}

// A number that `out` can hold: a negative length or one beyond 64 bits is none.
template <typename T>
bool read_number(const Json& json, const char* key, T& out) {
  const auto found = json.find(key);
  if (found == json.end()) return false;
  if (found->is_number_unsigned()) {
    const auto value = found->get<std::uint64_t>();
    out = static_cast<T>(value);
    return std::in_range<T>(value);
  }
  if (!found->is_number_integer()) return false;
  const auto value = found->get<std::int64_t>();
  out = static_cast<T>(value);
  return std::in_range<T>(value);
}

bool read_file_record(const Json& json, FileRecord& file) {
  return json.is_object() && read_text(json, "name", file.name) && is_file_name(file.name) &&
         read_number(json, "bytes", file.bytes) && file.bytes <= kLargestFile &&
         read_text(json, "sha256", file.sha256) && is_sha256(file.sha256) &&
         read_number(json, "changed_ns", file.changed_ns);
}

bool has_file(const Manifest& manifest, const std::string& name) {
  return std::any_of(manifest.files.begin(), manifest.files.end(), [&](const FileRecord& file) {
    return file.name == name;
  });
}

}  // namespace

std::optional<Manifest> parse_manifest(std::string_view text) {
  const auto json = parse_json(text);
  if (!json || !json->is_object()) return std::nullopt;
  Manifest manifest;
  int format = 0;
  const auto files = json->find("files");
  if (!read_number(*json, "format", format) || format != kFormat ||
      !read_text(*json, "name", manifest.name) || !is_model_name(manifest.name) ||
      !read_text(*json, "source", manifest.source) ||
      !read_text(*json, "revision", manifest.revision) ||
      !read_number(*json, "fetched_unix_s", manifest.fetched_unix_s) ||
      !read_number(*json, "verified_unix_s", manifest.verified_unix_s) || files == json->end() ||
      !files->is_array() || files->empty() || files->size() > kMostFiles) {
    return std::nullopt;
  }
  for (const Json& entry : *files) {
    FileRecord file;
    if (!read_file_record(entry, file) || has_file(manifest, file.name)) return std::nullopt;
    manifest.files.push_back(std::move(file));
  }
  return manifest;
}

std::string manifest_text(const Manifest& manifest) {
  Json json = {{"format", kFormat},
               {"name", manifest.name},
               {"source", manifest.source},
               {"revision", manifest.revision},
               {"fetched_unix_s", manifest.fetched_unix_s},
               {"verified_unix_s", manifest.verified_unix_s},
               {"files", Json::array()}};
  for (const FileRecord& file : manifest.files) {
    json["files"].push_back({{"name", file.name},
                             {"bytes", file.bytes},
                             {"sha256", file.sha256},
                             {"changed_ns", file.changed_ns}});
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<Manifest> read_manifest(const Directory& model) {
  PENSIEVE_TRY(const std::string text, model.read(kManifestFile, kLongest));
  auto manifest = parse_manifest(text);
  if (!manifest) {
    return Error{.kind = ErrorKind::BadFile,
                 .message = model.path_of(kManifestFile) +
                            " is damaged: fetch the model again with `pensieve model pull … "
                            "--force`, or remove it"};
  }
  return *std::move(manifest);
}

Result<void> write_manifest(const Directory& model, const Manifest& manifest) {
  return model.replace(kManifestFile, manifest_text(manifest));
}

}  // namespace pensieve::store
