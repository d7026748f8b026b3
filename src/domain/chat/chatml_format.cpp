// ChatML and Llama 3: turns with the role's name as text. The words around the tools are those that
// Qwen2.5 and Qwen3 were trained with; they come with the models' own templates.
#include "domain/chat/internal/hermes_style.h"

namespace pensieve::chat {
namespace {

constexpr std::string_view kToolsBefore =
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n";
constexpr std::string_view kToolsBehind =
    "</tools>\n\nFor each function call, return a json object with function name and arguments "
    "within <tool_call></tool_call> XML tags:\n<tool_call>\n"
    "{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>";

// What templates put where a request has no system text: Qwen2.5, Qwen2.
constexpr std::string_view kDefaultSystems[] = {
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    "You are a helpful assistant."};

}  // namespace

std::unique_ptr<ChatFormat> chatml_format(std::string_view chat_template) {
  const auto open = [](const char* role) {
    return std::vector<Piece>{{.control = true, .text = "<|im_start|>"},
                              {.control = false, .text = std::string(role) + "\n"}};
  };
  HermesStyle style;
  style.name = "chatml";
  style.open_system = open("system");
  style.open_user = open("user");
  style.open_assistant = open("assistant");
  style.close = {{.control = true, .text = "<|im_end|>"}, {.control = false, .text = "\n"}};
  style.tools_before = kToolsBefore;
  style.tools_behind = kToolsBehind;
  style.spaced_signatures = true;
  style.tag_tokens = true;
  style.thinks = chat_template.find("enable_thinking") != std::string_view::npos;
  for (const std::string_view system : kDefaultSystems) {
    if (chat_template.find(system) == std::string_view::npos) continue;
    style.default_system = system;
    break;
  }
  style.stop_tokens = {"<|im_end|>", "<|endoftext|>", "<|im_start|>"};
  return hermes_format(std::move(style));
}

std::unique_ptr<ChatFormat> llama3_format() {
  const auto open = [](const char* role) {
    return std::vector<Piece>{{.control = true, .text = "<|start_header_id|>"},
                              {.control = false, .text = role},
                              {.control = true, .text = "<|end_header_id|>"},
                              {.control = false, .text = "\n\n"}};
  };
  HermesStyle style;
  style.name = "llama3";
  style.open_system = open("system");
  style.open_user = open("user");
  style.open_assistant = open("assistant");
  style.close = {{.control = true, .text = "<|eot_id|>"}};
  style.trim = HermesStyle::Trim::Both;
  style.tools_before = kToolsBefore;
  style.tools_behind = kToolsBehind;
  style.spaced_signatures = true;
  style.stop_tokens = {"<|eot_id|>", "<|end_of_text|>", "<|eom_id|>", "<|start_header_id|>"};
  return hermes_format(std::move(style));
}

}  // namespace pensieve::chat
