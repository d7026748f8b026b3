// The proof that a server knows the token: its value, and what /health gives of it.
#include "application/server/token_proof.h"

#include <gtest/gtest.h>

#include <string>

#include "foundation/json.h"

#include "application/server/internal/test_support.h"

namespace pensieve::server {
namespace {

// Computed with Python's hmac and hashlib.
TEST(TokenProof, IsTheHmacOfPortAndChallenge) {
  EXPECT_EQ(token_proof("pensieve-test-token-0123456789", 7777, "abc123"),
            "2810672cb77d580f64a4fff4222b0f66b6c2680fb7293e8a6da3234ab2c8d5de");
  EXPECT_EQ(token_proof("", 1, "Z"),
            "2d3374ddf853ea50bed68800c0226c4a87b7877753b8efe35929b6f36ec52ee9");
}

TEST(TokenProof, TakesShortPlainChallengesOnly) {
  EXPECT_TRUE(is_challenge("0aZ"));
  EXPECT_TRUE(is_challenge(std::string(kMaxChallengeBytes, 'x')));
  EXPECT_FALSE(is_challenge(""));
  EXPECT_FALSE(is_challenge(std::string(kMaxChallengeBytes + 1, 'x')));
  for (const char* text : {"a b", "a:b", "a%41", "a&b", "\xC3\xA4"})
    EXPECT_FALSE(is_challenge(text));
}

class HealthChallenge : public ServerTest {
 protected:
  std::string proof(const std::string& query) {
    const auto health = parse_json(ask({.path = "/health" + query, .token = ""}).body);
    EXPECT_TRUE(health.has_value());
    EXPECT_EQ((*health)["status"], "ok");
    return health->value("proof", std::string("none"));
  }
};

TEST_F(HealthChallenge, IsAnsweredForThePortThatWasAsked) {
  start();
  EXPECT_EQ(proof("?challenge=n0nce"), token_proof(kToken, server_->port(), "n0nce"));
  EXPECT_NE(proof("?challenge=n0nce"), token_proof(kToken, server_->port() ^ 1, "n0nce"));
  EXPECT_NE(proof("?challenge=n0nce"), token_proof("another", server_->port(), "n0nce"));
  EXPECT_NE(proof("?challenge=n0nce"), proof("?challenge=m0nce"));
}

TEST_F(HealthChallenge, IsNotAnsweredWhenItIsNone) {
  start();
  for (const char* query :
       {"", "?", "?challenge", "?challenge=", "?challenge=a%20b", "?challenge=a&b=c", "?x=y"}) {
    EXPECT_EQ(proof(query), "none") << query;
  }
  EXPECT_EQ(proof("?challenge=" + std::string(kMaxChallengeBytes + 1, 'x')), "none");
}

}  // namespace
}  // namespace pensieve::server
