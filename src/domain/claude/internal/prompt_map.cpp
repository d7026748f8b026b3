#include "domain/claude/internal/prompt_map.h"

#include <algorithm>

#include "foundation/text.h"

namespace pensieve::claude {
std::string PromptMap::name_at(int token) const {
  using Kind = chat::Prompt::Part::Kind;
  const auto behind = std::upper_bound(begins.begin(), begins.end(), token) - begins.begin();
  if (behind == 0) return "the format's own words";
  const chat::Prompt::Part& part = parts[static_cast<std::size_t>(behind) - 1];
  const std::string number = std::to_string(part.index + 1);
  switch (part.kind) {
    case Kind::System:
      return "system block " + number;
    case Kind::Tool:
      return "tool " + number + " (" + printable(part.name) + ")";
    case Kind::Message:
      return "message " + number + " (" + std::string(to_string(part.role)) + "), block " +
             std::to_string(part.block + 1);
    case Kind::Format:
      break;
  }
  return "the format's own words";
}

}  // namespace pensieve::claude
