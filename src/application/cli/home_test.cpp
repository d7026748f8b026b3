// The home directory and the token in it, on a directory of the test's own.
#include "application/cli/home.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace pensieve::cli {
namespace {

namespace fs = std::filesystem;

class Home : public testing::Test {
 protected:
  Home() {
    std::string pattern = (fs::temp_directory_path() / "home-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
    home_ = (root_ / "home").string();
    unsetenv("PENSIEVE_TOKEN");
    unsetenv("PENSIEVE_HOME");
  }
  ~Home() override {
    unsetenv("PENSIEVE_TOKEN");
    unsetenv("PENSIEVE_HOME");
    fs::remove_all(root_);
  }
  static mode_t mode_of(const std::string& path) {
    struct stat status {};
    EXPECT_EQ(lstat(path.c_str(), &status), 0) << path;
    return status.st_mode & 07777;
  }
  static void write(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }

  fs::path root_;
  std::string home_;
};

TEST_F(Home, ANewTokenIsPrivateRandomAndStays) {
  const mode_t mask = umask(0);  // nothing may depend on it
  const auto first = access_token(home_);
  umask(mask);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(first->value.size(), 64u);
  EXPECT_EQ(first->value.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(first->file, home_ + "/token");
  EXPECT_EQ(mode_of(home_), 0700u);
  EXPECT_EQ(mode_of(first->file), 0600u);

  const auto again = access_token(home_);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->value, first->value);

  const auto other = access_token((root_ / "other").string());
  ASSERT_TRUE(other);
  EXPECT_NE(other->value, first->value);
}

TEST_F(Home, NothingIsLeftBesideTheToken) {
  ASSERT_TRUE(access_token(home_));
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(home_)) names.insert(entry.path().filename());
  EXPECT_EQ(names, std::set<std::string>{"token"});
}

TEST_F(Home, ManyAtOnceAgreeOnOneToken) {
  std::vector<std::string> values(8);
  {
    std::vector<std::jthread> threads;
    for (auto& value : values) {
      threads.emplace_back([this, &value] {
        const auto token = access_token(home_);
        ASSERT_TRUE(token) << token.error().message;
        value = token->value;
      });
    }
  }
  EXPECT_EQ(std::set<std::string>(values.begin(), values.end()).size(), 1u);
}

TEST_F(Home, WideModesAreNarrowed) {
  write(home_ + "/token", "0123456789\n");
  fs::permissions(home_, fs::perms::all);
  fs::permissions(home_ + "/token", fs::perms(0644));
  const auto token = access_token(home_);
  ASSERT_TRUE(token) << token.error().message;
  EXPECT_EQ(token->value, "0123456789");
  EXPECT_EQ(mode_of(home_), 0700u);
  EXPECT_EQ(mode_of(home_ + "/token"), 0600u);
}

TEST_F(Home, ALinkInTheTokensPlaceIsNotFollowed) {
  write(root_ / "secret", "somebody-elses-secret");
  fs::create_directories(home_);
  fs::create_symlink(root_ / "secret", home_ + "/token");
  const auto token = access_token(home_);
  ASSERT_FALSE(token);
  EXPECT_EQ(token.error().kind, ErrorKind::Permission);
  EXPECT_EQ(mode_of((root_ / "secret").string()) & 0044u, 0044u) << "the target was left alone";
}

TEST_F(Home, WhatIsNoTokenIsSaidAndLeftAlone) {
  fs::create_directories(home_ + "/token");
  EXPECT_FALSE(access_token(home_)) << "a directory";
  fs::remove_all(home_ + "/token");
  ASSERT_EQ(mkfifo((home_ + "/token").c_str(), 0600), 0);
  EXPECT_FALSE(access_token(home_)) << "a pipe, which must not be waited for";
  fs::remove_all(home_ + "/token");
  for (const std::string& text : std::vector<std::string>{"",
                                                          "\n",
                                                          "two words",
                                                          "tab\there",
                                                          "caf\xC3\xA9",
                                                          std::string(1025, 'x'),
                                                          std::string("a\0b", 3)}) {
    write(home_ + "/token", text);
    const auto token = access_token(home_);
    EXPECT_FALSE(token) << text;
    if (!token) {
      EXPECT_NE(token.error().message.find(home_ + "/token"), std::string::npos);
    }
  }
  write(home_ + "/token", std::string(1024, 'x'));
  EXPECT_TRUE(access_token(home_));
}

TEST_F(Home, TheEnvironmentsTokenWinsAndTouchesNoDisk) {
  setenv("PENSIEVE_TOKEN", "from-the-environment", 1);
  const auto token = access_token(home_);
  ASSERT_TRUE(token);
  EXPECT_EQ(token->value, "from-the-environment");
  EXPECT_EQ(token->file, "");
  EXPECT_FALSE(fs::exists(home_));
  setenv("PENSIEVE_TOKEN", "two words", 1);
  EXPECT_FALSE(access_token(home_));
  setenv("PENSIEVE_TOKEN", "", 1);
  EXPECT_EQ(access_token(home_)->file, home_ + "/token") << "empty is not set, never no token";
}

TEST_F(Home, ADirectoryThatCannotBeMadeIsNamed) {
  write(root_ / "file", "x");
  const auto token = access_token((root_ / "file" / "home").string());
  ASSERT_FALSE(token);
  EXPECT_NE(token.error().message.find("file/home"), std::string::npos);
}

TEST_F(Home, IsWhereTheEnvironmentSays) {
  setenv("PENSIEVE_HOME", "/somewhere/else/", 1);
  EXPECT_EQ(*home_directory(), "/somewhere/else");
  setenv("PENSIEVE_HOME", "relative", 1);
  EXPECT_EQ(*home_directory(), (fs::current_path() / "relative").string());
  unsetenv("PENSIEVE_HOME");
  const std::string before = getenv("HOME") != nullptr ? getenv("HOME") : "";
  setenv("HOME", "/users/me", 1);
  EXPECT_EQ(*home_directory(), "/users/me/.pensieve-local-llm-server");
  before.empty() ? unsetenv("HOME") : setenv("HOME", before.c_str(), 1);
}

TEST_F(Home, TheDefaultModelIsAFileADirectoryOrALink) {
  EXPECT_FALSE(default_model(home_));
  write(home_ + "/models/default", "x");
  EXPECT_EQ(default_model(home_), home_ + "/models/default");
  fs::remove(home_ + "/models/default");
  fs::create_directories(home_ + "/models/default");
  EXPECT_TRUE(default_model(home_));
  fs::remove(home_ + "/models/default");
  fs::create_symlink(root_ / "gone", home_ + "/models/default");
  EXPECT_TRUE(default_model(home_))
      << "a broken link is an error to show, not a reason to go on without";
}

}  // namespace
}  // namespace pensieve::cli
