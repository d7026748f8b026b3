#include "application/http/response_writer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <ctime>

#include "foundation/check.h"

#include "application/http/internal/grammar.h"

namespace pensieve::http {
namespace {

bool is_writable(const Header& field) {
  return grammar::is_token(field.name) &&
         std::all_of(field.value.begin(), field.value.end(), grammar::is_value_char);
}

void append_field(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ").append(value).append("\r\n");
}

std::string start(const Response& response, std::int64_t now_unix_s) {
  std::string out = "HTTP/1.1 " + std::to_string(response.status) + ' ';
  out.append(reason_phrase(response.status)).append("\r\n");
  append_field(out, "Date", http_date(now_unix_s));
  if (!response.content_type.empty()) append_field(out, "Content-Type", response.content_type);
  for (const Header& field : response.headers) {
    if (is_writable(field)) append_field(out, field.name, field.value);
  }
  return out;
}

}  // namespace

std::string render(const Response& response, const WriteOptions& options, std::int64_t now_unix_s) {
  std::string out = start(response, now_unix_s);
  // RFC 9110, 8.6: no Content-Length with 204; with HEAD the one GET would have had.
  if (response.status != 204) {
    append_field(out, "Content-Length", std::to_string(response.body.size()));
  }
  append_field(out, "Connection", options.keep_alive ? "keep-alive" : "close");
  out += "\r\n";
  if (!options.head_only && response.status != 204) out += response.body;
  return out;
}

std::string render_stream_head(const Response& response, bool chunked, std::int64_t now_unix_s) {
  std::string out = start(response, now_unix_s);
  append_field(out, "Cache-Control", "no-cache");
  if (chunked) append_field(out, "Transfer-Encoding", "chunked");
  append_field(out, "Connection", chunked ? "keep-alive" : "close");
  out += "\r\n";
  return out;
}

std::string chunk(std::string_view data) {
  CHECK(!data.empty());
  std::array<char, 16> size{};
  const auto end = std::to_chars(size.data(), size.data() + size.size(), data.size(), 16).ptr;
  std::string out;
  out.reserve(data.size() + size.size() + 4);
  out.append(size.data(), end).append("\r\n").append(data).append("\r\n");
  return out;
}

std::string sse_event(std::string_view name, std::string_view data) {
  constexpr std::string_view kForbidden("\r\n\0", 3);
  CHECK(name.find_first_of(kForbidden) == std::string_view::npos);
  CHECK(data.find_first_of(kForbidden) == std::string_view::npos);
  std::string out;
  out.reserve(name.size() + data.size() + 16);
  out.append("event: ").append(name).append("\ndata: ").append(data).append("\n\n");
  return out;
}

std::string http_date(std::int64_t unix_s) {
  // strftime's names follow the locale; these never do.
  static constexpr std::array kDays{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array kMonths{
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto time = static_cast<std::time_t>(unix_s);
  std::tm parts{};
  gmtime_r(&time, &parts);
  std::array<char, 64> text{};
  std::snprintf(text.data(),
                text.size(),
                "%s, %02d %s %04d %02d:%02d:%02d GMT",
                kDays[static_cast<std::size_t>(parts.tm_wday)],
                parts.tm_mday,
                kMonths[static_cast<std::size_t>(parts.tm_mon)],
                parts.tm_year + 1900,
                parts.tm_hour,
                parts.tm_min,
                parts.tm_sec);
  return text.data();
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 529:
      return "Overloaded";
    default:
      return "Unknown";
  }
}

}  // namespace pensieve::http
