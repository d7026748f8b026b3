#include "domain/kv_store/internal/page_file.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#define XXH_INLINE_ALL  // nothing to link
#include <xxhash.h>

#include "foundation/check.h"
#include "foundation/message_digest.h"
#include "foundation/text.h"

namespace pensieve::kv_store {
namespace {

constexpr char kMagic[8] = {'P', 'N', 'S', 'V', 'P', 'A', 'G', 'E'};
constexpr std::size_t kNameDigits = 40;
constexpr std::string_view kSuffix = ".page";

// As it lies in the file, little endian.
struct Head {
  char magic[8];
  std::uint32_t version;
  std::uint32_t n_tokens;
  std::uint64_t payload_bytes;
  std::int64_t created_s;
  PageKey key, format;
  Checksum payload_checksum;
  std::uint8_t zero[16];
  PageKey head_digest;  // of everything before it, and of the token ids
  std::uint8_t reserved[32];
};
static_assert(sizeof(Head) == kHeadBytes);

Head as_head(std::span<const std::byte> bytes) {
  CHECK(bytes.size() >= kHeadBytes);
  Head head;
  std::memcpy(&head, bytes.data(), sizeof head);
  return head;
}

PageKey head_digest(const Head& head, std::span<const TokenId> tokens) {
  MessageDigest digest;
  digest.update(std::as_bytes(std::span(&head, 1)).first(offsetof(Head, head_digest)));
  digest.update(std::as_bytes(tokens));
  return {.bytes = digest.finish()};
}

}  // namespace

PageKey digest_of(std::span<const std::byte> bytes) {
  MessageDigest digest;
  digest.update(bytes);
  return {.bytes = digest.finish()};
}

Checksum checksum_of(std::span<const std::byte> bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  Checksum checksum;
  static_assert(sizeof checksum == sizeof canonical.digest);
  std::memcpy(checksum.data(), canonical.digest, sizeof checksum);
  return checksum;
}

std::string encode_head(const PageHead& head, std::span<const TokenId> tokens) {
  Head raw{};
  std::memcpy(raw.magic, kMagic, sizeof kMagic);
  raw.version = kPageFileVersion;
  raw.n_tokens = head.n_tokens;
  raw.payload_bytes = head.payload_bytes;
  raw.created_s = head.created_s;
  raw.key = head.key;
  raw.format = head.format;
  raw.payload_checksum = head.payload_checksum;
  raw.head_digest = head_digest(raw, tokens);
  return {reinterpret_cast<const char*>(&raw), sizeof raw};
}

Result<PageHead> decode_head(std::span<const std::byte> bytes) {
  const Head raw = as_head(bytes);
  const auto bad = [](const char* why) {
    return Error{.kind = ErrorKind::BadFile, .message = why};
  };
  if (std::memcmp(raw.magic, kMagic, sizeof kMagic) != 0) return bad("it is no page of KV");
  if (raw.version != kPageFileVersion) return bad("it is of another version");
  if (raw.n_tokens == 0 || raw.n_tokens % compute::kPageTokens != 0 || raw.n_tokens > kMaxTokens)
    return bad("its number of tokens makes no sense");
  return PageHead{.key = raw.key,
                  .format = raw.format,
                  .n_tokens = raw.n_tokens,
                  .payload_bytes = raw.payload_bytes,
                  .created_s = raw.created_s,
                  .payload_checksum = raw.payload_checksum};
}

bool head_fits(std::span<const std::byte> bytes, std::span<const TokenId> tokens) {
  const Head raw = as_head(bytes);
  return head_digest(raw, tokens) == raw.head_digest &&
         std::all_of(
             std::begin(raw.reserved), std::end(raw.reserved), [](auto b) { return b == 0; });
}

std::string page_key_digits(const PageKey& key) {
  return hex(std::span(key.bytes).first(kNameDigits / 2));
}

std::string page_name(const PageKey& key, int n_tokens) {
  return page_key_digits(key) + "-" + std::to_string(n_tokens) + std::string(kSuffix);
}

std::optional<PageName> parse_page_name(std::string_view name) {
  if (name.size() <= kNameDigits + 1 + kSuffix.size() || name[kNameDigits] != '-' ||
      !name.ends_with(kSuffix))
    return std::nullopt;
  PageName parsed{.key = std::string(name.substr(0, kNameDigits))};
  const bool digits = std::all_of(parsed.key.begin(), parsed.key.end(), [](char c) {
    return hex_value(c) >= 0 && !(c >= 'A' && c <= 'F');
  });
  const std::string_view count =
      name.substr(kNameDigits + 1, name.size() - kNameDigits - 1 - kSuffix.size());
  const auto read = std::from_chars(count.data(), count.data() + count.size(), parsed.n_tokens);
  if (!digits || read.ec != std::errc() || read.ptr != count.data() + count.size() ||
      parsed.n_tokens <= 0 || parsed.n_tokens > kMaxTokens || count.front() == '0')
    return std::nullopt;
  return parsed;
}

}  // namespace pensieve::kv_store
