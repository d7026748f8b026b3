#include "application/proxy/internal/upstream_request.h"

#include <algorithm>
#include <climits>
#include <cstdint>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "foundation/json.h"
#include "foundation/text.h"

#include "domain/api/fields.h"
#include "domain/chat/chat_format.h"

#include "application/proxy/openai_request.h"

namespace pensieve::proxy {
namespace {

using api::BlockKind;
using api::ContentBlock;

void add_paragraph(std::string& out, std::string_view text) {
  if (trimmed(text).empty()) return;
  if (!out.empty()) out += "\n\n";
  out += text;
}

// A block in words.
std::string text_of(const ContentBlock& block) {
  switch (block.kind) {
    case BlockKind::Text:
      return block.text;
    case BlockKind::Image:
      return "[image]";
    case BlockKind::Document:
      return block.text.empty() ? "[document]" : block.text;
    case BlockKind::ToolReference:
      return "[tool " + block.name + "]";
    default:
      return {};
  }
}

bool can_be_shown(const ContentBlock& block) {
  return block.kind == BlockKind::Image && !block.url.empty();
}

Json text_part(std::string_view text) {
  return Json{{"type", "text"}, {"text", text}};
}

Json image_part(const ContentBlock& block) {
  return Json{{"type", "image_url"}, {"image_url", Json{{"url", block.url}}}};
}

Json message(std::string_view role, Json content) {
  return Json{{"role", role}, {"content", std::move(content)}};
}

class Messages {
 public:
  explicit Messages(const api::MessagesRequest& request) {
    std::string system;
    for (std::size_t i = 0; i < request.system.size(); ++i) {
      const std::string& text = request.system[i].text;
      if (i == 0 && text.starts_with(chat::kBillingHeader)) continue;
      add_paragraph(system, text);
    }
    if (!system.empty()) list_.push_back(message("system", std::move(system)));
    for (const api::InputMessage& turn : request.messages) take(turn);
  }

  Json list() && { return std::move(list_); }

 private:
  void take(const api::InputMessage& turn) {
    switch (turn.role) {
      case api::Role::System:
        return take_system(turn);
      case api::Role::User:
        return take_user(turn);
      case api::Role::Assistant:
        return take_assistant(turn);
    }
  }

  void take_system(const api::InputMessage& turn) {
    std::string text;
    for (const ContentBlock& block : turn.content) add_paragraph(text, text_of(block));
    if (!text.empty()) list_.push_back(message("system", std::move(text)));
  }

  // Results stand directly behind their calls, whatever else is in the turn.
  void take_user(const api::InputMessage& turn) {
    std::vector<const ContentBlock*> results, rest;
    for (const ContentBlock& block : turn.content) {
      (block.kind == BlockKind::ToolResult ? results : rest).push_back(&block);
    }
    std::stable_sort(results.begin(), results.end(), [&](const auto* a, const auto* b) {
      return place_of(*a) < place_of(*b);
    });
    Json seen = Json::array();  // images that tools returned
    for (const ContentBlock* result : results) take_result(*result, seen);
    add_user(rest, std::move(seen));
  }

  int place_of(const ContentBlock& result) const {
    const auto call = calls_.find(result.id);
    return call == calls_.end() ? INT_MAX : call->second;
  }

  void take_result(const ContentBlock& result, Json& seen) {
    std::string text = result.is_error ? "Error: " : "";
    bool first = true;
    for (const ContentBlock& block : result.content) {
      if (can_be_shown(block)) {
        seen.push_back(image_part(block));
        continue;
      }
      if (!first) text += '\n';
      text += text_of(block);
      first = false;
    }
    Json tool = message("tool", std::move(text));
    tool["tool_call_id"] = result.id;
    list_.push_back(std::move(tool));
  }

  // Plain text where nothing needs parts: every server takes that.
  void add_user(const std::vector<const ContentBlock*>& blocks, Json parts) {
    bool plain = parts.empty();
    for (const ContentBlock* block : blocks) plain = plain && !can_be_shown(*block);
    std::string text;
    for (const ContentBlock* block : blocks) {
      if (can_be_shown(*block)) {
        parts.push_back(image_part(*block));
        continue;
      }
      const std::string words = text_of(*block);
      if (trimmed(words).empty()) continue;
      if (plain) {
        add_paragraph(text, words);
      } else {
        parts.push_back(text_part(words));
      }
    }
    if (!text.empty()) list_.push_back(message("user", std::move(text)));
    if (!parts.empty()) list_.push_back(message("user", std::move(parts)));
  }

  void take_assistant(const api::InputMessage& turn) {
    std::string text;
    Json calls = Json::array();
    calls_.clear();
    for (const ContentBlock& block : turn.content) {
      if (block.kind == BlockKind::Text) add_paragraph(text, block.text);
      if (block.kind != BlockKind::ToolUse) continue;
      calls_.emplace(block.id, static_cast<int>(calls_.size()));
      calls.push_back(
          Json{{"id", block.id},
               {"type", "function"},
               {"function",
                Json{{"name", block.name},
                     {"arguments", block.input_json.empty() ? "{}" : block.input_json}}}});
    }
    if (text.empty() && calls.empty()) return;
    Json assistant = message("assistant", text.empty() ? Json(nullptr) : Json(std::move(text)));
    if (!calls.empty()) assistant["tool_calls"] = std::move(calls);
    list_.push_back(std::move(assistant));
  }

  Json list_ = Json::array();
  std::map<std::string, int> calls_;  // ids of the last assistant turn's calls, in order
};

Json tool_json(const api::Tool& tool) {
  Json function{{"name", tool.name}};
  if (!tool.description.empty()) function["description"] = tool.description;
  auto schema = parse_json(tool.input_schema_json);
  function["parameters"] =
      schema ? *std::move(schema) : Json{{"type", "object"}, {"properties", Json::object()}};
  return Json{{"type", "function"}, {"function", std::move(function)}};
}

Json tool_choice_json(const api::ToolChoice& choice) {
  switch (choice.kind) {
    case api::ToolChoice::Kind::Auto:
      return "auto";
    case api::ToolChoice::Kind::Any:
      return "required";
    case api::ToolChoice::Kind::None:
      return "none";
    case api::ToolChoice::Kind::Tool:
      return Json{{"type", "function"}, {"function", Json{{"name", choice.name}}}};
  }
  return "auto";
}

void add_tools(Json& body, const api::MessagesRequest& request) {
  Json tools = Json::array();
  for (const api::Tool* tool : chat::callable_tools(request)) tools.push_back(tool_json(*tool));
  if (tools.empty()) return;
  body["tools"] = std::move(tools);
  if (request.tool_choice.kind != api::ToolChoice::Kind::Auto) {
    body["tool_choice"] = tool_choice_json(request.tool_choice);
  }
  if (request.tool_choice.disable_parallel_tool_use) body["parallel_tool_calls"] = false;
}

void add_response_format(Json& body, std::string_view schema_json) {
  auto schema = parse_json(schema_json);
  if (!schema) return;
  if (*schema == Json{{"type", "object"}}) {
    body["response_format"] = Json{{"type", "json_object"}};
    return;
  }
  body["response_format"] =
      Json{{"type", "json_schema"},
           {"json_schema", Json{{"name", "answer"}, {"schema", *std::move(schema)}}}};
}

void add_common(Json& body, const api::MessagesRequest& request, int max_tokens) {
  if (max_tokens > 0) {
    body["max_tokens"] = max_tokens;
  } else if (request.max_tokens != kWhatTheWindowLeaves) {
    body["max_tokens"] = request.max_tokens;
  }
  if (request.temperature) body["temperature"] = *request.temperature;
  if (request.top_p) body["top_p"] = *request.top_p;
  if (request.top_k) body["top_k"] = *request.top_k;
  if (request.min_p) body["min_p"] = *request.min_p;
  if (request.repetition_penalty) body["repetition_penalty"] = *request.repetition_penalty;
  // Elsewhere a seed has 63 bits and a sign.
  if (request.seed) body["seed"] = *request.seed & std::numeric_limits<std::int64_t>::max();
  body["stream"] = true;
  body["stream_options"] = Json{{"include_usage", true}};
}

}  // namespace

std::string chat_body(const api::MessagesRequest& request, std::string_view model, int max_tokens) {
  Json body{{"model", model}, {"messages", Messages(request).list()}};
  add_tools(body, request);
  if (!request.output_schema_json.empty()) add_response_format(body, request.output_schema_json);
  add_common(body, request, max_tokens);
  if (request.top_logprobs) {
    body["logprobs"] = true;
    if (*request.top_logprobs > 0) body["top_logprobs"] = *request.top_logprobs;
  }
  return api::compact(body);
}

std::string completion_body(const api::MessagesRequest& request,
                            std::string_view prompt,
                            std::string_view model) {
  Json body{{"model", model}, {"prompt", prompt}};
  add_common(body, request, 0);
  return api::compact(body);
}

}  // namespace pensieve::proxy
