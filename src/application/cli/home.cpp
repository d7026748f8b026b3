#include "application/cli/home.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "foundation/text.h"

namespace pensieve::cli {
namespace {

constexpr std::size_t kTokenBytes = 32;
constexpr std::size_t kLongestToken = 1024;

class File {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  File(File&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  ~File() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  int get() const { return descriptor_; }
  bool open() const { return descriptor_ >= 0; }

 private:
  int descriptor_;
};

Error refused(const std::string& path, const std::string& what) {
  return {.kind = ErrorKind::Internal,
          .message = path + ": " + what + ": " + std::generic_category().message(errno)};
}

// Owned by this user, and for nobody else: a wider mode is narrowed.
Result<void> make_private(const File& file, const std::string& path, mode_t mode) {
  struct stat status {};
  if (fstat(file.get(), &status) != 0) return refused(path, "cannot be looked at");
  if (status.st_uid != geteuid()) {
    return Error{.kind = ErrorKind::Permission, .message = path + " belongs to another user"};
  }
  if ((status.st_mode & 07777) != mode && fchmod(file.get(), mode) != 0) {
    return refused(path, "its mode cannot be changed");
  }
  return {};
}

Result<File> open_home(const std::string& home) {
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::path(home).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, error);
  if (mkdir(home.c_str(), 0700) != 0 && errno != EEXIST) return refused(home, "cannot be created");
  // The directory itself may be a link (a larger disk); what counts is whose it is.
  File directory(open(home.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.open()) return refused(home, "cannot be opened");
  PENSIEVE_TRY(make_private(directory, home, 0700));
  return directory;
}

Result<std::string> checked_token(std::string text, const std::string& where) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  const bool printable =
      std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7F; });
  if (text.empty() || text.size() > kLongestToken || !printable) {
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message = where + " does not hold a token: 1 to " +
                            std::to_string(kLongestToken) +
                            " printable ASCII characters without spaces are expected"};
  }
  return text;
}

// The token file's text, or nothing if there is no such file.
Result<std::optional<std::string>> read_token(const File& home, const std::string& path) {
  const File file(openat(home.get(), "token", O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!file.open()) {
    if (errno == ENOENT) return std::optional<std::string>();
    if (errno == ELOOP) {
      return Error{.kind = ErrorKind::Permission,
                   .message = path + " is a link, which is not followed"};
    }
    return refused(path, "cannot be opened");
  }
  struct stat status {};
  if (fstat(file.get(), &status) != 0) return refused(path, "cannot be looked at");
  if (!S_ISREG(status.st_mode)) {
    return Error{.kind = ErrorKind::Permission, .message = path + " is not a regular file"};
  }
  PENSIEVE_TRY(make_private(file, path, 0600));
  std::string text(kLongestToken + 2, '\0');
  const auto n = read(file.get(), text.data(), text.size());
  if (n < 0) return refused(path, "cannot be read");
  text.resize(static_cast<std::size_t>(n));
  PENSIEVE_TRY(std::string token, checked_token(std::move(text), path));
  return std::optional<std::string>(std::move(token));
}

// Writes a new token beside its place, makes it durable, and links it there: whoever looks sees no
// token or a whole one. Another process may have been quicker, which is as good.
Result<void> write_token(const File& home, const std::string& path) {
  PENSIEVE_TRY(const std::string token, random_hex());
  PENSIEVE_TRY(const std::string suffix, random_hex());
  const std::string temporary = ".token-" + suffix.substr(0, 16);
  const File file(openat(
      home.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.open()) return refused(path, "cannot be created");
  const std::string line = token + "\n";
  const bool written =
      fchmod(file.get(), 0600) == 0 &&
      write(file.get(), line.data(), line.size()) == static_cast<ssize_t>(line.size()) &&
      fsync(file.get()) == 0;
  const int write_error = errno;
  const bool linked =
      written &&
      (linkat(home.get(), temporary.c_str(), home.get(), "token", 0) == 0 || errno == EEXIST);
  const int error = written ? errno : write_error;
  unlinkat(home.get(), temporary.c_str(), 0);
  if (!linked) {
    errno = error;
    return refused(path, "cannot be written");
  }
  fsync(home.get());
  return {};
}

const char* environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : nullptr;
}

}  // namespace

std::string memory_root() {
  const char* root = environment("PENSIEVE_MEMORY_ROOT");
  return root == nullptr ? "" : root;
}

Result<std::string> home_directory() {
  std::filesystem::path path;
  if (const char* given = environment("PENSIEVE_HOME")) {
    path = given;
  } else {
    const char* user_home = environment("HOME");
    if (user_home == nullptr) {
      const passwd* entry = getpwuid(geteuid());
      if (entry != nullptr) user_home = entry->pw_dir;
    }
    if (user_home == nullptr || *user_home == '\0') {
      return Error{.kind = ErrorKind::NotFound,
                   .message = "this user has no home directory: set PENSIEVE_HOME to a directory"};
    }
    path = std::filesystem::path(user_home) / ".pensieve-local-llm-server";
  }
  std::error_code error;
  const auto absolute = std::filesystem::absolute(path, error);
  if (error) {
    return Error{.kind = ErrorKind::NotFound, .message = path.string() + ": " + error.message()};
  }
  std::string text = absolute.lexically_normal().string();
  if (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

Result<void> make_home(const std::string& home) {
  PENSIEVE_TRY(const File directory, open_home(home));
  return {};
}

Result<std::string> random_hex() {
  std::array<unsigned char, kTokenBytes> bytes{};
  if (getentropy(bytes.data(), bytes.size()) != 0)
    return refused("the random source", "cannot be read");
  return hex(bytes);
}

Result<Token> access_token(const std::string& home) {
  if (const char* given = environment("PENSIEVE_TOKEN")) {
    PENSIEVE_TRY(std::string value, checked_token(given, "PENSIEVE_TOKEN"));
    return Token{.value = std::move(value), .file = {}};
  }
  const std::string path = home + "/token";
  PENSIEVE_TRY(const File directory, open_home(home));
  PENSIEVE_TRY(std::optional<std::string> token, read_token(directory, path));
  if (!token) {
    PENSIEVE_TRY(write_token(directory, path));
    PENSIEVE_TRY(token, read_token(directory, path));
  }
  if (!token)
    return Error{.kind = ErrorKind::Internal, .message = path + " vanished while it was read"};
  return Token{.value = *std::move(token), .file = path};
}

std::optional<std::string> default_model(const std::string& home) {
  const std::string path = home + "/models/default";
  std::error_code error;
  // A link whose target is gone is still a choice somebody made: opening it says what is wrong.
  const auto status = std::filesystem::symlink_status(path, error);
  if (error || status.type() == std::filesystem::file_type::not_found) return std::nullopt;
  return path;
}

}  // namespace pensieve::cli
