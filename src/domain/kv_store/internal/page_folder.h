// The page files of one KV format among those of all formats under one directory, with the budgets
// they share: bytes kept, bytes written a day, bytes left free for others. Several processes may
// work on one directory: whoever changes it holds its lock.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "foundation/directory.h"
#include "foundation/result.h"

#include "domain/kv_store/internal/page_file.h"
#include "domain/kv_store/kv_store.h"

namespace pensieve::kv_store {

class PageFolder {
 public:
  // Makes what is missing, with mode 0700; removes what an ended process left half written.
  static Result<std::unique_ptr<PageFolder>> open(const std::string& root,
                                                  const Budget& budget,
                                                  const PageKey& format,
                                                  const std::string& model,
                                                  std::size_t page_bytes);

  // Any thread, without I/O. A page that is asked for counts as used.
  bool contains(const PageKey& key);
  Usage usage() const;

  // Writes a page, after making room for it. Errors: RateLimited when the day's budget is spent,
  // TooLarge when the page alone is beyond the budget, Unavailable when the disk is full; Internal.
  Result<void> write(const PageKey& key,
                     std::span<const TokenId> tokens,
                     std::span<const std::byte> payload);

  // Reads the page of `tokens`' history into `payload` and gives its size. Errors: NotFound;
  // BadFile for one that is torn or of something else: it is removed.
  Result<std::size_t> read(const PageKey& key,
                           std::span<const TokenId> tokens,
                           std::span<std::byte> payload);

  // The page of a history of `n_tokens` will be read next: the system may begin with it. Any
  // thread.
  void announce(const PageKey& key, int n_tokens) const;

  // Notes on the disk what was used since the last call, and what was saved by it. May be skipped.
  void note_use(std::uint64_t tokens_restored);

  // Learns what other processes have added and removed, if they have.
  void refresh();

 private:
  struct Page {
    std::string name;
    int n_tokens = 0;
    std::uint64_t bytes = 0;
    std::int64_t used_ns = 0;
  };
  struct Folder {
    std::string name;
    Directory directory;
    std::int64_t changed_ns = 0;
    std::unordered_map<std::string, Page> pages;  // by key, 40 digits
  };
  class Lock;

  PageFolder(Directory root, const Budget& budget, const PageKey& format)
      : root_(std::move(root)), budget_(budget), format_(format) {}

  Result<void> scan(bool sweep);
  void scan_folder(Folder& folder, bool sweep);
  Result<void> make_room(std::uint64_t bytes);
  bool evict_oldest();
  void remove(Folder& folder, const std::string& key);
  Folder* find(const std::string& name) const;
  Result<void> put(Folder& folder,
                   const PageKey& key,
                   std::span<const TokenId> tokens,
                   std::span<const std::byte> payload);
  std::uint64_t total_bytes() const;

  const Directory root_;
  const Budget budget_;
  const PageKey format_;
  std::string own_;  // the name of this format's folder

  std::mutex work_;  // held by whoever reads the disk or writes it, but for pages that are read
  mutable std::mutex
      index_;  // held for moments: to look into folders_, and with work_ to change them
  std::vector<std::unique_ptr<Folder>> folders_;
  std::set<std::string> used_;  // keys that were asked for since the last note_use()
  std::uint64_t tokens_restored_ = 0;
};

}  // namespace pensieve::kv_store
