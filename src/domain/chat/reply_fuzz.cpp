// Any answer, in any pieces: the parts are those of the whole, every tool input is a JSON object,
// and an answer without a call comes out as it went in.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/check.h"
#include "foundation/json.h"

#include "domain/chat/chat_format.h"

namespace {

using pensieve::chat::ReplyMode;
using pensieve::chat::ReplyPart;
using Kind = ReplyPart::Kind;

void add(std::vector<ReplyPart>& all, const std::vector<ReplyPart>& parts) {
  for (const auto& part : parts) {
    if (part.kind == Kind::Text && !all.empty() && all.back().kind == Kind::Text) {
      all.back().text += part.text;
    } else {
      all.push_back(part);
    }
  }
}

}  // namespace

// The first byte says how the rest is cut.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static const auto format = pensieve::chat::phi3_format();
  const std::string_view answer(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::vector<ReplyPart> whole, cut;
  const auto at_once = format->interpreter(ReplyMode::Calls),
             in_pieces = format->interpreter(ReplyMode::Calls);
  add(whole, at_once->push(answer));
  add(whole, at_once->finish());
  std::uint32_t random = data[0];
  for (std::size_t at = 0; at < answer.size();) {
    random = random * 1664525 + 1013904223;
    const std::size_t n = 1 + (random >> 24) % (1 + data[0] % 32u);
    add(cut, in_pieces->push(answer.substr(at, n)));
    at += n;
  }
  add(cut, in_pieces->finish());
  CHECK(whole == cut);
  bool has_call = false;
  for (const auto& part : whole) {
    if (part.kind == Kind::ToolUseInput) {
      const auto input = pensieve::parse_json(part.text);
      CHECK(input && input->is_object());
      has_call = true;
    }
  }
  if (!has_call)
    CHECK(answer.empty() ? whole.empty() : whole.size() == 1 && whole[0].text == answer);
  return 0;
}
