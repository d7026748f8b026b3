// The unix socket of a listener: who may come in, what it takes over from a dead server and what it
// leaves alone, and that it is gone at the end. Source: RELIABILITY, cases 6, 62 and 70.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "application/http/internal/test_handler.h"
#include "application/http/listener.h"
#include "application/http/raw_client.h"

namespace pensieve::http {
namespace {

using std::chrono::milliseconds;

mode_t mode_of(const std::string& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

// A socket file as a killed server leaves it: bound, and nobody listens.
void leave_dead_socket(const std::string& path) {
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(socket, 1), 0);
  close(socket);
}

class UnixSocket : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/pensieve-socket-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);  // mode 0700
    directory_ = name;
    path_ = directory_ + "/s";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  Result<std::unique_ptr<Listener>> listen(const std::string& path, bool tcp = false) {
    auto listener = Listener::create(
        {.port = 0, .tcp = tcp, .unix_socket = path, .threads = 1, .limits = {}}, handler_);
    if (listener) (*listener)->start();
    return listener;
  }
  static std::optional<RawResponse> ask(RawClient client, const std::string& bytes) {
    EXPECT_TRUE(client.send(bytes));
    return client.read_response();
  }

  TestHandler handler_;
  std::string directory_;
  std::string path_;
};

const std::string kRequest = "GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

TEST_F(UnixSocket, AnswersBesideThePortAndAlone) {
  {
    const auto both = listen(path_, true);
    ASSERT_TRUE(both.has_value()) << both.error().message;
    EXPECT_GT((*both)->port(), 0);
    EXPECT_EQ(ask(RawClient((*both)->port()), kRequest)->status, 200);
    EXPECT_EQ(ask(RawClient(path_), kRequest)->status, 200);
  }
  const auto alone = listen(path_);
  ASSERT_TRUE(alone.has_value()) << alone.error().message;
  EXPECT_EQ((*alone)->port(), 0);
  EXPECT_TRUE((*alone)->is_loopback());
  EXPECT_EQ(ask(RawClient(path_), kRequest)->status, 200);
  EXPECT_TRUE((*alone)->responds_within(std::chrono::seconds(10)));
}

TEST_F(UnixSocket, IsItsUsersAlone) {
  const mode_t before = umask(0);
  const std::string path = directory_ + "/made/s";  // the directory is made as well
  const auto listener = listen(path);
  umask(before);
  ASSERT_TRUE(listener.has_value()) << listener.error().message;
  EXPECT_EQ(mode_of(path), 0600u);
  EXPECT_EQ(mode_of(directory_ + "/made"), 0700u);
}

// RFC 9112, 3.2: HTTP/1.0 may leave the Host out. On a port that would pass by the check of names.
TEST_F(UnixSocket, TakesHttp10WithoutAHostThereAlone) {
  const auto listener = listen(path_, true);
  ASSERT_TRUE(listener.has_value()) << listener.error().message;
  const std::string without_host = "GET /a HTTP/1.0\r\n\r\n";
  EXPECT_EQ(ask(RawClient(path_), without_host)->status, 200);
  EXPECT_EQ(ask(RawClient((*listener)->port()), without_host)->status, 400);
  EXPECT_EQ(ask(RawClient(path_), "GET /a HTTP/1.1\r\n\r\n")->status, 400);
  EXPECT_EQ(ask(RawClient(path_), "GET /a HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n")->status, 400);
  // The second request of a connection is under the same rule as the first.
  RawClient again(path_);
  ASSERT_TRUE(again.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_EQ(again.read_response()->status, 200);
  ASSERT_TRUE(again.send(without_host));
  EXPECT_EQ(again.read_response()->status, 200);
}

TEST_F(UnixSocket, TakesOverFromADeadServerAndNeverFromALivingOne) {
  leave_dead_socket(path_);
  const auto first = listen(path_);
  ASSERT_TRUE(first.has_value()) << first.error().message;
  EXPECT_EQ(ask(RawClient(path_), kRequest)->status, 200);

  const auto second = listen(path_);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().kind, ErrorKind::Unavailable);
  EXPECT_NE(second.error().message.find(path_), std::string::npos);
  EXPECT_EQ(ask(RawClient(path_), kRequest)->status, 200);
}

TEST_F(UnixSocket, IsGoneAtTheEndUnlessItIsAnothersByThen) {
  {
    const auto listener = listen(path_);
    ASSERT_TRUE(listener.has_value()) << listener.error().message;
    (*listener)->drain(milliseconds(0));
    ASSERT_TRUE((*listener)->wait_for(milliseconds(10'000)));
    EXPECT_FALSE(std::filesystem::exists(path_));
  }
  {
    const auto listener = listen(path_);
    ASSERT_TRUE(listener.has_value()) << listener.error().message;
    std::filesystem::remove(path_);
    leave_dead_socket(path_);
  }
  EXPECT_TRUE(std::filesystem::is_socket(path_));
}

TEST_F(UnixSocket, IsNotMadeWhereItDoesNotBelong) {
  const auto refused = [&](const std::string& path) {
    const auto listener = listen(path);
    EXPECT_FALSE(listener.has_value()) << path;
    if (listener.has_value()) return std::string();
    EXPECT_EQ(listener.error().kind, ErrorKind::InvalidRequest) << path;
    return listener.error().message;
  };
  // unix(7): sun_path has 108 bytes on Linux with the final zero; 104 on macOS.
  EXPECT_NE(refused(directory_ + "/" + std::string(108, 'x')).find("bytes"), std::string::npos);

  std::ofstream(path_) << "a file";
  EXPECT_NE(refused(path_).find("something else"), std::string::npos);
  EXPECT_TRUE(std::filesystem::is_regular_file(path_));

  const std::string wide = directory_ + "/wide";
  ASSERT_EQ(mkdir(wide.c_str(), 0700), 0);
  for (const mode_t mode : {0710u, 0701u, 0750u, 0777u, 01777u}) {
    ASSERT_EQ(chmod(wide.c_str(), mode), 0);
    EXPECT_NE(refused(wide + "/s").find("0700"), std::string::npos) << std::oct << mode;
    EXPECT_FALSE(std::filesystem::exists(wide + "/s"));
  }
}

}  // namespace
}  // namespace pensieve::http
