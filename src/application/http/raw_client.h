// A client for tests: one socket, raw bytes out, bytes in. Reads answers with a small parser of its
// own, so that the server's is never its own judge. POSIX sockets, blocking, with a time limit.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace pensieve::http {

struct RawResponse {
  int status = 0;
  std::multimap<std::string, std::string> headers;  // names in lower case
  std::string head;                                 // all of it, as it came
  std::string body;                                 // without its chunks

  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? std::string() : found->second;
  }
};

class RawClient {
 public:
  using Millis = std::chrono::milliseconds;

  // `receive_buffer` > 0 shrinks the kernel's buffer, which otherwise hides a slow reader.
  explicit RawClient(int port, int receive_buffer = 0) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer > 0) {
      ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  // Over a unix socket.
  explicit RawClient(const std::string& path) {
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  RawClient(RawClient&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        connected_(other.connected_),
        in_(std::move(other.in_)) {}
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;
  ~RawClient() { close(); }

  bool connected() const { return connected_; }

  // False when the other side is gone.
  bool send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  void half_close() const { ::shutdown(fd_, SHUT_WR); }
  void reset() {  // RST instead of FIN
    const linger now{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }

  // One whole answer, or nothing when the connection ends or time runs out before it is complete.
  std::optional<RawResponse> read_response(bool head_only = false, Millis limit = Millis(10'000)) {
    const auto deadline = Clock::now() + limit;
    auto response = read_head(deadline);
    if (!response) return std::nullopt;
    if (head_only || response->status == 204 || response->status == 100) return response;
    if (response->header("transfer-encoding") == "chunked") {
      for (;;) {
        const auto piece = read_chunk(deadline);
        if (!piece) return std::nullopt;
        if (piece->empty()) return response;
        response->body += *piece;
      }
    }
    if (response->headers.count("content-length") == 0) {
      while (fill(deadline)) {
      }
      response->body = std::exchange(in_, {});
      return response;
    }
    const auto length = std::strtoull(response->header("content-length").c_str(), nullptr, 10);
    while (in_.size() < length) {
      if (!fill(deadline)) return std::nullopt;
    }
    response->body = take(length);
    return response;
  }

  // Status line and headers alone; the body stays to be read.
  std::optional<RawResponse> read_head(Millis limit = Millis(10'000)) {
    return read_head(Clock::now() + limit);
  }

  // The next chunk of a chunked body; empty for the last.
  std::optional<std::string> read_chunk(Millis limit = Millis(10'000)) {
    return read_chunk(Clock::now() + limit);
  }

  // Whether the other side ends the connection within `limit`. Bytes that still come go to rest().
  bool ends_within(Millis limit) {
    const auto deadline = Clock::now() + limit;
    while (fill(deadline)) {
    }
    return ended_;
  }
  const std::string& rest() const { return in_; }

 private:
  using Clock = std::chrono::steady_clock;

  std::optional<RawResponse> read_head(Clock::time_point deadline) {
    std::size_t end = 0;
    while ((end = in_.find("\r\n\r\n")) == std::string::npos) {
      if (!fill(deadline)) return std::nullopt;
    }
    RawResponse response;
    response.head = take(end + 4);
    if (!response.head.starts_with("HTTP/1.1 ")) return std::nullopt;
    response.status = std::atoi(response.head.c_str() + 9);
    std::size_t at = response.head.find("\r\n") + 2;
    while (at + 2 < response.head.size()) {
      const std::size_t line_end = response.head.find("\r\n", at);
      const std::string line = response.head.substr(at, line_end - at);
      const std::size_t colon = line.find(": ");
      std::string name = line.substr(0, colon);
      std::transform(name.begin(), name.end(), name.begin(), [](char c) {
        return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      });
      response.headers.emplace(name, line.substr(colon + 2));
      at = line_end + 2;
    }
    return response;
  }

  std::optional<std::string> read_chunk(Clock::time_point deadline) {
    std::size_t end = 0;
    while ((end = in_.find("\r\n")) == std::string::npos) {
      if (!fill(deadline)) return std::nullopt;
    }
    const auto size = std::strtoull(in_.c_str(), nullptr, 16);
    while (in_.size() < end + 2 + size + 2) {
      if (!fill(deadline)) return std::nullopt;
    }
    take(end + 2);
    std::string data = take(size);
    take(2);
    return data;
  }

  std::string take(std::size_t n) {
    std::string out = in_.substr(0, n);
    in_.erase(0, n);
    return out;
  }

  // Reads some more bytes; false at the end, on an error, or when time is up.
  bool fill(Clock::time_point deadline) {
    const auto left = std::chrono::duration_cast<Millis>(deadline - Clock::now()).count();
    pollfd waiting{.fd = fd_, .events = POLLIN, .revents = 0};
    if (left <= 0 || ::poll(&waiting, 1, static_cast<int>(left)) <= 0) return false;
    char buffer[16 * 1024];
    const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
    if (n <= 0) {
      ended_ = true;
      return false;
    }
    in_.append(buffer, static_cast<std::size_t>(n));
    return true;
  }

  int fd_ = -1;
  bool connected_ = false;
  bool ended_ = false;
  std::string in_;
};

}  // namespace pensieve::http
