// Any bytes as what the store notes beside its files: a manifest, and the sidecar of a download.
// Invariants: nothing, or values that keep the bounds their types promise and that are the same
// when they are written and read again.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "foundation/check.h"

#include "domain/store/internal/manifest.h"
#include "domain/store/internal/sidecar.h"
#include "domain/store/names.h"

namespace {

using namespace pensieve;

void check_manifest(const store::Manifest& manifest) {
  CHECK(store::is_model_name(manifest.name) && !manifest.files.empty());
  std::uint64_t sum = 0;
  for (const store::FileRecord& file : manifest.files) {
    CHECK(store::is_file_name(file.name) && store::is_sha256(file.sha256));
    CHECK(sum + file.bytes >= sum);
    sum += file.bytes;
  }
  CHECK(sum == manifest.bytes());
  const std::string text = store::manifest_text(manifest);
  const auto again = store::parse_manifest(text);
  CHECK(again && store::manifest_text(*again) == text);
}

void check_sidecar(const store::Sidecar& sidecar) {
  CHECK(sidecar.etag.empty() || store::is_strong_tag(sidecar.etag));
  CHECK(sidecar.etag.find_first_of("\r\n") == std::string::npos);
  CHECK(sidecar.sha256.empty() || store::is_sha256(sidecar.sha256));
  const auto again = store::parse_sidecar(store::sidecar_text(sidecar));
  CHECK(again && again->url == sidecar.url && again->etag == sidecar.etag &&
        again->total == sidecar.total && again->sha256 == sidecar.sha256 &&
        again->synced == sidecar.synced);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto manifest = store::parse_manifest(text)) check_manifest(*manifest);
  if (const auto sidecar = store::parse_sidecar(text)) check_sidecar(*sidecar);
  return 0;
}
