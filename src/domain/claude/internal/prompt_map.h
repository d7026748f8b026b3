// Which part of a request a token of its prompt comes from. Knows parts and counts. Must not know
// how prompts are rendered or encoded.
#pragma once

#include <string>
#include <vector>

#include "domain/chat/chat_format.h"

namespace pensieve::claude {

struct PromptMap {
  std::vector<chat::Prompt::Part> parts;
  std::vector<int> begins;  // token with which each part begins, ascending

  // In words, counted from 1: "system block 2", "tool 14 (Bash)", "message 7 (user), block 1", "the
  // format's own words". A token of two parts counts as one of the first.
  std::string name_at(int token) const;
};

}  // namespace pensieve::claude
