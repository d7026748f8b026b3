#include "foundation/message_digest.h"

#include <openssl/evp.h>

#include <new>

#include "foundation/check.h"

namespace pensieve {
namespace {

EVP_MD_CTX* as_context(void* context) {
  return static_cast<EVP_MD_CTX*>(context);
}

}  // namespace

void MessageDigest::Delete::operator()(void* context) const {
  EVP_MD_CTX_free(as_context(context));
}

// libcrypto fails here only without memory: every build of it has these algorithms.
MessageDigest::MessageDigest(Algorithm algorithm) : context_(EVP_MD_CTX_new()) {
  const EVP_MD* method = algorithm == Algorithm::Sha1 ? EVP_sha1() : EVP_sha256();
  if (!context_ || EVP_DigestInit_ex(as_context(context_.get()), method, nullptr) != 1)
    throw std::bad_alloc();
}

void MessageDigest::update(std::span<const std::byte> bytes) {
  CHECK(EVP_DigestUpdate(as_context(context_.get()), bytes.data(), bytes.size()) == 1);
}

std::array<std::byte, 32> MessageDigest::finish() {
  static_assert(EVP_MAX_MD_SIZE >= 32);
  std::array<std::byte, 32> digest{};
  unsigned size = 0;
  auto* to = reinterpret_cast<unsigned char*>(digest.data());
  CHECK(EVP_DigestFinal_ex(as_context(context_.get()), to, &size) == 1);
  CHECK(size <= digest.size());
  return digest;
}

}  // namespace pensieve
