// HTTP messages as plain values: what a request said, and what an answer will say. Knows names,
// values and bytes. Must not know sockets, routes or JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pensieve::http {

struct Header {
  std::string name;
  std::string value;
};

// A request up to the empty line behind its headers, already found well framed.
struct RequestHead {
  std::string method;     // as sent; methods are case-sensitive
  std::string path;       // begins with '/', never decoded; "*" for OPTIONS *; CONNECT: the target
  std::string query;      // behind the '?', without it
  std::string host;       // the one Host field: name or address with an optional port; empty where
                          // an HTTP/1.0 client left it out on a unix socket
  std::string authority;  // of an absolute-form target ("http://authority/…"), else empty
  int minor_version = 1;  // of HTTP/1
  // It came from our own user's process on this machine, over a unix socket: no name led it here,
  // and no web page can have sent it.
  bool over_unix_socket = false;
  std::vector<Header> headers;

  std::optional<std::uint64_t> content_length;
  bool chunked = false;
  bool keep_alive = true;
  bool expects_continue = false;

  // The value of the first field with this name (any case), or empty.
  std::string_view header(std::string_view name) const;
  std::size_t count(std::string_view name) const;
  bool has_body() const { return chunked || content_length.value_or(0) > 0; }
};

struct Request {
  RequestHead head;
  std::string body;
};

struct Response {
  int status = 200;
  std::vector<Header> headers;  // beyond those the writer adds: Date, framing, Connection
  std::string content_type;     // empty: no body and no such field
  std::string body;
};

bool equal_ignoring_case(std::string_view a, std::string_view b);

// Whether a host can be reached from this machine alone: localhost (RFC 6761, 6.3), 127.0.0.0/8
// (RFC 1122, 3.2.1.3), ::1 with or without brackets.
bool is_loopback_host(std::string_view host);

}  // namespace pensieve::http
