#include "application/cli/local_http.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <string_view>

namespace pensieve::cli {
namespace {

constexpr std::size_t kMaxAnswerBytes = 64 * 1024;

using Clock = std::chrono::steady_clock;

class Socket {
 public:
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

std::string name_of(const LocalRequest& request) {
  return request.unix_socket.empty() ? "port " + std::to_string(request.port) : request.unix_socket;
}

Error unavailable(const LocalRequest& request, const std::string& what) {
  return {.kind = ErrorKind::Unavailable, .message = name_of(request) + " " + what};
}

// Whether the socket is ready for `events` before `deadline`.
bool ready(int socket, short events, Clock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return false;
    pollfd one{.fd = socket, .events = events, .revents = 0};
    const int n = poll(&one, 1, static_cast<int>(left.count()));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return false;
  }
}

bool connected(int socket, const sockaddr* address, socklen_t size, Clock::time_point deadline) {
  if (connect(socket, address, size) == 0) return true;
  if (errno != EINPROGRESS && errno != EINTR) return false;
  if (!ready(socket, POLLOUT, deadline)) {
    errno = ETIMEDOUT;
    return false;
  }
  int error = 0;
  socklen_t error_size = sizeof error;
  getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &error_size);
  errno = error;
  return error == 0;
}

bool connected(int socket, const LocalRequest& request, Clock::time_point deadline) {
  if (!request.unix_socket.empty()) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (request.unix_socket.size() >= sizeof address.sun_path) {
      errno = ENAMETOOLONG;
      return false;
    }
    request.unix_socket.copy(address.sun_path, sizeof address.sun_path - 1);
    return connected(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address, deadline);
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(request.port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return connected(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address, deadline);
}

bool send_all(int socket, std::string_view text, Clock::time_point deadline) {
#ifdef MSG_NOSIGNAL
  constexpr int kFlags = MSG_NOSIGNAL;
#else
  constexpr int kFlags = 0;  // SIGPIPE is ignored in this program
#endif
  while (!text.empty()) {
    if (!ready(socket, POLLOUT, deadline)) return false;
    const auto n = send(socket, text.data(), text.size(), kFlags);
    if (n > 0) text.remove_prefix(static_cast<std::size_t>(n));
    if (n < 0 && errno != EAGAIN && errno != EINTR) return false;
  }
  return true;
}

// Everything until the other side closes; false when it does not, or sends too much.
bool receive_all(int socket, std::string& text, Clock::time_point deadline) {
  char part[4096];
  while (text.size() <= kMaxAnswerBytes) {
    if (!ready(socket, POLLIN, deadline)) return false;
    const auto n = recv(socket, part, sizeof part, 0);
    if (n == 0) return true;
    if (n > 0) text.append(part, static_cast<std::size_t>(n));
    if (n < 0 && errno != EAGAIN && errno != EINTR) return false;
  }
  return false;
}

}  // namespace

Result<LocalResponse> get_local(const LocalRequest& request) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(request.timeout_ms);
  const bool local = !request.unix_socket.empty();
  const Socket socket(::socket(local ? AF_UNIX : AF_INET, SOCK_STREAM, 0));
  if (socket.get() < 0) return unavailable(request, "cannot be asked: no socket");
  fcntl(socket.get(), F_SETFD, FD_CLOEXEC);
  fcntl(socket.get(), F_SETFL, O_NONBLOCK);
  if (!connected(socket.get(), request, deadline)) {
    if (errno == ECONNREFUSED || (local && errno == ENOENT)) {
      return Error{.kind = ErrorKind::NotFound,
                   .message = "nothing listens on " + name_of(request)};
    }
    return unavailable(request, "cannot be reached");
  }
  std::string text = "GET " + request.target + " HTTP/1.1\r\nHost: " +
                     (local ? "localhost" : "127.0.0.1:" + std::to_string(request.port)) +
                     "\r\nConnection: close\r\n";
  if (!request.token.empty()) text += "Authorization: Bearer " + request.token + "\r\n";
  text += "\r\n";
  std::string answer;
  if (!send_all(socket.get(), text, deadline) || !receive_all(socket.get(), answer, deadline)) {
    return unavailable(request, "does not answer");
  }
  // RFC 9112, 4: HTTP-version SP status-code SP. We asked for the connection to close and so for a
  // body that ends with it; a Content-Length says the same, and chunks are not expected.
  const auto body = answer.find("\r\n\r\n");
  const bool http = answer.starts_with("HTTP/1.1 ") && body != std::string::npos;
  LocalResponse response;
  for (std::size_t i = 9; http && i < 12; ++i) {
    if (answer[i] < '0' || answer[i] > '9') return unavailable(request, "does not speak HTTP");
    response.status = response.status * 10 + (answer[i] - '0');
  }
  if (!http) return unavailable(request, "does not speak HTTP");
  response.body = answer.substr(body + 4);
  return response;
}

}  // namespace pensieve::cli
