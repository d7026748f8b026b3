// Who may ask: names this server answers to (against DNS rebinding), origins whose pages may read
// answers, and the token. Knows header values. Must not know routes.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "application/http/message.h"

namespace pensieve::server {

// The names a Host field or an absolute-form target may carry.
class HostPolicy {
 public:
  // `bind_host` is the address we listen on; `extra` holds "name" (with our port or none) or
  // "name:port" (exactly so).
  HostPolicy(std::string_view bind_host, int port, const std::vector<std::string>& extra);
  bool allows(std::string_view host) const;

 private:
  std::vector<std::string> allowed_;  // lower case, with port where one must be there
};

// The origins whose pages may ask. A request without an Origin does not come from a page.
class OriginPolicy {
 public:
  OriginPolicy(int port, const std::vector<std::string>& extra);
  bool allows(std::string_view origin) const;

 private:
  std::vector<std::string> allowed_;
};

// Compares tokens by their SHA-256 digests, in a time that depends on neither.
class TokenCheck {
 public:
  explicit TokenCheck(std::string_view token);  // empty: nobody needs one

  // Whether the request carries the token, as `Authorization: Bearer` or `x-api-key`. Where both
  // are given both must be right; a header given twice is wrong.
  bool accepts(const http::RequestHead& head) const;

 private:
  using Digest = std::array<std::byte, 32>;
  static Digest digest(std::string_view text);
  bool matches(std::string_view token) const;

  bool required_;
  Digest expected_;
};

}  // namespace pensieve::server
