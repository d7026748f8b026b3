// Sampled text -> parts of an answer, for models that call tools in Hermes form:
//   <tool_call>
//   {"name": "Bash", "arguments": {"command": "ls"}}
//   </tool_call>
// Knows the tags and JSON. Must not know turns, requests or which tools there are: any name passes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "domain/chat/chat_format.h"
#include "domain/chat/internal/json_text.h"

namespace pensieve::chat {

inline constexpr std::string_view kCallOpen = "<tool_call>";
inline constexpr std::string_view kCallClose = "</tool_call>";
inline constexpr CallSyntax kHermesSyntax = {.open = kCallOpen,
                                             .before_name = "\n{\"name\": \"",
                                             .before_arguments = "\", \"arguments\": ",
                                             .close = "}\n</tool_call>",
                                             .between = "\n",
                                             .tags = {kCallOpen, kCallClose}};

// All is text: for requests without tools.
class PlainReply final : public ReplyInterpreter {
 public:
  std::vector<ReplyPart> push(std::string_view text) override;
  std::vector<ReplyPart> finish() override { return {}; }
};

// Text goes out at once, but for what may still become a tag. A call is held until it is complete
// and parses as an object with a name and an object of arguments; then it goes out as Start, Input
// (the arguments as they were sampled) and End. What is no such call goes out as text, byte for
// byte, and a call that stands in its midst is still found. White space alone between or around
// calls is dropped: it would be a blank block, which the API does not have. At the end of an answer
// a complete object needs no closing tag. Time is linear: see the argument in the .cpp file.
// `constrained`: a call that begins exactly in kHermesSyntax is not held; its Start goes out when
// its name is known, its Input as it comes. Cut short, it ends with what there is of it.
class HermesReply final : public ReplyInterpreter {
 public:
  explicit HermesReply(bool constrained) : constrained_(constrained) {}
  std::vector<ReplyPart> push(std::string_view text) override;
  std::vector<ReplyPart> finish() override;

 private:
  enum class Step { Continue, NeedMore };
  enum class In { Text, Call, Input, Tail };  // Input and Tail: of a call that goes out as it comes
  Step read(bool at_end, std::vector<ReplyPart>& out);
  Step read_text(bool at_end, std::vector<ReplyPart>& out);
  Step read_call(bool at_end, std::vector<ReplyPart>& out);
  Step read_input(bool at_end, std::vector<ReplyPart>& out);
  Step read_tail(bool at_end);
  bool start_stream(std::vector<ReplyPart>& out);
  void begin_call(std::string name, std::vector<ReplyPart>& out);
  bool emit_call(std::string_view body, std::vector<ReplyPart>& out);
  void emit_text(std::string_view text, std::vector<ReplyPart>& out);
  void run(bool at_end, std::vector<ReplyPart>& out);

  std::string pending_;         // what is not decided yet
  std::size_t from_ = 0;        // its first undecided byte, within one push()
  In in_ = In::Text;            // Call: pending_ begins with kCallOpen
  std::size_t scanned_ = 0;     // bytes behind from_ that scanner_ has seen, tag included
  std::size_t object_end_ = 0;  // bytes behind from_ up to the end of the call's object
  ObjectScanner scanner_;

  const bool constrained_;
  std::string blank_;      // white space at the beginning of a stretch of text
  bool has_text_ = false;  // the stretch has other characters, too
  bool had_call_ = false;
};

}  // namespace pensieve::chat
