#include "application/http/request_parser.h"

#include <algorithm>
#include <array>
#include <utility>

#include "foundation/text.h"

#include "application/http/internal/grammar.h"

namespace pensieve::http {
namespace {

constexpr std::size_t kMaxMethodBytes = 32;
constexpr std::size_t kMaxLengthDigits = 18;  // any such number fits 64 bits

Error bad(std::string what) {
  return {.kind = ErrorKind::InvalidRequest, .message = std::move(what)};
}

}  // namespace

const RequestHead& RequestParser::head() const {
  CHECK(state_ != State::Head);
  return request_.head;
}

std::size_t RequestParser::body_bytes() const {
  return request_.head.chunked ? static_cast<std::size_t>(chunks_.size()) : length_seen_;
}

Request RequestParser::take() {
  CHECK(state_ == State::Complete);
  Request request = std::move(request_);
  reset();
  return request;
}

Result<std::size_t> RequestParser::feed(std::string_view bytes) {
  if (!bytes.empty()) started_ = true;
  switch (state_) {
    case State::Head:
      return feed_head(bytes);
    case State::Body:
      return feed_body(bytes);
    case State::Complete:
      break;
  }
  return std::size_t{0};
}

Result<std::size_t> RequestParser::feed_body(std::string_view bytes) {
  if (request_.head.chunked) {
    PENSIEVE_TRY(const std::size_t taken,
                 chunks_.feed(bytes, keep_body_ ? &request_.body : nullptr));
    if (chunks_.done()) state_ = State::Complete;
    return taken;
  }
  const auto left = *request_.head.content_length - length_seen_;
  const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(left, bytes.size()));
  if (keep_body_) request_.body.append(bytes.substr(0, n));
  length_seen_ += n;
  if (n == left) state_ = State::Complete;
  return n;
}

// Lines end with CRLF and nothing else (RFC 9112, 2.2 lets a recipient accept a bare LF; another
// one on the way may not, so neither do we). Control characters are refused as they come.
Result<std::size_t> RequestParser::feed_head(std::string_view bytes) {
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    const char c = bytes[at];
    if (request_line_done_ && ++header_bytes_ > limits_.header_bytes) {
      return Error{.kind = ErrorKind::HeadersTooLarge,
                   .message = "the headers are longer than " +
                              std::to_string(limits_.header_bytes) + " bytes"};
    }
    if (after_cr_) {
      if (c != '\n') return bad("a carriage return without a line feed in the headers");
      after_cr_ = false;
      PENSIEVE_TRY(end_line());
      if (state_ != State::Head) return at + 1;
      continue;
    }
    if (c == '\r') {
      after_cr_ = true;
      continue;
    }
    if (!grammar::is_value_char(c)) {
      return bad(c == '\n' ? "a line feed without a carriage return in the headers"
                           : "a control character in the headers");
    }
    line_ += c;
    if (!request_line_done_ && line_.size() > limits_.request_line_bytes) {
      return Error{.kind = ErrorKind::UriTooLong,
                   .message = "the request line is longer than " +
                              std::to_string(limits_.request_line_bytes) + " bytes"};
    }
  }
  return bytes.size();
}

Result<void> RequestParser::end_line() {
  if (!request_line_done_) {
    // RFC 9112, 2.2: one empty line before the request line is forgiven.
    if (line_.empty() && !std::exchange(skipped_empty_line_, true)) return {};
    PENSIEVE_TRY(parse_request_line());
    request_line_done_ = true;
  } else if (line_.empty()) {
    return end_head();
  } else {
    PENSIEVE_TRY(parse_field());
  }
  line_.clear();
  return {};
}

// RFC 9112, 3: method SP request-target SP HTTP-version, with exactly these spaces.
Result<void> RequestParser::parse_request_line() {
  const std::string_view line = line_;
  const auto first = line.find(' ');
  if (first == std::string_view::npos) return bad("the request line is not complete");
  const auto second = line.find(' ', first + 1);
  if (second == std::string_view::npos) return bad("the request line has no HTTP version");
  const auto method = line.substr(0, first);
  const auto target = line.substr(first + 1, second - first - 1);
  const auto version = line.substr(second + 1);
  if (method.size() > kMaxMethodBytes || !grammar::is_token(method)) {
    return bad("the method is not a token");
  }
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    return bad("the HTTP version is not 1.1 or 1.0");
  }
  request_.head.method = method;
  request_.head.minor_version = version.back() - '0';
  return parse_target(target);
}

// RFC 9112, 3.2: origin-form, absolute-form, and the two forms that belong to one method each.
Result<void> RequestParser::parse_target(std::string_view target) {
  RequestHead& head = request_.head;
  if (head.method == "CONNECT") {
    if (!grammar::is_host(target)) return bad("the target of CONNECT is not host:port");
    head.path = target;
    return {};
  }
  if (target == "*" && head.method == "OPTIONS") {
    head.path = target;
    return {};
  }
  constexpr std::string_view kScheme = "http://";
  if (equal_ignoring_case(target.substr(0, kScheme.size()), kScheme)) {
    target.remove_prefix(kScheme.size());
    const auto end = target.find_first_of("/?");
    head.authority = target.substr(0, end);
    if (!grammar::is_host(head.authority)) return bad("the target's host is not valid");
    target = end == std::string_view::npos ? "/" : target.substr(end);
    if (target.front() == '?') return bad("the target has no path");
  }
  if (target.empty() || target.front() != '/') return bad("the target is not a path");
  if (!std::all_of(target.begin(), target.end(), grammar::is_target_char)) {
    return bad("the target contains a character that must be percent-encoded");
  }
  const auto question = target.find('?');
  head.path = target.substr(0, question);
  if (question != std::string_view::npos) head.query = target.substr(question + 1);
  return {};
}

Result<void> RequestParser::parse_field() {
  RequestHead& head = request_.head;
  const std::string_view line = line_;
  // RFC 9112, 5.2: a line that begins with white space continues the one before it; obsolete, and
  // refused.
  if (grammar::contains(" \t", line.front())) return bad("a header line begins with white space");
  if (head.headers.size() >= limits_.header_fields) {
    return Error{.kind = ErrorKind::HeadersTooLarge,
                 .message = "there are more than " + std::to_string(limits_.header_fields) +
                            " header fields"};
  }
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return bad("a header line has no colon");
  // RFC 9112, 5.1: no white space between name and colon.
  const auto name = line.substr(0, colon);
  if (!grammar::is_token(name)) return bad("a header name is not a token");
  // Gateways that map '-' and '_' to the same variable would see a second framing field.
  if (equal_ignoring_case(name, "content_length") ||
      equal_ignoring_case(name, "transfer_encoding")) {
    return bad("the header \"" + printable(name) + "\" could be taken for a framing field");
  }
  head.headers.push_back(
      {.name = std::string(name), .value = std::string(grammar::trim(line.substr(colon + 1)))});
  return {};
}

Result<void> RequestParser::end_head() {
  PENSIEVE_TRY(read_host());
  PENSIEVE_TRY(read_transfer_encoding());
  PENSIEVE_TRY(read_content_length());
  read_connection();
  line_ = {};
  state_ = request_.head.has_body() ? State::Body : State::Complete;
  return {};
}

// RFC 9112, 3.2: exactly one Host, or 400. HTTP/1.0 may leave it out; the check that keeps other
// sites' names away needs it, so here it may not, but for a unix socket, where nobody came by name.
Result<void> RequestParser::read_host() {
  RequestHead& head = request_.head;
  const auto hosts = head.count("host");
  if (hosts == 0 && over_unix_socket_ && head.minor_version == 0) return {};
  if (hosts == 0) return bad("the Host header is missing");
  if (hosts > 1) return bad("there is more than one Host header");
  head.host = head.header("host");
  if (!grammar::is_host(head.host)) return bad("the Host header is not host or host:port");
  return {};
}

// RFC 9112, 6.1: chunked is the one coding we know. Anything that hints at another view of where
// the body ends is refused.
Result<void> RequestParser::read_transfer_encoding() {
  RequestHead& head = request_.head;
  const auto fields = head.count("transfer-encoding");
  if (fields == 0) return {};
  if (fields > 1) return bad("there is more than one Transfer-Encoding header");
  if (head.minor_version == 0) return bad("HTTP/1.0 has no Transfer-Encoding");
  if (head.count("content-length") > 0) {
    return bad("both Transfer-Encoding and Content-Length are given");
  }
  const std::string_view value = head.header("transfer-encoding");
  if (equal_ignoring_case(value, "chunked")) {
    head.chunked = true;
    return {};
  }
  bool well_formed = true;
  bool unknown = false;
  grammar::for_each_element(value, [&](std::string_view coding) {
    well_formed =
        well_formed && grammar::is_token(coding) && !equal_ignoring_case(coding, "identity");
    unknown = unknown || !equal_ignoring_case(coding, "chunked");
  });
  if (well_formed && unknown) {
    return Error{.kind = ErrorKind::NotImplemented,
                 .message = "the only transfer coding this server knows is chunked"};
  }
  return bad("the Transfer-Encoding header is not \"chunked\"");
}

// RFC 9112, 6.3: a length that is not plain decimal, or given twice, even with equal values.
Result<void> RequestParser::read_content_length() {
  RequestHead& head = request_.head;
  const auto fields = head.count("content-length");
  if (fields == 0) return {};
  if (fields > 1) return bad("there is more than one Content-Length header");
  const std::string_view value = head.header("content-length");
  const bool plain = !value.empty() && value.size() <= kMaxLengthDigits &&
                     std::all_of(value.begin(), value.end(), grammar::is_digit) &&
                     (value.size() == 1 || value.front() != '0');
  if (!plain) return bad("the Content-Length header is not a plain decimal number");
  std::uint64_t length = 0;
  for (const char c : value) length = length * 10 + static_cast<unsigned>(c - '0');
  head.content_length = length;
  return {};
}

void RequestParser::read_connection() {
  RequestHead& head = request_.head;
  bool close = false;
  for (const Header& field : head.headers) {
    if (!equal_ignoring_case(field.name, "connection")) continue;
    grammar::for_each_element(field.value, [&](std::string_view option) {
      close = close || equal_ignoring_case(option, "close");
    });
  }
  // An HTTP/1.0 client cannot be told about chunks, so its connection ends with its answer.
  head.keep_alive = !close && head.minor_version == 1;
  head.expects_continue =
      head.minor_version == 1 && equal_ignoring_case(head.header("expect"), "100-continue");
}

}  // namespace pensieve::http
