// One HTTP/1.1 request from bytes that may be cut anywhere (RFC 9112), strict: whatever another
// parser on the way could read differently is refused, so that no request hides inside another.
// Knows framing and limits. Must not know sockets, routes, or whether an answer is wanted.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "foundation/result.h"

#include "application/http/chunked_decoder.h"
#include "application/http/limits.h"
#include "application/http/message.h"

namespace pensieve::http {

class RequestParser {
 public:
  enum class State { Head, Body, Complete };

  // `over_unix_socket` is noted in each head; there HTTP/1.0 may come without a Host.
  explicit RequestParser(const Limits& limits, bool over_unix_socket = false)
      : limits_(limits), over_unix_socket_(over_unix_socket), chunks_(limits) {
    request_.head.over_unix_socket = over_unix_socket;
  }

  // Takes bytes up to the end of the current state and returns how many: it stops behind the head
  // and behind the body, so that the caller can decide in between. Errors, after which the
  // connection can only be closed: InvalidRequest, UriTooLong, HeadersTooLarge, NotImplemented (an
  // unknown transfer coding), TooLarge (a chunked body beyond the limit; a Content-Length beyond it
  // is for the caller to judge by head()).
  Result<std::size_t> feed(std::string_view bytes);

  State state() const { return state_; }
  bool started() const { return started_; }  // a byte of the request has come

  // REQUIRES: state() != Head.
  const RequestHead& head() const;

  // The rest of the body is parsed but not kept.
  void discard_body() { keep_body_ = false; }
  std::size_t body_bytes() const;  // so far, kept or not
  // Room for a body of `bytes`, taken at once so that growing never copies.
  void reserve_body(std::size_t bytes) { request_.body.reserve(bytes); }

  // REQUIRES: state() == Complete. The parser is empty afterwards.
  Request take();
  void reset() { *this = RequestParser(limits_, over_unix_socket_); }

 private:
  Result<std::size_t> feed_head(std::string_view bytes);
  Result<std::size_t> feed_body(std::string_view bytes);
  Result<void> end_line();
  Result<void> parse_request_line();
  Result<void> parse_target(std::string_view target);
  Result<void> parse_field();
  Result<void> end_head();
  Result<void> read_host();
  Result<void> read_transfer_encoding();
  Result<void> read_content_length();
  void read_connection();

  Limits limits_;
  bool over_unix_socket_;
  State state_ = State::Head;
  Request request_;
  ChunkedDecoder chunks_;
  std::string line_;
  std::size_t header_bytes_ = 0;
  std::size_t length_seen_ = 0;  // of a body with Content-Length
  bool started_ = false;
  bool request_line_done_ = false;
  bool skipped_empty_line_ = false;
  bool after_cr_ = false;
  bool keep_body_ = true;
};

}  // namespace pensieve::http
