#include "domain/kv_store/internal/page_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <utility>

#include "foundation/json.h"
#include "foundation/log.h"
#include "foundation/text.h"

#include "domain/kv_store/internal/ledger.h"

namespace pensieve::kv_store {
namespace {

constexpr const char* kLockName = "lock";
constexpr const char* kAboutName = "about.json";
constexpr std::size_t kFolderDigits = 16;
constexpr std::string_view kTemporary = ".new";
[[maybe_unused]] constexpr off_t kReadAheadBytes = 128 << 10;
constexpr std::uint64_t kFileOverhead = 4096;  // what a file takes beside its bytes, at most

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string folder_name(const PageKey& format) {
  return hex(std::span(format.bytes).first(kFolderDigits / 2));
}

// The bytes are on the disk and shall not stay in the page cache, where the weights need the room.
void drop_from_page_cache([[maybe_unused]] const Handle& file) {
#ifdef POSIX_FADV_DONTNEED
  posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
#endif
}

Error bad_page(const std::string& path, const std::string& why) {
  return {.kind = ErrorKind::BadFile, .message = path + " is not used and removed: " + why};
}

Result<void> read_exactly(const Handle& file, std::span<std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const auto n = read_some(file, bytes);
    if (!n) return system_error(path, "cannot be read");
    if (*n == 0) return bad_page(path, "it ends too early");
    bytes = bytes.subspan(*n);
  }
  return {};
}

}  // namespace

// Of the root directory, between processes; within this one the mutex is held as well.
class PageFolder::Lock {
 public:
  explicit Lock(const Directory& root) {
    auto file = root.open_to_write(kLockName);
    if (!file) return;  // without it two processes may keep more than the budget, and no worse
    file_ = *std::move(file);
    while (flock(file_.get(), LOCK_EX) != 0 && errno == EINTR) {
    }
  }

 private:
  Handle file_;
};

Result<std::unique_ptr<PageFolder>> PageFolder::open(const std::string& root,
                                                     const Budget& budget,
                                                     const PageKey& format,
                                                     const std::string& model,
                                                     std::size_t page_bytes) {
  PENSIEVE_TRY(Directory directory, Directory::open(root, true));
  std::unique_ptr<PageFolder> folder(new PageFolder(std::move(directory), budget, format));
  folder->own_ = folder_name(format);
  const Lock lock(folder->root_);
  PENSIEVE_TRY(Directory own, Directory::open(folder->root_.path_of(folder->own_), true));
  if (!own.status(kAboutName)) {
    const Json about{{"model", model}, {"page_bytes", page_bytes}};
    PENSIEVE_TRY(own.replace(kAboutName, about.dump() + "\n"));
  }
  PENSIEVE_TRY(folder->scan(true));
  return folder;
}

Result<void> PageFolder::scan(bool sweep) {
  PENSIEVE_TRY(const auto names, root_.names());
  for (const std::string& name : names) {
    if (sweep && name.ends_with(kTemporary)) root_.remove(name);
    const auto status = root_.status(name);
    if (!status || !status->directory || name.size() != kFolderDigits) continue;
    Folder* folder = find(name);
    if (folder == nullptr) {
      auto opened = Directory::open(root_.path_of(name), false);
      if (!opened) continue;
      const std::lock_guard lock(index_);
      folders_.push_back(std::unique_ptr<Folder>(
          new Folder{.name = name, .directory = *std::move(opened), .pages = {}}));
      folder = folders_.back().get();
    } else if (folder->changed_ns == status->changed_ns && !sweep) {
      continue;
    }
    folder->changed_ns = status->changed_ns;
    scan_folder(*folder, sweep);
  }
  const std::lock_guard lock(index_);
  std::erase_if(folders_, [&](const auto& folder) {
    return !std::binary_search(names.begin(), names.end(), folder->name);
  });
  return {};
}

PageFolder::Folder* PageFolder::find(const std::string& name) const {
  const auto found = std::find_if(
      folders_.begin(), folders_.end(), [&](const auto& one) { return one->name == name; });
  return found == folders_.end() ? nullptr : found->get();
}

void PageFolder::scan_folder(Folder& folder, bool sweep) {
  auto names = folder.directory.names();
  if (!names) return;
  std::unordered_map<std::string, Page> pages;
  for (const std::string& name : *names) {
    const auto parsed = parse_page_name(name);
    if (!parsed) {
      if (sweep && name.ends_with(kTemporary)) folder.directory.remove(name);
      continue;
    }
    const auto status = folder.directory.status(name);
    if (!status || !status->regular) continue;
    pages.emplace(parsed->key,
                  Page{.name = name,
                       .n_tokens = parsed->n_tokens,
                       .bytes = status->bytes,
                       .used_ns = status->changed_ns});
  }
  const std::lock_guard lock(index_);
  for (auto& [key, page] : pages)
    if (const auto known = folder.pages.find(key); known != folder.pages.end())
      page.used_ns = std::max(page.used_ns, known->second.used_ns);
  folder.pages = std::move(pages);
}

void PageFolder::refresh() {
  const std::lock_guard work(work_);
  if (auto scanned = scan(false); !scanned) log_debug(scanned.error().message);
}

bool PageFolder::contains(const PageKey& key) {
  const std::string digits = page_key_digits(key);
  const std::lock_guard lock(index_);
  Folder* own = find(own_);
  if (own == nullptr) return false;
  const auto found = own->pages.find(digits);
  if (found == own->pages.end()) return false;
  found->second.used_ns = now_ns();
  used_.insert(digits);
  return true;
}

std::uint64_t PageFolder::total_bytes() const {
  std::uint64_t sum = 0;
  for (const auto& folder : folders_)
    for (const auto& [key, page] : folder->pages) sum += page.bytes + kFileOverhead;
  return sum;
}

Usage PageFolder::usage() const {
  Usage usage = read_ledger(root_).usage();
  const std::lock_guard lock(index_);
  usage.bytes = total_bytes();
  if (const Folder* own = find(own_)) usage.pages = own->pages.size();
  return usage;
}

Result<void> PageFolder::write(const PageKey& key,
                               std::span<const TokenId> tokens,
                               std::span<const std::byte> payload) {
  const std::lock_guard work(work_);
  const Lock lock(root_);
  PENSIEVE_TRY(scan(false));
  Folder* own = find(own_);
  if (own == nullptr) {
    return Error{.kind = ErrorKind::NotFound,
                 .message = root_.path_of(own_) + " was removed while it was in use"};
  }
  // Another process may have been first; then there is nothing to make room for or to count.
  if (own->pages.contains(page_key_digits(key))) return {};
  const std::uint64_t bytes = kHeadBytes + tokens.size_bytes() + payload.size();
  Ledger ledger = read_ledger(root_);
  ledger.begin_day(now_ns() / 1'000'000'000);
  if (ledger.bytes_today + bytes > budget_.max_bytes_per_day) {
    return Error{.kind = ErrorKind::RateLimited,
                 .message = "the day's budget for writing KV pages is spent"};
  }
  PENSIEVE_TRY(make_room(bytes));
  PENSIEVE_TRY(put(*own, key, tokens, payload));
  ledger.bytes_today += bytes;
  ledger.bytes_written += bytes;
  ledger.tokens_restored += std::exchange(tokens_restored_, 0);
  PENSIEVE_TRY(write_ledger(root_, ledger));
  return {};
}

Result<void> PageFolder::put(Folder& folder,
                             const PageKey& key,
                             std::span<const TokenId> tokens,
                             std::span<const std::byte> payload) {
  const std::string name = page_name(key, static_cast<int>(tokens.size()));
  const std::string temporary = name + std::string(kTemporary);
  folder.directory.remove(temporary);
  const auto write_file = [&]() -> Result<void> {
    PENSIEVE_TRY(const Handle file, folder.directory.open_to_write(temporary));
    const std::string path = folder.directory.path_of(name);
    const std::string head = encode_head({.key = key,
                                          .format = format_,
                                          .n_tokens = static_cast<std::uint32_t>(tokens.size()),
                                          .payload_bytes = payload.size(),
                                          .created_s = now_ns() / 1'000'000'000,
                                          .payload_checksum = checksum_of(payload)},
                                         tokens);
    PENSIEVE_TRY(write_all(file, std::as_bytes(std::span(head)), path));
    PENSIEVE_TRY(write_all(file, std::as_bytes(tokens), path));
    PENSIEVE_TRY(write_all(file, payload, path));
    PENSIEVE_TRY(sync_file(file, path));
    drop_from_page_cache(file);
    return folder.directory.rename(temporary, name);
  };
  auto written = write_file();
  if (!written) {
    folder.directory.remove(temporary);
    return written;
  }
  const std::lock_guard lock(index_);
  folder.pages.emplace(page_key_digits(key),
                       Page{.name = name,
                            .n_tokens = static_cast<int>(tokens.size()),
                            .bytes = kHeadBytes + tokens.size_bytes() + payload.size(),
                            .used_ns = now_ns()});
  if (const auto status = root_.status(folder.name)) folder.changed_ns = status->changed_ns;
  return {};
}

Result<void> PageFolder::make_room(std::uint64_t bytes) {
  if (bytes + kFileOverhead > budget_.max_bytes) {
    return Error{.kind = ErrorKind::TooLarge,
                 .message = "a page of KV is larger than what may be kept"};
  }
  while (total_bytes() + bytes + kFileOverhead > budget_.max_bytes)
    if (!evict_oldest()) break;
  // Others' room: pages that are older go for one that is new.
  for (;;) {
    const auto free = root_.free_bytes();
    if (!free || *free >= bytes + budget_.min_free_bytes) return {};
    if (!evict_oldest()) {
      return Error{.kind = ErrorKind::Unavailable,
                   .message = root_.path() + ": the disk is nearly full (" +
                              std::to_string(*free >> 20) + " MiB free)"};
    }
  }
}

// The page that was used longest ago; of a history that was used as a whole its end first, as what
// comes before is of use without it. False if there is none.
bool PageFolder::evict_oldest() {
  for (;;) {
    Folder* of = nullptr;
    const std::string* oldest = nullptr;
    const Page* page = nullptr;
    for (const auto& folder : folders_) {
      for (const auto& [key, one] : folder->pages) {
        if (page != nullptr && (one.used_ns > page->used_ns ||
                                (one.used_ns == page->used_ns && one.n_tokens < page->n_tokens)))
          continue;
        of = folder.get();
        oldest = &key;
        page = &one;
      }
    }
    if (of == nullptr) return false;
    // Another process may have used it meanwhile.
    const auto status = of->directory.status(page->name);
    if (status && status->changed_ns > page->used_ns) {
      const std::lock_guard lock(index_);
      of->pages.at(*oldest).used_ns = status->changed_ns;
      continue;
    }
    remove(*of, std::string(*oldest));
    return true;
  }
}

void PageFolder::remove(Folder& folder, const std::string& key) {
  folder.directory.remove(folder.pages.at(key).name);
  const std::lock_guard lock(index_);
  folder.pages.erase(key);
  if (const auto status = root_.status(folder.name)) folder.changed_ns = status->changed_ns;
}

Result<std::size_t> PageFolder::read(const PageKey& key,
                                     std::span<const TokenId> tokens,
                                     std::span<std::byte> payload) {
  const std::string name = page_name(key, static_cast<int>(tokens.size()));
  const std::string path = root_.path_of(own_ + "/" + name);
  const auto read_file = [&]() -> Result<std::size_t> {
    PENSIEVE_TRY(const Directory own, Directory::open(root_.path_of(own_), false));
    PENSIEVE_TRY(const Handle file, own.open_to_read(name));
    std::array<std::byte, kHeadBytes> bytes{};
    PENSIEVE_TRY(read_exactly(file, bytes, path));
    const auto head = decode_head(bytes);
    if (!head) return bad_page(path, head.error().message);
    if (head->format != format_ || head->key != key || head->n_tokens != tokens.size())
      return bad_page(path, "it holds something else than its name says");
    if (head->payload_bytes > payload.size()) return bad_page(path, "it is too large");
    std::vector<TokenId> ids(tokens.size());
    PENSIEVE_TRY(read_exactly(file, std::as_writable_bytes(std::span(ids)), path));
    if (!head_fits(bytes, ids)) return bad_page(path, "its head was changed");
    if (!std::equal(ids.begin(), ids.end(), tokens.begin(), tokens.end())) {
      return Error{.kind = ErrorKind::NotFound, .message = path + " is of other tokens"};
    }
    const auto bytes_of_page = payload.first(head->payload_bytes);
    PENSIEVE_TRY(read_exactly(file, bytes_of_page, path));
    std::byte more{};
    if (read_some(file, {&more, 1}).value_or(1) != 0) return bad_page(path, "it is too long");
    if (checksum_of(bytes_of_page) != head->payload_checksum)
      return bad_page(path, "its content was changed");
    drop_from_page_cache(file);
    return bytes_of_page.size();
  };
  auto size = read_file();
  if (size) return size;
  {
    const std::lock_guard lock(index_);  // who merely looked does not wait for a page to be written
    const Folder* own = find(own_);
    if (own == nullptr || !own->pages.contains(page_key_digits(key))) return size;
  }
  const std::lock_guard work(work_);
  Folder* own = find(own_);
  if (own == nullptr || !own->pages.contains(page_key_digits(key))) return size;
  if (size.error().kind == ErrorKind::BadFile) {
    remove(*own, page_key_digits(key));
  } else {
    const std::lock_guard lock(index_);
    own->pages.erase(page_key_digits(key));
  }
  return size;
}

void PageFolder::announce([[maybe_unused]] const PageKey& key,
                          [[maybe_unused]] int n_tokens) const {
#ifdef POSIX_FADV_WILLNEED
  const auto own = Directory::open(root_.path_of(own_), false);
  if (!own) return;
  const auto file = own->open_to_read(page_name(key, n_tokens));
  struct stat status {};
  if (!file || fstat(file->get(), &status) != 0) return;
  // Linux reads no more than its device's request size for one call.
  for (off_t at = 0; at < status.st_size; at += kReadAheadBytes)
    posix_fadvise(file->get(), at, kReadAheadBytes, POSIX_FADV_WILLNEED);
#endif
}

void PageFolder::note_use(std::uint64_t tokens_restored) {
  const std::lock_guard work(work_);
  tokens_restored_ += tokens_restored;
  // One time for all of them, so that of a history its end goes first.
  const std::int64_t now = now_ns();
  std::vector<std::string> names;
  {
    const std::lock_guard lock(index_);
    Folder* own = find(own_);
    for (const std::string& key : used_) {
      const auto page = own == nullptr ? decltype(own->pages.end()){} : own->pages.find(key);
      if (own == nullptr || page == own->pages.end()) continue;
      page->second.used_ns = now;
      names.push_back(page->second.name);
    }
    used_.clear();
  }
  timespec times[2];
  times[0].tv_sec = times[1].tv_sec = static_cast<std::time_t>(now / 1'000'000'000);
  times[0].tv_nsec = times[1].tv_nsec = static_cast<long>(now % 1'000'000'000);
  for (const std::string& name : names)
    utimensat(root_.handle().get(), (own_ + "/" + name).c_str(), times, AT_SYMLINK_NOFOLLOW);
  if (tokens_restored_ == 0) return;
  const Lock lock(root_);
  Ledger ledger = read_ledger(root_);
  ledger.tokens_restored += std::exchange(tokens_restored_, 0);
  if (auto written = write_ledger(root_, ledger); !written) log_debug(written.error().message);
}

}  // namespace pensieve::kv_store
