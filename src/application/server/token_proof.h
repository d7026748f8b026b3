// How a server shows a client of the same user that it knows the access token, before the client
// gives the token away: whoever else sits on the port learns nothing. Knows bytes only.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace pensieve::server {

// What a challenge may be: 1 to 128 of [0-9a-zA-Z].
inline constexpr std::size_t kMaxChallengeBytes = 128;
bool is_challenge(std::string_view text);

// The answer of `GET /health?challenge=TEXT` on `port`: HMAC-SHA256 (RFC 2104) of
// "pensieve-health:PORT:TEXT" in lower-case hexadecimal, the key being the SHA-256 of the token.
// The port is in it so that a program on another port cannot pass the question on and the answer
// back. Any thread.
std::string token_proof(std::string_view token, int port, std::string_view challenge);

}  // namespace pensieve::server
