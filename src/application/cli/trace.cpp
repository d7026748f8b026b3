// `pensieve trace`: one request through the steps of the flow, and the value behind one of them.
#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>

#include "foundation/json.h"

#include "domain/api/messages.h"

#include "application/cli/commands.h"
#include "application/cli/exit_status.h"
#include "application/cli/print_json.h"
#include "application/cli/stack.h"
#include "application/cli/tap_engine.h"

namespace pensieve::cli {
namespace {

constexpr std::size_t kLongestBody = std::size_t{32} << 20;

// Compact JSON text that api/ has checked -> value.
Json embedded_json(const std::string& text) {
  return text.empty() ? Json() : Json::parse(text, nullptr, false);
}

std::string_view word(api::BlockKind kind) {
  switch (kind) {
    case api::BlockKind::Text:
      return "text";
    case api::BlockKind::ToolUse:
      return "tool_use";
    case api::BlockKind::ToolResult:
      return "tool_result";
    case api::BlockKind::Thinking:
      return "thinking";
    case api::BlockKind::RedactedThinking:
      return "redacted_thinking";
    case api::BlockKind::Image:
      return "image";
    case api::BlockKind::Document:
      return "document";
    case api::BlockKind::ToolReference:
      return "tool_reference";
  }
  return "unknown";
}

std::string_view word(api::ToolChoice::Kind kind) {
  switch (kind) {
    case api::ToolChoice::Kind::Auto:
      return "auto";
    case api::ToolChoice::Kind::Any:
      return "any";
    case api::ToolChoice::Kind::Tool:
      return "tool";
    case api::ToolChoice::Kind::None:
      return "none";
  }
  return "unknown";
}

Json to_value(const std::vector<api::ContentBlock>& blocks) {
  Json list = Json::array();
  for (const api::ContentBlock& block : blocks) {
    Json value = {{"kind", word(block.kind)}};
    if (!block.id.empty()) value["id"] = block.id;
    if (!block.name.empty()) value["name"] = block.name;
    if (!block.input_json.empty()) value["input"] = embedded_json(block.input_json);
    if (!block.text.empty()) value["text"] = block.text;
    if (!block.signature.empty()) value["signature"] = block.signature;
    if (block.kind == api::BlockKind::ToolResult) {
      value["is_error"] = block.is_error;
      value["content"] = to_value(block.content);
    }
    list.push_back(std::move(value));
  }
  return list;
}

Json to_value(const api::MessagesRequest& request) {
  Json value = {
      {"model", request.model}, {"max_tokens", request.max_tokens}, {"stream", request.stream}};
  const auto add = [&](const char* name, const auto& optional) {
    if (optional) value[name] = *optional;
  };
  add("temperature", request.temperature);
  add("top_p", request.top_p);
  add("top_k", request.top_k);
  add("min_p", request.min_p);
  add("repetition_penalty", request.repetition_penalty);
  add("seed", request.seed);
  value["stop_sequences"] = request.stop_sequences;
  value["thinking_enabled"] = request.thinking_enabled;
  if (!request.output_schema_json.empty())
    value["output_schema"] = embedded_json(request.output_schema_json);
  value["system"] = to_value(request.system);
  value["messages"] = Json::array();
  for (const api::InputMessage& message : request.messages) {
    value["messages"].push_back(
        {{"role", to_string(message.role)}, {"content", to_value(message.content)}});
  }
  value["tools"] = Json::array();
  for (const api::Tool& tool : request.tools) {
    value["tools"].push_back({{"name", tool.name},
                              {"type", tool.type},
                              {"description", tool.description},
                              {"defer_loading", tool.defer_loading},
                              {"input_schema", embedded_json(tool.input_schema_json)}});
  }
  value["tool_choice"] = {
      {"kind", word(request.tool_choice.kind)},
      {"name", request.tool_choice.name},
      {"disable_parallel_tool_use", request.tool_choice.disable_parallel_tool_use}};
  return value;
}

Json to_value(const chat::Prompt& prompt) {
  Json list = Json::array();
  for (const chat::Piece& piece : prompt.pieces) {
    list.push_back({{"control", piece.control}, {"text", piece.text}});
  }
  return list;
}

// prefill, decode, interpret, report: the request is answered, through a tap in front of the
// engine.
Result<void> trace_answer(const Options& options,
                          Stack& stack,
                          const api::MessagesRequest& request) {
  Tapped tapped;
  const auto tap = make_tap_engine(*stack.engine, tapped);
  const auto service = claude::Service::create(stack.model, *tap);
  PENSIEVE_TRY(const auto answer, service->answer(request, "trace"));
  while (!answer->finished()) {
    answer->wait(1000);
    PENSIEVE_TRY(const auto events, answer->poll());
    if (options.until == "report") {
      for (const api::Event& event : events) {
        std::printf("event: %s\ndata: %s\n\n", event.name.c_str(), event.json.c_str());
      }
      std::fflush(stdout);
    }
    if (options.until == "prefill" && !tapped.tokens.empty()) break;
  }
  if (options.until == "prefill") {
    print_json({{"prompt_tokens", tapped.prompt_tokens},
                {"cached_tokens", tapped.cached_tokens},
                {"first_token", tapped.tokens.empty() ? kNoToken : tapped.tokens.front()}},
               -1);
  } else if (options.until == "decode") {
    print_json(Json(tapped.tokens), -1);
  } else if (options.until == "interpret") {
    print_json(to_value(answer->message().content));
  }
  return {};
}

Result<void> trace_steps_of(const Options& options) {
  const auto& steps = trace_steps();
  const auto until = std::find(steps.begin(), steps.end(), options.until) - steps.begin();
  PENSIEVE_TRY(const std::string body, read_input(options.request_path, kLongestBody));
  PENSIEVE_TRY(const api::MessagesRequest request, api::parse_messages_request(body));
  if (options.until == "understand") {
    print_json(to_value(request));
    return {};
  }
  PENSIEVE_TRY(const auto stack, build_stack(options, 1));
  if (until > 2) return trace_answer(options, *stack, request);
  PENSIEVE_TRY(const chat::Prompt prompt, stack->model.format->render(request));
  if (options.until == "render") {
    print_json(to_value(prompt));
    return {};
  }
  PENSIEVE_TRY(const auto tokens, stack->service->encode(prompt));
  print_json(Json(tokens), -1);
  return {};
}

}  // namespace

int trace(const Options& options) {
  const auto done = trace_steps_of(options);
  return done ? kExitDone : complain(done.error());
}

}  // namespace pensieve::cli
