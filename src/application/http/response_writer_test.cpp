// Answers as bytes: framing, dates, and that no value can add a line.
#include "application/http/response_writer.h"

#include <gtest/gtest.h>

namespace pensieve::http {
namespace {

Response ok(std::string body) {
  return {.status = 200,
          .headers = {{.name = "request-id", .value = "req_1"}},
          .content_type = "application/json",
          .body = std::move(body)};
}

TEST(ResponseWriter, WritesDatesAsTheStandardDoes) {
  // RFC 9110, 5.6.7's example, the epoch, and a leap day.
  EXPECT_EQ(http_date(784'111'777), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
  EXPECT_EQ(http_date(1'709'164'800), "Thu, 29 Feb 2024 00:00:00 GMT");
}

TEST(ResponseWriter, WritesAWholeAnswer) {
  EXPECT_EQ(render(ok("{}"), {}, 784'111'777),
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
            "Content-Type: application/json\r\nrequest-id: req_1\r\nContent-Length: 2\r\n"
            "Connection: keep-alive\r\n\r\n{}");
}

TEST(ResponseWriter, KeepsTheBodyToItselfForHead) {
  const std::string bytes = render(ok("{}"), {.head_only = true}, 0);
  EXPECT_NE(bytes.find("Content-Length: 2\r\n"), std::string::npos);
  EXPECT_TRUE(bytes.ends_with("\r\n\r\n"));
}

TEST(ResponseWriter, GivesNoLengthWithoutContent) {
  const std::string bytes = render(
      {.status = 204, .headers = {}, .content_type = {}, .body = {}}, {.keep_alive = false}, 0);
  EXPECT_EQ(bytes.find("Content-Length"), std::string::npos);
  EXPECT_EQ(bytes.find("Content-Type"), std::string::npos);
  EXPECT_NE(bytes.find("Connection: close\r\n"), std::string::npos);
}

TEST(ResponseWriter, WritesNoFieldThatWouldAddALine) {
  Response response = ok("{}");
  response.headers = {{.name = "a", .value = "x\r\nSet-Cookie: y"},
                      {.name = "b\r\nSet-Cookie", .value = "y"},
                      {.name = "c", .value = std::string("x\0y", 3)},
                      {.name = "d", .value = "fine"}};
  const std::string bytes = render(response, {}, 0);
  EXPECT_EQ(bytes.find("Set-Cookie"), std::string::npos);
  EXPECT_EQ(bytes.find("\r\nc: "), std::string::npos);
  EXPECT_NE(bytes.find("\r\nd: fine\r\n"), std::string::npos);
}

TEST(ResponseWriter, FramesStreamsByChunksOrByTheConnection) {
  const std::string chunked = render_stream_head(ok(""), true, 0);
  EXPECT_NE(chunked.find("Transfer-Encoding: chunked\r\n"), std::string::npos);
  EXPECT_EQ(chunked.find("Content-Length"), std::string::npos);
  const std::string plain = render_stream_head(ok(""), false, 0);
  EXPECT_EQ(plain.find("Transfer-Encoding"), std::string::npos);
  EXPECT_NE(plain.find("Connection: close\r\n"), std::string::npos);
  EXPECT_EQ(chunk(std::string(26, 'x')), "1a\r\n" + std::string(26, 'x') + "\r\n");
  EXPECT_EQ(sse_event("ping", R"({"type":"ping"})"), "event: ping\ndata: {\"type\":\"ping\"}\n\n");
}

TEST(ResponseWriter, NamesEveryStatusTheServerSends) {
  for (const int status :
       {200, 204, 400, 401, 403, 404, 405, 408, 413, 414, 415, 429, 431, 500, 501, 503, 529}) {
    EXPECT_NE(reason_phrase(status), "Unknown") << status;
  }
}

}  // namespace
}  // namespace pensieve::http
