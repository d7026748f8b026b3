#include "domain/chat/internal/turn_text.h"

#include <cstddef>

namespace pensieve::chat {
namespace {

// Unicode's White_Space, which is what the tokenizers strip.
std::size_t space_length(std::string_view text) {
  if (text.empty()) return 0;
  const char c = text[0];
  if (c == ' ' || (c >= '\t' && c <= '\r')) return 1;
  if (text.starts_with("\xC2\x85") || text.starts_with("\xC2\xA0")) return 2;
  if (text.size() < 3) return 0;
  const std::string_view three = text.substr(0, 3);
  if (three == "\xE1\x9A\x80" || three == "\xE2\x81\x9F" || three == "\xE3\x80\x80") return 3;
  if (!three.starts_with("\xE2\x80")) return 0;
  const auto last = static_cast<unsigned char>(three[2]);  // U+2000…U+200A, U+2028, U+2029, U+202F
  return (last >= 0x80 && last <= 0x8A) || last == 0xA8 || last == 0xA9 || last == 0xAF ? 3 : 0;
}

}  // namespace

std::string_view trim_left(std::string_view text) {
  while (const std::size_t n = space_length(text)) text.remove_prefix(n);
  return text;
}

std::string_view trim(std::string_view text) {
  const std::size_t last = text.find_last_not_of(" \n\r\t");
  return trim_left(text.substr(0, last + 1));
}

bool is_blank(std::string_view text) {
  return trim_left(text).empty();
}

void add_part(std::string& out, std::string_view part) {
  if (is_blank(part)) return;
  if (!out.empty() && !out.ends_with('\n')) out += '\n';
  out += part;
}

bool runs_elsewhere(const api::Tool& tool) {
  for (const std::string_view prefix :
       {"web_search_", "web_fetch_", "code_execution_", "tool_search_tool_", "mcp_toolset"}) {
    if (tool.type.starts_with(prefix)) return true;
  }
  return false;
}

bool is_listed(const api::Tool& tool) {
  return !tool.defer_loading && !runs_elsewhere(tool);
}

}  // namespace pensieve::chat
