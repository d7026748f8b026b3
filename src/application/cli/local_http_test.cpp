// One GET, against a listener that answers what the test says, in pieces, late, or not at all.
#include "application/cli/local_http.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace pensieve::cli {
namespace {

// Accepts one connection, reads one request head, sends the pieces, and closes unless it is to
// stay.
class OneAnswer {
 public:
  explicit OneAnswer(std::vector<std::string> pieces, bool stay = false)
      : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_, 1), 0);
    EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, pieces = std::move(pieces), stay] {
      const int connection = accept(listener_, nullptr, nullptr);
      char part[1024];
      while (head_.find("\r\n\r\n") == std::string::npos) {
        const auto n = recv(connection, part, sizeof part, 0);
        if (n <= 0) break;
        head_.append(part, static_cast<std::size_t>(n));
      }
      for (const std::string& piece : pieces) {
        if (send(connection, piece.data(), piece.size(), MSG_NOSIGNAL) < 0) break;
      }
      if (stay) recv(connection, part, sizeof part, 0);  // until the client gives up
      close(connection);
    });
  }
  ~OneAnswer() {
    join();
    close(listener_);
  }
  int port() const { return port_; }
  const std::string& head() {
    join();
    return head_;
  }

 private:
  void join() {
    if (thread_.joinable()) thread_.join();
  }
  int listener_;
  int port_ = 0;
  std::string head_;
  std::thread thread_;
};

TEST(GetLocal, GivesStatusAndBody) {
  OneAnswer server({"HTTP/1.1 503 Serv", "ice Unavailable\r\nContent-Length: 2\r\n", "\r\n{", "}"});
  const auto response =
      get_local({.port = server.port(), .target = "/health?a=b", .token = "the-token"});
  ASSERT_TRUE(response.has_value()) << response.error().message;
  EXPECT_EQ(response->status, 503);
  EXPECT_EQ(response->body, "{}");
  EXPECT_EQ(server.head(),
            "GET /health?a=b HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(server.port()) +
                "\r\nConnection: close\r\nAuthorization: Bearer the-token\r\n\r\n");
}

TEST(GetLocal, SendsNoTokenUnlessGiven) {
  OneAnswer server({"HTTP/1.1 200 OK\r\n\r\n"});
  EXPECT_TRUE(get_local({.port = server.port(), .target = "/"}).has_value());
  EXPECT_EQ(server.head().find("Authorization"), std::string::npos);
}

TEST(GetLocal, KnowsWhenNobodyListens) {
  // A bound socket that does not listen: the port is refused and nobody else can take it.
  const int bound = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(bound, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(getsockname(bound, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const auto response = get_local({.port = ntohs(address.sin_port), .target = "/"});
  close(bound);
  ASSERT_FALSE(response.has_value());
  EXPECT_EQ(response.error().kind, ErrorKind::NotFound);
}

TEST(GetLocal, RefusesWhatIsNotHttp) {
  for (const char* text : {"",
                           "SSH-2.0-OpenSSH_9.2\r\n",
                           "HTTP/1.1 200 OK\r\n",
                           "HTTP/1.1 2x0 OK\r\n\r\n",
                           "HTTP/1.1 20\r\n\r\n",
                           "HTTP/2 200 OK\r\n\r\n"}) {
    OneAnswer server({text});
    const auto response = get_local({.port = server.port(), .target = "/"});
    ASSERT_FALSE(response.has_value()) << text;
    EXPECT_EQ(response.error().kind, ErrorKind::Unavailable) << text;
    EXPECT_NE(response.error().message.find(std::to_string(server.port())), std::string::npos);
  }
}

TEST(GetLocal, TakesNoEndlessAnswer) {
  OneAnswer server({"HTTP/1.1 200 OK\r\n\r\n", std::string(70'000, 'x')});
  EXPECT_FALSE(get_local({.port = server.port(), .target = "/"}).has_value());
}

TEST(GetLocal, DoesNotWaitForeverForASilentOne) {
  OneAnswer server({"HTTP/1.1 200 OK\r\n"}, true);
  const auto begin = std::chrono::steady_clock::now();
  const auto response = get_local({.port = server.port(), .target = "/", .timeout_ms = 50});
  ASSERT_FALSE(response.has_value());
  EXPECT_EQ(response.error().kind, ErrorKind::Unavailable);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(50));
}

}  // namespace
}  // namespace pensieve::cli
