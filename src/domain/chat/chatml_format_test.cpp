// ChatML and Llama 3 against the models' own templates, run by Jinja (testdata/templates.json, see
// tools/reference/make_chat_fixtures.py), and what a template is told by.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "foundation/json.h"

#include "domain/chat/chat_format.h"

namespace pensieve::chat {
namespace {

std::unique_ptr<ChatFormat> format_of(std::string_view chat_template) {
  auto format = format_for(chat_template, [](std::string_view) { return false; });
  EXPECT_TRUE(format.has_value());
  return format ? *std::move(format) : nullptr;
}

std::string shown(const Prompt& prompt) {
  std::string all;
  for (const Piece& piece : prompt.pieces) all += piece.text;
  return all;
}

TEST(ChatFormats, WriteWhatTheModelsTemplatesWrite) {
  std::ifstream file(PENSIEVE_SOURCE_DIR "/src/domain/chat/testdata/templates.json");
  std::ostringstream text;
  text << file.rdbuf();
  const auto json = parse_json(text.str());
  ASSERT_TRUE(json.has_value());
  int compared = 0;
  for (const Json& one : json->at("cases")) {
    SCOPED_TRACE(one.at("name").get<std::string>());
    const auto request = api::parse_messages_request(one.at("request").dump());
    ASSERT_TRUE(request.has_value()) << request.error().message;
    const bool llama = one.at("template").get<std::string>().starts_with("meta-llama");
    const auto format = format_of(llama ? "<|start_header_id|>" : "<|im_start|> enable_thinking");
    const auto prompt = format->render(*request);
    ASSERT_TRUE(prompt.has_value());
    EXPECT_EQ(shown(*prompt), one.at("prompt").get<std::string>());
    ++compared;
  }
  EXPECT_GE(compared, 6);
}

TEST(ChatFormats, AreToldByTheTokensThatATemplateWrites) {
  EXPECT_EQ(format_of("{{ '<|im_start|>' }}")->name(), "chatml");
  EXPECT_EQ(format_of("<|start_header_id|>")->name(), "llama3");
  EXPECT_EQ(format_of("{{ '<|user|>' }} <|assistant|> <|end|>")->name(), "phi3");
  const auto unknown = format_for("[INST]", [](std::string_view) { return true; });
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().kind, ErrorKind::BadFile);
  EXPECT_NE(unknown.error().message.find("ChatML"), std::string::npos);
  const auto by_token = format_for(
      "", [](std::string_view name) { return name == "<|assistant|>" || name == "<|end|>"; });
  ASSERT_TRUE(by_token);
  EXPECT_EQ((*by_token)->name(), "phi3");
  // Phi-3-mini's first template, as early conversions carry it: the opening token is in parts.
  const auto in_parts = format_for(
      "{{ bos_token }}{% for message in messages %}{{'<|' + message['role'] + '|>' + '\n' + "
      "message['content'] + '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}"
      "{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
      [](std::string_view) { return false; });
  ASSERT_TRUE(in_parts);
  EXPECT_EQ((*in_parts)->name(), "phi3");
  // Zephyr's turns open alike and end otherwise.
  EXPECT_FALSE(
      format_for("{{ '<|user|>\n' + message['content'] + eos_token }}{{ '<|assistant|>' }}",
                 [](std::string_view) { return true; }));
  EXPECT_FALSE(format_for("", [](std::string_view) { return false; }));
}

api::MessagesRequest request_of(const char* json) {
  auto request = api::parse_messages_request(json);
  CHECK(request.has_value());
  return *std::move(request);
}

// Tags that the format writes are tokens of their own; the same words of a user are text.
TEST(ChatFormats, OnlyTheFormatsOwnTagsAreTokens) {
  const auto request = request_of(R"({"model": "m", "max_tokens": 1, "messages": [
      {"role": "user", "content": "<tool_call> </think> <|im_end|>"},
      {"role": "assistant", "content": [{"type": "text", "text": "<tool_call>"},
        {"type": "tool_use", "id": "a", "name": "N", "input": {"x": "</tool_call>"}}]},
      {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "a", "content": "</tool_response>"}]}]})");
  const auto prompt = format_of("<|im_start|>")->render(request);
  ASSERT_TRUE(prompt);
  std::string controls;
  for (const Piece& piece : prompt->pieces) {
    if (piece.control) controls += piece.text;
    EXPECT_EQ(piece.optional, piece.control && !piece.text.starts_with("<|"));
  }
  EXPECT_EQ(controls,
            "<|im_start|><|im_end|><|im_start|><tool_call></tool_call><|im_end|><|im_start|>"
            "<tool_response></tool_response><|im_end|><|im_start|>");
}

TEST(ChatFormats, AnAnswersPiecesAreMarked) {
  const auto request = request_of(R"({"model": "m", "max_tokens": 1, "messages": [
      {"role": "user", "content": "Hi"},
      {"role": "assistant", "content": [{"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "a", "name": "N", "input": {}}]},
      {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]}]})");
  const auto prompt = format_of("<|im_start|> enable_thinking")->render(request);
  ASSERT_TRUE(prompt);
  ASSERT_EQ(prompt->answers.size(), 1u);
  const auto& [begin, end, key] = prompt->answers[0];
  std::string answer;
  for (std::size_t i = begin; i < end; ++i) answer += prompt->pieces[i].text;
  EXPECT_EQ(answer, "I look.\n<tool_call>\n{\"name\": \"N\", \"arguments\": {}}\n</tool_call>");
  EXPECT_EQ(key, (AnswerKey{.tool_use_ids = {"a"}, .text = "I look."}));
  std::string lead;
  for (std::size_t i = prompt->answer_begin; i < prompt->pieces.size(); ++i) {
    lead += prompt->pieces[i].text;
  }
  EXPECT_EQ(lead, "<think>\n\n</think>\n\n");
  EXPECT_FALSE(prompt->continues);
}

// A forced call or a JSON answer leaves no room for thoughts.
TEST(ChatFormats, AForcedAnswerDoesNotThink) {
  auto request = request_of(R"({"model": "m", "max_tokens": 2000,
      "thinking": {"type": "enabled", "budget_tokens": 1024},
      "messages": [{"role": "user", "content": "Hi"}]})");
  const auto format = format_of("<|im_start|> enable_thinking");
  EXPECT_TRUE(shown(*format->render(request)).ends_with("assistant\n"));
  request.output_schema_json = "{}";
  EXPECT_TRUE(shown(*format->render(request)).ends_with("</think>\n\n"));
}

}  // namespace
}  // namespace pensieve::chat
