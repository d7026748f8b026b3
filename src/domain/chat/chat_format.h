// One chat format: a request -> the pieces of a prompt, and sampled text -> the parts of an answer.
// Text and control tokens stay apart, so that no text of a user can forge a turn.
// Knows roles, blocks and templates. Must not know token ids, HTTP or kernels.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "foundation/result.h"

#include "domain/api/messages.h"

namespace pensieve::chat {

struct Piece {
  bool control = false;  // true: `text` is the exact name of a control token ("<|user|>")
  // With `control`: a vocabulary without that token takes the name as text.
  bool optional = false;
  std::string text;
  bool operator==(const Piece&) const = default;
};

// What an assistant's turn says, as far as a client sends it back unchanged: clients rewrite the
// inputs of calls, drop blank blocks and move text before calls, so none of that is in it.
struct AnswerKey {
  std::vector<std::string> tool_use_ids;  // in the order of the turn
  std::string text;                       // of its text blocks, trimmed, a line each
  bool operator==(const AnswerKey&) const = default;
};
AnswerKey answer_key(std::span<const api::ContentBlock* const> blocks);
AnswerKey answer_key(std::span<const api::ContentBlock> blocks);

// Text that stands in several pieces behind each other is one stretch of text and is encoded so.
struct Prompt {
  std::vector<Piece> pieces;

  // What the assistant said in its turns that are over: pieces [begin, end), ascending. Where the
  // exact tokens of such an answer are still known, they stand for the pieces.
  struct Answer {
    std::size_t begin = 0, end = 0;
    AnswerKey key;
    bool operator==(const Answer&) const = default;
  };
  std::vector<Answer> answers;

  // A byte of a piece. The end of a piece is the begin of the next.
  struct Place {
    std::size_t piece = 0, offset = 0;
    bool operator==(const Place&) const = default;
  };

  // What the text comes from: a block of `system`, a tool of the list, a block of a message, each
  // by its index in the request, or the format's own words. A part reaches to where the next one
  // begins, and what closes a turn belongs to its last part.
  struct Part {
    enum class Kind { Format, System, Tool, Message } kind = Kind::Format;
    int index = 0;
    int block = 0;                     // Message
    api::Role role = api::Role::User;  // Message
    std::string name = {};             // Tool
    Place begin = {};
    bool operator==(const Part&) const = default;
  };
  std::vector<Part> parts;  // ascending

  // Behind the last part that the request marks with cache_control, if it marks any. Tools stand
  // behind the system text here and before it in the API, so a mark in the system text covers them.
  std::optional<Place> marked_end;

  // What the request or the format itself begins the answer with: pieces [answer_begin, end).
  std::size_t answer_begin = 0;
  bool continues = false;  // the request began the answer: what is sampled is not all of the turn
};

// A part of an answer, as it becomes known. For one ToolUse: a Start with id-less name, Input
// pieces that concatenate to one JSON object, an End. A call that was streamed (ConstrainedCalls)
// and cut short ends with a beginning of an object.
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

enum class ReplyMode {
  Raw,    // the text as it stands, whatever the format
  Text,   // no tool calls are looked for
  Calls,  // tool calls are, and held until they are complete: nothing is known about the text
  // The text is sampled under call_syntax() and the tools' schemas, so that what begins like a call
  // is one: its input goes out as it comes.
  ConstrainedCalls
};

// How the format writes a call: open, before_name, the name as the inside of a JSON string,
// before_arguments, a JSON object with ", " and ": " and no other white space, close. `between`
// stands between two calls. `tags`: parts of these that a vocabulary may have as tokens of their
// own.
struct CallSyntax {
  std::string_view open, before_name, before_arguments, close, between;
  std::array<std::string_view, 2> tags;
};

// Claude Code's first system block may be this header; it differs from session to session, so that
// no prompt shows it.
inline constexpr std::string_view kBillingHeader = "x-anthropic-billing-header:";

// The tools that the prompt shows: in the list, or where a tool_reference names one. Those that run
// on another server are not among them. In the order of the request; they live as long as it.
std::vector<const api::Tool*> callable_tools(const api::MessagesRequest& request);

class ChatFormat {
 public:
  virtual ~ChatFormat() = default;
  virtual std::string_view name() const = 0;
  // The whole prompt but for a token that opens every text (bos). It ends with what opens the
  // assistant's turn, and, where the last message is the assistant's and holds no call, with the
  // text that the answer goes on from. Deterministic: equal requests give equal pieces. Errors:
  // InvalidRequest for something the format cannot show.
  virtual Result<Prompt> render(const api::MessagesRequest& request) const = 0;
  // Control tokens that end an answer ("<|end|>", "<|endoftext|>"), and those that would open
  // another turn. A vocabulary need not have all of them.
  virtual std::vector<std::string> stop_tokens() const = 0;
  virtual CallSyntax call_syntax() const = 0;
  virtual std::unique_ptr<ReplyInterpreter> interpreter(ReplyMode mode) const = 0;
};

// Phi-3: <|system|>…<|end|> <|user|>…<|end|> <|assistant|>, tools in Hermes form in the system
// turn.
std::unique_ptr<ChatFormat> phi3_format();

// The format that a model's chat template (Jinja, never run) stands for: ChatML (Qwen2, Qwen2.5,
// Qwen3 with thinking), Llama 3 or Phi-3, told by the control tokens it writes. Without a template:
// the first format whose tokens `has_control` knows. Errors: BadFile with a sentence that names the
// known ones.
Result<std::unique_ptr<ChatFormat>> format_for(
    std::string_view chat_template, const std::function<bool(std::string_view)>& has_control);

}  // namespace pensieve::chat
