// Reads little-endian numbers and strings from bytes that nobody vouches for. No read goes beyond
// the end, and a refused one moves nothing.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace pensieve::model {

static_assert(std::endian::native == std::endian::little, "model files are mapped as they lie");

template <typename T>
T load_number(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes, std::uint64_t at = 0)
      : bytes_(bytes), at_(at) {}

  std::uint64_t offset() const { return at_; }
  std::uint64_t remaining() const { return bytes_.size() - at_; }

  template <typename T>
  bool read(T* value) {
    if (remaining() < sizeof(T)) return false;
    *value = load_number<T>(bytes_.data() + at_);
    at_ += sizeof(T);
    return true;
  }
  bool take(std::uint64_t count, std::span<const std::byte>* taken) {
    if (remaining() < count) return false;
    *taken = bytes_.subspan(at_, count);
    at_ += count;
    return true;
  }

 private:
  std::span<const std::byte> bytes_;
  std::uint64_t at_;
};

inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline std::span<const std::byte> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

}  // namespace pensieve::model
