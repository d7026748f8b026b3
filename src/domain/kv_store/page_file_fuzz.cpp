// Arbitrary bytes as a page file, by a name that is right: a miss and one line, or the page; never
// memory beyond the buffer, never a crash.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "foundation/check.h"
#include "foundation/log.h"

#include "domain/kv_store/internal/page_folder.h"

namespace {

using namespace pensieve;

constexpr std::size_t kPageBytes = 512;

const std::vector<TokenId>& tokens() {
  static const std::vector<TokenId> ids(64, 7);
  return ids;
}

struct Place {
  Place() {
    char path[] = "/tmp/pensieve-page-fuzz-XXXXXX";
    CHECK(mkdtemp(path) != nullptr);
    directory = path;
    set_log_level(LogLevel::Error);
    auto opened = kv_store::PageFolder::open(
        directory, {.max_bytes = 1 << 20, .max_bytes_per_day = 1 << 30}, key, "fuzz", kPageBytes);
    CHECK(opened.has_value());
    folder = *std::move(opened);
  }
  ~Place() { std::filesystem::remove_all(directory); }

  const kv_store::PageKey key = kv_store::digest_of(std::as_bytes(std::span("format")));
  std::string directory;
  std::unique_ptr<kv_store::PageFolder> folder;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Place place;
  const auto key = kv_store::digest_of(std::as_bytes(std::span("page")));
  std::string path;
  for (const auto& entry : std::filesystem::directory_iterator(place.directory))
    if (entry.is_directory()) path = entry.path().string() + "/" + kv_store::page_name(key, 64);
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  std::vector<std::byte> payload(kPageBytes);
  const auto read = place.folder->read(key, tokens(), payload);
  if (read) CHECK(*read <= payload.size());
  std::filesystem::remove(path);
  return 0;
}
