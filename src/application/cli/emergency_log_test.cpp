// The line that says why the process is gone.
#include "application/cli/emergency_log.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "foundation/json.h"

namespace pensieve::cli {
namespace {

namespace fs = std::filesystem;

class EmergencyLogTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "emergency-XXXXXX").string();
    home_ = mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(home_); }

  std::vector<std::string> lines() const {
    std::ifstream file(home_ / "emergency.log");
    std::vector<std::string> all;
    for (std::string line; std::getline(file, line);) all.push_back(line);
    return all;
  }
  static MemoryState state() {
    return {.memory = {.total_bytes = 16 * kGiB,
                       .available_bytes = 123'456'789,
                       .known = true,
                       .weights_bytes = 100'000'000,
                       .source = MemorySource::CgroupV2,
                       .stalled = 1234},
            .level = MemoryLevel::Emergency,
            .changes_to = {},
            .samples = 42};
  }

  fs::path home_;
  Accountant accountant_;
};

TEST_F(EmergencyLogTest, AppendsOneJsonLineForEachEnd) {
  const auto held = accountant_.reserve(MemoryUse::Kv, 4321);
  ASSERT_TRUE(held);
  const time_t before = time(nullptr);
  for (int i = 1; i <= 3; ++i) {
    auto log = EmergencyLog::open(home_);
    ASSERT_TRUE(log) << log.error().message;
    const MemoryState now = state();
    EXPECT_TRUE(log->write({.state = now,
                            .accountant = accountant_,
                            .resident_bytes = 7,
                            .anonymous_bytes = 6,
                            .requests_in_flight = 5}));
    EXPECT_TRUE(log->sync());
    ASSERT_EQ(lines().size(), static_cast<std::size_t>(i));
  }
  int seq = 0;
  for (const std::string& line : lines()) {
    const auto parsed = parse_json(line, {});
    ASSERT_TRUE(parsed) << line;
    const Json& json = *parsed;
    EXPECT_EQ(json["seq"], ++seq);
    EXPECT_EQ(json["level"], "emergency");
    EXPECT_EQ(json["available_bytes"], 123'456'789);
    EXPECT_EQ(json["room_bytes"], 23'456'789);
    EXPECT_EQ(json["source"], "cgroup v2");
    EXPECT_EQ(json["stalled_percent"], 12);
    EXPECT_EQ(json["samples"], 42);
    EXPECT_EQ(json["resident_bytes"], 7);
    EXPECT_EQ(json["anonymous_bytes"], 6);
    EXPECT_EQ(json["held"]["kv_bytes"], 4321);
    EXPECT_EQ(json["held"]["connections_bytes"], 0);
    EXPECT_EQ(json["requests_in_flight"], 5);
    EXPECT_EQ(json["pid"], getpid());
    // The C library reads the time back.
    tm parts{};
    const std::string time_text = json["time"];
    const char* rest = strptime(time_text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
    ASSERT_NE(rest, nullptr) << time_text;
    EXPECT_EQ(std::string(rest).size(), 5u) << time_text;
    EXPECT_EQ(time_text.back(), 'Z');
    EXPECT_GE(timegm(&parts), before);
    EXPECT_LE(timegm(&parts), time(nullptr));
  }
}

TEST_F(EmergencyLogTest, IsPrivate) {
  umask(0);
  ASSERT_TRUE(EmergencyLog::open(home_));
  struct stat status {};
  ASSERT_EQ(stat((home_ / "emergency.log").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  chmod((home_ / "emergency.log").c_str(), 0644);
  ASSERT_TRUE(EmergencyLog::open(home_));
  ASSERT_EQ(stat((home_ / "emergency.log").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(EmergencyLogTest, RefusesALinkAndWhatIsNoFile) {
  fs::create_symlink(home_ / "elsewhere", home_ / "emergency.log");
  EXPECT_FALSE(EmergencyLog::open(home_));
  EXPECT_FALSE(fs::exists(home_ / "elsewhere"));
  fs::remove(home_ / "emergency.log");
  fs::create_directory(home_ / "emergency.log");
  EXPECT_FALSE(EmergencyLog::open(home_));
}

TEST_F(EmergencyLogTest, BeginsAnewBeyondAMebibyte) {
  std::ofstream(home_ / "emergency.log") << std::string((1 << 20) - 1, 'x') << "\n";
  ASSERT_TRUE(EmergencyLog::open(home_));
  EXPECT_EQ(lines().size(), 1u);
  std::ofstream(home_ / "emergency.log", std::ios::app) << "\n";
  ASSERT_TRUE(EmergencyLog::open(home_));
  EXPECT_EQ(lines().size(), 0u);
}

}  // namespace
}  // namespace pensieve::cli
