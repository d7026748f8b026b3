// Files inside one directory, by name, relative to its handle; no link is followed. What is needed
// to be durable: write, sync, rename, sync the directory. Names come checked. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "foundation/result.h"

namespace pensieve {

// An open file or directory; closes it.
class Handle {
 public:
  explicit Handle(int descriptor = -1) : descriptor_(descriptor) {}
  Handle(Handle&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle();
  int get() const { return descriptor_; }
  bool open() const { return descriptor_ >= 0; }

 private:
  int descriptor_;
};

struct FileStatus {
  std::uint64_t bytes = 0;
  std::int64_t changed_ns = 0;  // modification time, since 1970
  bool regular = false;
  bool directory = false;
};

// "PATH: what the system says", as Unavailable for a full disk and Internal else. Reads errno.
Error system_error(const std::string& path, const std::string& what);

class Directory {
 public:
  // Makes it with mode 0700 if `create` and missing. Errors: NotFound; Internal for what the system
  // refuses. A link at the end of `path` is refused too, unless `may_be_link`.
  static Result<Directory> open(const std::string& path, bool create, bool may_be_link = false);

  const std::string& path() const { return path_; }
  std::string path_of(const std::string& name) const { return path_ + "/" + name; }

  std::optional<FileStatus> status(const std::string& name) const;  // of the name, not of a target
  Result<std::vector<std::string>> names() const;                   // sorted, without . and ..

  Result<Handle> open_to_read(const std::string& name) const;   // Errors: NotFound, Internal
  Result<Handle> open_to_write(const std::string& name) const;  // made with 0600, kept if there
  Result<std::string> read(const std::string& name, std::size_t limit_bytes) const;

  // The whole file or what was there before: temporary, fsync, rename, fsync of the directory.
  Result<void> replace(const std::string& name, const std::string& text) const;
  Result<void> rename(const std::string& from, const std::string& to) const;  // then sync()
  Result<void> sync() const;
  void remove(const std::string& name) const;       // a file; absence is fine
  void remove_tree(const std::string& name) const;  // a directory with everything in it

  // Bytes that this user may still write here; nothing when the system does not say.
  std::optional<std::uint64_t> free_bytes() const;

  const Handle& handle() const { return handle_; }

 private:
  Directory(std::string path, Handle handle) : path_(std::move(path)), handle_(std::move(handle)) {}
  std::string path_;
  Handle handle_;
};

// Errors: as system_error(), naming `path`; the file may then hold a part of it.
Result<void> write_all(const Handle& file,
                       std::span<const std::byte> bytes,
                       const std::string& path);
// As many bytes as are there, at most a buffer full; 0 at the end; nothing when the disk fails.
std::optional<std::size_t> read_some(const Handle& file, std::span<std::byte> buffer);
// A failure is final for what was written (RELIABILITY, 4.5): the system may have dropped it.
Result<void> sync_file(const Handle& file, const std::string& path);

}  // namespace pensieve
