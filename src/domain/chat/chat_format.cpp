// What a request says about its answers and tools, the same for every format.
#include "domain/chat/chat_format.h"

#include <algorithm>
#include <set>

#include "domain/chat/internal/hermes_style.h"
#include "domain/chat/internal/turn_text.h"

namespace pensieve::chat {

using api::BlockKind;
using api::ContentBlock;

namespace {

void add_references(const std::vector<ContentBlock>& blocks, std::set<std::string_view>& names) {
  for (const ContentBlock& block : blocks) {
    if (block.kind == BlockKind::ToolReference) names.insert(block.name);
    add_references(block.content, names);
  }
}

}  // namespace

AnswerKey answer_key(std::span<const ContentBlock* const> blocks) {
  AnswerKey key;
  for (const ContentBlock* block : blocks) {
    if (block->kind == BlockKind::ToolUse) key.tool_use_ids.push_back(block->id);
    if (block->kind == BlockKind::Text) add_part(key.text, trim(block->text));
  }
  return key;
}

AnswerKey answer_key(std::span<const ContentBlock> blocks) {
  std::vector<const ContentBlock*> pointers;
  for (const ContentBlock& block : blocks) pointers.push_back(&block);
  return answer_key(pointers);
}

std::vector<const api::Tool*> callable_tools(const api::MessagesRequest& request) {
  std::set<std::string_view> referenced;
  for (const auto& message : request.messages) add_references(message.content, referenced);
  std::vector<const api::Tool*> tools;
  for (const api::Tool& tool : request.tools) {
    if (runs_elsewhere(tool)) continue;
    if (is_listed(tool) || referenced.contains(tool.name)) tools.push_back(&tool);
  }
  return tools;
}

Result<std::unique_ptr<ChatFormat>> format_for(
    std::string_view chat_template, const std::function<bool(std::string_view)>& has_control) {
  struct Known {
    std::vector<std::string_view> tokens;  // that no other of these formats writes together
    std::function<std::unique_ptr<ChatFormat>()> make;
  };
  // Phi-3's first templates write the token that opens a turn in parts: '<|' + role + '|>'.
  const Known known[] = {{{"<|im_start|>"}, [&] { return chatml_format(chat_template); }},
                         {{"<|start_header_id|>"}, llama3_format},
                         {{"<|assistant|>", "<|end|>"}, phi3_format}};
  for (const Known& one : known) {
    const auto& tokens = one.tokens;
    const bool fits = std::all_of(tokens.begin(), tokens.end(), [&](std::string_view token) {
      return chat_template.empty() ? has_control(token)
                                   : chat_template.find(token) != std::string_view::npos;
    });
    if (fits) return one.make();
  }
  return Error{
      .kind = ErrorKind::BadFile,
      .message = std::string(chat_template.empty()
                                 ? "the vocabulary has the control tokens of no chat format"
                                 : "the chat template is none") +
                 " that is known: ChatML (<|im_start|>), Llama 3 (<|start_header_id|>), "
                 "Phi-3 (<|assistant|>, <|end|>)"};
}

}  // namespace pensieve::chat
