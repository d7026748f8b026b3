// What one family of models writes around its turns; all that is common to those that call tools in
// Hermes form is in hermes_prompt.h.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "domain/chat/chat_format.h"

namespace pensieve::chat {

struct HermesStyle {
  enum class Trim { Nothing, Left, Both };

  std::string_view name;
  // Around every turn. Text of a turn and the text that `open` ends with are one stretch of text.
  std::vector<Piece> open_system, open_user, open_assistant, close;
  Trim trim = Trim::Nothing;  // of every text of a turn

  // What stands around the list of tools, behind the system text.
  std::string_view tools_before, tools_behind;
  bool spaced_signatures = false;  // tools as Python's json.dumps writes them, else compact

  // "<tool_call>" and its like are tokens of their own where the vocabulary has them.
  bool tag_tokens = false;

  // The model thinks in "<think>" before it answers, unless an empty thought is put in its mouth.
  bool thinks = false;

  std::string default_system;            // where a request has no system text
  std::vector<std::string> stop_tokens;  // as ChatFormat::stop_tokens()
};

// The format of that style.
std::unique_ptr<ChatFormat> hermes_format(HermesStyle style);

// "<|im_start|>" turns: Qwen2, Qwen2.5, Qwen3 and many others. What they add to it (a default
// system text, thinking) is read off the template.
std::unique_ptr<ChatFormat> chatml_format(std::string_view chat_template);

// "<|start_header_id|>" turns: Llama 3.
std::unique_ptr<ChatFormat> llama3_format();

}  // namespace pensieve::chat
