// What an init system would hear: datagrams at a real socket, by sd_notify(3) and
// sd_watchdog_enabled(3).
#include "application/cli/init_notify.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <string>

namespace pensieve::cli {
namespace {

class InitNotifyTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "pensieve-init-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override {
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) unsetenv(name);
    if (receiver_ >= 0) close(receiver_);
    std::filesystem::remove_all(directory_);
  }

  // Receives at `name`, whose '@' stands for the zero byte of the abstract name space.
  void listen_at(const std::string& name) {
    receiver_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name.copy(address.sun_path, sizeof address.sun_path - 1);
    if (name.front() == '@') address.sun_path[0] = '\0';
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    ASSERT_EQ(bind(receiver_, reinterpret_cast<const sockaddr*>(&address), size), 0);
    setenv("NOTIFY_SOCKET", name.c_str(), 1);
  }
  std::string heard() const {
    char text[512];
    const auto n = recv(receiver_, text, sizeof text, 0);
    return n < 0 ? "nothing" : std::string(text, static_cast<std::size_t>(n));
  }

  std::string directory_;
  int receiver_ = -1;
};

TEST_F(InitNotifyTest, SaysEachThingInADatagramOfItsOwn) {
  listen_at(directory_ + "/notify");
  const InitNotify notify = InitNotify::from_environment();
  notify.status("Loading\nREADY=1");
  notify.ready();
  notify.alive();
  notify.stopping();
  EXPECT_EQ(heard(), "STATUS=Loading READY=1");  // a line end would begin another variable
  EXPECT_EQ(heard(), "READY=1");
  EXPECT_EQ(heard(), "WATCHDOG=1");
  EXPECT_EQ(heard(), "STOPPING=1");
  EXPECT_EQ(heard(), "nothing");
}

#ifdef __linux__
TEST_F(InitNotifyTest, KnowsTheAbstractNameSpace) {
  listen_at("@pensieve-test-" + std::to_string(getpid()));
  InitNotify::from_environment().ready();
  EXPECT_EQ(heard(), "READY=1");
}
#endif

TEST_F(InitNotifyTest, SaysNothingWhereNobodyListens) {
  InitNotify::from_environment().ready();
  for (const char* address : {"", "relative", "vsock:2:1234", "/nowhere/at/all"}) {
    setenv("NOTIFY_SOCKET", address, 1);
    InitNotify::from_environment().ready();
  }
  setenv("NOTIFY_SOCKET", ("/" + std::string(500, 'x')).c_str(), 1);
  InitNotify::from_environment().ready();
}

TEST_F(InitNotifyTest, TakesTheWatchdogThatIsMeantForIt) {
  listen_at(directory_ + "/notify");
  EXPECT_FALSE(InitNotify::from_environment().watchdog().has_value());
  setenv("WATCHDOG_USEC", "3000000", 1);
  EXPECT_EQ(InitNotify::from_environment().watchdog(), std::chrono::milliseconds(3000));
  setenv("WATCHDOG_PID", std::to_string(getpid()).c_str(), 1);
  EXPECT_EQ(InitNotify::from_environment().watchdog(), std::chrono::milliseconds(3000));
  setenv("WATCHDOG_PID", std::to_string(getppid()).c_str(), 1);
  EXPECT_FALSE(InitNotify::from_environment().watchdog().has_value());
  unsetenv("WATCHDOG_PID");
  for (const char* no_time : {"", "0", "-5", "3s", "99999999999999999999"}) {
    setenv("WATCHDOG_USEC", no_time, 1);
    EXPECT_FALSE(InitNotify::from_environment().watchdog().has_value()) << no_time;
  }
}

}  // namespace
}  // namespace pensieve::cli
