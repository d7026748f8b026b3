// The body of POST /v1/messages -> MessagesRequest. One function per field that has an inside of
// its own; parse_body() is the list of fields. Whatever is not read here is ignored.
#include <cstdint>
#include <limits>
#include <new>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "foundation/json.h"
#include "foundation/result.h"
#include "foundation/text.h"

#include "domain/api/fields.h"
#include "domain/api/internal/blocks.h"
#include "domain/api/messages.h"
#include "domain/api/request_fields.h"

namespace pensieve::api {
namespace {

constexpr std::int64_t kMaxInt = std::numeric_limits<int>::max();
constexpr double kMaxTemperature = 2.0;
constexpr double kMinRepetitionPenalty = 0.01;
constexpr double kMaxRepetitionPenalty = 100.0;
constexpr StringBounds kModelBounds{.min_bytes = 1, .max_bytes = 256};
constexpr StringBounds kToolTypeBounds{.max_bytes = 256};
constexpr StringBounds kToolNameBounds{.min_bytes = 1, .max_bytes = 256};

enum class Purpose { Answer, CountTokens };

Result<Role> read_role(Json& message, const Path& path) {
  const Path role_path(path, "role");
  PENSIEVE_TRY(Json * role, require(message, path, "role"));
  PENSIEVE_TRY(const std::string name, take_string(*role, role_path));
  if (name == "user") return Role::User;
  if (name == "assistant") return Role::Assistant;
  if (name == "system") return Role::System;
  return refuse(role_path,
                "must be \"user\", \"assistant\" or \"system\", not \"" + printable(name) + "\"");
}

Holder holder_of(Role role) {
  switch (role) {
    case Role::User:
      return Holder::UserTurn;
    case Role::Assistant:
      return Holder::AssistantTurn;
    case Role::System:
      return Holder::SystemText;
  }
  return Holder::SystemText;
}

// A tool result must answer a tool call that came before it: a result without its call has no
// place in a prompt, and silently dropping it would change what the model knows.
Result<void> check_tool_results(const InputMessage& message,
                                const Path& content_path,
                                std::unordered_set<std::string>& known_calls) {
  for (std::size_t i = 0; i < message.content.size(); ++i) {
    const ContentBlock& block = message.content[i];
    if (block.kind == BlockKind::ToolUse) known_calls.insert(block.id);
    if (block.kind != BlockKind::ToolResult || known_calls.contains(block.id)) continue;
    const Path block_path(content_path, i);
    return refuse(Path(block_path, "tool_use_id"),
                  "no tool_use block with the id \"" + printable(block.id) + "\" comes before");
  }
  return {};
}

Result<std::vector<InputMessage>> take_messages(Json& body, const Path& root) {
  const Path path(root, "messages");
  PENSIEVE_TRY(Json * list, require(body, root, "messages"));
  PENSIEVE_TRY(expect_array(*list, path, kMaxMessages));
  if (list->empty()) return refuse(path, "must hold at least one message");
  std::vector<InputMessage> messages;
  messages.reserve(list->size());
  std::unordered_set<std::string> known_calls;
  for (std::size_t i = 0; i < list->size(); ++i) {
    Json& item = (*list)[i];
    const Path item_path(path, i);
    const Path content_path(item_path, "content");
    PENSIEVE_TRY(expect_object(item, item_path));
    InputMessage& message = messages.emplace_back();
    PENSIEVE_TRY(message.role, read_role(item, item_path));
    PENSIEVE_TRY(Json * content, require(item, item_path, "content"));
    PENSIEVE_TRY(message.content, take_content(*content, content_path, holder_of(message.role)));
    PENSIEVE_TRY(check_tool_results(message, content_path, known_calls));
  }
  return messages;
}

Result<Tool> take_tool(Json& item, const Path& path) {
  PENSIEVE_TRY(expect_object(item, path));
  Tool tool;
  if (Json* type = find(item, "type")) {
    PENSIEVE_TRY(tool.type, take_string(*type, Path(path, "type"), kToolTypeBounds));
  }
  const bool has_type = !tool.type.empty() && tool.type != "custom";
  if (Json* name = find(item, "name")) {
    PENSIEVE_TRY(tool.name, take_string(*name, Path(path, "name"), kToolNameBounds));
  } else if (has_type) {
    tool.name = tool.type;  // toolsets have a type and no name
  } else {
    return refuse(Path(path, "name"), "is required");
  }
  if (Json* description = find(item, "description")) {
    PENSIEVE_TRY(tool.description, take_string(*description, Path(path, "description")));
  }
  if (const Json* schema = find(item, "input_schema")) {
    PENSIEVE_TRY(expect_object(*schema, Path(path, "input_schema")));
    tool.input_schema_json = compact(*schema);
  }
  if (const Json* defer = find(item, "defer_loading")) {
    PENSIEVE_TRY(tool.defer_loading, read_bool(*defer, Path(path, "defer_loading")));
  }
  tool.cache_mark = find(item, "cache_control") != nullptr;
  return tool;
}

Result<std::vector<Tool>> take_tools(Json& body, const Path& root) {
  std::vector<Tool> tools;
  Json* list = find(body, "tools");
  if (list == nullptr) return tools;
  const Path path(root, "tools");
  PENSIEVE_TRY(expect_array(*list, path, kMaxTools));
  std::unordered_set<std::string> names;
  tools.reserve(list->size());
  for (std::size_t i = 0; i < list->size(); ++i) {
    const Path item_path(path, i);
    PENSIEVE_TRY(Tool tool, take_tool((*list)[i], item_path));
    if (!names.insert(tool.name).second) {
      return refuse(Path(item_path, "name"),
                    "a second tool named \"" + printable(tool.name) + "\"");
    }
    tools.push_back(std::move(tool));
  }
  return tools;
}

Result<ToolChoice> take_tool_choice(Json& body, const Path& root, const std::vector<Tool>& tools) {
  ToolChoice choice;
  Json* object = find(body, "tool_choice");
  if (object == nullptr) return choice;
  const Path path(root, "tool_choice");
  const Path type_path(path, "type");
  PENSIEVE_TRY(expect_object(*object, path));
  PENSIEVE_TRY(Json * type, require(*object, path, "type"));
  PENSIEVE_TRY(const std::string name, take_string(*type, type_path));
  if (const Json* single = find(*object, "disable_parallel_tool_use")) {
    PENSIEVE_TRY(choice.disable_parallel_tool_use,
                 read_bool(*single, Path(path, "disable_parallel_tool_use")));
  }
  if (name == "auto" || name == "none") {
    choice.kind = name == "auto" ? ToolChoice::Kind::Auto : ToolChoice::Kind::None;
    return choice;
  }
  if (name == "any") {
    choice.kind = ToolChoice::Kind::Any;
    if (tools.empty()) return refuse(type_path, "\"any\" needs at least one tool in `tools`");
    return choice;
  }
  if (name != "tool") {
    return refuse(
        type_path,
        "must be \"auto\", \"any\", \"tool\" or \"none\", not \"" + printable(name) + "\"");
  }
  choice.kind = ToolChoice::Kind::Tool;
  const Path name_path(path, "name");
  PENSIEVE_TRY(Json * wanted, require(*object, path, "name"));
  PENSIEVE_TRY(choice.name, take_string(*wanted, name_path, kToolNameBounds));
  for (const Tool& tool : tools) {
    if (tool.name == choice.name) return choice;
  }
  return refuse(name_path, "no tool named \"" + printable(choice.name) + "\" in `tools`");
}

Result<std::vector<std::string>> take_stop_sequences(Json& body, const Path& root) {
  std::vector<std::string> sequences;
  Json* list = find(body, "stop_sequences");
  if (list == nullptr) return sequences;
  const Path path(root, "stop_sequences");
  PENSIEVE_TRY(expect_array(*list, path, kMaxStopSequences));
  for (std::size_t i = 0; i < list->size(); ++i) {
    PENSIEVE_TRY(
        std::string text,
        take_string(
            (*list)[i], Path(path, i), {.min_bytes = 1, .max_bytes = kMaxStopSequenceBytes}));
    sequences.push_back(std::move(text));
  }
  return sequences;
}

// {"type": "enabled", "budget_tokens": n} | {"type": "adaptive"} | {"type": "between_tools"} |
// {"type": "disabled"}. The budget is checked and not used.
Result<bool> read_thinking(Json& body, const Path& root) {
  Json* object = find(body, "thinking");
  if (object == nullptr) return false;
  const Path path(root, "thinking");
  PENSIEVE_TRY(expect_object(*object, path));
  PENSIEVE_TRY(Json * type, require(*object, path, "type"));
  PENSIEVE_TRY(const std::string name, take_string(*type, Path(path, "type")));
  if (const Json* budget = find(*object, "budget_tokens")) {
    PENSIEVE_TRY(read_integer(*budget, Path(path, "budget_tokens"), 1, kMaxInt));
  }
  if (name == "disabled") return false;
  if (name == "enabled" || name == "adaptive" || name == "between_tools") return true;
  return refuse(Path(path, "type"),
                "must be \"enabled\", \"adaptive\", \"between_tools\" or \"disabled\", not \"" +
                    printable(name) + "\"");
}

// {"type": "json_schema", "schema": {…}} -> the schema's text.
Result<std::string> read_output_format(Json& format, const Path& path) {
  PENSIEVE_TRY(expect_object(format, path));
  PENSIEVE_TRY(Json * type, require(format, path, "type"));
  PENSIEVE_TRY(const std::string name, take_string(*type, Path(path, "type")));
  if (name != "json_schema") {
    return refuse(Path(path, "type"), "must be \"json_schema\", not \"" + printable(name) + "\"");
  }
  PENSIEVE_TRY(Json * schema, require(format, path, "schema"));
  PENSIEVE_TRY(expect_object(*schema, Path(path, "schema")));
  return compact(*schema);
}

Result<std::string> read_output_schema(Json& body, const Path& root) {
  if (Json* config = find(body, "output_config")) {
    const Path path(root, "output_config");
    PENSIEVE_TRY(expect_object(*config, path));
    if (Json* format = find(*config, "format")) {
      return read_output_format(*format, Path(path, "format"));
    }
  }
  // The field's name before it moved into output_config; older clients still send it.
  if (Json* format = find(body, "output_format")) {
    return read_output_format(*format, Path(root, "output_format"));
  }
  return std::string();
}

Result<void> read_optional_number(Json& body,
                                  const Path& root,
                                  std::string_view name,
                                  double min,
                                  double max,
                                  std::optional<double>& out) {
  if (const Json* field = find(body, name)) {
    PENSIEVE_TRY(out, read_number(*field, Path(root, name), min, max));
  }
  return {};
}

}  // namespace

Result<void> read_sampling(Json& body, const Path& root, MessagesRequest& request) {
  PENSIEVE_TRY(
      read_optional_number(body, root, "temperature", 0, kMaxTemperature, request.temperature));
  PENSIEVE_TRY(read_optional_number(body, root, "top_p", 0, 1, request.top_p));
  PENSIEVE_TRY(read_optional_number(body, root, "min_p", 0, 1, request.min_p));
  for (const std::string_view name : {"repeat_penalty", "repetition_penalty"}) {
    PENSIEVE_TRY(read_optional_number(body,
                                      root,
                                      name,
                                      kMinRepetitionPenalty,
                                      kMaxRepetitionPenalty,
                                      request.repetition_penalty));
  }
  if (const Json* top_k = find(body, "top_k")) {
    PENSIEVE_TRY(const auto value, read_integer(*top_k, Path(root, "top_k"), 0, kMaxInt));
    request.top_k = static_cast<int>(value);
  }
  if (const Json* seed = find(body, "seed")) {
    if (seed->is_number_unsigned()) {
      request.seed = seed->get<std::uint64_t>();
    } else {
      // -1 asks for a random seed, as it does elsewhere.
      PENSIEVE_TRY(
          const auto value,
          read_integer(*seed, Path(root, "seed"), -1, std::numeric_limits<std::int64_t>::max()));
      if (value >= 0) request.seed = static_cast<std::uint64_t>(value);
    }
  }
  return {};
}

namespace {

Result<MessagesRequest> parse_body(std::string_view text, Purpose purpose) {
  PENSIEVE_TRY(Json body, parse_json(text));
  const Path root;
  PENSIEVE_TRY(expect_object(body, root));
  MessagesRequest request;

  PENSIEVE_TRY(Json * model, require(body, root, "model"));
  PENSIEVE_TRY(request.model, take_string(*model, Path(root, "model"), kModelBounds));
  if (purpose == Purpose::Answer) {
    PENSIEVE_TRY(Json * max_tokens, require(body, root, "max_tokens"));
    PENSIEVE_TRY(const auto value, read_integer(*max_tokens, Path(root, "max_tokens"), 1, kMaxInt));
    request.max_tokens = static_cast<int>(value);
  } else {
    request.max_tokens = 1;
  }
  PENSIEVE_TRY(request.messages, take_messages(body, root));
  if (auto& last = request.messages.back().content; !last.empty()) {
    last.back().cache_mark |= find(body, "cache_control") != nullptr;
  }
  if (Json* system = find(body, "system")) {
    PENSIEVE_TRY(request.system, take_content(*system, Path(root, "system"), Holder::SystemText));
  }
  PENSIEVE_TRY(request.tools, take_tools(body, root));
  PENSIEVE_TRY(request.tool_choice, take_tool_choice(body, root, request.tools));
  PENSIEVE_TRY(request.stop_sequences, take_stop_sequences(body, root));
  if (const Json* stream = find(body, "stream")) {
    PENSIEVE_TRY(request.stream, read_bool(*stream, Path(root, "stream")));
  }
  PENSIEVE_TRY(read_sampling(body, root, request));
  PENSIEVE_TRY(request.thinking_enabled, read_thinking(body, root));
  PENSIEVE_TRY(request.output_schema_json, read_output_schema(body, root));
  return request;
}

Result<MessagesRequest> parse_guarded(std::string_view text, Purpose purpose) {
  try {
    return parse_body(text, purpose);
  } catch (const std::bad_alloc&) {
    return Error{.kind = ErrorKind::Unavailable,
                 .message = "Not enough memory to read this request.",
                 .retry_after_s = 5};
  }
}

}  // namespace

Result<MessagesRequest> parse_messages_request(std::string_view body) {
  return parse_guarded(body, Purpose::Answer);
}

Result<MessagesRequest> parse_count_tokens_request(std::string_view body) {
  return parse_guarded(body, Purpose::CountTokens);
}

}  // namespace pensieve::api
