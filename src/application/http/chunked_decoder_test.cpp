// The chunked coding: sizes, limits, and every cut. Framing tricks stand in smuggling_cases.h.
#include "application/http/chunked_decoder.h"

#include <gtest/gtest.h>

#include <random>
#include <sstream>

namespace pensieve::http {
namespace {

// The obvious encoder: RFC 9112, 7.1, one chunk per piece.
std::string encode(const std::vector<std::string>& pieces) {
  std::ostringstream out;
  for (const std::string& piece : pieces) {
    out << std::hex << piece.size() << "\r\n" << piece << "\r\n";
  }
  out << "0\r\n\r\n";
  return out.str();
}

TEST(ChunkedDecoder, GivesBackWhatWasEncodedHoweverItIsCut) {
  std::mt19937 random(7);  // NOLINT: a fixed seed
  for (int round = 0; round < 100; ++round) {
    std::vector<std::string> pieces(1 + random() % 8);
    std::string content;
    for (std::string& piece : pieces) {
      piece.resize(1 + random() % 300);
      for (char& c : piece) c = static_cast<char>(random());
      content += piece;
    }
    const std::string bytes = encode(pieces) + "next";
    ChunkedDecoder decoder{Limits{}};
    std::string body;
    std::size_t at = 0;
    while (!decoder.done()) {
      const auto piece = std::string_view(bytes).substr(at, 1 + random() % 50);
      const auto taken = decoder.feed(piece, &body);
      ASSERT_TRUE(taken.has_value()) << "round " << round;
      at += *taken;
      if (!decoder.done()) {
        ASSERT_EQ(*taken, piece.size());
      }
    }
    EXPECT_EQ(body, content) << "round " << round;
    EXPECT_EQ(bytes.substr(at), "next") << "round " << round;
  }
}

TEST(ChunkedDecoder, ReadsSizesAsHexadecimalInEitherCaseWithLeadingZeros) {
  const auto size_of = [](const std::string& digits, std::size_t n) {
    ChunkedDecoder decoder{Limits{}};
    std::string body;
    const auto taken = decoder.feed(digits + "\r\n" + std::string(n, 'x') + "\r\n0\r\n\r\n", &body);
    return taken.has_value() && decoder.done() ? body.size() : std::size_t{0};
  };
  EXPECT_EQ(size_of("10", 16), 16U);
  EXPECT_EQ(size_of("1f", 31), 31U);
  EXPECT_EQ(size_of("1F", 31), 31U);
  EXPECT_EQ(size_of("0000000000000010", 16), 16U);
}

TEST(ChunkedDecoder, TakesABodyOfTheLimitAndNotOneByteMore) {
  Limits limits;
  limits.body_bytes = 1000;
  const auto error_of = [&](const std::vector<std::string>& pieces) -> std::optional<ErrorKind> {
    ChunkedDecoder decoder(limits);
    const auto taken = decoder.feed(encode(pieces), nullptr);
    if (!taken) return taken.error().kind;
    EXPECT_TRUE(decoder.done());
    return std::nullopt;
  };
  EXPECT_EQ(error_of({std::string(1000, 'x')}), std::nullopt);
  EXPECT_EQ(error_of({std::string(999, 'x'), "x"}), std::nullopt);
  EXPECT_EQ(error_of({std::string(1001, 'x')}), ErrorKind::TooLarge);
  EXPECT_EQ(error_of({std::string(999, 'x'), "x", "x"}), ErrorKind::TooLarge);
}

TEST(ChunkedDecoder, BoundsExtensionsAndTrailers) {
  const Limits limits;
  const auto error_of = [&](const std::string& bytes) -> std::optional<ErrorKind> {
    ChunkedDecoder decoder(limits);
    const auto taken = decoder.feed(bytes, nullptr);
    if (!taken) return taken.error().kind;
    EXPECT_TRUE(decoder.done());
    return std::nullopt;
  };
  const auto extended = [](std::size_t n) {
    return "1;" + std::string(n, 'e') + "\r\nx\r\n0\r\n\r\n";
  };
  EXPECT_EQ(error_of(extended(limits.chunk_extension_bytes)), std::nullopt);
  EXPECT_EQ(error_of(extended(limits.chunk_extension_bytes + 1)), ErrorKind::InvalidRequest);
  EXPECT_EQ(error_of(extended(64 * 1024)), ErrorKind::InvalidRequest);
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "1;" + std::string(200, 'e') + "\r\nx\r\n";
  EXPECT_EQ(error_of(many), ErrorKind::InvalidRequest);
  std::string trailers = "0\r\n";
  for (std::size_t i = 0; i < limits.header_fields; ++i) trailers += "A: b\r\n";
  EXPECT_EQ(error_of(trailers + "\r\n"), std::nullopt);
  EXPECT_EQ(error_of(trailers + "A: b\r\n\r\n"), ErrorKind::HeadersTooLarge);
  EXPECT_EQ(error_of("0\r\nA: " + std::string(limits.header_bytes, 'b')),
            ErrorKind::HeadersTooLarge);
}

TEST(ChunkedDecoder, KeepsNothingItIsNotAskedToKeep) {
  ChunkedDecoder decoder{Limits{}};
  ASSERT_TRUE(decoder.feed(encode({"hello", "world"}), nullptr).has_value());
  EXPECT_TRUE(decoder.done());
  EXPECT_EQ(decoder.size(), 10U);
}

}  // namespace
}  // namespace pensieve::http
