#include "domain/store/internal/sidecar.h"

#include <algorithm>

#include "foundation/json.h"

#include "domain/store/names.h"

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

bool is_strong_tag(std::string_view etag) {
  if (etag.size() < 2 || etag.front() != '"' || etag.back() != '"') return false;
  const std::string_view inner = etag.substr(1, etag.size() - 2);
  return std::all_of(
      inner.begin(), inner.end(), [](char c) { return c > ' ' && c < '\x7F' && c != '"'; });
}

std::optional<Sidecar> parse_sidecar(std::string_view text) {
  const auto json = parse_json(text);
  if (!json || !json->is_object()) return std::nullopt;
  Sidecar sidecar;
  const auto synced = json->find("synced");
  const auto total = json->find("total");
  if (!read_text(*json, "url", sidecar.url) || !read_text(*json, "etag", sidecar.etag) ||
      !read_text(*json, "sha256", sidecar.sha256) || synced == json->end() ||
      !synced->is_number_unsigned() || total == json->end()) {
    return std::nullopt;
  }
  if (!sidecar.etag.empty() && !is_strong_tag(sidecar.etag)) return std::nullopt;
  if (!sidecar.sha256.empty() && !is_sha256(sidecar.sha256)) return std::nullopt;
  sidecar.synced = synced->get<std::uint64_t>();
  if (total->is_number_unsigned()) {
    sidecar.total = total->get<std::uint64_t>();
  } else if (!total->is_null()) {
    return std::nullopt;
  }
  return sidecar;
}

std::string sidecar_text(const Sidecar& sidecar) {
  Json json = {{"url", sidecar.url},
               {"etag", sidecar.etag},
               {"total", nullptr},
               {"sha256", sidecar.sha256},
               {"synced", sidecar.synced}};
  if (sidecar.total) json["total"] = *sidecar.total;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::optional<Sidecar> read_sidecar(const Directory& directory, const std::string& name) {
  const auto text = directory.read(name, kLongest);
  if (!text) return std::nullopt;
  return parse_sidecar(*text);
}

Result<void> write_sidecar(const Directory& directory,
                           const std::string& name,
                           const Sidecar& sidecar) {
  return directory.replace(name, sidecar_text(sidecar));
}

}  // namespace pensieve::store
