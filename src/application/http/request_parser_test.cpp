// The request parser: what it takes, what it refuses, and that neither depends on where the bytes
// are cut.
#include "application/http/request_parser.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "application/http/internal/smuggling_cases.h"

namespace pensieve::http {
namespace {

// What a whole input came to: requests in words, then an error if there was one.
struct Outcome {
  std::vector<std::string> requests;
  std::optional<ErrorKind> error;
  bool operator==(const Outcome&) const = default;
};

std::string describe(const Request& request) {
  std::string text = request.head.method + " " + request.head.path + "?" + request.head.query +
                     " @" + request.head.host + " /" + std::to_string(request.head.minor_version);
  for (const Header& field : request.head.headers) text += "|" + field.name + "=" + field.value;
  return text + "|" + request.body;
}

// Feeds `pieces` one after the other, as a connection would.
Outcome parse_pieces(const std::vector<std::string_view>& pieces, const Limits& limits = {}) {
  Outcome outcome;
  RequestParser parser(limits);
  for (std::string_view piece : pieces) {
    while (!piece.empty()) {
      const auto taken = parser.feed(piece);
      if (!taken) {
        outcome.error = taken.error().kind;
        return outcome;
      }
      piece.remove_prefix(*taken);
      if (parser.state() == RequestParser::State::Complete) {
        outcome.requests.push_back(describe(parser.take()));
      }
    }
  }
  return outcome;
}

Outcome parse(std::string_view bytes, const Limits& limits = {}) {
  return parse_pieces({bytes}, limits);
}

std::string get(const std::string& fields) {
  return "GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n";
}

const std::string kThreeRequests =
    "GET /v1/models?limit=1000 HTTP/1.1\r\nHost: localhost:7777\r\nAccept:\t*/* \r\n\r\n"
    "\r\nPOST /v1/messages HTTP/1.1\r\nhost: [::1]:7777\r\nCONTENT-LENGTH: 11\r\n\r\n{\"a\": "
    "\"b\"}\n"
    "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
    "5\r\nhello\r\nA;name=\"va lue\";b\r\n, worlds!!\r\n000\r\nX-Trailer: dropped\r\n\r\n";

TEST(RequestParser, ReadsPipelinedRequestsInOrder) {
  const Outcome outcome = parse(kThreeRequests);
  EXPECT_FALSE(outcome.error.has_value());
  ASSERT_EQ(outcome.requests.size(), 3U);
  EXPECT_EQ(outcome.requests[0],
            "GET /v1/models?limit=1000 @localhost:7777 /1|Host=localhost:7777|Accept=*/*|");
  EXPECT_EQ(outcome.requests[1],
            "POST /v1/messages? @[::1]:7777 /1|host=[::1]:7777|CONTENT-LENGTH=11|{\"a\": \"b\"}\n");
  EXPECT_EQ(outcome.requests[2], "POST /x? @a /1|Host=a|Transfer-Encoding=Chunked|hello, worlds!!");
}

TEST(RequestParser, ReadsTheSameWhereverTheBytesAreCut) {
  const Outcome whole = parse(kThreeRequests);
  const std::string_view bytes = kThreeRequests;
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    EXPECT_EQ(parse_pieces({bytes.substr(0, cut), bytes.substr(cut)}), whole) << "cut at " << cut;
  }
  std::vector<std::string_view> single;
  for (std::size_t i = 0; i < bytes.size(); ++i) single.push_back(bytes.substr(i, 1));
  EXPECT_EQ(parse_pieces(single), whole) << "byte by byte";
  std::mt19937 random(20);  // NOLINT: a fixed seed
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string_view> pieces;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t n = 1 + random() % 40;
      pieces.push_back(bytes.substr(at, n));
      at += n;
    }
    EXPECT_EQ(parse_pieces(pieces), whole) << "round " << round;
  }
}

TEST(RequestParser, RefusesEverySmugglingCaseWhereverItIsCut) {
  const auto cases = smuggling_cases();
  ASSERT_GE(cases.size(), 60U);
  for (const SmugglingCase& test : cases) {
    SCOPED_TRACE(test.name);
    const Outcome whole = parse(test.bytes);
    EXPECT_EQ(whole.error, test.expected);
    EXPECT_TRUE(whole.requests.empty());
    for (std::size_t cut = 0; cut <= test.bytes.size(); ++cut) {
      EXPECT_EQ(parse_pieces({test.bytes.substr(0, cut), test.bytes.substr(cut)}), whole)
          << "cut at " << cut;
    }
  }
}

TEST(RequestParser, TakesWhatLooksOddButIsWellFormed) {
  const std::vector<std::string> good = {
      get("X:\r\n"),                                    // an empty value
      get("X: a:b: c\r\n"),                             // colons in a value
      get("X: caf\xC3\xA9\r\n"),                        // obs-text
      get("x-a_b.c~!#$%&'*+^`|: 1\r\n"),                // every tchar
      get("Content-Length: 0\r\n"),                     // a body of nothing
      get("Connection: keep-alive, Upgrade\r\n"),       // options we do not know
      "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",          // asterisk-form
      "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",  // authority-form
      "GET http://a:1/x?y HTTP/1.1\r\nHost: a:1\r\n\r\n",
      "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET /%0d%0aX:%20y HTTP/1.1\r\nHost: a\r\n\r\n",  // stays encoded
      "FROB /x HTTP/1.1\r\nHost: a\r\n\r\n",            // an unknown method is no framing error
      "GET / HTTP/1.0\r\nHost: 127.0.0.1:80\r\n\r\n",
      "GET //x/../y?a=b&c=%20;d HTTP/1.1\r\nHost: a\r\n\r\n",
  };
  for (const std::string& bytes : good) {
    const Outcome outcome = parse(bytes);
    EXPECT_FALSE(outcome.error.has_value()) << bytes;
    EXPECT_EQ(outcome.requests.size(), 1U) << bytes;
  }
}

TEST(RequestParser, NeverDecodesThePath) {
  const Outcome outcome = parse("GET /%0d%0aX:%20y HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_EQ(outcome.requests.size(), 1U);
  EXPECT_EQ(outcome.requests[0], "GET /%0d%0aX:%20y? @a /1|Host=a|");
}

TEST(RequestParser, TakesTheLongestRequestLineAndNotOneByteMore) {
  const Limits limits;
  const std::string_view rest = " HTTP/1.1";
  const auto line = [&](std::size_t bytes) {
    std::string text = "GET /";
    text.append(bytes - text.size() - rest.size(), 'a').append(rest);
    return text + "\r\nHost: a\r\n\r\n";
  };
  EXPECT_EQ(parse(line(limits.request_line_bytes)).requests.size(), 1U);
  EXPECT_EQ(parse(line(limits.request_line_bytes + 1)).error, ErrorKind::UriTooLong);
  EXPECT_EQ(parse("GET /" + std::string(100'000, 'a')).error, ErrorKind::UriTooLong);
  EXPECT_EQ(parse(std::string(33, 'G') + " / HTTP/1.1\r\nHost: a\r\n\r\n").error,
            ErrorKind::InvalidRequest);
  EXPECT_EQ(parse(std::string(100'000, 'G')).error, ErrorKind::UriTooLong);
}

TEST(RequestParser, TakesTheLargestHeaderBlockAndNotOneByteMore) {
  const Limits limits;
  const auto request = [&](std::size_t bytes) {
    const std::string frame = "Host: a\r\nX: \r\n\r\n";
    return "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(bytes - frame.size(), 'v') + "\r\n\r\n";
  };
  EXPECT_EQ(parse(request(limits.header_bytes)).requests.size(), 1U);
  EXPECT_EQ(parse(request(limits.header_bytes + 1)).error, ErrorKind::HeadersTooLarge);
  EXPECT_EQ(parse(get(std::string(100'000, 'n') + ": v\r\n")).error, ErrorKind::HeadersTooLarge);
}

TEST(RequestParser, TakesAHundredFieldsAndNotOneMore) {
  const auto request = [](int fields) {
    std::string text;
    for (int i = 1; i < fields; ++i) text += "X: y\r\n";
    return get(text);
  };
  EXPECT_EQ(parse(request(100)).requests.size(), 1U);
  EXPECT_EQ(parse(request(101)).error, ErrorKind::HeadersTooLarge);
}

TEST(RequestParser, LeavesALengthBeyondTheLimitToTheCaller) {
  RequestParser parser{Limits{}};
  const std::string_view head =
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999999999\r\n\r\n";
  const auto taken = parser.feed(head);
  ASSERT_TRUE(taken.has_value());
  EXPECT_EQ(*taken, head.size());
  EXPECT_EQ(parser.state(), RequestParser::State::Body);
  EXPECT_EQ(parser.head().content_length, 999'999'999'999'999'999U);
}

TEST(RequestParser, StopsBehindTheHeadAndBehindTheBody) {
  RequestParser parser{Limits{}};
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
  const std::string bytes = head + "abcGET /next";
  auto taken = parser.feed(bytes);
  ASSERT_TRUE(taken.has_value());
  EXPECT_EQ(*taken, head.size());
  taken = parser.feed(std::string_view(bytes).substr(*taken));
  ASSERT_TRUE(taken.has_value());
  EXPECT_EQ(*taken, 3U);
  EXPECT_EQ(parser.take().body, "abc");
}

TEST(RequestParser, DropsABodyNobodyWants) {
  RequestParser parser{Limits{}};
  ASSERT_TRUE(parser.feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").has_value());
  parser.discard_body();
  ASSERT_TRUE(parser.feed("hello").has_value());
  EXPECT_EQ(parser.body_bytes(), 5U);
  EXPECT_EQ(parser.state(), RequestParser::State::Complete);
  EXPECT_EQ(parser.take().body, "");
}

TEST(RequestParser, SaysWhetherTheConnectionGoesOn) {
  const auto keeps = [](std::string_view bytes) {
    RequestParser parser{Limits{}};
    EXPECT_TRUE(parser.feed(bytes).has_value());
    return parser.head().keep_alive;
  };
  EXPECT_TRUE(keeps(get("")));
  EXPECT_TRUE(keeps(get("Connection: keep-alive\r\n")));
  EXPECT_FALSE(keeps(get("Connection: close\r\n")));
  EXPECT_FALSE(keeps(get("Connection: x , CLOSE\r\n")));
  EXPECT_FALSE(keeps(get("Connection: keep-alive\r\nConnection: close\r\n")));
  EXPECT_FALSE(keeps("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"));
}

TEST(RequestParser, FindsFieldsInAnyCase) {
  RequestParser parser{Limits{}};
  ASSERT_TRUE(parser.feed(get("X-Api-KEY: one\r\nx-api-key: two\r\n")).has_value());
  const RequestHead& head = parser.head();
  EXPECT_EQ(head.header("x-api-key"), "one");
  EXPECT_EQ(head.count("X-API-Key"), 2U);
  EXPECT_EQ(head.header("missing"), "");
}

}  // namespace
}  // namespace pensieve::http
