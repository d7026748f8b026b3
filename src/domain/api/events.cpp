// Messages, server-sent events and token counts as JSON. Source: the API reference's pages
// "Messages" and "Streaming messages". dump() escapes control characters, so no text can break the
// one data: line of an event, and replaces invalid UTF-8 instead of throwing.
#include <string>
#include <string_view>
#include <utility>

#include "foundation/json.h"

#include "domain/api/fields.h"
#include "domain/api/messages.h"

namespace pensieve::api {
namespace {

Json usage_json(const Usage& usage) {
  return Json{{"input_tokens", usage.input_tokens},
              {"cache_creation_input_tokens", usage.cache_creation_input_tokens},
              {"cache_read_input_tokens", usage.cache_read_input_tokens},
              {"output_tokens", usage.output_tokens}};
}

Json optional_text(std::string_view text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

// The sampled input as an object. Bounded like any other JSON from outside, since a model wrote it.
Json input_object(std::string_view input_json) {
  auto input = parse_json(input_json);
  return input && input->is_object() ? *std::move(input) : Json::object();
}

Json block_json(const ContentBlock& block) {
  switch (block.kind) {
    case BlockKind::ToolUse:
      return Json{{"type", "tool_use"},
                  {"id", block.id},
                  {"name", block.name},
                  {"input", input_object(block.input_json)}};
    case BlockKind::Thinking:
      return Json{{"type", "thinking"}, {"thinking", block.text}, {"signature", block.signature}};
    case BlockKind::RedactedThinking:
      return Json{{"type", "redacted_thinking"}, {"data", block.text}};
    default:
      return Json{{"type", "text"}, {"text", block.text}};
  }
}

Event event(std::string_view name, const Json& rest) {
  Json data{{"type", name}};
  data.update(rest);
  return {.name = std::string(name), .json = compact(data)};
}

Event block_start(int index, Json block) {
  return event("content_block_start", Json{{"index", index}, {"content_block", std::move(block)}});
}

Event block_delta(int index, std::string_view type, std::string_view field, std::string_view text) {
  return event("content_block_delta",
               Json{{"index", index}, {"delta", Json{{"type", type}, {std::string(field), text}}}});
}

}  // namespace

std::string_view to_string(Role role) {
  switch (role) {
    case Role::User:
      return "user";
    case Role::Assistant:
      return "assistant";
    case Role::System:
      return "system";
  }
  return "unknown";
}

std::string_view to_string(StopReason reason) {
  switch (reason) {
    case StopReason::EndTurn:
      return "end_turn";
    case StopReason::MaxTokens:
      return "max_tokens";
    case StopReason::StopSequence:
      return "stop_sequence";
    case StopReason::ToolUse:
      return "tool_use";
    case StopReason::ModelContextWindowExceeded:
      return "model_context_window_exceeded";
    case StopReason::Refusal:
      return "refusal";
  }
  return "end_turn";
}

std::string to_json(const Message& message) {
  Json content = Json::array();
  for (const ContentBlock& block : message.content) content.push_back(block_json(block));
  return compact(Json{{"id", message.id},
                      {"type", "message"},
                      {"role", "assistant"},
                      {"model", message.model},
                      {"content", std::move(content)},
                      {"stop_reason", to_string(message.stop_reason)},
                      {"stop_sequence", optional_text(message.stop_sequence)},
                      {"usage", usage_json(message.usage)}});
}

Event message_start(std::string_view id, std::string_view model, const Usage& usage) {
  return event("message_start",
               Json{{"message",
                     Json{{"id", id},
                          {"type", "message"},
                          {"role", "assistant"},
                          {"model", model},
                          {"content", Json::array()},
                          {"stop_reason", nullptr},
                          {"stop_sequence", nullptr},
                          {"usage", usage_json(usage)}}}});
}

Event text_block_start(int index) {
  return block_start(index, Json{{"type", "text"}, {"text", ""}});
}

Event tool_use_block_start(int index, std::string_view id, std::string_view name) {
  return block_start(
      index, Json{{"type", "tool_use"}, {"id", id}, {"name", name}, {"input", Json::object()}});
}

Event thinking_block_start(int index) {
  return block_start(index, Json{{"type", "thinking"}, {"thinking", ""}, {"signature", ""}});
}

Event text_delta(int index, std::string_view text) {
  return block_delta(index, "text_delta", "text", text);
}

Event input_json_delta(int index, std::string_view partial_json) {
  return block_delta(index, "input_json_delta", "partial_json", partial_json);
}

Event thinking_delta(int index, std::string_view text) {
  return block_delta(index, "thinking_delta", "thinking", text);
}

Event signature_delta(int index, std::string_view signature) {
  return block_delta(index, "signature_delta", "signature", signature);
}

Event block_stop(int index) {
  return event("content_block_stop", Json{{"index", index}});
}

Event message_delta(StopReason reason, std::string_view stop_sequence, const Usage& usage) {
  return event("message_delta",
               Json{{"delta",
                     Json{{"stop_reason", to_string(reason)},
                          {"stop_sequence", optional_text(stop_sequence)}}},
                    {"usage", usage_json(usage)}});
}

Event message_stop() {
  return event("message_stop", Json::object());
}

Event ping() {
  return event("ping", Json::object());
}

std::string count_tokens_json(int input_tokens) {
  return compact(Json{{"input_tokens", input_tokens}});
}

}  // namespace pensieve::api
