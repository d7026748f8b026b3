// Answers of models that think first: "<think>\n…\n</think>\n\n" in front is thinking, what follows
// is any other reply. Knows the tags alone.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "domain/chat/chat_format.h"

namespace pensieve::chat {

inline constexpr std::string_view kThinkOpen = "<think>";
inline constexpr std::string_view kThinkClose = "</think>";

// Thoughts go out as they come, without the white space around them. Where an answer does not begin
// with the tag it has no thoughts; a thought that is never closed is all of the answer.
class ThinkingReply final : public ReplyInterpreter {
 public:
  explicit ThinkingReply(std::unique_ptr<ReplyInterpreter> answer) : answer_(std::move(answer)) {}
  std::vector<ReplyPart> push(std::string_view text) override;
  std::vector<ReplyPart> finish() override;

 private:
  enum class In { Front, Thought, Behind, Answer };
  bool read(std::vector<ReplyPart>& out);  // false: needs more
  void emit_thought(std::string_view text, std::vector<ReplyPart>& out);

  std::unique_ptr<ReplyInterpreter> answer_;
  In in_ = In::Front;
  std::string pending_;   // what is not decided yet
  std::string blank_;     // white space that may be the end of the thought
  bool thought_ = false;  // some of it is out
};

}  // namespace pensieve::chat
