// The Phi-3 prompt, in the form the embedded model is trained on (tools/tiny-model/data.py) and
// Phi-3's own template makes. Text pieces are one for each turn, because tokens merge across
// blocks.
//
// Leading white space of a turn is dropped: the tokenizers of Phi-3 strip it behind <|user|>,
// <|assistant|>, <|system|> and <|end|>, so the models never saw any there. It also keeps prefixes
// stable: a turn that a client sends once with and once without a line break in front stays the
// same.
#include <algorithm>
#include <climits>
#include <cstddef>
#include <map>
#include <span>
#include <utility>

#include "domain/chat/chat_format.h"
#include "domain/chat/internal/hermes_reply.h"
#include "domain/chat/internal/json_text.h"
#include "domain/chat/internal/turn_text.h"

namespace pensieve::chat {
namespace {

using api::BlockKind;
using api::ContentBlock;

// Billing data that Claude Code puts first and that differs from session to session.
constexpr std::string_view kBillingHeader = "x-anthropic-billing-header:";

constexpr std::string_view kToolsBefore =
    "# Tools\n\nYou may call one or more functions to help with the user query.\n\n"
    "The function signatures are within <tools></tools> XML tags:\n<tools>\n";
constexpr std::string_view kToolsBehind =
    "</tools>\n\nFor each function call, return a json object with function name and arguments "
    "within <tool_call></tool_call> XML tags:\n<tool_call>\n"
    "{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>";

std::string signature(const api::Tool& tool) {
  std::string line = "{\"type\":\"function\",\"function\":{\"name\":" + json_string(tool.name);
  if (!tool.description.empty()) line += ",\"description\":" + json_string(tool.description);
  line += ",\"parameters\":";
  line += tool.input_schema_json.empty() ? R"({"type":"object","properties":{}})"
                                         : tool.input_schema_json;
  return line + "}}";
}

std::string system_text(const api::MessagesRequest& request) {
  std::string text;
  for (std::size_t i = 0; i < request.system.size(); ++i) {
    const std::string& block = request.system[i].text;
    if (i == 0 && block.starts_with(kBillingHeader)) continue;
    if (is_blank(block)) continue;
    if (!text.empty()) text += "\n\n";
    text += block;
  }
  std::string lines;
  for (const api::Tool& tool : request.tools) {
    if (is_listed(tool)) lines += signature(tool) + '\n';
  }
  if (lines.empty()) return text;
  if (!text.empty()) text += "\n\n";
  return text.append(kToolsBefore).append(lines).append(kToolsBehind);
}

// Messages of the same role in a row are one turn, as the API has it; system messages stay apart.
struct Turn {
  api::Role role = api::Role::User;
  std::vector<const ContentBlock*> blocks;
};

std::vector<Turn> turns_of(const std::vector<api::InputMessage>& messages) {
  std::vector<Turn> turns;
  for (const auto& message : messages) {
    if (turns.empty() || turns.back().role != message.role || message.role == api::Role::System) {
      turns.push_back({.role = message.role, .blocks = {}});
    }
    for (const auto& block : message.content) turns.back().blocks.push_back(&block);
  }
  return turns;
}

class Renderer {
 public:
  explicit Renderer(const api::MessagesRequest& request) : request_(request) {}

  Prompt render() {
    if (const std::string system = system_text(request_); !system.empty()) {
      add_turn("<|system|>", system);
    }
    auto turns = turns_of(request_.messages);
    for (Turn& turn : turns) {
      const bool last = &turn == &turns.back();
      switch (turn.role) {
        case api::Role::System:
          add_turn("<|system|>", text_of(turn.blocks));
          break;
        case api::Role::User:
          order_results(turn);
          add_turn("<|user|>", text_of(turn.blocks));
          break;
        case api::Role::Assistant:
          note_calls(turn);
          if (last && calls_.empty()) {
            // The answer goes on from the text that the request began for it.
            open_turn("<|assistant|>", text_of(turn.blocks));
            return std::move(prompt_);
          }
          add_answer(turn);
      }
    }
    open_turn("<|assistant|>", {});
    return std::move(prompt_);
  }

 private:
  void open_turn(std::string_view name, std::string_view text) {
    prompt_.pieces.push_back({.control = true, .text = std::string(name)});
    text = trim_left(text);
    if (!text.empty()) prompt_.pieces.push_back({.control = false, .text = std::string(text)});
  }
  void add_turn(std::string_view name, std::string_view text) {
    open_turn(name, text);
    prompt_.pieces.push_back({.control = true, .text = "<|end|>"});
  }

  void add_answer(const Turn& turn) {
    const std::size_t index = prompt_.pieces.size() + 1;  // behind the token that opens the turn
    add_turn("<|assistant|>", text_of(turn.blocks));
    if (prompt_.pieces[index].control) return;  // it says nothing
    prompt_.answers.emplace_back(index, answer_key(turn.blocks));
  }

  void note_calls(const Turn& turn) {
    calls_.clear();
    for (const ContentBlock* block : turn.blocks) {
      if (block->kind == BlockKind::ToolUse) {
        calls_.emplace(block->id, static_cast<int>(calls_.size()));
      }
    }
  }

  // Results stand before all else in a turn, in the order of their calls: parallel calls come back
  // in the order in which they finish, and other blocks may stand anywhere.
  void order_results(Turn& turn) const {
    const auto place = [&](const ContentBlock* block) {
      if (block->kind != BlockKind::ToolResult) return INT_MAX;
      const auto call = calls_.find(block->id);
      return call == calls_.end() ? INT_MAX - 1 : call->second;
    };
    std::stable_sort(turn.blocks.begin(), turn.blocks.end(), [&](const auto* a, const auto* b) {
      return place(a) < place(b);
    });
  }

  std::string text_of(const std::vector<const ContentBlock*>& blocks) const {
    std::string out;
    for (const ContentBlock* block : blocks) add_part(out, part_of(*block));
    return out;
  }

  std::string part_of(const ContentBlock& block) const {
    switch (block.kind) {
      case BlockKind::Text:
        return block.text;
      case BlockKind::ToolUse:
        return call_of(block);
      case BlockKind::ToolResult: {
        std::string result;
        for (const ContentBlock& inner : block.content) add_part(result, part_of(inner));
        return "<tool_response>\n" + result + "\n</tool_response>";
      }
      case BlockKind::Image:
        return "[image]";
      case BlockKind::Document:
        return block.text.empty() ? "[document]" : "<document>\n" + block.text + "\n</document>";
      case BlockKind::ToolReference:
        return reference_of(block.name);
      case BlockKind::Thinking:
      case BlockKind::RedactedThinking:
        return {};  // Phi-3 knows no thinking; another model's would only mislead it
    }
    return {};
  }

  static std::string call_of(const ContentBlock& block) {
    const std::string_view input =
        block.input_json.empty() ? std::string_view("{}") : std::string_view(block.input_json);
    return std::string(kCallOpen) + "\n{\"name\": " + json_string(block.name) +
           ", \"arguments\": " + spaced_json(input) + "}\n" + std::string(kCallClose);
  }

  std::string reference_of(const std::string& name) const {
    for (const api::Tool& tool : request_.tools) {
      if (tool.name == name) return signature(tool);
    }
    return "[tool " + name + "]";
  }

  const api::MessagesRequest& request_;
  Prompt prompt_;
  std::map<std::string_view, int> calls_;  // ids of the last assistant turn's calls, in order
};

class Phi3Format final : public ChatFormat {
 public:
  std::string_view name() const override { return "phi3"; }
  Result<Prompt> render(const api::MessagesRequest& request) const override {
    return Renderer(request).render();
  }
  std::vector<std::string> stop_tokens() const override {
    // A token that would open another turn ends the answer, too.
    return {"<|end|>", "<|endoftext|>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"};
  }
  CallSyntax call_syntax() const override { return kHermesSyntax; }
  std::unique_ptr<ReplyInterpreter> interpreter(ReplyMode mode) const override {
    if (mode == ReplyMode::Text) return std::make_unique<PlainReply>();
    return std::make_unique<HermesReply>(mode == ReplyMode::ConstrainedCalls);
  }
};

}  // namespace

std::unique_ptr<ChatFormat> phi3_format() {
  return std::make_unique<Phi3Format>();
}

}  // namespace pensieve::chat
