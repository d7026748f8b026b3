// One function per field that has an inside of its own; the two parse_… at the end are the lists of
// fields. Whatever is not read here is ignored.
#include "application/proxy/openai_request.h"

#include <cstdint>
#include <limits>
#include <new>
#include <unordered_set>
#include <utility>

#include "foundation/json.h"
#include "foundation/text.h"

#include "domain/api/fields.h"
#include "domain/api/request_fields.h"

#include "application/proxy/internal/parts.h"

namespace pensieve::proxy {
namespace {

using api::MessagesRequest;
using api::Path;

constexpr std::int64_t kMaxInt = std::numeric_limits<int>::max();
constexpr double kMaxPenalty = 2.0;
constexpr int kDefaultCompletionTokens = 16;
constexpr api::StringBounds kModelBounds{.min_bytes = 1, .max_bytes = 256};
constexpr api::StringBounds kToolNameBounds{.min_bytes = 1, .max_bytes = 256};

// The field as an integer in [min, max], or `missing`.
Result<std::int64_t> read_integer_or(Json& object,
                                     const Path& path,
                                     std::string_view name,
                                     std::int64_t min,
                                     std::int64_t max,
                                     std::int64_t missing) {
  const Json* field = api::find(object, name);
  if (field == nullptr) return missing;
  return api::read_integer(*field, Path(path, name), min, max);
}

Result<bool> read_flag(Json& object, const Path& path, std::string_view name, bool missing) {
  const Json* field = api::find(object, name);
  if (field == nullptr) return missing;
  return api::read_bool(*field, Path(path, name));
}

// One answer for each request: a field that asks for more is refused, not ignored.
Result<void> expect_one(Json& body, const Path& root, std::string_view name) {
  PENSIEVE_TRY(const auto n, read_integer_or(body, root, name, 0, kMaxInt, 1));
  if (n != 1) return api::refuse(Path(root, name), "must be 1: one answer is given per request");
  return {};
}

Result<std::string> take_model(Json& body, const Path& root) {
  PENSIEVE_TRY(Json * model, api::require(body, root, "model"));
  return api::take_string(*model, Path(root, "model"), kModelBounds);
}

// A string or an array of strings.
Result<std::vector<std::string>> take_stops(Json& body, const Path& root) {
  constexpr api::StringBounds kBounds{.min_bytes = 1, .max_bytes = api::kMaxStopSequenceBytes};
  std::vector<std::string> stops;
  Json* stop = api::find(body, "stop");
  if (stop == nullptr) return stops;
  const Path path(root, "stop");
  if (stop->is_string()) {
    PENSIEVE_TRY(std::string text, api::take_string(*stop, path, kBounds));
    stops.push_back(std::move(text));
    return stops;
  }
  PENSIEVE_TRY(api::expect_array(*stop, path, api::kMaxStopSequences));
  for (std::size_t i = 0; i < stop->size(); ++i) {
    PENSIEVE_TRY(std::string text, api::take_string((*stop)[i], Path(path, i), kBounds));
    stops.push_back(std::move(text));
  }
  return stops;
}

Result<bool> read_include_usage(Json& body, const Path& root) {
  Json* options = api::find(body, "stream_options");
  if (options == nullptr) return false;
  const Path path(root, "stream_options");
  PENSIEVE_TRY(api::expect_object(*options, path));
  return read_flag(*options, path, "include_usage", false);
}

// What both kinds of request have.
Result<void> read_common(Json& body,
                         const Path& root,
                         MessagesRequest& request,
                         ReplyShape& shape) {
  PENSIEVE_TRY(request.model, take_model(body, root));
  PENSIEVE_TRY(expect_one(body, root, "n"));
  PENSIEVE_TRY(request.stop_sequences, take_stops(body, root));
  PENSIEVE_TRY(request.stream, read_flag(body, root, "stream", false));
  PENSIEVE_TRY(shape.include_usage, read_include_usage(body, root));
  PENSIEVE_TRY(api::read_sampling(body, root, request));
  // They count how often a token was said; the sampler here has one penalty for all that was seen
  // (repetition_penalty), and no value of these two means the same.
  for (const std::string_view name : {"presence_penalty", "frequency_penalty"}) {
    if (const Json* field = api::find(body, name)) {
      PENSIEVE_TRY(api::read_number(*field, Path(root, name), -kMaxPenalty, kMaxPenalty));
    }
  }
  return {};
}

Result<api::Tool> take_tool(Json& item, const Path& path) {
  PENSIEVE_TRY(api::expect_object(item, path));
  const Path type_path(path, "type");
  PENSIEVE_TRY(Json * type, api::require(item, path, "type"));
  PENSIEVE_TRY(const std::string kind, api::take_string(*type, type_path));
  if (kind != "function") {
    return api::refuse(type_path, "must be \"function\", not \"" + printable(kind) + "\"");
  }
  const Path function_path(path, "function");
  PENSIEVE_TRY(Json * function, api::require(item, path, "function"));
  PENSIEVE_TRY(api::expect_object(*function, function_path));
  api::Tool tool;
  PENSIEVE_TRY(Json * name, api::require(*function, function_path, "name"));
  PENSIEVE_TRY(tool.name, api::take_string(*name, Path(function_path, "name"), kToolNameBounds));
  if (Json* description = api::find(*function, "description")) {
    PENSIEVE_TRY(tool.description,
                 api::take_string(*description, Path(function_path, "description")));
  }
  if (const Json* parameters = api::find(*function, "parameters")) {
    PENSIEVE_TRY(api::expect_object(*parameters, Path(function_path, "parameters")));
    tool.input_schema_json = api::compact(*parameters);
  }
  return tool;
}

Result<std::vector<api::Tool>> take_tools(Json& body, const Path& root) {
  for (const std::string_view name : {"functions", "function_call"}) {
    if (api::find(body, name) != nullptr) {
      return api::refuse(Path(root, name), "is not supported, but tools and tool_choice are");
    }
  }
  std::vector<api::Tool> tools;
  Json* list = api::find(body, "tools");
  if (list == nullptr) return tools;
  const Path path(root, "tools");
  PENSIEVE_TRY(api::expect_array(*list, path, api::kMaxTools));
  std::unordered_set<std::string> names;
  tools.reserve(list->size());
  for (std::size_t i = 0; i < list->size(); ++i) {
    const Path item_path(path, i);
    PENSIEVE_TRY(api::Tool tool, take_tool((*list)[i], item_path));
    if (!names.insert(tool.name).second) {
      return api::refuse(item_path, "a second tool named \"" + printable(tool.name) + "\"");
    }
    tools.push_back(std::move(tool));
  }
  return tools;
}

// "auto", "none", "required", or {"type": "function", "function": {"name": "…"}}.
Result<void> take_tool_choice(Json& body, const Path& root, MessagesRequest& request) {
  using Kind = api::ToolChoice::Kind;
  api::ToolChoice& choice = request.tool_choice;
  PENSIEVE_TRY(const bool parallel, read_flag(body, root, "parallel_tool_calls", true));
  choice.disable_parallel_tool_use = !parallel;
  Json* field = api::find(body, "tool_choice");
  if (field == nullptr) return {};
  const Path path(root, "tool_choice");
  if (field->is_string()) {
    PENSIEVE_TRY(const std::string word, api::take_string(*field, path));
    if (word == "auto") return {};
    if (word == "none") {
      choice.kind = Kind::None;
      return {};
    }
    if (word != "required") {
      return api::refuse(
          path,
          "must be \"auto\", \"none\", \"required\" or an object, not \"" + printable(word) + "\"");
    }
    choice.kind = Kind::Any;
    if (request.tools.empty()) {
      return api::refuse(path, "\"required\" needs at least one tool in `tools`");
    }
    return {};
  }
  PENSIEVE_TRY(api::expect_object(*field, path));
  const Path type_path(path, "type"), function_path(path, "function");
  PENSIEVE_TRY(Json * type, api::require(*field, path, "type"));
  PENSIEVE_TRY(const std::string kind, api::take_string(*type, type_path));
  if (kind != "function") {
    return api::refuse(type_path, "must be \"function\", not \"" + printable(kind) + "\"");
  }
  PENSIEVE_TRY(Json * function, api::require(*field, path, "function"));
  PENSIEVE_TRY(api::expect_object(*function, function_path));
  PENSIEVE_TRY(Json * name, api::require(*function, function_path, "name"));
  const Path name_path(function_path, "name");
  PENSIEVE_TRY(choice.name, api::take_string(*name, name_path, kToolNameBounds));
  choice.kind = Kind::Tool;
  for (const api::Tool& tool : request.tools) {
    if (tool.name == choice.name) return {};
  }
  return api::refuse(name_path, "no tool named \"" + printable(choice.name) + "\" in `tools`");
}

// {"type": "text" | "json_object"} or {"type": "json_schema", "json_schema": {"schema": {…}}}.
Result<std::string> read_response_format(Json& body, const Path& root) {
  Json* format = api::find(body, "response_format");
  if (format == nullptr) return std::string();
  const Path path(root, "response_format"), type_path(path, "type");
  PENSIEVE_TRY(api::expect_object(*format, path));
  PENSIEVE_TRY(Json * type, api::require(*format, path, "type"));
  PENSIEVE_TRY(const std::string kind, api::take_string(*type, type_path));
  if (kind == "text") return std::string();
  if (kind == "json_object") return std::string(R"({"type":"object"})");
  if (kind != "json_schema") {
    return api::refuse(
        type_path,
        "must be \"text\", \"json_object\" or \"json_schema\", not \"" + printable(kind) + "\"");
  }
  const Path holder_path(path, "json_schema");
  PENSIEVE_TRY(Json * holder, api::require(*format, path, "json_schema"));
  PENSIEVE_TRY(api::expect_object(*holder, holder_path));
  const Json* schema = api::find(*holder, "schema");
  if (schema == nullptr) return std::string(R"({"type":"object"})");  // the API lets it be left out
  PENSIEVE_TRY(api::expect_object(*schema, Path(holder_path, "schema")));
  return api::compact(*schema);
}

Result<void> read_chat_logprobs(Json& body, const Path& root, ReplyShape& shape) {
  PENSIEVE_TRY(shape.logprobs, read_flag(body, root, "logprobs", false));
  PENSIEVE_TRY(const auto top, read_integer_or(body, root, "top_logprobs", 0, kMaxTopLogprobs, 0));
  if (top > 0 && !shape.logprobs) {
    return api::refuse(Path(root, "top_logprobs"), "needs logprobs to be true");
  }
  shape.top_logprobs = static_cast<int>(top);
  return {};
}

Result<ChatRequest> parse_chat(std::string_view text) {
  PENSIEVE_TRY(Json body, parse_json(text));
  const Path root;
  PENSIEVE_TRY(api::expect_object(body, root));
  ChatRequest chat;
  MessagesRequest& request = chat.messages;
  PENSIEVE_TRY(read_common(body, root, request, chat.shape));
  // max_tokens is the older name; a request with both means the newer one.
  PENSIEVE_TRY(const auto old_limit,
               read_integer_or(body, root, "max_tokens", 1, kMaxInt, kWhatTheWindowLeaves));
  PENSIEVE_TRY(const auto limit,
               read_integer_or(body, root, "max_completion_tokens", 1, kMaxInt, old_limit));
  request.max_tokens = static_cast<int>(limit);
  const Path messages_path(root, "messages");
  PENSIEVE_TRY(Json * messages, api::require(body, root, "messages"));
  PENSIEVE_TRY(take_turns(*messages, messages_path, request));
  PENSIEVE_TRY(request.tools, take_tools(body, root));
  PENSIEVE_TRY(take_tool_choice(body, root, request));
  PENSIEVE_TRY(request.output_schema_json, read_response_format(body, root));
  PENSIEVE_TRY(read_chat_logprobs(body, root, chat.shape));
  if (chat.shape.logprobs) request.top_logprobs = chat.shape.top_logprobs;
  return chat;
}

Result<std::string> take_prompt(Json& body, const Path& root) {
  const Path path(root, "prompt");
  PENSIEVE_TRY(Json * prompt, api::require(body, root, "prompt"));
  if (prompt->is_array() && prompt->size() == 1 && prompt->front().is_string()) {
    return api::take_string(prompt->front(), path);
  }
  if (prompt->is_array()) {
    return api::refuse(path, "must be one string: lists of prompts and token ids are not taken");
  }
  return api::take_string(*prompt, path);
}

Result<CompletionRequest> parse_completion(std::string_view text) {
  PENSIEVE_TRY(Json body, parse_json(text));
  const Path root;
  PENSIEVE_TRY(api::expect_object(body, root));
  CompletionRequest completion;
  PENSIEVE_TRY(read_common(body, root, completion.request, completion.shape));
  PENSIEVE_TRY(expect_one(body, root, "best_of"));
  PENSIEVE_TRY(const auto limit,
               read_integer_or(body, root, "max_tokens", 1, kMaxInt, kDefaultCompletionTokens));
  completion.request.max_tokens = static_cast<int>(limit);
  if (Json* suffix = api::find(body, "suffix")) {
    PENSIEVE_TRY(const std::string behind, api::take_string(*suffix, Path(root, "suffix")));
    if (!behind.empty()) {
      return api::refuse(Path(root, "suffix"), "is not supported: text is only continued");
    }
  }
  PENSIEVE_TRY(completion.prompt, take_prompt(body, root));
  PENSIEVE_TRY(const bool echo, read_flag(body, root, "echo", false));
  if (echo) completion.shape.echo = completion.prompt;
  PENSIEVE_TRY(const auto top, read_integer_or(body, root, "logprobs", 0, kMaxTopLogprobs, -1));
  completion.shape.logprobs = top >= 0;
  completion.shape.top_logprobs = static_cast<int>(top > 0 ? top : 0);
  if (completion.shape.logprobs) completion.request.top_logprobs = completion.shape.top_logprobs;
  return completion;
}

Error out_of_memory() {
  return {.kind = ErrorKind::Unavailable,
          .message = "Not enough memory to read this request.",
          .retry_after_s = 5};
}

}  // namespace

Result<ChatRequest> parse_chat_request(std::string_view body) {
  try {
    return parse_chat(body);
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

Result<CompletionRequest> parse_completion_request(std::string_view body) {
  try {
    return parse_completion(body);
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

}  // namespace pensieve::proxy
