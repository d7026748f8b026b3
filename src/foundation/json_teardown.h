// Memory in which JSON values are taken apart when there is no other: address space set aside at
// the start of the program, of which nothing is touched before that. Any thread.
#pragma once

#include <cstddef>

namespace pensieve {

// Room for `n` items of `item_bytes`, aligned for any of them. From the heap; where that is
// exhausted, from what was set aside: 256 MiB for all who need it at the same time, which is what
// the largest value takes that parse_json() makes of 32 MiB of text (16 bytes for two of text, once
// more while it grows). Beyond that: std::bad_alloc.
void* allocate_for_teardown(std::size_t n, std::size_t item_bytes);
void free_teardown(void* items) noexcept;

}  // namespace pensieve
