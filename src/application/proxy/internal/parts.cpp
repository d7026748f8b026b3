#include "application/proxy/internal/parts.h"

#include <string_view>
#include <unordered_set>
#include <utility>

#include "foundation/text.h"

namespace pensieve::proxy {
namespace {

using api::BlockKind;
using api::ContentBlock;
using api::Path;

constexpr api::StringBounds kIdBounds{.min_bytes = 1, .max_bytes = 256};
constexpr api::StringBounds kNameBounds{.min_bytes = 1, .max_bytes = 256};

enum class Speaker { System, User, Assistant, Tool };

ContentBlock text_block(std::string text) {
  ContentBlock block;
  block.text = std::move(text);
  return block;
}

Result<Speaker> take_speaker(Json& message, const Path& path) {
  const Path role_path(path, "role");
  PENSIEVE_TRY(Json * role, api::require(message, path, "role"));
  PENSIEVE_TRY(const std::string name, api::take_string(*role, role_path));
  if (name == "system" || name == "developer") return Speaker::System;
  if (name == "user") return Speaker::User;
  if (name == "assistant") return Speaker::Assistant;
  if (name == "tool") return Speaker::Tool;
  return api::refuse(role_path,
                     "must be \"system\", \"developer\", \"user\", \"assistant\" or \"tool\", "
                     "not \"" +
                         printable(name) + "\"");
}

// {"image_url": {"url": "…"}}, or the address alone, as some clients have it.
Result<ContentBlock> take_image(Json& part, const Path& path) {
  const Path image_path(path, "image_url");
  PENSIEVE_TRY(Json * image, api::require(part, path, "image_url"));
  ContentBlock block;
  block.kind = BlockKind::Image;
  if (image->is_string()) {
    PENSIEVE_TRY(block.url, api::take_string(*image, image_path));
    return block;
  }
  PENSIEVE_TRY(api::expect_object(*image, image_path));
  PENSIEVE_TRY(Json * url, api::require(*image, image_path, "url"));
  PENSIEVE_TRY(block.url, api::take_string(*url, Path(image_path, "url")));
  return block;
}

Result<ContentBlock> take_file(Json& part, const Path& path) {
  const Path file_path(path, "file");
  PENSIEVE_TRY(Json * file, api::require(part, path, "file"));
  PENSIEVE_TRY(api::expect_object(*file, file_path));
  ContentBlock block;
  block.kind = BlockKind::Document;
  if (Json* name = api::find(*file, "filename")) {
    PENSIEVE_TRY(block.text, api::take_string(*name, Path(file_path, "filename")));
  }
  return block;
}

Result<ContentBlock> take_part(Json& part, const Path& path, Speaker speaker) {
  PENSIEVE_TRY(api::expect_object(part, path));
  const Path type_path(path, "type");
  PENSIEVE_TRY(Json * type, api::require(part, path, "type"));
  PENSIEVE_TRY(const std::string name, api::take_string(*type, type_path));
  const bool sees = speaker == Speaker::User || speaker == Speaker::Tool;
  if (name == "text" || (name == "refusal" && speaker == Speaker::Assistant)) {
    PENSIEVE_TRY(Json * text, api::require(part, path, name));
    PENSIEVE_TRY(std::string taken, api::take_string(*text, Path(path, name)));
    return text_block(std::move(taken));
  }
  if (name == "image_url" && sees) return take_image(part, path);
  if (name == "file" && sees) return take_file(part, path);
  if (name == "input_audio") return api::refuse(type_path, "audio is not supported");
  return api::refuse(type_path,
                     "a part of type \"" + printable(name) + "\" cannot stand in this message");
}

// A string or an array of parts; nothing when the field is missing or null.
Result<std::vector<ContentBlock>> take_content(Json& message, const Path& path, Speaker speaker) {
  std::vector<ContentBlock> blocks;
  Json* content = api::find(message, "content");
  if (content == nullptr) return blocks;
  const Path content_path(path, "content");
  if (content->is_string()) {
    PENSIEVE_TRY(std::string text, api::take_string(*content, content_path));
    blocks.push_back(text_block(std::move(text)));
    return blocks;
  }
  if (!content->is_array()) {
    return api::refuse(content_path,
                       "must be a string or an array of parts, not " + api::describe(*content));
  }
  blocks.reserve(content->size());
  for (std::size_t i = 0; i < content->size(); ++i) {
    PENSIEVE_TRY(ContentBlock block, take_part((*content)[i], Path(content_path, i), speaker));
    blocks.push_back(std::move(block));
  }
  return blocks;
}

class Turns {
 public:
  explicit Turns(api::MessagesRequest& request) : request_(request) {}

  Result<void> take(Json& message, const Path& path) {
    PENSIEVE_TRY(api::expect_object(message, path));
    PENSIEVE_TRY(const Speaker speaker, take_speaker(message, path));
    PENSIEVE_TRY(auto content, take_content(message, path, speaker));
    if (content.empty() && speaker != Speaker::Assistant && !message.contains("content")) {
      return api::refuse(Path(path, "content"), "is required");
    }
    switch (speaker) {
      case Speaker::System:
        add_system(std::move(content));
        return {};
      case Speaker::User:
        request_.messages.push_back({.role = api::Role::User, .content = std::move(content)});
        return {};
      case Speaker::Assistant:
        return add_assistant(message, path, std::move(content));
      case Speaker::Tool:
        return add_result(message, path, std::move(content));
    }
    return {};
  }

 private:
  void add_system(std::vector<ContentBlock> content) {
    if (!request_.messages.empty()) {
      request_.messages.push_back({.role = api::Role::System, .content = std::move(content)});
      return;
    }
    for (ContentBlock& block : content) request_.system.push_back(std::move(block));
  }

  Result<void> add_assistant(Json& message, const Path& path, std::vector<ContentBlock> content) {
    if (api::find(message, "function_call") != nullptr) {
      return api::refuse(Path(path, "function_call"), "is not supported, but tool_calls is");
    }
    if (Json* refusal = api::find(message, "refusal")) {
      PENSIEVE_TRY(std::string text, api::take_string(*refusal, Path(path, "refusal")));
      content.push_back(text_block(std::move(text)));
    }
    if (Json* calls = api::find(message, "tool_calls")) {
      const Path calls_path(path, "tool_calls");
      PENSIEVE_TRY(api::expect_array(*calls, calls_path, api::kMaxTools));
      for (std::size_t i = 0; i < calls->size(); ++i) {
        PENSIEVE_TRY(ContentBlock call, take_call((*calls)[i], Path(calls_path, i)));
        content.push_back(std::move(call));
      }
    }
    request_.messages.push_back({.role = api::Role::Assistant, .content = std::move(content)});
    return {};
  }

  Result<ContentBlock> take_call(Json& call, const Path& path) {
    PENSIEVE_TRY(api::expect_object(call, path));
    if (Json* type = api::find(call, "type")) {
      PENSIEVE_TRY(const std::string kind, api::take_string(*type, Path(path, "type")));
      if (kind != "function") {
        return api::refuse(Path(path, "type"),
                           "must be \"function\", not \"" + printable(kind) + "\"");
      }
    }
    ContentBlock block;
    block.kind = BlockKind::ToolUse;
    PENSIEVE_TRY(Json * id, api::require(call, path, "id"));
    PENSIEVE_TRY(block.id, api::take_string(*id, Path(path, "id"), kIdBounds));
    const Path function_path(path, "function");
    PENSIEVE_TRY(Json * function, api::require(call, path, "function"));
    PENSIEVE_TRY(api::expect_object(*function, function_path));
    PENSIEVE_TRY(Json * name, api::require(*function, function_path, "name"));
    PENSIEVE_TRY(block.name, api::take_string(*name, Path(function_path, "name"), kNameBounds));
    return with_arguments(std::move(block), *function, function_path);
  }

  Result<ContentBlock> with_arguments(ContentBlock block, Json& function, const Path& path) {
    Json* arguments = api::find(function, "arguments");
    block.input_json = "{}";
    if (arguments != nullptr && arguments->is_object()) {  // unpacked already, as some clients do
      block.input_json = api::compact(*arguments);
    } else if (arguments != nullptr) {
      PENSIEVE_TRY(const std::string text, api::take_string(*arguments, Path(path, "arguments")));
      if (first_not_blank(text) != std::string::npos) {
        const auto parsed = parse_json(text);
        if (!parsed || !parsed->is_object()) {
          calls_as_text_.insert(std::move(block.id));
          return text_block(block.name + "(" + text + ")");
        }
        block.input_json = api::compact(*parsed);
      }
    }
    calls_.insert(block.id);
    return block;
  }

  static std::size_t first_not_blank(std::string_view text) {
    return text.find_first_not_of(" \t\r\n");
  }

  Result<void> add_result(Json& message, const Path& path, std::vector<ContentBlock> content) {
    const Path id_path(path, "tool_call_id");
    PENSIEVE_TRY(Json * field, api::require(message, path, "tool_call_id"));
    PENSIEVE_TRY(std::string id, api::take_string(*field, id_path, kIdBounds));
    api::InputMessage& turn = request_.messages.emplace_back();
    turn.role = api::Role::User;
    if (calls_as_text_.contains(id)) {
      turn.content = std::move(content);
      return {};
    }
    if (!calls_.contains(id)) {
      return api::refuse(id_path,
                         "no tool call with the id \"" + printable(id) + "\" comes before");
    }
    ContentBlock& result = turn.content.emplace_back();
    result.kind = BlockKind::ToolResult;
    result.id = std::move(id);
    result.content = std::move(content);
    return {};
  }

  api::MessagesRequest& request_;
  std::unordered_set<std::string> calls_, calls_as_text_;  // ids
};

}  // namespace

Result<void> take_turns(Json& list, const Path& path, api::MessagesRequest& request) {
  PENSIEVE_TRY(api::expect_array(list, path, api::kMaxMessages));
  if (list.empty()) return api::refuse(path, "must hold at least one message");
  Turns turns(request);
  for (std::size_t i = 0; i < list.size(); ++i) {
    PENSIEVE_TRY(turns.take(list[i], Path(path, i)));
  }
  return {};
}

}  // namespace pensieve::proxy
