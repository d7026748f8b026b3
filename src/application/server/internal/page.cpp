#include "application/server/internal/page.h"

#include <openssl/evp.h>

#include <array>
#include <span>

#include "foundation/check.h"
#include "foundation/message_digest.h"

// NOLINTBEGIN(readability-identifier-naming): the assembler's names
extern "C" const char pensieve_page_begin[];
extern "C" const char pensieve_page_end[];
// NOLINTEND(readability-identifier-naming)

namespace pensieve::server {
namespace {

// What stands between <tag> and </tag>, of which the page has one each.
std::string_view element(std::string_view html, std::string_view tag) {
  const std::string open = "<" + std::string(tag) + ">";
  const std::string close = "</" + std::string(tag) + ">";
  const std::size_t begin = html.find(open);
  const std::size_t end = html.find(close);
  CHECK(begin != std::string_view::npos && end != std::string_view::npos && begin < end);
  return html.substr(begin + open.size(), end - begin - open.size());
}

// 'sha256-…', as CSP names an inline element (section 2.3.1, hash-source).
std::string hash_source(std::string_view text) {
  MessageDigest digest;
  digest.update(std::as_bytes(std::span(text.data(), text.size())));
  const auto hash = digest.finish();
  std::array<unsigned char, 45> base64{};  // 44 characters of 32 bytes, and a NUL
  const int length = EVP_EncodeBlock(
      base64.data(), reinterpret_cast<const unsigned char*>(hash.data()), hash.size());
  CHECK(length == 44);
  return "'sha256-" + std::string(base64.begin(), base64.begin() + length) + "'";
}

}  // namespace

std::string_view page_html() {
  return {pensieve_page_begin, static_cast<std::size_t>(pensieve_page_end - pensieve_page_begin)};
}

const std::string& page_policy() {
  static const std::string policy =
      "default-src 'none'; script-src " + hash_source(element(page_html(), "script")) +
      "; style-src " + hash_source(element(page_html(), "style")) +
      "; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
      "frame-ancestors 'none'";
  return policy;
}

}  // namespace pensieve::server
