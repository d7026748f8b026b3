#include "domain/store/internal/follow.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "foundation/text.h"

namespace pensieve::store {
namespace {

bool is_redirect(const FetchHead& head) {
  const bool status = head.status == 301 || head.status == 302 || head.status == 303 ||
                      head.status == 307 || head.status == 308;
  return status && !head.redirect_url.empty();
}

// The host of a URL, lower-case, without user, port and brackets.
std::string host_of(std::string_view url) {
  const std::string origin = lower_ascii(origin_of(url));
  std::string_view host = origin;
  if (const auto at = host.find("://"); at != std::string_view::npos) host.remove_prefix(at + 3);
  if (const auto at = host.rfind('@'); at != std::string_view::npos) host.remove_prefix(at + 1);
  if (host.starts_with('[')) return std::string(host.substr(1, host.find(']') - 1));
  return std::string(host.substr(0, host.find(':')));
}

bool is_private_v4(std::uint32_t address) {
  struct Range {
    std::uint32_t base;
    int bits;
  };
  // RFC 6890: this network, private use, shared, loopback, link-local, private use, multicast up.
  static constexpr std::array<Range, 8> kRanges = {{{0x00000000, 8},
                                                    {0x0A000000, 8},
                                                    {0x64400000, 10},
                                                    {0x7F000000, 8},
                                                    {0xA9FE0000, 16},
                                                    {0xAC100000, 12},
                                                    {0xC0A80000, 16},
                                                    {0xE0000000, 3}}};
  return std::any_of(kRanges.begin(), kRanges.end(), [&](const Range& range) {
    return (address ^ range.base) >> (32 - range.bits) == 0;
  });
}

bool is_private_v6(const in6_addr& address) {
  if (IN6_IS_ADDR_LOOPBACK(&address) || IN6_IS_ADDR_UNSPECIFIED(&address) ||
      IN6_IS_ADDR_LINKLOCAL(&address) || IN6_IS_ADDR_MULTICAST(&address)) {
    return true;
  }
  if (IN6_IS_ADDR_V4MAPPED(&address)) {
    const std::uint8_t* tail = address.s6_addr + 12;
    return is_private_v4(std::uint32_t{tail[0]} << 24 | std::uint32_t{tail[1]} << 16 |
                         std::uint32_t{tail[2]} << 8 | tail[3]);
  }
  return (address.s6_addr[0] & 0xFE) == 0xFC;  // RFC 4193: unique local
}

Error refused(const std::string& from, const std::string& why) {
  return {.kind = ErrorKind::Permission, .message = printable(origin_of(from), 200) + " " + why};
}

void keep(FetchHead& known, const FetchHead& head) {
  if (known.linked_etag.empty()) known.linked_etag = head.linked_etag;
  if (!known.linked_size) known.linked_size = head.linked_size;
  if (known.commit.empty()) known.commit = head.commit;
}

}  // namespace

std::string origin_of(std::string_view url) {
  const auto scheme = url.find("://");
  const auto begin = scheme == std::string_view::npos ? 0 : scheme + 3;
  return std::string(url.substr(0, url.find_first_of("/?#", begin)));
}

bool is_private_host(std::string_view url) {
  const std::string host = host_of(url);
  if (host == "localhost" || host.ends_with(".localhost") || host.ends_with(".local")) return true;
  in_addr v4{};  // inet_aton also reads 127.1, 0x7f.1 and 2130706433, as a resolver would
  if (inet_aton(host.c_str(), &v4) != 0) return is_private_v4(ntohl(v4.s_addr));
  in6_addr v6{};
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && is_private_v6(v6);
}

Result<FetchOutcome> follow(const Fetch& fetch,
                            FetchRequest request,
                            bool allow_private,
                            const FetchSink& sink) {
  FetchHead known;
  for (int hops = 0;; ++hops) {
    std::string next;
    FetchSink hop{.head =
                      [&](const FetchHead& head) {
                        keep(known, head);
                        if (is_redirect(head)) {
                          next = head.redirect_url;
                          return false;
                        }
                        FetchHead whole = head;
                        keep(whole, known);
                        return sink.head(whole);
                      },
                  .body = [&](std::span<const std::byte> bytes) { return sink.body(bytes); },
                  .stopped = sink.stopped};
    FetchOutcome outcome = fetch(request, hop);
    if (outcome.end == FetchEnd::Stopped) return outcome;
    if (next.empty()) {
      if (hops > 0 && !outcome.what.empty()) {
        outcome.what =
            "sends us to " + printable(origin_of(request.url), 200) + ", which " + outcome.what;
      }
      return outcome;
    }
    if (hops == kMostRedirects) {
      return refused(request.url, "redirects more than ten times");
    }
    const std::string scheme = lower_ascii(next.substr(0, next.find("://")));
    if (scheme != "https" && scheme != "http") {
      return refused(request.url, "redirects to something that is neither https nor http");
    }
    if (scheme == "http" && lower_ascii(request.url).starts_with("https:")) {
      return refused(request.url, "redirects from https to http, which nobody should follow");
    }
    if (!allow_private && is_private_host(next)) {
      return refused(
          request.url,
          "redirects to " + printable(origin_of(next), 200) + ", an address of a private network");
    }
    if (lower_ascii(origin_of(next)) != lower_ascii(origin_of(request.url))) request.bearer.clear();
    request.url = next;
  }
}

}  // namespace pensieve::store
