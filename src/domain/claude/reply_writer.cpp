#include "domain/claude/reply_writer.h"

#include <string>
#include <string_view>
#include <utility>

namespace pensieve::claude {

// The open block if it is of this kind; otherwise a new one, in the content and in the stream.
api::ContentBlock* ReplyWriter::open_block(api::BlockKind kind) {
  if (open_ && content_->back().kind == kind) return &content_->back();
  close_block();
  api::ContentBlock& block = content_->emplace_back();
  block.kind = kind;
  open_ = true;
  return &block;
}

void ReplyWriter::text(std::string_view text) {
  if (text.empty()) return;
  const std::size_t before = content_->size();
  api::ContentBlock* block = open_block(api::BlockKind::Text);
  if (content_->size() != before) events_->push_back(api::text_block_start(index()));
  block->text += text;
  events_->push_back(api::text_delta(index(), text));
}

void ReplyWriter::thinking(std::string_view text) {
  if (text.empty()) return;
  const std::size_t before = content_->size();
  api::ContentBlock* block = open_block(api::BlockKind::Thinking);
  if (content_->size() != before) events_->push_back(api::thinking_block_start(index()));
  block->text += text;
  events_->push_back(api::thinking_delta(index(), text));
}

void ReplyWriter::start_tool_use(std::string_view name, std::string id) {
  close_block();
  api::ContentBlock* block = open_block(api::BlockKind::ToolUse);
  block->id = id.empty() ? api::make_id("toolu_") : std::move(id);
  block->name = name;
  events_->push_back(api::tool_use_block_start(index(), block->id, name));
}

void ReplyWriter::tool_input(std::string_view partial_json) {
  if (partial_json.empty() || !open_ || content_->back().kind != api::BlockKind::ToolUse) return;
  content_->back().input_json += partial_json;
  events_->push_back(api::input_json_delta(index(), partial_json));
}

void ReplyWriter::close_block() {
  if (!open_) return;
  api::ContentBlock& block = content_->back();
  if (block.kind == api::BlockKind::Thinking) {
    // Clients send it back unread; nothing here has to be proven by it.
    block.signature = api::make_id("sig_");
    events_->push_back(api::signature_delta(index(), block.signature));
  }
  if (block.kind == api::BlockKind::ToolUse) has_tool_use_ = true;
  events_->push_back(api::block_stop(index()));
  open_ = false;
}

}  // namespace pensieve::claude
