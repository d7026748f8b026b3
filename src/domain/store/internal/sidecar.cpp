#include "domain/store/internal/sidecar.h"

#include "foundation/json.h"

namespace pensieve::store {
namespace {

constexpr std::size_t kLongest = 64 * 1024;

bool read_text(const Json& json, const char* key, std::string& out) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_string()) return false;
  out = found->get<std::string>();
  return true;
}

}  // namespace

std::optional<Sidecar> read_sidecar(const Directory& directory, const std::string& name) {
  const auto text = directory.read(name, kLongest);
  if (!text) return std::nullopt;
  const auto json = parse_json(*text);
  if (!json || !json->is_object()) return std::nullopt;
  Sidecar sidecar;
  const auto synced = json->find("synced");
  const auto total = json->find("total");
  if (!read_text(*json, "url", sidecar.url) || !read_text(*json, "etag", sidecar.etag) ||
      !read_text(*json, "sha256", sidecar.sha256) || synced == json->end() ||
      !synced->is_number_unsigned() || total == json->end()) {
    return std::nullopt;
  }
  sidecar.synced = synced->get<std::uint64_t>();
  if (total->is_number_unsigned()) sidecar.total = total->get<std::uint64_t>();
  return sidecar;
}

Result<void> write_sidecar(const Directory& directory,
                           const std::string& name,
                           const Sidecar& sidecar) {
  Json json = {{"url", sidecar.url},
               {"etag", sidecar.etag},
               {"total", nullptr},
               {"sha256", sidecar.sha256},
               {"synced", sidecar.synced}};
  if (sidecar.total) json["total"] = *sidecar.total;
  return directory.replace(name, json.dump() + "\n");
}

}  // namespace pensieve::store
