#include "domain/store/internal/manifest.h"

#include "foundation/json.h"

#include "domain/store/names.h"

namespace pensieve::store {
namespace {

constexpr std::size_t kLongest = 1024 * 1024;
constexpr int kFormat = 1;

template <typename T>
bool read_field(const Json& json, const char* key, T& out) {
  const auto found = json.find(key);
  if (found == json.end()) return false;
  if constexpr (std::is_same_v<T, std::string>) {
    if (!found->is_string()) return false;
  } else {
    if (!found->is_number_integer()) return false;
  }
  out = found->template get<T>();
  return true;
}

bool read_file_record(const Json& json, FileRecord& file) {
  return json.is_object() && read_field(json, "name", file.name) && is_file_name(file.name) &&
         read_field(json, "bytes", file.bytes) && read_field(json, "sha256", file.sha256) &&
         is_sha256(file.sha256) && read_field(json, "changed_ns", file.changed_ns);
}

}  // namespace

Result<Manifest> read_manifest(const Directory& model) {
  PENSIEVE_TRY(const std::string text, model.read(kManifestFile, kLongest));
  const auto bad = [&] {
    return Error{.kind = ErrorKind::BadFile,
                 .message = model.path_of(kManifestFile) + " is not a manifest"};
  };
  const auto json = parse_json(text);
  if (!json || !json->is_object()) return bad();
  Manifest manifest;
  int format = 0;
  const auto files = json->find("files");
  if (!read_field(*json, "format", format) || format != kFormat ||
      !read_field(*json, "name", manifest.name) || !is_model_name(manifest.name) ||
      !read_field(*json, "source", manifest.source) ||
      !read_field(*json, "revision", manifest.revision) ||
      !read_field(*json, "fetched_unix_s", manifest.fetched_unix_s) ||
      !read_field(*json, "verified_unix_s", manifest.verified_unix_s) || files == json->end() ||
      !files->is_array() || files->empty()) {
    return bad();
  }
  for (const Json& entry : *files) {
    FileRecord file;
    if (!read_file_record(entry, file)) return bad();
    manifest.files.push_back(std::move(file));
  }
  return manifest;
}

Result<void> write_manifest(const Directory& model, const Manifest& manifest) {
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
  return model.replace(kManifestFile, json.dump(2) + "\n");
}

}  // namespace pensieve::store
