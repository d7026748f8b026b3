// Answers as bytes: status line, headers, chunks, server-sent events. Nothing a client sent can add
// a line: values with control characters are not written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "application/http/message.h"

namespace pensieve::http {

struct WriteOptions {
  bool head_only = false;  // the request was HEAD: same headers, no body
  bool keep_alive = true;
};

// The whole answer. `now_unix_s` becomes the Date field.
std::string render(const Response& response, const WriteOptions& options, std::int64_t now_unix_s);

// The head of an answer whose body is a stream. `chunked` false: it ends with the connection.
std::string render_stream_head(const Response& response, bool chunked, std::int64_t now_unix_s);

// RFC 9112, 7.1. `data` must not be empty: an empty chunk is the last one.
std::string chunk(std::string_view data);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";
inline constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

// One event of text/event-stream. REQUIRES: neither holds CR, LF or NUL (JSON text never does).
std::string sse_event(std::string_view name, std::string_view data);

// RFC 9110, 5.6.7: "Sun, 06 Nov 1994 08:49:37 GMT".
std::string http_date(std::int64_t unix_s);
std::string_view reason_phrase(int status);

}  // namespace pensieve::http
