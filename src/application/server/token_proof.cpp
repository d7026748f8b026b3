#include "application/server/token_proof.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <new>
#include <span>

#include "foundation/check.h"
#include "foundation/message_digest.h"
#include "foundation/text.h"

namespace pensieve::server {
namespace {

constexpr std::size_t kDigestBytes = 32;  // of SHA-256

bool is_letter_or_digit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace

bool is_challenge(std::string_view text) {
  return !text.empty() && text.size() <= kMaxChallengeBytes &&
         std::all_of(text.begin(), text.end(), is_letter_or_digit);
}

std::string token_proof(std::string_view token, int port, std::string_view challenge) {
  std::array<unsigned char, kDigestBytes> mac{};
  MessageDigest digest;
  digest.update(std::as_bytes(std::span(token)));
  const auto key = digest.finish();
  unsigned int length = 0;
  // The words in front keep these answers apart from whatever else may ever be signed.
  const std::string message =
      "pensieve-health:" + std::to_string(port) + ":" + std::string(challenge);
  const auto* made = HMAC(EVP_sha256(),
                          key.data(),
                          static_cast<int>(key.size()),
                          reinterpret_cast<const unsigned char*>(message.data()),
                          message.size(),
                          mac.data(),
                          &length);
  if (made == nullptr) throw std::bad_alloc();  // libcrypto fails here only without memory
  CHECK(length == mac.size());
  return hex(mac);
}

}  // namespace pensieve::server
