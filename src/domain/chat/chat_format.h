// One chat format: a request -> the pieces of a prompt, and sampled text -> the parts of an answer.
// Text and control tokens stay apart, so that no text of a user can forge a turn.
// Knows roles, blocks and templates. Must not know token ids, HTTP or kernels.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/result.h"

#include "domain/api/messages.h"

namespace pensieve::chat {

struct Piece {
  bool control = false;  // true: `text` is the exact name of a control token ("<|user|>")
  std::string text;
  bool operator==(const Piece&) const = default;
};

struct Prompt {
  std::vector<Piece> pieces;
};

// A part of an answer, as it becomes known. For one ToolUse: a Start with id-less name, Input
// pieces that concatenate to one JSON object, an End.
struct ReplyPart {
  enum class Kind { Text, ToolUseStart, ToolUseInput, ToolUseEnd, Thinking } kind = Kind::Text;
  std::string text;  // Text, Thinking, ToolUseInput: the bytes; ToolUseStart: the tool's name
  bool operator==(const ReplyPart&) const = default;
};

// Turns the text of one answer into parts, however it is cut. What cannot be a tool call is text;
// nothing is ever thrown away but white space alone beside a call.
class ReplyInterpreter {
 public:
  virtual ~ReplyInterpreter() = default;
  virtual std::vector<ReplyPart> push(std::string_view text) = 0;
  virtual std::vector<ReplyPart> finish() = 0;  // at the end of the answer
};

class ChatFormat {
 public:
  virtual ~ChatFormat() = default;
  virtual std::string_view name() const = 0;
  // The whole prompt but for a token that opens every text (bos). It ends with a control token, or,
  // where the last message is the assistant's and holds no call, with the text that the answer goes
  // on from. Deterministic: equal requests give equal pieces, and one text piece at most stands
  // between two control tokens. Errors: InvalidRequest for something the format cannot show.
  virtual Result<Prompt> render(const api::MessagesRequest& request) const = 0;
  // Control tokens that end an answer ("<|end|>", "<|endoftext|>"), and those that would open
  // another turn. A vocabulary need not have all of them.
  virtual std::vector<std::string> stop_tokens() const = 0;
  // `with_tools`: the request offered tools, so tool calls are looked for.
  virtual std::unique_ptr<ReplyInterpreter> interpreter(bool with_tools) const = 0;
};

// Phi-3: <|system|>…<|end|> <|user|>…<|end|> <|assistant|>, tools in Hermes form in the system
// turn.
std::unique_ptr<ChatFormat> phi3_format();

}  // namespace pensieve::chat
