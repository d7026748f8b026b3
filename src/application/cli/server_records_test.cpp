// Who is said to run: servers that live, and nobody else, whatever files lie about. A server is a
// process here too, so that its locks end as a killed server's do.
#include "application/cli/server_records.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "application/cli/other_process.h"

namespace pensieve::cli {
namespace {

using std::chrono::milliseconds;

class ServerRecordsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "pensieve-records-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    home_ = pattern;
  }
  void TearDown() override {
    for (const int child : children_) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
    }
    std::filesystem::remove_all(home_);
  }

  // A process that keeps its record until SIGTERM, or until it is killed.
  int start_server(int port) {
    int ready[2];
    if (pipe(ready) != 0) return -1;
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigset_t before;
    sigprocmask(SIG_BLOCK, &term, &before);
    const int child = fork();
    if (child == 0) {
      int status = 1;
      {
        const auto kept =
            KeptRecord::write(home_, {.pid = getpid(), .host = "127.0.0.1", .port = port});
        status = kept.has_value() ? 0 : 1;
        [[maybe_unused]] const auto told = write(ready[1], "x", 1);
        int number = 0;
        sigwait(&term, &number);
      }
      _exit(status);
    }
    sigprocmask(SIG_SETMASK, &before, nullptr);
    char byte = 0;
    EXPECT_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    children_.push_back(child);
    return child;
  }
  std::string path_of(int pid) const { return home_ + "/servers/" + std::to_string(pid) + ".json"; }

  std::string home_;
  std::vector<int> children_;
};

TEST_F(ServerRecordsTest, NamesTheServersThatLive) {
  EXPECT_TRUE(running_servers(home_).empty());
  const int first = start_server(7777);
  const int second = start_server(8888);
  const auto servers = running_servers(home_);
  ASSERT_EQ(servers.size(), 2u);
  const bool in_order = servers[0].pid == first;
  EXPECT_EQ(servers[in_order ? 0 : 1].port, 7777);
  EXPECT_EQ(servers[in_order ? 1 : 0].pid, second);
  EXPECT_EQ(servers[0].host, "127.0.0.1");
  struct stat status {};
  ASSERT_EQ(stat(path_of(first).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  ASSERT_EQ(stat((home_ + "/servers").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
}

TEST_F(ServerRecordsTest, TellsAnOrderlyEndFromAnother) {
  const int orderly = start_server(7777);
  const int killed = start_server(8888);
  EXPECT_EQ(fate_of(home_, orderly), ServerFate::Lives);
  const auto process = OtherProcess::find(orderly);
  ASSERT_TRUE(process.has_value());
  EXPECT_FALSE(process->ends_within(milliseconds(10)));
  EXPECT_TRUE(process->signal(SIGTERM));
  EXPECT_TRUE(process->ends_within(milliseconds(10'000)));
  EXPECT_EQ(fate_of(home_, orderly), ServerFate::EndedInOrder);
  ASSERT_EQ(kill(killed, SIGKILL), 0);
  ASSERT_EQ(waitpid(killed, nullptr, 0), killed);
  EXPECT_EQ(fate_of(home_, killed), ServerFate::Gone);
  EXPECT_TRUE(running_servers(home_).empty());
  EXPECT_FALSE(std::filesystem::exists(path_of(killed))) << "nobody's record is removed";
}

// A number that is somebody else's by now: the file speaks of a process that lives (this one), but
// no server holds it.
TEST_F(ServerRecordsTest, TakesNoOtherProcessForAServer) {
  std::filesystem::create_directory(home_ + "/servers");
  const std::string text = "{\"pid\":" + std::to_string(getpid()) +
                           ",\"host\":\"127.0.0.1\",\"port\":7777,\"unix_socket\":\"\"}\n";
  std::ofstream(path_of(getpid())) << text;
  EXPECT_EQ(fate_of(home_, getpid()), ServerFate::Gone);
  EXPECT_TRUE(running_servers(home_).empty());
}

TEST_F(ServerRecordsTest, BelievesNoFileThatIsNoRecord) {
  std::filesystem::create_directory(home_ + "/servers");
  for (const char* name : {"x.json", "12", ".12.json", "-3.json", "99999999999999999999.json"})
    std::ofstream(home_ + "/servers/" + name) << "{}";
  EXPECT_TRUE(running_servers(home_).empty());
  // One that lives, but whose file somebody wrote over.
  const int child = start_server(7777);
  const std::string pid = std::to_string(child);
  for (const std::string& text : {std::string(),
                                  std::string("{"),
                                  std::string("[]"),
                                  "{\"pid\":" + pid + "}",
                                  "{\"pid\":" + pid + ",\"port\":65536}",
                                  "{\"pid\":" + pid + ",\"port\":0}",
                                  std::string("{\"pid\":1,\"port\":7777}"),
                                  "{\"pid\":" + pid + ",\"port\":\"7777\"}"}) {
    std::ofstream(path_of(child)) << text;
    EXPECT_TRUE(running_servers(home_).empty()) << text;
  }
  std::ofstream(path_of(child)) << "{\"pid\":" + pid + ",\"port\":7777}";
  EXPECT_EQ(running_servers(home_).size(), 1u);
}

TEST_F(ServerRecordsTest, FollowsNoLink) {
  std::filesystem::create_directory(home_ + "/servers");
  std::ofstream(home_ + "/elsewhere") << "not ours";
  std::filesystem::create_symlink(home_ + "/elsewhere", path_of(getpid()));
  EXPECT_TRUE(running_servers(home_).empty());
  EXPECT_TRUE(std::filesystem::exists(home_ + "/elsewhere"));
}

TEST(OtherProcess, IsNothingWhenItIsGone) {
  const int child = fork();
  if (child == 0) _exit(0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_FALSE(OtherProcess::find(child).has_value());
}

}  // namespace
}  // namespace pensieve::cli
