// SHA-256 (and SHA-1, where a protocol has nothing else) of bytes while they stream by. FIPS 180-4;
// the arithmetic is libcrypto's.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>

namespace pensieve {

class MessageDigest {
 public:
  enum class Algorithm { Sha1, Sha256 };

  // libcrypto sets itself up at its first use and does not survive a lack of memory there: to be
  // called when the program starts.
  static void prepare() { const MessageDigest unused; }

  // Throws std::bad_alloc where there is no memory for it, as `new` does.
  explicit MessageDigest(Algorithm algorithm = Algorithm::Sha256);

  void update(std::span<const std::byte> bytes);

  // Ends the object's use. SHA-1 fills the first 20 bytes.
  std::array<std::byte, 32> finish();

 private:
  struct Delete {
    void operator()(void* context) const;
  };
  std::unique_ptr<void, Delete> context_;
};

}  // namespace pensieve
