// Goal: a prompt says where each part of its request begins, and where the last mark of the request
// ends. Method: the text behind a part's begin must be the part's own, in every format.
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "domain/chat/chat_format.h"
#include "domain/chat/internal/hermes_style.h"

namespace pensieve::chat {
namespace {

using Kind = Prompt::Part::Kind;

api::ContentBlock text_block(std::string text) {
  api::ContentBlock block;
  block.text = std::move(text);
  return block;
}

// Everything from a place on, control tokens by name.
std::string text_from(const Prompt& prompt, const Prompt::Place& place) {
  std::string text;
  for (std::size_t i = place.piece; i < prompt.pieces.size(); ++i) text += prompt.pieces[i].text;
  return place.offset <= text.size() ? text.substr(place.offset) : "beyond the end";
}

const Prompt::Part* find(const Prompt& prompt, Kind kind, int index, int block = 0) {
  for (const Prompt::Part& part : prompt.parts) {
    if (part.kind == kind && part.index == index && part.block == block) return &part;
  }
  return nullptr;
}

api::MessagesRequest conversation() {
  api::MessagesRequest request;
  request.model = "m";
  request.max_tokens = 1;
  request.system = {text_block(std::string(kBillingHeader) + " v=1"),
                    text_block("  first rule"),
                    text_block("second rule")};
  request.tools.resize(2);
  request.tools[0].name = "Bash";
  request.tools[0].description = "runs";
  request.tools[1].name = "Read";
  request.tools[1].description = "reads";
  using api::Role;
  request.messages = {{.role = Role::User, .content = {text_block("question"), text_block("more")}},
                      {.role = Role::User, .content = {text_block("and this")}},
                      {.role = Role::Assistant, .content = {text_block("answer")}},
                      {.role = Role::User, .content = {text_block("go on")}}};
  return request;
}

TEST(PromptParts, BeginWhereTheirTextStands) {
  for (const auto& format : {phi3_format(), llama3_format(), chatml_format("")}) {
    SCOPED_TRACE(format->name());
    const auto prompt = format->render(conversation());
    ASSERT_TRUE(prompt.has_value());
    EXPECT_EQ(find(*prompt, Kind::System, 0), nullptr);  // not shown
    const auto begins_with = [&](const Prompt::Part* part, std::string_view text) {
      ASSERT_NE(part, nullptr) << text;
      // At most line breaks between the begin and the part's own text.
      const std::string from = text_from(*prompt, part->begin);
      EXPECT_EQ(from.find(text), from.find_first_not_of("\n ")) << from.substr(0, 60);
    };
    begins_with(find(*prompt, Kind::System, 1), "first rule");
    begins_with(find(*prompt, Kind::System, 2), "second rule");
    for (const int tool : {0, 1}) {
      const Prompt::Part* part = find(*prompt, Kind::Tool, tool);
      begins_with(part, "{\"type\"");
      const std::string name = tool == 0 ? "Bash" : "Read";
      EXPECT_EQ(part->name, name);
      const std::string line = text_from(*prompt, part->begin);
      EXPECT_NE(line.substr(0, line.find('\n')).find(name), std::string::npos);
    }
    begins_with(find(*prompt, Kind::Message, 0, 1), "more");
    begins_with(find(*prompt, Kind::Message, 1), "and this");
    for (const int message : {0, 2, 3}) {  // with what opens their turn
      const Prompt::Part* part = find(*prompt, Kind::Message, message);
      ASSERT_NE(part, nullptr);
      const std::string from = text_from(*prompt, part->begin);
      const std::size_t opener = from.find("<|"), text = from.find(message == 0   ? "question"
                                                                   : message == 2 ? "answer"
                                                                                  : "go on");
      EXPECT_LE(opener, 1u) << from.substr(0, 60);  // "\n" may close the turn before
      EXPECT_LT(text, 60u) << from.substr(0, 60);
    }
    for (std::size_t i = 1; i < prompt->parts.size(); ++i) {
      const auto &a = prompt->parts[i - 1].begin, &b = prompt->parts[i].begin;
      EXPECT_TRUE(a.piece < b.piece || (a.piece == b.piece && a.offset <= b.offset)) << i;
    }
    EXPECT_FALSE(prompt->marked_end.has_value());
  }
}

TEST(PromptParts, TheMarkEndsBehindTheLastMarkedPart) {
  const auto format = phi3_format();
  const auto rest_behind_mark = [&](const api::MessagesRequest& request) {
    const auto prompt = format->render(request);
    if (!prompt || !prompt->marked_end) return std::string("no mark");
    return text_from(*prompt, *prompt->marked_end);
  };
  auto request = conversation();
  request.tools[0].cache_mark = true;
  EXPECT_TRUE(rest_behind_mark(request).starts_with(
      "{\"type\":\"function\",\"function\":{\"name\":\"Read\""));
  request.tools[1].cache_mark = true;
  EXPECT_TRUE(rest_behind_mark(request).starts_with("</tools>"));
  request.system[1].cache_mark = true;  // the API has tools before the system text
  EXPECT_TRUE(rest_behind_mark(request).starts_with("<|end|>"));
  request.messages[0].content[0].cache_mark = true;
  EXPECT_TRUE(rest_behind_mark(request).starts_with("\nmore\nand this<|end|>"));
  request.messages[3].content[0].cache_mark = true;
  EXPECT_EQ(rest_behind_mark(request), "<|end|><|assistant|>");
}

}  // namespace
}  // namespace pensieve::chat
