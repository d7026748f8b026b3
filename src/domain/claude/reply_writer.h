// The parts of a reply -> content blocks, twice: as events for a stream and as the blocks of the
// whole message. Keeps the streaming rules: one block open at a time, indices without a gap, every
// start has its stop. Knows blocks and events. Must not know tokens, prompts or the engine.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "domain/api/messages.h"
#include "domain/chat/chat_format.h"

namespace pensieve::claude {

class ReplyWriter {
 public:
  // `content` and `events` outlive the writer; both are appended to.
  ReplyWriter(std::vector<api::ContentBlock>& content, std::vector<api::Event>& events)
      : content_(&content), events_(&events) {}

  // Empty text opens no block. Text and thinking go on in the block that is open if it is of their
  // kind.
  void text(std::string_view text);
  void thinking(std::string_view text);

  // A new tool_use block, with a fresh id if it has none. Input without an open tool_use block is
  // dropped.
  void start_tool_use(std::string_view name, std::string id = {});
  void tool_input(std::string_view partial_json);

  // Closes the block that is open, if any. A thinking block gets its signature first.
  void close_block();

  // Whether a tool_use block was begun and closed.
  bool has_tool_use() const { return has_tool_use_; }

 private:
  api::ContentBlock* open_block(api::BlockKind kind);
  int index() const { return static_cast<int>(content_->size()) - 1; }

  std::vector<api::ContentBlock>* content_;
  std::vector<api::Event>* events_;
  bool open_ = false;  // the last block of the content
  bool has_tool_use_ = false;
};

}  // namespace pensieve::claude
