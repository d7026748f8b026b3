// The chunked transfer coding (RFC 9112, section 7.1), strict: what two parsers could read in two
// ways is refused. Takes bytes cut anywhere. Knows chunk sizes and trailers, which it checks and
// drops. Must not know requests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "foundation/result.h"

#include "application/http/limits.h"

namespace pensieve::http {

class ChunkedDecoder {
 public:
  explicit ChunkedDecoder(const Limits& limits) : limits_(limits) {}

  // Takes bytes up to the end of the coding and appends the content to `body`, or drops it if that
  // is null. Returns how many bytes were taken; fewer than given only when done(). Errors:
  // InvalidRequest for a broken framing, TooLarge beyond limits.body_bytes, HeadersTooLarge for
  // trailers beyond the header limits. The decoder is useless after an error.
  Result<std::size_t> feed(std::string_view bytes, std::string* body);

  bool done() const { return state_ == State::Done; }
  std::uint64_t size() const { return total_; }  // content bytes so far

 private:
  enum class State {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerLine,
    TrailerLf,
    Done,
  };
  Result<void> step(char c);
  Result<void> end_size_line();
  Result<void> end_trailer_line();

  Limits limits_;
  State state_ = State::Size;
  std::uint64_t chunk_ = 0;  // of the current chunk: its size, then what is left of it
  std::uint64_t total_ = 0;
  int size_digits_ = 0;
  std::size_t extension_bytes_ = 0;
  std::size_t all_extension_bytes_ = 0;
  std::string trailer_line_;
  std::size_t trailer_bytes_ = 0;
  std::size_t trailer_fields_ = 0;
};

}  // namespace pensieve::http
