// Requests that two parsers could read in two ways, as bytes, with the error each must be. From RFC
// 9112 (sections 2.2, 3, 5, 6, 7.1, 11.2) and published request-smuggling research (CL.TE, TE.CL,
// TE.TE, chunk-size and line-ending tricks). For tests.
#pragma once

#include <string_view>
#include <vector>

#include "foundation/result.h"

namespace pensieve::http {

struct SmugglingCase {
  std::string_view name;
  std::string_view bytes;
  ErrorKind expected = ErrorKind::InvalidRequest;
};

// A view of a literal that may hold NUL.
template <std::size_t N>
constexpr std::string_view bytes_of(const char (&literal)[N]) {
  return {literal, N - 1};
}

#define POST "POST /describe HTTP/1.1\r\nHost: a\r\n"
#define GET "GET /describe HTTP/1.1\r\nHost: a\r\n"
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
#define FIVE "5\r\nhello\r\n0\r\n\r\n"

inline std::vector<SmugglingCase> smuggling_cases() {
  constexpr auto k501 = ErrorKind::NotImplemented;
  const std::string_view nul_value = bytes_of(GET "X: a\0b\r\n\r\n");
  const std::string_view nul_name = bytes_of(GET "X\0Y: a\r\n\r\n");
  const std::string_view nul_target = bytes_of("GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n");
  return {
      // Two lengths.
      {"CL and TE", POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" FIVE},
      {"TE and CL", POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" FIVE},
      {"CL 0 and TE", POST "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" FIVE},
      {"two CL, different", POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"},
      {"two CL, equal", POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"},
      {"CL list, different", POST "Content-Length: 5, 6\r\n\r\nhello!"},
      {"CL list, equal", POST "Content-Length: 5, 5\r\n\r\nhello"},
      {"CL list, empty element", POST "Content-Length: 5,\r\n\r\nhello"},
      // Lengths that are not plain decimal.
      {"CL plus", POST "Content-Length: +5\r\n\r\nhello"},
      {"CL minus", POST "Content-Length: -5\r\n\r\nhello"},
      {"CL minus zero", POST "Content-Length: -0\r\n\r\n"},
      {"CL hexadecimal", POST "Content-Length: 0x5\r\n\r\nhello"},
      {"CL underscore", POST "Content-Length: 1_0\r\n\r\nhellohello"},
      {"CL fraction", POST "Content-Length: 5.0\r\n\r\nhello"},
      {"CL exponent", POST "Content-Length: 5e0\r\n\r\nhello"},
      {"CL inner space", POST "Content-Length: 1 0\r\n\r\nhellohello"},
      {"CL leading zeros", POST "Content-Length: 0005\r\n\r\nhello"},
      {"CL octal look", POST "Content-Length: 010\r\n\r\nhellohello"},
      {"CL empty", POST "Content-Length:\r\n\r\nhello"},
      {"CL blank", POST "Content-Length:  \t \r\n\r\nhello"},
      {"CL word", POST "Content-Length: five\r\n\r\nhello"},
      {"CL trailing letters", POST "Content-Length: 5abc\r\n\r\nhello"},
      {"CL semicolon", POST "Content-Length: 5;x\r\n\r\nhello"},
      {"CL quoted", POST "Content-Length: \"5\"\r\n\r\nhello"},
      {"CL beyond 64 bits", POST "Content-Length: 18446744073709551621\r\n\r\nhello"},
      {"CL beyond 128 bits",
       POST "Content-Length: 340282366920938463463374607431768211461\r\n\r\nhello"},
      {"CL full-width digit", POST "Content-Length: \xEF\xBC\x95\r\n\r\nhello"},
      {"CL vertical tab", POST "Content-Length: \v5\r\n\r\nhello"},
      // Transfer codings that are not exactly chunked.
      {"TE xchunked", POST "Transfer-Encoding: xchunked\r\n\r\n" FIVE, k501},
      {"TE gzip", POST "Transfer-Encoding: gzip\r\n\r\n" FIVE, k501},
      {"TE gzip, chunked", POST "Transfer-Encoding: gzip, chunked\r\n\r\n" FIVE, k501},
      {"TE chunked, gzip", POST "Transfer-Encoding: chunked, gzip\r\n\r\n" FIVE, k501},
      {"TE identity", POST "Transfer-Encoding: identity\r\n\r\nhello"},
      {"TE identity, chunked", POST "Transfer-Encoding: identity, chunked\r\n\r\n" FIVE},
      {"TE chunked, identity", POST "Transfer-Encoding: chunked, identity\r\n\r\n" FIVE},
      {"TE chunked twice", POST "Transfer-Encoding: chunked, chunked\r\n\r\n" FIVE},
      {"TE two fields",
       POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" FIVE},
      {"TE two fields, one unknown",
       POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n" FIVE},
      {"TE empty", POST "Transfer-Encoding:\r\n\r\n" FIVE},
      {"TE trailing comma", POST "Transfer-Encoding: chunked,\r\n\r\n" FIVE},
      {"TE leading comma", POST "Transfer-Encoding: ,chunked\r\n\r\n" FIVE},
      {"TE parameter", POST "Transfer-Encoding: chunked;q=1\r\n\r\n" FIVE},
      {"TE quoted", POST "Transfer-Encoding: \"chunked\"\r\n\r\n" FIVE},
      {"TE vertical tab", POST "Transfer-Encoding: \vchunked\r\n\r\n" FIVE},
      {"TE form feed", POST "Transfer-Encoding: chunked\f\r\n\r\n" FIVE},
      {"TE no-break space",
       POST "Transfer-Encoding: \xA0"
            "chunked\r\n\r\n" FIVE},
      {"TE folded value", POST "Transfer-Encoding:\r\n chunked\r\n\r\n" FIVE},
      {"TE folded with a tab", POST "Transfer-Encoding:\r\n\tchunked\r\n\r\n" FIVE},
      {"TE behind a folded line", POST "X: y\r\n Transfer-Encoding: chunked\r\n\r\n" FIVE},
      {"TE space before colon", POST "Transfer-Encoding : chunked\r\n\r\n" FIVE},
      {"TE tab before colon", POST "Transfer-Encoding\t: chunked\r\n\r\n" FIVE},
      {"TE underscore", POST "Transfer_Encoding: chunked\r\n\r\n" FIVE},
      {"CL underscore name", POST "Content_Length: 5\r\n\r\nhello"},
      {"CL space before colon", POST "Content-Length : 5\r\n\r\nhello"},
      {"TE on 1.0",
       "POST /describe HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" FIVE},
      {"TE and CL on 1.0",
       "POST /describe HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n"
       "Transfer-Encoding: chunked\r\n\r\n" FIVE},
      // Line endings.
      {"bare LF behind the request line", "GET /describe HTTP/1.1\nHost: a\r\n\r\n"},
      {"bare LF behind a field", "GET /describe HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"},
      {"bare LF as the empty line", GET "X: y\r\n\n"},
      {"bare CR in a value", GET "X: a\rTransfer-Encoding: chunked\r\n\r\n"},
      {"bare CR in the request line", "GET /describe\r HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"CR CR LF", GET "X: y\r\r\n\r\n"},
      {"two empty lines first", "\r\n\r\n" GET "\r\n"},
      {"bare LF first", "\n" GET "\r\n"},
      // Characters.
      {"NUL in a value", nul_value},
      {"NUL in a name", nul_name},
      {"NUL in the target", nul_target},
      {"DEL in a value",
       GET "X: a\x7F"
           "b\r\n\r\n"},
      {"ESC in a value", GET "X: \x1B[2J\r\n\r\n"},
      {"non-ASCII name", GET "X-\xC3\xA9: a\r\n\r\n"},
      {"non-ASCII target", "GET /\xC3\xA9 HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"overlong UTF-8 target", "GET /\xC0\xAF HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"empty name", GET ": a\r\n\r\n"},
      {"name with a space", GET "X Y: a\r\n\r\n"},
      {"name with a slash", GET "X/Y: a\r\n\r\n"},
      {"no colon", GET "Connection\r\n\r\n"},
      {"white space before the first field", "GET /describe HTTP/1.1\r\n Host: a\r\n\r\n"},
      // Request line.
      {"two spaces before the target", "GET  /describe HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"two spaces before the version", "GET /describe  HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"space behind the version", "GET /describe HTTP/1.1 \r\nHost: a\r\n\r\n"},
      {"space before the method", " GET /describe HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"tab as separator", "GET\t/describe\tHTTP/1.1\r\nHost: a\r\n\r\n"},
      {"no version", "GET /describe\r\nHost: a\r\n\r\n"},
      {"HTTP/0.9", "GET /describe HTTP/0.9\r\nHost: a\r\n\r\n"},
      {"HTTP/1.01", "GET /describe HTTP/1.01\r\nHost: a\r\n\r\n"},
      {"HTTP/2.0", "GET /describe HTTP/2.0\r\nHost: a\r\n\r\n"},
      {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
      {"lower-case version", "GET /describe http/1.1\r\nHost: a\r\n\r\n"},
      {"method with a bracket", "G(T /describe HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"target without a slash", "GET describe HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"target with a fragment", "GET /describe#x HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"target with a backslash", "GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"asterisk with GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"target with another scheme", "GET ftp://a/describe HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"target with userinfo", "GET http://u@a/describe HTTP/1.1\r\nHost: a\r\n\r\n"},
      // Host.
      {"no Host", "GET /describe HTTP/1.1\r\nX: y\r\n\r\n"},
      {"no Host on 1.0", "GET /describe HTTP/1.0\r\nX: y\r\n\r\n"},
      {"two Hosts, different", GET "Host: b\r\n\r\n"},
      {"two Hosts, equal", GET "Host: a\r\n\r\n"},
      {"empty Host", "GET /describe HTTP/1.1\r\nHost:\r\n\r\n"},
      {"Host with userinfo", "GET /describe HTTP/1.1\r\nHost: u:p@a\r\n\r\n"},
      {"Host with a path", "GET /describe HTTP/1.1\r\nHost: a/b\r\n\r\n"},
      {"Host list", "GET /describe HTTP/1.1\r\nHost: a, b\r\n\r\n"},
      {"Host with a space", "GET /describe HTTP/1.1\r\nHost: a b\r\n\r\n"},
      {"Host with a bad port", "GET /describe HTTP/1.1\r\nHost: a:7x\r\n\r\n"},
      {"Host with an empty port", "GET /describe HTTP/1.1\r\nHost: a:\r\n\r\n"},
      {"Host with an open bracket", "GET /describe HTTP/1.1\r\nHost: [::1\r\n\r\n"},
      // Chunks.
      {"chunk size negative", CHUNKED "-2\r\nab\r\n0\r\n\r\n"},
      {"chunk size plus", CHUNKED "+2\r\nab\r\n0\r\n\r\n"},
      {"chunk size plus zero", CHUNKED "+0\r\n\r\n"},
      {"chunk size 0x", CHUNKED "0x5\r\nhello\r\n0\r\n\r\n"},
      {"chunk size underscore", CHUNKED "1_0\r\nhello\r\n0\r\n\r\n"},
      {"chunk size empty", CHUNKED "\r\nhello\r\n0\r\n\r\n"},
      {"chunk size of 17 digits", CHUNKED "00000000000000005\r\nhello\r\n0\r\n\r\n"},
      {"chunk size behind a space", CHUNKED " 5\r\nhello\r\n0\r\n\r\n"},
      {"chunk size before a space", CHUNKED "5 \r\nhello\r\n0\r\n\r\n"},
      {"chunk size and a tab", CHUNKED "5\t\r\nhello\r\n0\r\n\r\n"},
      {"chunk size and a comma", CHUNKED "5,5\r\nhello\r\n0\r\n\r\n"},
      {"chunk extension without a size", CHUNKED ";x\r\nhello\r\n0\r\n\r\n"},
      {"chunk size with a bare LF", CHUNKED "5\nhello\r\n0\r\n\r\n"},
      {"chunk size with a bare CR", CHUNKED "5\rhello\r\n0\r\n\r\n"},
      {"chunk data without CRLF", CHUNKED "5\r\nhello0\r\n\r\n"},
      {"chunk data with a bare LF", CHUNKED "5\r\nhello\n0\r\n\r\n"},
      {"chunk data that spills", CHUNKED "5\r\nhello!\r\n0\r\n\r\n"},
      {"chunk data too short", CHUNKED "6\r\nhello\r\n0\r\n\r\n"},
      {"chunk extension with a bare LF", CHUNKED "5;a\nhello\r\n0\r\n\r\n"},
      {"chunk extension with a control", CHUNKED "5;a\x01\r\nhello\r\n0\r\n\r\n"},
      {"last chunk with a bare LF", CHUNKED "0\n\r\n"},
      {"end with a bare LF", CHUNKED "0\r\n\n"},
      {"trailer without a colon", CHUNKED "0\r\nGET /marker HTTP/1.1\r\n\r\n"},
      {"trailer with a control", CHUNKED "0\r\nX: \x01\r\n\r\n"},
      {"trailer with a bare LF", CHUNKED "0\r\nX: y\n\r\n"},
      {"trailer that is folded", CHUNKED "0\r\nX: y\r\n z\r\n\r\n"},
      {"chunk size of 2^64", CHUNKED "10000000000000000\r\nhello\r\n0\r\n\r\n"},
      {"chunk size of 2^64-1",
       CHUNKED "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
       ErrorKind::TooLarge},
  };
}

#undef POST
#undef GET
#undef CHUNKED
#undef FIVE

}  // namespace pensieve::http
