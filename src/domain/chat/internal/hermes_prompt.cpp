// A request -> the pieces of a prompt, for every style of turns with tools in Hermes form.
//
// A turn is one stretch of text, because tokens merge across blocks. What a client may change from
// one request to the next without meaning anything (blank blocks, the order of parallel results)
// makes no difference, so that a prompt begins with the one before it.
#include <algorithm>
#include <array>
#include <climits>
#include <cstddef>
#include <map>
#include <utility>

#include "domain/chat/internal/hermes_reply.h"
#include "domain/chat/internal/hermes_style.h"
#include "domain/chat/internal/json_text.h"
#include "domain/chat/internal/thinking_reply.h"
#include "domain/chat/internal/turn_text.h"

namespace pensieve::chat {
namespace {

using api::BlockKind;
using api::ContentBlock;

constexpr std::array<std::string_view, 6> kTags = {
    kCallOpen, kCallClose, "<tool_response>", "</tool_response>", kThinkOpen, kThinkClose};

std::string signature(const api::Tool& tool, bool spaced) {
  std::string line = "{\"type\":\"function\",\"function\":{\"name\":" + json_string(tool.name);
  if (!tool.description.empty()) line += ",\"description\":" + json_string(tool.description);
  line += ",\"parameters\":";
  line += tool.input_schema_json.empty() ? R"({"type":"object","properties":{}})"
                                         : tool.input_schema_json;
  line += "}}";
  return spaced ? spaced_json(line) : line;
}

// Messages of the same role in a row are one turn, as the API has it; system messages stay apart.
struct Turn {
  struct Block {
    const ContentBlock* block = nullptr;
    int message = 0, index = 0;  // in the request
  };
  api::Role role = api::Role::User;
  int first_message = 0;
  std::vector<Block> blocks;
};

std::vector<Turn> turns_of(const std::vector<api::InputMessage>& messages) {
  std::vector<Turn> turns;
  for (std::size_t m = 0; m < messages.size(); ++m) {
    const auto& [role, content] = messages[m];
    const int message = static_cast<int>(m);
    if (turns.empty() || turns.back().role != role || role == api::Role::System) {
      turns.push_back({.role = role, .first_message = message, .blocks = {}});
    }
    for (std::size_t i = 0; i < content.size(); ++i) {
      turns.back().blocks.push_back({&content[i], message, static_cast<int>(i)});
    }
  }
  return turns;
}

class Renderer {
 public:
  Renderer(const HermesStyle& style, const api::MessagesRequest& request)
      : style_(style), request_(request) {}

  Prompt render() {
    add_system();
    auto turns = turns_of(request_.messages);
    for (Turn& turn : turns) {
      const bool last = &turn == &turns.back();
      switch (turn.role) {
        case api::Role::System:
          add_turn(style_.open_system, turn);
          break;
        case api::Role::User:
          order_results(turn);
          add_turn(style_.open_user, turn);
          break;
        case api::Role::Assistant:
          note_calls(turn);
          if (last && calls_.empty()) {
            // The answer goes on from the text that the request began for it.
            begin_answer(/*begun=*/true);
            add_blocks(turn);
            return std::move(prompt_);
          }
          add_answer(turn);
      }
    }
    begin_answer(/*begun=*/false);
    return std::move(prompt_);
  }

 private:
  // ---- where what comes from
  Prompt::Place here() const {
    const std::size_t n = prompt_.pieces.size();
    if (n == 0 || n == apart_ || prompt_.pieces.back().control) return {n, 0};
    return {n - 1, prompt_.pieces.back().text.size()};
  }
  static Prompt::Place behind(Prompt::Place place, std::size_t n_bytes) {
    return {place.piece, place.offset + n_bytes};
  }

  void begin_format() { prompt_.parts.push_back({.begin = here()}); }

  void begin_block(api::Role role, int message, int index) {
    using Kind = Prompt::Part::Kind;
    if (!prompt_.parts.empty()) {
      const Prompt::Part& last = prompt_.parts.back();
      if (last.kind == Kind::Message && last.index == message && last.block == index) return;
    }
    prompt_.parts.push_back(
        {.kind = Kind::Message, .index = message, .block = index, .role = role, .begin = here()});
  }

  // ---- pieces
  void add_pieces(const std::vector<Piece>& pieces) {
    for (const Piece& piece : pieces) {
      if (piece.control) {
        prompt_.pieces.push_back(piece);
      } else {
        add_text(piece.text);
      }
    }
  }

  void add_text(std::string_view text) {
    if (text.empty()) return;
    const bool apart = prompt_.pieces.size() == apart_;
    if (!apart && !prompt_.pieces.empty() && !prompt_.pieces.back().control) {
      prompt_.pieces.back().text += text;
    } else {
      prompt_.pieces.push_back({.control = false, .text = std::string(text)});
    }
    last_ = text.back();
  }

  // A tag that the format itself writes.
  void add_tag(std::string_view tag) {
    if (!style_.tag_tokens) return add_text(tag);
    prompt_.pieces.push_back({.control = true, .optional = true, .text = std::string(tag)});
    last_ = tag.back();
  }

  // The format's own words, with tags among them.
  void add_words(std::string_view words) {
    while (!words.empty()) {
      std::size_t at = words.size();
      std::string_view tag;
      for (const std::string_view one : kTags) {
        if (const std::size_t found = words.find(one); found < at) {
          at = found;
          tag = one;
        }
      }
      add_text(words.substr(0, at));
      words.remove_prefix(at);
      if (tag.empty()) return;
      add_tag(tag);
      words.remove_prefix(tag.size());
    }
  }

  // ---- turns
  void open_turn(const std::vector<Piece>& open) {
    add_pieces(open);
    empty_ = true;
  }

  // What opens a message's turn belongs to its first block.
  void open_turn(const std::vector<Piece>& open, const Turn& turn) {
    if (turn.blocks.empty()) {
      begin_block(turn.role, turn.first_message, 0);
    } else {
      begin_block(turn.role, turn.blocks.front().message, turn.blocks.front().index);
    }
    open_turn(open);
  }

  // Each part stands on a line of its own.
  void begin_part() {
    if (!empty_ && last_ != '\n') add_text("\n");
    empty_ = false;
  }

  void add_part(std::string_view text) {
    if (is_blank(text)) return;
    if (style_.trim == HermesStyle::Trim::Both) text = trim(text);
    if (style_.trim == HermesStyle::Trim::Left && empty_) text = trim_left(text);
    begin_part();
    add_text(text);
  }

  void add_turn(const std::vector<Piece>& open, const Turn& turn) {
    open_turn(open, turn);
    add_blocks(turn);
    add_pieces(style_.close);
  }

  void add_blocks(const Turn& turn) {
    for (const auto& [block, message, index] : turn.blocks) {
      begin_block(turn.role, message, index);
      add_block(*block);
      if (block->cache_mark) prompt_.marked_end = here();
    }
  }

  void add_answer(const Turn& turn) {
    open_turn(style_.open_assistant, turn);
    const std::size_t begin = apart_ = prompt_.pieces.size();
    add_blocks(turn);
    const std::size_t end = apart_ = prompt_.pieces.size();
    if (end > begin) prompt_.answers.push_back({begin, end, key_of(turn)});
    add_pieces(style_.close);
  }

  static AnswerKey key_of(const Turn& turn) {
    std::vector<const ContentBlock*> blocks;
    for (const Turn::Block& one : turn.blocks) blocks.push_back(one.block);
    return answer_key(blocks);
  }

  // `begun`: by the request.
  void begin_answer(bool begun) {
    begin_format();
    open_turn(style_.open_assistant);
    prompt_.answer_begin = apart_ = prompt_.pieces.size();
    prompt_.continues = begun;
    const bool forced = request_.tool_choice.kind == api::ToolChoice::Kind::Any ||
                        request_.tool_choice.kind == api::ToolChoice::Kind::Tool ||
                        !request_.output_schema_json.empty();
    if (!style_.thinks || (request_.thinking_enabled && !forced && !begun)) return;
    add_tag(kThinkOpen);
    add_text("\n\n");
    add_tag(kThinkClose);
    add_text("\n\n");
  }

  void add_system() {
    std::string text, lines;
    std::vector<Prompt::Part> blocks, tools;  // begin.offset: in `text`, in `lines`
    bool marks = false;
    std::optional<std::size_t> marked_tools;  // bytes of `lines`
    using Kind = Prompt::Part::Kind;
    for (std::size_t i = 0; i < request_.system.size(); ++i) {
      const std::string& block = request_.system[i].text;
      marks = marks || request_.system[i].cache_mark;
      if (i == 0 && block.starts_with(kBillingHeader)) continue;
      if (is_blank(block)) continue;
      blocks.push_back(
          {.kind = Kind::System, .index = static_cast<int>(i), .begin = {0, text.size()}});
      if (!text.empty()) text += "\n\n";
      text += block;
    }
    if (text.empty()) text = style_.default_system;
    const std::size_t untrimmed = text.size();
    if (style_.trim != HermesStyle::Trim::Nothing) text = trim_left(text);
    const std::size_t n_trimmed = untrimmed - text.size();
    for (std::size_t i = 0; i < request_.tools.size(); ++i) {
      const api::Tool& tool = request_.tools[i];
      if (!is_listed(tool)) continue;
      tools.push_back({.kind = Kind::Tool,
                       .index = static_cast<int>(i),
                       .name = tool.name,
                       .begin = {0, lines.size()}});
      lines += signature(tool, style_.spaced_signatures) + '\n';
      if (tool.cache_mark) marked_tools = lines.size();
    }
    if (text.empty() && lines.empty()) return;
    begin_format();
    open_turn(style_.open_system);
    add_parts(std::move(blocks), n_trimmed);
    add_text(text);
    if (!lines.empty()) {
      begin_format();
      if (!text.empty()) add_text("\n\n");
      add_words(style_.tools_before);
      add_parts(std::move(tools), 0);
      if (marked_tools) prompt_.marked_end = behind(here(), *marked_tools);
      add_text(lines);
      begin_format();
      add_words(style_.tools_behind);
    }
    if (marks) prompt_.marked_end = here();
    add_pieces(style_.close);
  }

  // Parts of a text that is about to be added, without its first bytes.
  void add_parts(std::vector<Prompt::Part> parts, std::size_t n_trimmed) {
    for (Prompt::Part& part : parts) {
      part.begin = behind(here(), std::max(part.begin.offset, n_trimmed) - n_trimmed);
      prompt_.parts.push_back(std::move(part));
    }
  }

  // ---- blocks
  void add_block(const ContentBlock& block) {
    switch (block.kind) {
      case BlockKind::ToolUse:
        return add_call(block);
      case BlockKind::ToolResult: {
        std::string result;
        for (const ContentBlock& inner : block.content) chat::add_part(result, text_of(inner));
        begin_part();
        add_tag("<tool_response>");
        add_text("\n" + result + "\n");
        add_tag("</tool_response>");
        return;
      }
      default:
        add_part(text_of(block));
    }
  }

  std::string text_of(const ContentBlock& block) const {
    switch (block.kind) {
      case BlockKind::Text:
        return block.text;
      case BlockKind::Image:
        return "[image]";
      case BlockKind::Document:
        return block.text.empty() ? "[document]" : "<document>\n" + block.text + "\n</document>";
      case BlockKind::ToolReference:
        return reference_of(block.name);
      default:
        return {};  // thoughts are over, and those of another model would only mislead this one
    }
  }

  void add_call(const ContentBlock& block) {
    const std::string_view input =
        block.input_json.empty() ? std::string_view("{}") : std::string_view(block.input_json);
    begin_part();
    add_tag(kCallOpen);
    add_text("\n{\"name\": " + json_string(block.name) + ", \"arguments\": " + spaced_json(input) +
             "}\n");
    add_tag(kCallClose);
  }

  std::string reference_of(const std::string& name) const {
    for (const api::Tool& tool : request_.tools) {
      if (tool.name == name) return signature(tool, style_.spaced_signatures);
    }
    return "[tool " + name + "]";
  }

  void note_calls(const Turn& turn) {
    calls_.clear();
    for (const auto& [block, message, index] : turn.blocks) {
      if (block->kind == BlockKind::ToolUse) {
        calls_.emplace(block->id, static_cast<int>(calls_.size()));
      }
    }
  }

  // Results stand before all else in a turn, in the order of their calls: parallel calls come back
  // in the order in which they finish, and other blocks may stand anywhere.
  void order_results(Turn& turn) const {
    const auto place = [&](const Turn::Block& one) {
      if (one.block->kind != BlockKind::ToolResult) return INT_MAX;
      const auto call = calls_.find(one.block->id);
      return call == calls_.end() ? INT_MAX - 1 : call->second;
    };
    std::stable_sort(turn.blocks.begin(), turn.blocks.end(), [&](const auto& a, const auto& b) {
      return place(a) < place(b);
    });
  }

  const HermesStyle& style_;
  const api::MessagesRequest& request_;
  Prompt prompt_;
  std::size_t apart_ = SIZE_MAX;  // a piece with this index is not joined to the one before it
  bool empty_ = true;             // the turn has no part yet
  char last_ = 0;                 // the last character of the prompt
  std::map<std::string_view, int> calls_;  // ids of the last assistant turn's calls, in order
};

class HermesFormat final : public ChatFormat {
 public:
  explicit HermesFormat(HermesStyle style) : style_(std::move(style)) {}

  std::string_view name() const override { return style_.name; }
  Result<Prompt> render(const api::MessagesRequest& request) const override {
    return Renderer(style_, request).render();
  }
  std::vector<std::string> stop_tokens() const override { return style_.stop_tokens; }
  CallSyntax call_syntax() const override { return kHermesSyntax; }
  std::unique_ptr<ReplyInterpreter> interpreter(ReplyMode mode) const override {
    std::unique_ptr<ReplyInterpreter> reply = std::make_unique<PlainReply>();
    if (mode == ReplyMode::Calls || mode == ReplyMode::ConstrainedCalls) {
      reply = std::make_unique<HermesReply>(mode == ReplyMode::ConstrainedCalls);
    }
    if (!style_.thinks || mode == ReplyMode::Raw) return reply;
    return std::make_unique<ThinkingReply>(std::move(reply));
  }

 private:
  const HermesStyle style_;
};

}  // namespace

std::unique_ptr<ChatFormat> hermes_format(HermesStyle style) {
  return std::make_unique<HermesFormat>(std::move(style));
}

}  // namespace pensieve::chat
