// Files of a model as bytes in memory: weights are mapped, small texts are read. Only regular files
// are opened, and nothing in a model is ever executed.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/result.h"

namespace pensieve::model {

// A read-only mapping of one whole file. Movable. Whoever truncates the file while it is mapped
// makes reads beyond its new end raise SIGBUS; the process's crash handler deals with that.
class MappedFile {
 public:
  MappedFile() = default;
  // `path` is relative to the directory `directory` (or to the working directory: AT_FDCWD), and
  // `shown` is what sentences call it. Takes no memory until it is read.
  // Errors: NotFound; BadFile when it is no regular file, is empty or cannot be read.
  static Result<MappedFile> open(int directory, const std::string& path, const std::string& shown);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }

  // Asks the system to read the file ahead. Returns at once when the pages are there; may wait for
  // the disk otherwise.
  void prefetch() const;

  // Gives back the pages that lie inside `read`, of which anything may lie in other files; what is
  // read again comes from the file.
  void forget(std::span<const std::byte> read) const;

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// A directory held open, so that every file of a model comes from the same one.
class Directory {
 public:
  static Result<Directory> open(const std::string& path);
  Directory(Directory&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Directory& operator=(Directory&&) = delete;
  ~Directory();

  int fd() const { return fd_; }
  bool has(const std::string& name) const;

  // The names of its files that end in `suffix`, sorted; `limit` of them at most.
  std::vector<std::string> names_ending_in(std::string_view suffix, std::size_t limit) const;

  // The whole of a small file, or nothing if it is not there. Errors: BadFile when it is longer
  // than `limit`, no regular file or unreadable.
  Result<std::optional<std::string>> read(const std::string& name, std::size_t limit) const;

 private:
  explicit Directory(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace pensieve::model
