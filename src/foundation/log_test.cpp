// What a machine or a person reads on standard error.
#include "foundation/log.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
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

TEST(Log, FieldsAreWordsInTextAndMembersInJson) {
  const LogField fields[] = {{"route", "/v1/messages"},
                             {"status", std::int64_t{200}},
                             {"duration_s", 0.5},
                             {"why", kHostile}};
  configure_log(LogLevel::Info, LogFormat::Text);
  auto lines = lines_of([&] { log(LogLevel::Info, "answered", "req_1", fields); });
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find("answered route=/v1/messages status=200 duration_s=0.500 why=\""),
            std::string::npos)
      << lines[0];
  EXPECT_EQ(lines[0].find_first_of(std::string("\r\x1B\x7F\0", 4)), std::string::npos);
  EXPECT_TRUE(lines[0].ends_with("[req_1]")) << lines[0];

  configure_log(LogLevel::Info, LogFormat::JsonLines);
  lines = lines_of([&] { log(LogLevel::Info, "answered", "req_1", fields); });
  ASSERT_EQ(lines.size(), 1u);
  const Json line = Json::parse(lines[0], nullptr, false);
  ASSERT_TRUE(line.is_object()) << lines[0];
  EXPECT_EQ(line.at("route"), "/v1/messages");
  EXPECT_EQ(line.at("status"), 200);
  EXPECT_EQ(line.at("duration_s"), 0.5);
  EXPECT_NE(std::string(line.at("why")).find("forged \"} {\" \\ %v {}"), std::string::npos);
}

TEST(Log, LinesAboutARequestHaveItsId) {
  configure_log(LogLevel::Info, LogFormat::JsonLines);
  const auto lines = lines_of([] {
    log_info("before");
    {
      const RequestLogScope outer("req_outer");
      log_info("in it");
      {
        const RequestLogScope inner("req_inner");
        log_info("in the inner one");
        log_info("named", "req_named");
      }
      log_info("in it again");
      std::thread([] { log_info("of another thread"); }).join();
    }
    log_info("behind");
  });
  const char* expected[] = {"", "req_outer", "req_inner", "req_named", "req_outer", "", ""};
  ASSERT_EQ(lines.size(), std::size(expected));
  for (std::size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(Json::parse(lines[i]).value("request_id", ""), expected[i]) << lines[i];
  }
}

// A directory that goes stands for a disk that takes no more: nothing is lost, nothing ends.
TEST(Log, GoesToAFileAndToStandardErrorWhereThatFails) {
  namespace fs = std::filesystem;
  std::string name = (fs::temp_directory_path() / "pensieve-log-XXXXXX").string();
  ASSERT_NE(mkdtemp(name.data()), nullptr);
  configure_log(LogLevel::Info, LogFormat::JsonLines);
  const std::string path = name + "/log";
  ASSERT_FALSE(log_to_file({.path = name}).has_value());
  ASSERT_TRUE(log_to_file({.path = path, .max_bytes = 100}).has_value());
  const auto lost = lines_of([&] {
    log_info("kept");
    fs::remove_all(name);
    log_info("lost, since it is to begin a new file", "req_1");
    log_info("lost");
    fs::create_directory(name);
    log_info("kept again");
  });
  log_to_standard_error();
  ASSERT_EQ(lost.size(), 2u);
  EXPECT_EQ(Json::parse(lost[0]).at("request_id"), "req_1");
  std::vector<std::string> messages;
  for (const char* file : {"/log.1", "/log"}) {
    std::ifstream text(name + file);
    for (std::string line; std::getline(text, line);) {
      messages.push_back(Json::parse(line).at("message"));
    }
  }
  fs::remove_all(name);
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_NE(messages[0].find("2 lines went to standard error"), std::string::npos) << messages[0];
  EXPECT_EQ(messages[1], "kept again");
}

}  // namespace
}  // namespace pensieve
