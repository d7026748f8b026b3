// What is said about a disk that is full: how much it takes and how much there is.
#pragma once

#include <cstdint>
#include <string>

#include "foundation/directory.h"
#include "foundation/result.h"

namespace pensieve::store {

// Behind an error of a download that can be continued.
inline constexpr const char* kGoesOn =
    "; what has come is kept, and the same command goes on from there";

// "not enough room in WHERE: need X, have Y", as Unavailable.
Error not_enough_room(const std::string& where, std::uint64_t need, std::uint64_t have);

// `error` of a call that wrote into `directory`: where the disk was full, not_enough_room() for
// `need` more bytes, with the system's own words where its numbers do not explain it (a quota, a
// limit on the length of files); else as it is.
Error explain_full_disk(const Directory& directory, std::uint64_t need, Error error);

}  // namespace pensieve::store
