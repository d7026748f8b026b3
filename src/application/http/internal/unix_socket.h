// A listening unix socket for one user: a file of mode 0600 in a directory that nobody else can
// enter, taken over from a server that is gone, never from one that lives, and removed at the end.
// Knows files and sockets. Must not know HTTP.
#pragma once

#include <sys/types.h>

#include <string>

#include "foundation/result.h"

namespace pensieve::http {

class UnixSocket {
 public:
  // Binds and listens at `path`. Its directory is made with mode 0700 where it is missing. Errors,
  // with nothing left behind: Unavailable when a server listens there; InvalidRequest for a path
  // that is too long, a directory that others can enter or that belongs to another user, or
  // something at `path` that is no socket; Internal for what else the system refuses.
  static Result<UnixSocket> listen(const std::string& path);

  UnixSocket() = default;
  UnixSocket(UnixSocket&& other) noexcept;
  UnixSocket& operator=(UnixSocket&& other) noexcept;
  UnixSocket(const UnixSocket&) = delete;
  UnixSocket& operator=(const UnixSocket&) = delete;
  ~UnixSocket();

  // Hands the listening descriptor over; the file stays this object's.
  int release_descriptor();
  // Removes the file if it is still the one that was bound here.
  void remove();

 private:
  std::string path_;  // empty: nothing is bound
  int descriptor_ = -1;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

// Whether the process at the other end of a connected unix socket belongs to our user (SO_PEERCRED
// in unix(7), getpeereid(3)). False also when the system does not say.
bool peer_is_our_user(int socket);

}  // namespace pensieve::http
