#include "domain/store/internal/disk_room.h"

#include <utility>

namespace pensieve::store {

Error not_enough_room(const std::string& where, std::uint64_t need, std::uint64_t have) {
  const auto mebibytes = [](std::uint64_t bytes) {
    return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB (" + std::to_string(bytes) +
           " bytes)";
  };
  return {.kind = ErrorKind::Unavailable,
          .message = "not enough room in " + where + ": need " + mebibytes(need) + ", have " +
                     mebibytes(have)};
}

Error explain_full_disk(const Directory& directory, std::uint64_t need, Error error) {
  const auto free = directory.free_bytes();
  if (error.kind != ErrorKind::Unavailable || !free) return error;
  Error explained = not_enough_room(directory.path(), need, *free);
  if (*free >= need) explained.message += ", and still " + error.message;
  return explained;
}

}  // namespace pensieve::store
