// One page of KV in a file: docs/formats/kv-page.md. A file tells everything that must agree before
// its bytes are used, all token ids of the history among it, and a checksum of the rest.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/ids.h"
#include "foundation/result.h"

#include "domain/engine/kv_tier.h"

namespace pensieve::kv_store {

using engine::PageKey;
using Checksum = std::array<std::byte, 16>;

inline constexpr std::uint32_t kPageFileVersion = 2;
inline constexpr int kMaxTokens = 1 << 20;  // of a history

struct PageHead {
  PageKey key;
  PageKey format;              // digest of Capabilities::kv_format
  std::uint32_t n_tokens = 0;  // of the history; a multiple of 64
  std::uint64_t payload_bytes = 0;
  std::int64_t created_s = 0;  // since 1970
  Checksum payload_checksum{};
};

inline constexpr std::size_t kHeadBytes = 192;  // then the token ids, then the payload

PageKey digest_of(std::span<const std::byte> bytes);     // SHA-256
Checksum checksum_of(std::span<const std::byte> bytes);  // XXH3, 128 bits

// The head with its own digest, which covers the token ids too. [kHeadBytes]
std::string encode_head(const PageHead& head, std::span<const TokenId> tokens);

// Errors: BadFile for what is no head of this version, or whose digest does not fit `tokens`, as
// far as those are given. `bytes`: kHeadBytes.
Result<PageHead> decode_head(std::span<const std::byte> bytes);
bool head_fits(std::span<const std::byte> bytes, std::span<const TokenId> tokens);

// "KEY-TOKENS.page", the key's first 20 bytes in hexadecimal: what an index is made from without
// opening files.
struct PageName {
  std::string key;  // 40 digits
  int n_tokens = 0;
};
std::string page_key_digits(const PageKey& key);  // 40
std::string page_name(const PageKey& key, int n_tokens);
std::optional<PageName> parse_page_name(std::string_view name);

}  // namespace pensieve::kv_store
