#include "domain/store/internal/digest.h"

#include "foundation/text.h"

namespace pensieve::store {
namespace {
constexpr std::size_t kSha1Bytes = 20;
}  // namespace

Digest::Digest(std::optional<std::uint64_t> blob_bytes) {
  if (!blob_bytes) return;
  git_blob_.emplace(MessageDigest::Algorithm::Sha1);
  const std::string header = "blob " + std::to_string(*blob_bytes) + '\0';
  git_blob_->update(std::as_bytes(std::span(header)));
}

void Digest::update(std::span<const std::byte> bytes) {
  sha256_.update(bytes);
  if (git_blob_) git_blob_->update(bytes);
}

Digest::Value Digest::finish() {
  Value value{.sha256 = hex(sha256_.finish()), .git_blob = {}};
  if (git_blob_) {
    const auto blob = git_blob_->finish();
    value.git_blob = hex(std::span(blob).first<kSha1Bytes>());
  }
  return value;
}

}  // namespace pensieve::store
