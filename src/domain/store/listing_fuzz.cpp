// Any bytes as a model hub's answer about a repository, asked for its model and for one file by
// name. Invariants: a listing whose every name, length and digest may be relied on, each name once
// and in order, or a sentence that fits one line.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "foundation/check.h"
#include "foundation/text.h"

#include "domain/store/internal/hub.h"
#include "domain/store/names.h"

namespace {

using namespace pensieve;

void check_listing(const store::HubListing& listing) {
  CHECK(store::is_git_hash(listing.commit) && !listing.files.empty());
  std::string_view before;
  for (const store::HubFile& file : listing.files) {
    CHECK(store::is_file_name(file.name) && before < file.name);
    CHECK(store::is_sha256(file.sha256) != store::is_git_hash(file.git_blob));
    CHECK(file.sha256.empty() || file.git_blob.empty());
    before = file.name;
  }
}

void check_error(const Error& error) {
  CHECK(error.kind == ErrorKind::Unavailable || error.kind == ErrorKind::NotFound ||
        error.kind == ErrorKind::InvalidRequest);
  CHECK(!error.message.empty() && error.message.size() < 4096 && is_valid_utf8(error.message));
  for (const char c : error.message) CHECK(static_cast<unsigned char>(c) >= ' ');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const char* file : {"", "model-q4.gguf"}) {
    if (const auto listing = store::parse_listing(text, file)) {
      check_listing(*listing);
      if (*file != '\0') CHECK(listing->files.size() == 1 && listing->files[0].name == file);
    } else {
      check_error(listing.error());
    }
  }
  return 0;
}
