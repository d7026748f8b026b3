// Against the examples of FIPS 180-4 (NIST, "Cryptographic Standards and Guidelines: Examples with
// Intermediate Values").
#include "foundation/message_digest.h"

#include <gtest/gtest.h>

#include <string_view>

#include "foundation/text.h"

namespace pensieve {
namespace {

std::string sha256_in_parts(std::string_view text, std::size_t part) {
  MessageDigest digest;
  for (; !text.empty(); text.remove_prefix(std::min(part, text.size())))
    digest.update(std::as_bytes(std::span(text.substr(0, part))));
  return hex(digest.finish());
}

TEST(MessageDigest, IsThatOfTheStandard) {
  constexpr std::string_view kTwoBlocks =
      "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  for (const std::size_t part : {1u, 7u, 64u}) {
    EXPECT_EQ(sha256_in_parts("abc", part),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(sha256_in_parts(kTwoBlocks, part),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  }
  MessageDigest sha1(MessageDigest::Algorithm::Sha1);
  sha1.update(std::as_bytes(std::span(std::string_view("abc"))));
  const auto digest = sha1.finish();
  EXPECT_EQ(hex(std::span(digest).first<20>()), "a9993e364706816aba3e25717850c26c9cd0d89d");
}

}  // namespace
}  // namespace pensieve
