// What a directory of pages holds, for people.
#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "foundation/json.h"

#include "domain/kv_store/internal/ledger.h"
#include "domain/kv_store/internal/page_file.h"
#include "domain/kv_store/kv_store.h"

namespace pensieve::kv_store {
namespace {

constexpr std::size_t kAboutBytes = 16'384;

struct PageSeen {
  std::vector<TokenId> tokens;
  std::uint64_t bytes = 0;
  std::int64_t used_s = 0;
  bool continued = false;  // another page goes on from it
};

std::string model_of(const Directory& folder) {
  const auto text = folder.read("about.json", kAboutBytes);
  const auto json = text ? parse_json(*text) : Result<Json>(Json());
  if (!json || !json->is_object()) return "unknown";
  const auto model = json->find("model");
  return model != json->end() && model->is_string() ? model->get<std::string>() : "unknown";
}

// The token ids in the head of a page file; empty if it has none.
std::vector<TokenId> tokens_of(const Directory& folder, const std::string& name) {
  const auto file = folder.open_to_read(name);
  if (!file) return {};
  const auto fill = [&](std::span<std::byte> bytes) {
    while (!bytes.empty()) {
      const auto n = read_some(*file, bytes);
      if (!n || *n == 0) return false;
      bytes = bytes.subspan(*n);
    }
    return true;
  };
  std::array<std::byte, kHeadBytes> head{};
  if (!fill(head)) return {};
  const auto decoded = decode_head(head);
  if (!decoded) return {};
  std::vector<TokenId> tokens(decoded->n_tokens);
  if (!fill(std::as_writable_bytes(std::span(tokens))) || !head_fits(head, tokens)) return {};
  return tokens;
}

std::vector<PageSeen> pages_of(const Directory& folder) {
  std::vector<PageSeen> pages;
  const auto names = folder.names();
  if (!names) return pages;
  for (const std::string& name : *names) {
    const auto status = parse_page_name(name) ? folder.status(name) : std::nullopt;
    if (!status || !status->regular) continue;
    auto tokens = tokens_of(folder, name);
    if (tokens.empty()) continue;
    pages.push_back({.tokens = std::move(tokens),
                     .bytes = status->bytes,
                     .used_s = status->changed_ns / 1'000'000'000});
  }
  // A history sorts directly before what goes on from it.
  std::sort(pages.begin(), pages.end(), [](const PageSeen& a, const PageSeen& b) {
    return a.tokens < b.tokens;
  });
  return pages;
}

bool goes_on(const PageSeen& from, const PageSeen& page) {
  return page.tokens.size() == from.tokens.size() + compute::kPageTokens &&
         std::equal(from.tokens.begin(), from.tokens.end(), page.tokens.begin());
}

// Each history that is there from its first token to an end that nothing goes on from.
std::vector<Remembered> histories_of(const Directory& folder) {
  std::vector<PageSeen> pages = pages_of(folder);
  const std::string model = model_of(folder);
  std::vector<Remembered> histories;
  std::vector<std::size_t> open;  // the pages of the history that is being followed
  struct Share {
    int n_pages = 0;
    std::uint64_t bytes = 0;
  };
  std::vector<Share> uncounted(pages.size());  // of what leads to a page, itself included
  for (std::size_t i = 0; i < pages.size(); ++i) {
    while (!open.empty() && !goes_on(pages[open.back()], pages[i])) open.pop_back();
    if (open.empty() && pages[i].tokens.size() != compute::kPageTokens) continue;
    if (!open.empty()) uncounted[i] = std::exchange(uncounted[open.back()], {});
    ++uncounted[i].n_pages;
    uncounted[i].bytes += pages[i].bytes;
    if (!open.empty()) pages[open.back()].continued = true;
    open.push_back(i);
  }
  for (std::size_t i = 0; i < pages.size(); ++i) {
    if (pages[i].continued || uncounted[i].bytes == 0) continue;
    histories.push_back({.model = model,
                         .n_tokens = static_cast<int>(pages[i].tokens.size()),
                         .n_own_tokens = uncounted[i].n_pages * compute::kPageTokens,
                         .bytes = uncounted[i].bytes,
                         .used_s = pages[i].used_s});
  }
  return histories;
}

template <typename Use>
Result<void> for_each_folder(const Directory& root, const Use& use) {
  PENSIEVE_TRY(const auto names, root.names());
  for (const std::string& name : names) {
    const auto status = root.status(name);
    if (!status || !status->directory) continue;
    if (const auto folder = Directory::open(root.path_of(name), false)) use(*folder);
  }
  return {};
}

}  // namespace

Result<Memory> look_at(const std::string& directory) {
  PENSIEVE_TRY(const Directory root, Directory::open(directory, false));
  Memory memory{.histories = {}, .usage = read_ledger(root).usage()};
  PENSIEVE_TRY(for_each_folder(root, [&](const Directory& folder) {
    for (Remembered& history : histories_of(folder)) memory.histories.push_back(std::move(history));
    const auto names = folder.names();
    if (!names) return;
    for (const std::string& name : *names) {
      const auto status = parse_page_name(name) ? folder.status(name) : std::nullopt;
      if (!status) continue;
      memory.usage.bytes += status->bytes;
      ++memory.usage.pages;
    }
  }));
  std::stable_sort(memory.histories.begin(),
                   memory.histories.end(),
                   [](const Remembered& a, const Remembered& b) { return a.used_s > b.used_s; });
  return memory;
}

Result<std::uint64_t> clear(const std::string& directory) {
  PENSIEVE_TRY(const Directory root, Directory::open(directory, false));
  std::uint64_t bytes = 0;
  PENSIEVE_TRY(for_each_folder(root, [&](const Directory& folder) {
    const auto names = folder.names();
    if (!names) return;
    for (const std::string& name : *names) {
      if (!parse_page_name(name)) continue;
      if (const auto status = folder.status(name)) bytes += status->bytes;
      folder.remove(name);
    }
  }));
  return bytes;
}

}  // namespace pensieve::kv_store
