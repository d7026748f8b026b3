#include "application/http/message.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>

#include "application/http/internal/grammar.h"

namespace pensieve::http {

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return grammar::lower(x) == grammar::lower(y);
  });
}

bool is_loopback_host(std::string_view host) {
  if (host == "localhost" || host == "::1" || host == "[::1]") return true;
  in_addr address{};
  return inet_pton(AF_INET, std::string(host).c_str(), &address) == 1 &&
         ntohl(address.s_addr) >> 24 == 127;
}

std::string_view RequestHead::header(std::string_view name) const {
  for (const Header& field : headers) {
    if (equal_ignoring_case(field.name, name)) return field.value;
  }
  return {};
}

std::size_t RequestHead::count(std::string_view name) const {
  return static_cast<std::size_t>(std::count_if(headers.begin(), headers.end(), [&](const auto& f) {
    return equal_ignoring_case(f.name, name);
  }));
}

}  // namespace pensieve::http
