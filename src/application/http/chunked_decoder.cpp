#include "application/http/chunked_decoder.h"

#include <algorithm>

#include "application/http/internal/grammar.h"

namespace pensieve::http {
namespace {

// 16 digits hold 64 bits; one more could wrap around.
constexpr int kMaxSizeDigits = 16;

// Chunks of one byte with a long extension each would make a small body a long request.
constexpr std::size_t kMaxAllExtensionBytes = 16 * 1024;

Error bad(std::string what) {
  return {.kind = ErrorKind::InvalidRequest, .message = "bad chunked body: " + std::move(what)};
}

}  // namespace

Result<std::size_t> ChunkedDecoder::feed(std::string_view bytes, std::string* body) {
  std::size_t at = 0;
  while (at < bytes.size() && state_ != State::Done) {
    if (state_ == State::Data) {
      const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(chunk_, bytes.size() - at));
      if (body != nullptr) body->append(bytes.substr(at, n));
      at += n;
      chunk_ -= n;
      total_ += n;
      if (chunk_ == 0) state_ = State::DataCr;
      continue;
    }
    PENSIEVE_TRY(step(bytes[at]));
    ++at;
  }
  return at;
}

Result<void> ChunkedDecoder::step(char c) {
  switch (state_) {
    case State::Size: {
      // RFC 9112, 7.1: chunk sizes are hexadecimal, without sign, prefix or white space.
      if (const int digit = grammar::hex_value(c); digit >= 0) {
        if (++size_digits_ > kMaxSizeDigits) return bad("a chunk size has too many digits");
        chunk_ = chunk_ * 16 + static_cast<unsigned>(digit);
        return {};
      }
      if (size_digits_ == 0) return bad("a chunk size is not hexadecimal");
      if (c == '\r') {
        state_ = State::SizeLf;
        return {};
      }
      if (c != ';') return bad("unexpected bytes behind a chunk size");
      state_ = State::Extension;
      extension_bytes_ = 0;
      return {};
    }
    case State::Extension:
      // RFC 9112, 7.1.1: unknown extensions are ignored; their bytes still have to be text.
      if (c == '\r') {
        state_ = State::SizeLf;
        return {};
      }
      if (!grammar::is_value_char(c)) return bad("a control character in a chunk extension");
      ++all_extension_bytes_;
      if (++extension_bytes_ > limits_.chunk_extension_bytes ||
          all_extension_bytes_ > kMaxAllExtensionBytes) {
        return bad("a chunk extension is too long");
      }
      return {};
    case State::SizeLf:
      if (c != '\n') return bad("a carriage return without a line feed");
      return end_size_line();
    case State::DataCr:
      if (c != '\r') return bad("a chunk is longer than its size says");
      state_ = State::DataLf;
      return {};
    case State::DataLf:
      if (c != '\n') return bad("a carriage return without a line feed");
      state_ = State::Size;
      chunk_ = 0;
      size_digits_ = 0;
      return {};
    case State::TrailerLine:
      if (++trailer_bytes_ > limits_.header_bytes) {
        return Error{.kind = ErrorKind::HeadersTooLarge,
                     .message = "the trailers are longer than " +
                                std::to_string(limits_.header_bytes) + " bytes"};
      }
      if (c == '\r') {
        state_ = State::TrailerLf;
        return {};
      }
      if (!grammar::is_value_char(c)) return bad("a control character in a trailer");
      trailer_line_ += c;
      return {};
    case State::TrailerLf:
      if (c != '\n') return bad("a carriage return without a line feed");
      return end_trailer_line();
    case State::Data:
    case State::Done:
      break;
  }
  CHECK(false);
  return {};
}

Result<void> ChunkedDecoder::end_size_line() {
  if (chunk_ == 0) {
    state_ = State::TrailerLine;
    return {};
  }
  if (chunk_ > limits_.body_bytes || total_ + chunk_ > limits_.body_bytes) {
    return Error{
        .kind = ErrorKind::TooLarge,
        .message = "the body is larger than " + std::to_string(limits_.body_bytes) + " bytes"};
  }
  state_ = State::Data;
  return {};
}

Result<void> ChunkedDecoder::end_trailer_line() {
  if (trailer_line_.empty()) {
    state_ = State::Done;
    return {};
  }
  if (++trailer_fields_ > limits_.header_fields) {
    return Error{.kind = ErrorKind::HeadersTooLarge,
                 .message = "there are more than " + std::to_string(limits_.header_fields) +
                            " trailer fields"};
  }
  const auto colon = trailer_line_.find(':');
  if (colon == std::string::npos ||
      !grammar::is_token(std::string_view(trailer_line_).substr(0, colon))) {
    return bad("a trailer line is not a field");
  }
  trailer_line_.clear();
  state_ = State::TrailerLine;
  return {};
}

}  // namespace pensieve::http
