#include "domain/model/internal/mapped_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "domain/model/internal/bad_file.h"

namespace pensieve::model {
namespace {

// To reach the files of a directory takes no permission to list them.
#ifdef O_PATH
constexpr int kReach = O_PATH;
#else
constexpr int kReach = O_RDONLY;
#endif

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

Error cannot_open(const std::string& shown, int error) {
  if (error == ENOENT || error == ENOTDIR) {
    return {.kind = ErrorKind::NotFound, .message = printable(shown, 500) + " does not exist"};
  }
  return bad_file(printable(shown, 500) + " cannot be opened: " + std::strerror(error));
}

// Opens for reading and says how long the file is. O_NONBLOCK: a pipe of that name must not hang
// us.
Result<int> open_regular(int directory,
                         const std::string& path,
                         const std::string& shown,
                         std::uint64_t* size) {
  if (path.find('\0') != std::string::npos) return cannot_open(shown, ENOENT);
  const int fd = ::openat(directory, path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return cannot_open(shown, errno);
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(fd);
    return bad_file(printable(shown, 500) + " is not a regular file");
  }
  *size = static_cast<std::uint64_t>(status.st_size);
  return fd;
}

}  // namespace

Result<MappedFile> MappedFile::open(int directory,
                                    const std::string& path,
                                    const std::string& shown) {
  std::uint64_t size = 0;
  PENSIEVE_TRY(const int raw_fd, open_regular(directory, path, shown, &size));
  const FileDescriptor fd(raw_fd);
  if (size == 0) return bad_file(printable(shown, 500) + " is empty");
  if (size > SIZE_MAX / 2) return bad_file(printable(shown, 500) + " is too large to be mapped");
  MappedFile file;
  void* data = ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) {
    return bad_file(printable(shown, 500) + " cannot be mapped: " + std::strerror(errno));
  }
  file.data_ = static_cast<const std::byte*>(data);
  file.size_ = static_cast<std::size_t>(size);
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::prefetch() const {
  if (data_ == nullptr) return;
  static_cast<void>(::posix_madvise(const_cast<std::byte*>(data_), size_, POSIX_MADV_WILLNEED));
}

void MappedFile::forget(std::span<const std::byte> read) const {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(read.data());
  const auto first = (begin + page - 1) / page * page, last = (begin + read.size()) / page * page;
  const auto mine = reinterpret_cast<std::uintptr_t>(data_);
  if (data_ == nullptr || first < mine || last > mine + size_ || first >= last) return;
  static_cast<void>(::madvise(const_cast<std::byte*>(data_) + (first - mine),
                              static_cast<std::size_t>(last - first),
                              MADV_DONTNEED));
}

Result<Directory> Directory::open(const std::string& path) {
  if (path.find('\0') != std::string::npos) return cannot_open(path, ENOENT);
  const int fd = ::open(path.c_str(), kReach | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return cannot_open(path, errno);
  return Directory(fd);
}

Directory::~Directory() {
  if (fd_ >= 0) ::close(fd_);
}

bool Directory::has(const std::string& name) const {
  return ::faccessat(fd_, name.c_str(), F_OK, 0) == 0;
}

std::vector<std::string> Directory::names_ending_in(std::string_view suffix,
                                                    std::size_t limit) const {
  std::vector<std::string> names;
  const int fd = ::openat(fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(fd < 0 ? nullptr : ::fdopendir(fd),
                                                      &::closedir);
  if (directory == nullptr) {
    if (fd >= 0) ::close(fd);
    return names;
  }
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    if (name.ends_with(suffix) && !name.starts_with('.') && names.size() < limit) {
      names.emplace_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::optional<std::string>> Directory::read(const std::string& name,
                                                   std::size_t limit) const {
  std::uint64_t size = 0;
  auto opened = open_regular(fd_, name, name, &size);
  if (!opened && opened.error().kind == ErrorKind::NotFound) {
    return std::optional<std::string>();
  }
  PENSIEVE_TRY(const int raw_fd, std::move(opened));
  const FileDescriptor fd(raw_fd);
  if (size > limit) {
    return bad_file(name + " has " + std::to_string(size) + " bytes; the limit is " +
                    std::to_string(limit));
  }
  std::string text(static_cast<std::size_t>(size), '\0');
  std::size_t filled = 0;
  while (filled < text.size()) {
    const auto got = ::read(fd.get(), text.data() + filled, text.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return bad_file(name + " cannot be read: " + std::strerror(errno));
    if (got == 0) return bad_file(name + " ended early, at byte " + std::to_string(filled));
    filled += static_cast<std::size_t>(got);
  }
  return std::optional<std::string>(std::move(text));
}

}  // namespace pensieve::model
