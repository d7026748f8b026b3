// JSON with bounds. The value type is nlohmann's basic_json with the order of keys kept (prompts
// depend on it). Heavy: include it from .cpp files only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/json_teardown.h"
#include "foundation/result.h"

namespace pensieve {

// As std::allocator. It is a type of its own so that std::allocator<Json>, which is specialised
// below, serves nothing but the way in which the library takes values apart.
template <class T>
struct JsonAllocator {
  using value_type = T;
  JsonAllocator() = default;
  template <class U>
  JsonAllocator(const JsonAllocator<U>&) noexcept {}
  T* allocate(std::size_t n) {
    if (n > SIZE_MAX / sizeof(T)) throw std::bad_array_new_length();
    return static_cast<T*>(::operator new(n * sizeof(T)));
  }
  void deallocate(T* items, std::size_t) noexcept { ::operator delete(items); }
  bool operator==(const JsonAllocator&) const = default;
};

using Json = nlohmann::basic_json<nlohmann::ordered_map,
                                  std::vector,
                                  std::string,
                                  bool,
                                  std::int64_t,
                                  std::uint64_t,
                                  double,
                                  JsonAllocator>;

// ~Json keeps the values it takes apart in a std::vector<Json>, which allocates, and is noexcept
// (json_value::destroy, nlohmann 3.7 and later): without memory it would end the program. Here it
// goes on in memory that was set aside.
}  // namespace pensieve

template <>
struct std::allocator<pensieve::Json> {
  using value_type = pensieve::Json;
  allocator() = default;
  template <class U>
  allocator(const std::allocator<U>&) noexcept {}
  pensieve::Json* allocate(std::size_t n) {
    return static_cast<pensieve::Json*>(pensieve::allocate_for_teardown(n, sizeof(pensieve::Json)));
  }
  void deallocate(pensieve::Json* items, std::size_t) noexcept { pensieve::free_teardown(items); }
  bool operator==(const allocator&) const = default;
};

namespace pensieve {

struct JsonLimits {
  int max_depth = 128;
  std::size_t max_keys_per_object = 10'000;
};

// Parses one complete JSON text (RFC 8259). Refused: nesting or objects beyond the limits, invalid
// UTF-8, a lone surrogate escape, NUL anywhere (raw or escaped), a duplicate key, a byte order
// mark, bytes behind the value, numbers beyond double. The stack needed does not depend on the
// text. Errors: InvalidRequest, one short printable sentence with the byte offset in it.
Result<Json> parse_json(std::string_view text, const JsonLimits& limits = {});

}  // namespace pensieve
