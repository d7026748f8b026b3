#include "foundation/log_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "foundation/check.h"

namespace pensieve {
namespace {

struct Opened {
  int file = -1;
  std::uint64_t bytes = 0;
};

// No link is followed and no pipe is waited for: what is no regular file is refused.
Result<Opened> open_to_append(const std::string& path) {
  const auto refused = [&](const std::string& why) {
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message = "the log file " + path + " cannot be used: " + why};
  };
  const int file = ::open(
      path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  if (file < 0) {
    return refused(errno == ELOOP ? "it is a link" : std::generic_category().message(errno));
  }
  struct stat status {};
  const bool known = fstat(file, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    ::close(file);
    return refused("it is no regular file");
  }
  // One that was there before may have been readable by others.
  if ((status.st_mode & 0777) != 0600 && fchmod(file, 0600) != 0) {
    const int error = errno;
    ::close(file);
    return refused("it is not this user's own: " + std::generic_category().message(error));
  }
  return Opened{.file = file, .bytes = static_cast<std::uint64_t>(status.st_size)};
}

// What was written, as far as it goes: a full disk takes a part.
std::size_t write_all(int file, std::string_view bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(file, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

}  // namespace

Result<LogFile> LogFile::open(LogFileOptions options) {
  CHECK(options.max_bytes > 0 && options.max_files > 0);
  PENSIEVE_TRY(const Opened opened, open_to_append(options.path));
  return LogFile(std::move(options), opened.file, opened.bytes);
}

LogFile::LogFile(LogFileOptions options, int file, std::uint64_t bytes)
    : options_(std::move(options)), file_(file), bytes_(bytes) {}

LogFile::LogFile(LogFile&& other) noexcept
    : options_(other.options_), file_(std::exchange(other.file_, -1)), bytes_(other.bytes_) {}

LogFile::~LogFile() {
  close_file();
}

void LogFile::close_file() {
  if (file_ >= 0) ::close(file_);
  file_ = -1;
}

bool LogFile::append(std::string_view line) {
  if (file_ >= 0 && bytes_ > 0 && bytes_ + line.size() > options_.max_bytes) rotate();
  if (file_ < 0) {
    const auto opened = open_to_append(options_.path);
    if (!opened) return false;
    file_ = opened->file;
    bytes_ = opened->bytes;
  }
  const std::size_t written = write_all(file_, line);
  if (written == line.size()) {
    bytes_ += written;
    return true;
  }
  // Half a line would be taken for the beginning of the next one.
  if (written > 0 && ftruncate(file_, static_cast<off_t>(bytes_)) != 0) bytes_ += written;
  return false;
}

// Whoever else moved the file away has made the room already.
bool LogFile::is_still_at_path() const {
  struct stat ours {};
  struct stat there {};
  return fstat(file_, &ours) == 0 && lstat(options_.path.c_str(), &there) == 0 &&
         ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

// Where nothing can be renamed, what is written goes to the same file again, which begins anew: the
// bound on the disk is kept before old lines are.
void LogFile::rotate() {
  const bool ours = is_still_at_path();
  const auto numbered = [&](int i) { return options_.path + "." + std::to_string(i); };
  bool moved = true;
  if (ours && options_.max_files > 1) {
    for (int i = options_.max_files - 2; i >= 1; --i) {
      std::rename(numbered(i).c_str(), numbered(i + 1).c_str());  // may not be there
    }
    moved = std::rename(options_.path.c_str(), numbered(1).c_str()) == 0;
  }
  if (ours && (options_.max_files == 1 || !moved)) {
    if (ftruncate(file_, 0) == 0) bytes_ = 0;
    return;
  }
  close_file();
}

}  // namespace pensieve
