// Goal: the events of a stream are the same however it is cut. The streams are those of WHATWG
// HTML, 9.2.6, and what other servers send.
#include "application/proxy/internal/sse_reader.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace pensieve::proxy {
namespace {

struct Case {
  std::string stream;
  std::vector<std::string> events;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> kCases = {
      {"data: a\n\ndata: b\n\n", {"a", "b"}},
      {"data: a\r\n\r\ndata: b\r\n\r\n", {"a", "b"}},
      {"data: a\r\rdata: b\r\r", {"a", "b"}},
      {"data:a\n\ndata:  b\n\n", {"a", " b"}},
      {"data: YHOO\ndata: +2\ndata: 10\n\n", {"YHOO\n+2\n10"}},
      {": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third "
       "event\n\n",
       {"first event", "second event", " third event"}},
      {"data\n\ndata\ndata\n\ndata:", {"", "\n"}},
      {": ping\n\n: ping\n\nevent: x\n\nretry: 5\n\n", {}},
      {"\xEF\xBB\xBF"
       "data: a\n\n\xEF\xBB\xBF"
       "data: b\n\n",
       {"a"}},
      {"data: {\"x\":\"\xC3\xBC\"}\n\ndata: [DONE]\n\n", {"{\"x\":\"\xC3\xBC\"}", "[DONE]"}},
      {"data: unfinished\n", {}},
      {"datax: a\nDATA: b\n data: c\n\n", {}},
      {"", {}},
      {"\n\n\r\n\r\r", {}},
  };
  return kCases;
}

TEST(SseReader, GivesTheSameEventsAtEveryCut) {
  for (const Case& test : cases()) {
    for (std::size_t cut = 0; cut <= test.stream.size(); ++cut) {
      SseReader reader(1000);
      std::vector<std::string> events;
      EXPECT_TRUE(reader.push(std::string_view(test.stream).substr(0, cut), events).has_value());
      EXPECT_TRUE(reader.push(std::string_view(test.stream).substr(cut), events).has_value());
      EXPECT_EQ(events, test.events) << test.stream << " cut at " << cut;
    }
  }
}

TEST(SseReader, GivesTheSameEventsByteByByteAndInRandomPieces) {
  std::mt19937 random(7);
  for (const Case& test : cases()) {
    for (int round = 0; round < 20; ++round) {
      SseReader reader(1000);
      std::vector<std::string> events;
      std::string_view rest = test.stream;
      while (!rest.empty()) {
        const std::size_t n = round == 0 ? 1 : 1 + random() % 5;
        EXPECT_TRUE(reader.push(rest.substr(0, n), events).has_value());
        rest.remove_prefix(std::min(n, rest.size()));
      }
      EXPECT_EQ(events, test.events) << test.stream;
    }
  }
}

TEST(SseReader, RefusesAnEventBeyondItsBound) {
  const std::string at_limit = "data: " + std::string(94, 'x');  // a line of 100 bytes
  for (const std::string& stream :
       {at_limit + "y\n\n", at_limit + "\n" + at_limit + "\n\n", std::string(101, ':')}) {
    SseReader reader(100);
    std::vector<std::string> events;
    const auto pushed = reader.push(stream, events);
    ASSERT_FALSE(pushed.has_value());
    EXPECT_EQ(pushed.error().kind, ErrorKind::TooLarge);
  }
  SseReader reader(100);
  std::vector<std::string> events;
  EXPECT_TRUE(reader.push(at_limit + "\n\n", events).has_value());
  EXPECT_EQ(events.size(), 1u);
}

}  // namespace
}  // namespace pensieve::proxy
