#include "foundation/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <system_error>

namespace pensieve {

Handle::~Handle() {
  if (descriptor_ >= 0) close(descriptor_);
}

Error system_error(const std::string& path, const std::string& what) {
  const bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
  return {.kind = full                ? ErrorKind::Unavailable
                  : (errno == ENOENT) ? ErrorKind::NotFound
                                      : ErrorKind::Internal,
          .message = path + " " + what + ": " + std::generic_category().message(errno)};
}

Result<Directory> Directory::open(const std::string& path, bool create, bool may_be_link) {
  if (create && mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return system_error(path, "cannot be made");
  }
  Handle handle(
      ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | (may_be_link ? 0 : O_NOFOLLOW)));
  if (!handle.open()) return system_error(path, "cannot be opened");
  return Directory(path, std::move(handle));
}

std::optional<FileStatus> Directory::status(const std::string& name) const {
  struct stat status {};
  if (fstatat(handle_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
#ifdef __APPLE__
  const timespec changed = status.st_mtimespec;
#else
  const timespec changed = status.st_mtim;
#endif
  return FileStatus{.bytes = static_cast<std::uint64_t>(status.st_size),
                    .changed_ns = std::int64_t{changed.tv_sec} * 1'000'000'000 + changed.tv_nsec,
                    .regular = S_ISREG(status.st_mode),
                    .directory = S_ISDIR(status.st_mode)};
}

Result<std::vector<std::string>> Directory::names() const {
  const int again = openat(handle_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(again < 0 ? nullptr : fdopendir(again),
                                                   &closedir);
  if (stream == nullptr) {
    if (again >= 0) close(again);
    return system_error(path_, "cannot be read");
  }
  std::vector<std::string> names;
  while (const dirent* entry =
             readdir(stream.get())) {  // NOLINT(concurrency-mt-unsafe): own stream
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<Handle> Directory::open_to_read(const std::string& name) const {
  Handle file(openat(handle_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file.open()) return system_error(path_of(name), "cannot be opened");
  return file;
}

Result<Handle> Directory::open_to_write(const std::string& name) const {
  Handle file(openat(handle_.get(), name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.open()) return system_error(path_of(name), "cannot be written");
  return file;
}

Result<std::string> Directory::read(const std::string& name, std::size_t limit_bytes) const {
  PENSIEVE_TRY(const Handle file, open_to_read(name));
  std::string text;
  char part[16384];
  while (true) {
    const auto n = ::read(file.get(), part, sizeof part);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error(path_of(name), "cannot be read");
    if (n == 0) return text;
    text.append(part, static_cast<std::size_t>(n));
    if (text.size() > limit_bytes) {
      return Error{.kind = ErrorKind::BadFile, .message = path_of(name) + " is too long"};
    }
  }
}

Result<void> Directory::replace(const std::string& name, const std::string& text) const {
  const std::string temporary = "." + name + ".new";  // one writer: the model's lock is held
  remove(temporary);
  PENSIEVE_TRY(const Handle file, open_to_write(temporary));
  auto written = write_all(file, std::as_bytes(std::span(text)), path_of(name));
  if (written) written = sync_file(file, path_of(name));
  if (written) written = rename(temporary, name);
  if (!written) remove(temporary);
  return written;
}

Result<void> Directory::rename(const std::string& from, const std::string& to) const {
  if (renameat(handle_.get(), from.c_str(), handle_.get(), to.c_str()) != 0) {
    return system_error(path_of(to), "cannot be put in place");
  }
  return sync();
}

Result<void> Directory::sync() const {
  if (fsync(handle_.get()) != 0) return system_error(path_, "cannot be made durable");
  return {};
}

void Directory::remove(const std::string& name) const {
  unlinkat(handle_.get(), name.c_str(), 0);
}

void Directory::remove_tree(const std::string& name) const {
  std::error_code ignored;  // what is left over is found, and removed, at the next start
  std::filesystem::remove_all(path_of(name), ignored);
}

std::optional<std::uint64_t> Directory::free_bytes() const {
  struct statvfs status {};
  if (fstatvfs(handle_.get(), &status) != 0) return std::nullopt;
  return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

Result<void> write_all(const Handle& file,
                       std::span<const std::byte> bytes,
                       const std::string& path) {
  while (!bytes.empty()) {
    const auto n = write(file.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error(path, "cannot be written");
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

std::optional<std::size_t> read_some(const Handle& file, std::span<std::byte> buffer) {
  while (true) {
    const auto n = ::read(file.get(), buffer.data(), buffer.size());
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != EINTR) return std::nullopt;
  }
}

Result<void> sync_file(const Handle& file, const std::string& path) {
#ifdef F_FULLFSYNC
  // fsync() leaves the bytes in the drive's own cache there.
  if (fcntl(file.get(), F_FULLFSYNC) == 0) return {};
#endif
  if (fsync(file.get()) != 0) return system_error(path, "cannot be made durable");
  return {};
}

}  // namespace pensieve
