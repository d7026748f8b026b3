#include "foundation/text.h"

#include <cstdint>

namespace pensieve {
namespace {

// Length of a well-formed sequence at `s`, or 0. `*partial` says whether the bytes that are there
// could still become one, `*subpart` how many bytes belong to the maximal invalid part (at least
// 1).
std::size_t sequence(std::string_view s, bool* partial, std::size_t* subpart) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(s[i]); };
  *partial = false;
  *subpart = 1;
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  std::size_t length = 0;
  std::uint8_t low = 0x80, high = 0xBF;  // bounds of the second byte: RFC 3629, section 4
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return 0;
  }
  for (std::size_t i = 1; i < length; ++i) {
    if (i == s.size()) {
      *partial = true;
      *subpart = i;
      return 0;
    }
    if (byte(i) < low || byte(i) > high) {
      *subpart = i;
      return 0;
    }
    low = 0x80;
    high = 0xBF;
  }
  return length;
}

void append_hex(std::string& out, char byte) {
  static constexpr char kHex[] = "0123456789abcdef";
  const auto value = static_cast<std::uint8_t>(byte);
  out += "\\x";
  out += kHex[value >> 4];
  out += kHex[value & 15];
}

}  // namespace

std::size_t first_invalid_utf8(std::string_view text) {
  bool partial = false;
  std::size_t subpart = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t n = sequence(text.substr(at), &partial, &subpart);
    if (n == 0) return at;
    at += n;
  }
  return std::string_view::npos;
}

std::size_t complete_utf8_prefix(std::string_view bytes) {
  // Only the last three bytes can belong to an unfinished sequence.
  const std::size_t from = bytes.size() > 3 ? bytes.size() - 3 : 0;
  for (std::size_t at = from; at < bytes.size(); ++at) {
    bool partial = false;
    std::size_t subpart = 0;
    if (sequence(bytes.substr(at), &partial, &subpart) == 0 && partial &&
        at + subpart == bytes.size()) {
      return at;
    }
  }
  return bytes.size();
}

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (std::size_t at = 0; at < bytes.size();) {
    bool partial = false;
    std::size_t subpart = 0;
    const std::size_t n = sequence(bytes.substr(at), &partial, &subpart);
    if (n == 0) {
      out += "\xEF\xBF\xBD";
      at += subpart;
    } else {
      out += bytes.substr(at, n);
      at += n;
    }
  }
  return out;
}

std::string printable(std::string_view text, std::size_t limit) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    if (out.size() >= limit) return out + "…";
    bool partial = false;
    std::size_t subpart = 0;
    const std::size_t n = sequence(text.substr(at), &partial, &subpart);
    const auto c = static_cast<std::uint8_t>(text[at]);
    // U+0080 to U+009F are control characters too: a terminal takes U+009B for ESC [.
    const bool c1 = n == 2 && c == 0xC2 && static_cast<std::uint8_t>(text[at + 1]) < 0xA0;
    if (c1) {
      for (const char byte : text.substr(at, 2)) append_hex(out, byte);
      at += 2;
    } else if (n == 0 || c < 0x20 || c == 0x7F) {
      append_hex(out, text[at]);
      ++at;
    } else {
      out += text.substr(at, n);
      at += n;
    }
  }
  return out;
}

}  // namespace pensieve
