// Digests of a file while it streams by: SHA-256, and git's name for a blob (SHA-1 over a header
// and the content), which a hub gives for the small files that it keeps in git itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "foundation/message_digest.h"

namespace pensieve::store {

class Digest {
 public:
  // `blob_bytes`: the content's length if the blob's name is wanted too; git hashes it first.
  explicit Digest(std::optional<std::uint64_t> blob_bytes = std::nullopt);

  void update(std::span<const std::byte> bytes);

  // Lower-case hexadecimal. Ends the object's use.
  struct Value {
    std::string sha256;
    std::string git_blob;  // empty: not asked for
  };
  Value finish();

 private:
  MessageDigest sha256_;
  std::optional<MessageDigest> git_blob_;
};

}  // namespace pensieve::store
