// Phi-3's turns, in the form the embedded model is trained on (tools/tiny-model/data.py) and
// Phi-3's own template makes.
//
// Leading white space of a turn is dropped: the tokenizers of Phi-3 strip it behind <|user|>,
// <|assistant|>, <|system|> and <|end|>, so the models never saw any there. It also keeps prefixes
// stable: a turn that a client sends once with and once without a line break in front stays the
// same.
#include "domain/chat/internal/hermes_style.h"

namespace pensieve::chat {

std::unique_ptr<ChatFormat> phi3_format() {
  const auto control = [](const char* name) {
    return std::vector<Piece>{{.control = true, .text = name}};
  };
  HermesStyle style;
  style.name = "phi3";
  style.open_system = control("<|system|>");
  style.open_user = control("<|user|>");
  style.open_assistant = control("<|assistant|>");
  style.close = control("<|end|>");
  style.trim = HermesStyle::Trim::Left;
  style.tools_before =
      "# Tools\n\nYou may call one or more functions to help with the user query.\n\n"
      "The function signatures are within <tools></tools> XML tags:\n<tools>\n";
  style.tools_behind =
      "</tools>\n\nFor each function call, return a json object with function name and arguments "
      "within <tool_call></tool_call> XML tags:\n<tool_call>\n"
      "{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>";
  // A token that would open another turn ends the answer, too.
  style.stop_tokens = {
      "<|end|>", "<|endoftext|>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"};
  return hermes_format(std::move(style));
}

}  // namespace pensieve::chat
