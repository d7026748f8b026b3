// Bytes from a socket: the parser must take them or refuse them, the same however they are cut, and
// hold no more than its limits allow. Must never crash.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "foundation/check.h"

#include "application/http/request_parser.h"
#include "application/http/response_writer.h"

namespace {

using pensieve::http::Limits;
using pensieve::http::RequestParser;

constexpr Limits kLimits{.request_line_bytes = 256,
                         .header_bytes = 1024,
                         .header_fields = 8,
                         .body_bytes = 512,
                         .chunk_extension_bytes = 16};

// All requests of `bytes` in words, then how it ended. `step` bytes at a time.
std::string run(std::string_view bytes, std::size_t step) {
  RequestParser parser(kLimits);
  std::string seen;
  while (!bytes.empty()) {
    std::string_view piece = bytes.substr(0, step);
    bytes.remove_prefix(piece.size());
    while (!piece.empty()) {
      const auto taken = parser.feed(piece);
      if (!taken) return seen + "!" + taken.error().message;
      CHECK(*taken <= piece.size());
      CHECK(*taken > 0 || parser.state() == RequestParser::State::Complete);
      piece.remove_prefix(*taken);
      if (parser.state() == RequestParser::State::Body &&
          parser.head().content_length.value_or(0) > kLimits.body_bytes) {
        return seen + "!too long";
      }
      if (parser.state() != RequestParser::State::Complete) continue;
      const auto request = parser.take();
      CHECK(request.body.size() <= kLimits.body_bytes);
      CHECK(request.head.headers.size() <= kLimits.header_fields);
      CHECK(request.head.count("host") == 1);
      CHECK(!(request.head.chunked && request.head.content_length));
      seen += request.head.method + " " + request.head.path + "?" + request.head.query;
      for (const auto& field : request.head.headers) {
        CHECK((field.name + field.value).find_first_of(std::string_view("\r\n\0", 3)) ==
              std::string::npos);
        seen += "|" + field.name + ":" + field.value;
      }
      seen += "|" + request.body + "\n";
    }
  }
  return seen + (parser.started() ? "..." : ".");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string whole = run(bytes, size + 1);
  CHECK(run(bytes, 1) == whole);
  CHECK(run(bytes, 7) == whole);
  // What came in may be sent back as a header's value without adding a line.
  const pensieve::http::Response echo{.status = 200,
                                      .headers = {{.name = "x-echo", .value = std::string(bytes)}},
                                      .content_type = {},
                                      .body = {}};
  const std::string answer = pensieve::http::render(echo, {}, 0);
  CHECK(answer.find("\r\n\r\n") == answer.size() - 4);
  return 0;
}
