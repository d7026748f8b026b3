// Fresh ids. From the system's random source, so that two servers, or one before and after a
// restart, never give out the same.
#include <unistd.h>
#if defined(__APPLE__)
#include <sys/random.h>
#endif

#include <array>
#include <string>
#include <string_view>

#include "foundation/check.h"

#include "domain/api/messages.h"

namespace pensieve::api {

std::string make_id(std::string_view prefix) {
  constexpr std::string_view kDigits =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  constexpr std::size_t kLength = 24;
  constexpr unsigned kFair = 248;  // 4 * 62: bytes from here on would favour the first digits
  std::string id(prefix);
  const std::size_t whole = prefix.size() + kLength;
  while (id.size() < whole) {
    std::array<unsigned char, 32> bytes{};
    CHECK(getentropy(bytes.data(), bytes.size()) == 0);
    for (const unsigned byte : bytes) {
      if (byte < kFair && id.size() < whole) id += kDigits[byte % kDigits.size()];
    }
  }
  return id;
}

}  // namespace pensieve::api
