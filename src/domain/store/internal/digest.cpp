#include "domain/store/internal/digest.h"

#include <openssl/evp.h>

#include <array>

#include "foundation/check.h"
#include "foundation/text.h"

namespace pensieve::store {
namespace {

struct ContextDeleter {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_MD_CTX, ContextDeleter>;

// libcrypto fails here only without memory or without the algorithm, which every build has.
Context begin(const EVP_MD* algorithm) {
  Context context(EVP_MD_CTX_new());
  CHECK(context != nullptr);
  CHECK(EVP_DigestInit_ex(context.get(), algorithm, nullptr) == 1);
  return context;
}

std::string finished(EVP_MD_CTX* context) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned n = 0;
  CHECK(EVP_DigestFinal_ex(context, bytes.data(), &n) == 1);
  return hex(std::span(bytes).first(n));
}

}  // namespace

struct Digest::State {
  Context sha256;
  Context git_blob;  // null: not asked for
};

Digest::Digest(std::optional<std::uint64_t> blob_bytes) : state_(std::make_unique<State>()) {
  state_->sha256 = begin(EVP_sha256());
  if (!blob_bytes) return;
  state_->git_blob = begin(EVP_sha1());
  const std::string header = "blob " + std::to_string(*blob_bytes) + '\0';
  CHECK(EVP_DigestUpdate(state_->git_blob.get(), header.data(), header.size()) == 1);
}

Digest::~Digest() = default;
Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;

void Digest::update(std::span<const std::byte> bytes) {
  CHECK(EVP_DigestUpdate(state_->sha256.get(), bytes.data(), bytes.size()) == 1);
  if (state_->git_blob)
    CHECK(EVP_DigestUpdate(state_->git_blob.get(), bytes.data(), bytes.size()) == 1);
}

Digest::Value Digest::finish() {
  Value value{.sha256 = finished(state_->sha256.get()), .git_blob = {}};
  if (state_->git_blob) value.git_blob = finished(state_->git_blob.get());
  return value;
}

}  // namespace pensieve::store
