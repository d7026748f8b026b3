#include "domain/api/internal/blocks.h"

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "foundation/text.h"

namespace pensieve::api {
namespace {

constexpr StringBounds kIdBounds{.min_bytes = 1, .max_bytes = 256};
constexpr StringBounds kNameBounds{.min_bytes = 1, .max_bytes = 256};

Result<std::string> take_required_string(Json& object,
                                         const Path& path,
                                         std::string_view name,
                                         StringBounds bounds = {}) {
  PENSIEVE_TRY(Json * field, require(object, path, name));
  return take_string(*field, Path(path, name), bounds);
}

// An empty string for a field that is missing or null.
Result<std::string> take_optional_string(Json& object, const Path& path, std::string_view name) {
  Json* field = find(object, name);
  if (field == nullptr) return std::string();
  return take_string(*field, Path(path, name));
}

Result<void> take_text(Json& block, const Path& path, ContentBlock& out) {
  PENSIEVE_TRY(out.text, take_required_string(block, path, "text"));
  return {};
}

Result<void> take_tool_use(Json& block, const Path& path, ContentBlock& out) {
  PENSIEVE_TRY(out.id, take_required_string(block, path, "id", kIdBounds));
  PENSIEVE_TRY(out.name, take_required_string(block, path, "name", kNameBounds));
  PENSIEVE_TRY(Json * input, require(block, path, "input"));
  PENSIEVE_TRY(expect_object(*input, Path(path, "input")));
  out.input_json = compact(*input);
  return {};
}

Result<void> take_tool_result(Json& block, const Path& path, ContentBlock& out) {
  PENSIEVE_TRY(out.id, take_required_string(block, path, "tool_use_id", kIdBounds));
  if (const Json* is_error = find(block, "is_error")) {
    PENSIEVE_TRY(out.is_error, read_bool(*is_error, Path(path, "is_error")));
  }
  if (Json* content = find(block, "content")) {
    PENSIEVE_TRY(out.content,
                 take_content(*content, Path(path, "content"), Holder::ToolResultContent));
    for (const ContentBlock& inner : out.content) out.cache_mark |= inner.cache_mark;
  }
  return {};
}

Result<void> take_thinking(Json& block, const Path& path, ContentBlock& out) {
  PENSIEVE_TRY(out.text, take_required_string(block, path, "thinking"));
  PENSIEVE_TRY(out.signature, take_optional_string(block, path, "signature"));
  return {};
}

// Nothing here looks into the data: an image stays a placeholder for a model without eyes. Its
// address is kept for a server behind this one that has some.
Result<void> take_image(Json& block, const Path& path, ContentBlock& out) {
  const Path source_path(path, "source");
  PENSIEVE_TRY(Json * source, require(block, path, "source"));
  PENSIEVE_TRY(expect_object(*source, source_path));
  PENSIEVE_TRY(const std::string type, take_required_string(*source, source_path, "type"));
  if (type == "base64") {
    PENSIEVE_TRY(const std::string media, take_optional_string(*source, source_path, "media_type"));
    PENSIEVE_TRY(const std::string data, take_optional_string(*source, source_path, "data"));
    if (!media.empty() && !data.empty()) out.url = "data:" + media + ";base64," + data;
  } else if (type == "url") {
    PENSIEVE_TRY(out.url, take_optional_string(*source, source_path, "url"));
  }
  return {};
}

void append_paragraph(std::string& text, std::string_view paragraph) {
  if (paragraph.empty()) return;
  if (!text.empty()) text += '\n';
  text += paragraph;
}

// The text of a document whose source carries text; a PDF or a link has none.
Result<void> take_document(Json& block, const Path& path, ContentBlock& out) {
  PENSIEVE_TRY(const std::string title, take_optional_string(block, path, "title"));
  PENSIEVE_TRY(const std::string context, take_optional_string(block, path, "context"));
  append_paragraph(out.text, title);
  append_paragraph(out.text, context);

  const Path source_path(path, "source");
  PENSIEVE_TRY(Json * source, require(block, path, "source"));
  PENSIEVE_TRY(expect_object(*source, source_path));
  PENSIEVE_TRY(const std::string type, take_required_string(*source, source_path, "type"));
  if (type == "text") {
    PENSIEVE_TRY(const std::string data, take_required_string(*source, source_path, "data"));
    append_paragraph(out.text, data);
  } else if (type == "content") {
    PENSIEVE_TRY(Json * content, require(*source, source_path, "content"));
    PENSIEVE_TRY(const auto blocks,
                 take_content(*content, Path(source_path, "content"), Holder::ToolResultContent));
    for (const ContentBlock& inner : blocks) append_paragraph(out.text, inner.text);
  }
  return {};
}

// A search result is a document with a title and an address.
Result<void> take_search_result(Json& block, const Path& path, ContentBlock& out) {
  PENSIEVE_TRY(const std::string title, take_required_string(block, path, "title"));
  PENSIEVE_TRY(const std::string source, take_required_string(block, path, "source"));
  append_paragraph(out.text, title);
  append_paragraph(out.text, source);
  PENSIEVE_TRY(Json * content, require(block, path, "content"));
  PENSIEVE_TRY(const auto blocks,
               take_content(*content, Path(path, "content"), Holder::SystemText));
  for (const ContentBlock& inner : blocks) append_paragraph(out.text, inner.text);
  return {};
}

Result<void> take_tool_reference(Json& block, const Path& path, ContentBlock& out) {
  PENSIEVE_TRY(out.name, take_required_string(block, path, "tool_name", kNameBounds));
  return {};
}

Result<void> take_nothing(Json&, const Path&, ContentBlock&) {
  return {};
}

struct BlockType {
  std::string_view name;
  BlockKind kind;
  Result<void> (*take)(Json& block, const Path& path, ContentBlock& out);
  bool in_user, in_assistant, in_tool_result;
};

constexpr std::array kBlockTypes{
    BlockType{"text", BlockKind::Text, take_text, true, true, true},
    BlockType{"tool_use", BlockKind::ToolUse, take_tool_use, false, true, false},
    BlockType{"tool_result", BlockKind::ToolResult, take_tool_result, true, false, false},
    BlockType{"thinking", BlockKind::Thinking, take_thinking, false, true, false},
    BlockType{"redacted_thinking", BlockKind::RedactedThinking, take_nothing, false, true, false},
    BlockType{"image", BlockKind::Image, take_image, true, false, true},
    BlockType{"document", BlockKind::Document, take_document, true, false, true},
    BlockType{"search_result", BlockKind::Document, take_search_result, true, false, true},
    BlockType{"tool_reference", BlockKind::ToolReference, take_tool_reference, false, false, true},
};

bool may_stand(const BlockType& type, Holder holder) {
  switch (holder) {
    case Holder::UserTurn:
      return type.in_user;
    case Holder::AssistantTurn:
      return type.in_assistant;
    case Holder::SystemText:
      return type.kind == BlockKind::Text;
    case Holder::ToolResultContent:
      return type.in_tool_result;
  }
  return false;
}

std::string_view to_string(Holder holder) {
  switch (holder) {
    case Holder::UserTurn:
      return "a user message";
    case Holder::AssistantTurn:
      return "an assistant message";
    case Holder::SystemText:
      return "system or search text";
    case Holder::ToolResultContent:
      return "a tool result or document";
  }
  return "this place";
}

Result<ContentBlock> take_block(Json& value, const Path& path, Holder holder) {
  PENSIEVE_TRY(expect_object(value, path));
  PENSIEVE_TRY(const std::string name, take_required_string(value, path, "type"));
  for (const BlockType& type : kBlockTypes) {
    if (type.name != name) continue;
    if (!may_stand(type, holder)) {
      std::string what = "a block of type \"" + name + "\" cannot stand in ";
      what += to_string(holder);
      return refuse(Path(path, "type"), what);
    }
    ContentBlock block;
    block.kind = type.kind;
    block.cache_mark = find(value, "cache_control") != nullptr;
    PENSIEVE_TRY(type.take(value, path, block));
    return block;
  }
  return refuse(Path(path, "type"), "unknown block type \"" + printable(name) + "\"");
}

}  // namespace

Result<std::vector<ContentBlock>> take_content(Json& value, const Path& path, Holder holder) {
  std::vector<ContentBlock> blocks;
  if (value.is_string()) {
    ContentBlock& text = blocks.emplace_back();
    PENSIEVE_TRY(text.text, take_string(value, path));
    return blocks;
  }
  if (!value.is_array()) {
    return refuse(path, "must be a string or an array of blocks, not " + describe(value));
  }
  blocks.reserve(value.size());
  for (std::size_t i = 0; i < value.size(); ++i) {
    PENSIEVE_TRY(ContentBlock block, take_block(value[i], Path(path, i), holder));
    blocks.push_back(std::move(block));
  }
  return blocks;
}

}  // namespace pensieve::api
