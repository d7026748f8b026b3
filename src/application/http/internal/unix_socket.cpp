#include "application/http/internal/unix_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "foundation/directory.h"
#include "foundation/text.h"

namespace pensieve::http {
namespace {

constexpr int kBacklog = 128;

Error unusable(const std::string& path, const std::string& why) {
  return {.kind = ErrorKind::InvalidRequest,
          .message = "--unix-socket " + printable(path, 200) + ": " + why};
}

Error refused(const std::string& path, const std::string& what) {
  return {.kind = ErrorKind::Internal,
          .message = "--unix-socket " + printable(path, 200) + ": " + what + ": " +
                     std::generic_category().message(errno)};
}

// A directory of our own that nobody else can enter.
Result<Handle> open_private_directory(const std::string& path, const std::string& directory) {
  if (mkdir(directory.c_str(), 0700) == 0) {
    // The umask may have taken bits away, never added any.
  } else if (errno != EEXIST) {
    return refused(path, "its directory cannot be made");
  }
  Handle handle(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!handle.open()) return refused(path, "its directory cannot be opened");
  struct stat status {};
  if (fstat(handle.get(), &status) != 0) return refused(path, "its directory cannot be looked at");
  if (status.st_uid != geteuid()) return unusable(path, "its directory belongs to another user");
  if ((status.st_mode & 077) != 0) {
    return unusable(path,
                    "others can enter its directory: use one of mode 0700, such as Pensieve's "
                    "home directory");
  }
  return handle;
}

// Removes a socket that nobody listens on.
Result<void> take_away_stale(const sockaddr_un& address, const std::string& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return {};
    return refused(path, "cannot be looked at");
  }
  if (!S_ISSOCK(status.st_mode)) return unusable(path, "something else has this name");
  const Handle probe(::socket(AF_UNIX, SOCK_STREAM, 0));
  if (!probe.open()) return refused(path, "no socket");
  fcntl(probe.get(), F_SETFD, FD_CLOEXEC);
  fcntl(probe.get(), F_SETFL, O_NONBLOCK);  // a full backlog is a living server too
  const int connected =
      ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  if (connected == 0 || errno != ECONNREFUSED) {
    return Error{.kind = ErrorKind::Unavailable,
                 .message = "--unix-socket " + printable(path, 200) +
                            " is in use by another server: give another path, or stop that one"};
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT)
    return refused(path, "the socket of a server that is gone cannot be removed");
  return {};
}

}  // namespace

Result<UnixSocket> UnixSocket::listen(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path ||
      path.find('\0') != std::string::npos) {
    return unusable(
        path, "a socket's path has 1 to " + std::to_string(sizeof address.sun_path - 1) + " bytes");
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());
  std::string directory = std::filesystem::path(path).parent_path().string();
  if (directory.empty()) directory = ".";
  PENSIEVE_TRY(const Handle handle, open_private_directory(path, directory));
  // Two servers that find the same dead socket must not remove each other's new one.
  while (flock(handle.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return refused(path, "its directory cannot be locked");
  }
  PENSIEVE_TRY(take_away_stale(address, path));

  UnixSocket socket;
  socket.descriptor_ = ::socket(AF_UNIX, SOCK_STREAM, 0);
  if (socket.descriptor_ < 0) return refused(path, "no socket");
  fcntl(socket.descriptor_, F_SETFD, FD_CLOEXEC);
  // On Linux the file takes this mode over; elsewhere it is only refused, and the directory closes
  // the moment until chmod().
  [[maybe_unused]] const int early = fchmod(socket.descriptor_, 0600);
  if (::bind(socket.descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return refused(path, "cannot be bound");
  struct stat status {};
  const bool known = lstat(path.c_str(), &status) == 0;
  socket.path_ = path;
  socket.device_ = status.st_dev;
  socket.inode_ = status.st_ino;
  if (!known || chmod(path.c_str(), 0600) != 0) return refused(path, "its mode cannot be set");
  if (::listen(socket.descriptor_, kBacklog) != 0) return refused(path, "cannot be listened on");
  return socket;
}

UnixSocket::UnixSocket(UnixSocket&& other) noexcept {
  *this = std::move(other);
}

UnixSocket& UnixSocket::operator=(UnixSocket&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(device_, other.device_);
  std::swap(inode_, other.inode_);
  return *this;
}

UnixSocket::~UnixSocket() {
  remove();
  if (descriptor_ >= 0) ::close(descriptor_);
}

int UnixSocket::release_descriptor() {
  return std::exchange(descriptor_, -1);
}

void UnixSocket::remove() {
  if (path_.empty()) return;
  struct stat status {};
  if (lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_)
    unlink(path_.c_str());
  path_.clear();
}

bool peer_is_our_user(int socket) {
#ifdef __linux__
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == geteuid();
#else
  uid_t user = 0;
  gid_t group = 0;
  return getpeereid(socket, &user, &group) == 0 && user == geteuid();
#endif
}

}  // namespace pensieve::http
