// What a machine or a person reads on standard error.
#include "foundation/log.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "foundation/json.h"

namespace pensieve {
namespace {

std::vector<std::string> lines_of(auto&& action) {
  testing::internal::CaptureStderr();
  action();
  std::istringstream text(testing::internal::GetCapturedStderr());
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  return lines;
}

// Everything a stranger might send in a header that ends up in a line.
const std::string kHostile =
    std::string("\r\n2026-01-01 error forged \"} {\" \\ %v {} \x1B[31m\x7F\xFF\xC2\x9B é ") + '\0';

TEST(Log, JsonLinesAreJsonWhateverTheMessage) {
  configure_log(LogLevel::Debug, LogFormat::JsonLines);
  const auto lines = lines_of([] {
    log_debug("plain");
    log_info(kHostile, kHostile);
    log_warning("", "req_1");
    log_error(std::string(100'000, 'x'));
  });
  ASSERT_EQ(lines.size(), 4u);
  const char* levels[] = {"debug", "info", "warning", "error"};
  for (std::size_t i = 0; i < lines.size(); ++i) {
    // parse_json() refuses NUL in strings, which a log line may hold as an escape.
    const Json line = Json::parse(lines[i], nullptr, false);
    ASSERT_TRUE(line.is_object()) << lines[i];
    EXPECT_EQ(line.at("level"), levels[i]);
    EXPECT_TRUE(line.at("message").is_string());
    // RFC 3339, milliseconds and offset.
    const std::string time = line.at("time");
    ASSERT_EQ(time.size(), std::string("2026-01-01T00:00:00.000+00:00").size()) << time;
    EXPECT_EQ(time[10], 'T');
  }
  EXPECT_EQ(Json::parse(lines[0]).at("message"), "plain");
  EXPECT_FALSE(Json::parse(lines[0]).contains("request_id"));
  EXPECT_EQ(Json::parse(lines[2]).at("request_id"), "req_1");
  EXPECT_NE(std::string(Json::parse(lines[1]).at("message")).find("forged \"} {\" \\ %v {}"),
            std::string::npos);
}

TEST(Log, TextLinesCannotBeForged) {
  configure_log(LogLevel::Info, LogFormat::Text);
  const auto lines = lines_of([] { log_info(kHostile, kHostile); });
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].find_first_of(std::string("\r\x1B\x7F\0", 4)), std::string::npos);
  EXPECT_EQ(lines[0].find("\xC2\x9B"), std::string::npos);
  EXPECT_NE(lines[0].find(" info "), std::string::npos) << lines[0];
}

TEST(Log, SaysNothingBelowItsLevel) {
  configure_log(LogLevel::Warning, LogFormat::Text);
  EXPECT_FALSE(log_enabled(LogLevel::Info));
  EXPECT_TRUE(log_enabled(LogLevel::Warning));
  const auto lines = lines_of([] {
    log_debug("no");
    log_info("no");
    log_warning("yes");
    log_error("yes");
  });
  EXPECT_EQ(lines.size(), 2u);
}

}  // namespace
}  // namespace pensieve
