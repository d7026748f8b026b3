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

constexpr char kHexDigits[] = "0123456789abcdef";

void append_hex(std::string& out, unsigned char byte) {
  out += kHexDigits[byte >> 4];
  out += kHexDigits[byte & 15];
}

void append_escape(std::string& out, char byte) {
  out += "\\x";
  append_hex(out, static_cast<unsigned char>(byte));
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
      for (const char byte : text.substr(at, 2)) append_escape(out, byte);
      at += 2;
    } else if (n == 0 || c < 0x20 || c == 0x7F) {
      append_escape(out, text[at]);
      ++at;
    } else {
      out += text.substr(at, n);
      at += n;
    }
  }
  return out;
}

std::string lower_ascii(std::string_view text) {
  std::string copy(text);
  for (char& c : copy) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return copy;
}

std::string_view trimmed(std::string_view text) {
  static constexpr std::string_view kBlank = " \t\r\n";
  const auto begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::byte byte : bytes) append_hex(text, std::to_integer<unsigned char>(byte));
  return text;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '%' && i + 2 < text.size() && hex_value(text[i + 1]) >= 0 &&
                        hex_value(text[i + 2]) >= 0;
    if (!escape) {
      out += text[i];
      continue;
    }
    out += static_cast<char>(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
    i += 2;
  }
  return out;
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~").find(c) != std::string_view::npos;
    if (plain) {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += {'%', kHex[byte >> 4], kHex[byte & 15]};
  }
  return out;
}

}  // namespace pensieve
