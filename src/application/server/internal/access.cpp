#include "application/server/internal/access.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <cctype>
#include <span>

#include "foundation/message_digest.h"
#include "foundation/text.h"

namespace pensieve::server {
namespace {

constexpr std::array<std::string_view, 3> kLoopbackNames{"localhost", "127.0.0.1", "[::1]"};
constexpr int kHttpPort = 80;

bool has_port(std::string_view host) {
  const auto colon = host.rfind(':');
  const auto bracket = host.rfind(']');
  return colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket);
}

bool holds(const std::vector<std::string>& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

}  // namespace

HostPolicy::HostPolicy(std::string_view bind_host,
                       int port,
                       const std::vector<std::string>& extra) {
  const std::string suffix = ":" + std::to_string(port);
  const auto add = [&](std::string_view name, bool bare) {
    allowed_.push_back(lower_ascii(name) + suffix);
    if (bare || port == kHttpPort) allowed_.push_back(lower_ascii(name));
  };
  for (const std::string_view name : kLoopbackNames) add(name, false);
  // The address itself, when it is one: clients that reach it use it as the name.
  if (bind_host.find(':') != std::string_view::npos) {
    add("[" + std::string(bind_host) + "]", false);
  } else {
    add(bind_host, false);
  }
  for (const std::string& name : extra) {
    if (has_port(name)) {
      allowed_.push_back(lower_ascii(name));
    } else {
      add(name, true);  // behind a proxy the port is the proxy's, often left out
    }
  }
}

bool HostPolicy::allows(std::string_view host) const {
  return holds(allowed_, lower_ascii(host));
}

OriginPolicy::OriginPolicy(int port, const std::vector<std::string>& extra) {
  for (const std::string_view name : kLoopbackNames) {
    std::string origin = "http://" + std::string(name);
    if (port != kHttpPort) origin += ":" + std::to_string(port);
    allowed_.push_back(std::move(origin));
  }
  allowed_.insert(allowed_.end(), extra.begin(), extra.end());
}

// Browsers serialise an origin in one way only (RFC 6454, 6.1), so bytes are compared.
bool OriginPolicy::allows(std::string_view origin) const {
  return holds(allowed_, origin);
}

TokenCheck::TokenCheck(std::string_view token)
    : required_(!token.empty()), expected_(digest(token)) {}

TokenCheck::Digest TokenCheck::digest(std::string_view text) {
  MessageDigest digest;
  digest.update(std::as_bytes(std::span(text)));
  return digest.finish();
}

bool TokenCheck::matches(std::string_view token) const {
  const Digest given = digest(token);
  return CRYPTO_memcmp(given.data(), expected_.data(), expected_.size()) == 0;
}

bool TokenCheck::accepts(const http::RequestHead& head) const {
  if (!required_) return true;
  const auto n_bearer = head.count("authorization");
  const auto n_key = head.count("x-api-key");
  if (n_bearer > 1 || n_key > 1 || n_bearer + n_key == 0) return false;
  bool right = true;
  if (n_bearer == 1) {
    constexpr std::string_view kScheme = "Bearer ";
    std::string_view value = head.header("authorization");
    const bool bearer = http::equal_ignoring_case(value.substr(0, kScheme.size()), kScheme);
    value = bearer ? value.substr(kScheme.size()) : std::string_view();
    right = matches(value) && right;
  }
  if (n_key == 1) right = matches(head.header("x-api-key")) && right;
  return right;
}

}  // namespace pensieve::server
