// The state file: what is written is read, and nothing else is believed.
#include "application/cli/server_state.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace pensieve::cli {
namespace {

class ServerStateTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "pensieve-state-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    home_ = pattern;
    path_ = server_state_path(home_);
  }
  void TearDown() override { std::filesystem::remove_all(home_); }
  void put(const std::string& text) const { std::ofstream(path_) << text; }

  std::string home_;
  std::string path_;
};

TEST_F(ServerStateTest, IsReadAsItWasWritten) {
  EXPECT_EQ(path_, home_ + "/server.json");
  ASSERT_TRUE(write_server_state(path_, {.port = 7777, .pid = 42}).has_value());
  ASSERT_TRUE(write_server_state(path_, {.port = 8888, .pid = 43}).has_value());
  const auto state = read_server_state(path_);
  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->port, 8888);
  EXPECT_EQ(state->pid, 43);
  struct stat status {};
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(home_), {}), 1)
      << "nothing else stays";
}

TEST_F(ServerStateTest, IsNothingWhenItIsNotSuchAFile) {
  EXPECT_FALSE(read_server_state(path_));
  for (const char* text : {"",
                           "{",
                           "[]",
                           "7777",
                           R"({"port":7777})",
                           R"({"pid":1})",
                           R"({"port":0,"pid":1})",
                           R"({"port":65536,"pid":1})",
                           R"({"port":"7777","pid":1})",
                           R"({"port":7777.5,"pid":1})",
                           R"({"port":7777,"pid":-1})",
                           R"({"port":7777,"pid":0})",
                           R"({"port":7777,"pid":99999999999})"}) {
    put(text);
    EXPECT_FALSE(read_server_state(path_)) << text;
  }
  put(R"({"port":7777,"pid":1})" + std::string(5000, ' '));
  EXPECT_FALSE(read_server_state(path_)) << "too long";
  put(R"({"port":7777,"pid":1})");
  EXPECT_TRUE(read_server_state(path_));
}

TEST_F(ServerStateTest, IsNotReadThroughALink) {
  std::ofstream(home_ + "/other") << R"({"port":7777,"pid":1})";
  ASSERT_EQ(symlink((home_ + "/other").c_str(), path_.c_str()), 0);
  EXPECT_FALSE(read_server_state(path_));
}

TEST_F(ServerStateTest, IsRemovedByItsOwnServerOnly) {
  ASSERT_TRUE(write_server_state(path_, {.port = 7777, .pid = 42}).has_value());
  remove_server_state(path_, 41);
  EXPECT_TRUE(read_server_state(path_));
  remove_server_state(path_, 42);
  EXPECT_FALSE(std::filesystem::exists(path_));
  remove_server_state(path_, 42);
}

TEST_F(ServerStateTest, WhereItCannotBeWrittenThePathIsNamed) {
  const auto refused = write_server_state(home_ + "/no/such/place", {.port = 1, .pid = 1});
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("/no/such/place"), std::string::npos);
}

}  // namespace
}  // namespace pensieve::cli
