// Any bytes as a body. Invariants: a request or a sentence, never an exception; an accepted request
// keeps the bounds its type promises; what goes out again is valid JSON.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "foundation/check.h"
#include "foundation/json.h"
#include "foundation/text.h"

#include "domain/api/messages.h"

namespace {

using namespace pensieve;

void check_block(const api::ContentBlock& block) {
  CHECK(is_valid_utf8(block.text) && is_valid_utf8(block.name));
  CHECK(block.text.find('\0') == std::string::npos);
  if (block.kind == api::BlockKind::ToolUse) CHECK(parse_json(block.input_json)->is_object());
  if (block.kind == api::BlockKind::ToolResult) CHECK(!block.id.empty());
  for (const api::ContentBlock& inner : block.content) check_block(inner);
  CHECK(parse_json(api::text_delta(0, block.text).json).has_value());
}

void check_request(const api::MessagesRequest& request) {
  CHECK(!request.model.empty() && request.max_tokens >= 1);
  CHECK(!request.messages.empty() && request.messages.size() <= api::kMaxMessages);
  CHECK(request.tools.size() <= api::kMaxTools);
  CHECK(request.stop_sequences.size() <= api::kMaxStopSequences);
  for (const auto& text : request.stop_sequences) {
    CHECK(!text.empty() && text.size() <= api::kMaxStopSequenceBytes);
  }
  if (request.temperature) CHECK(*request.temperature >= 0 && *request.temperature <= 2);
  if (request.top_p) CHECK(*request.top_p >= 0 && *request.top_p <= 1);
  if (request.min_p) CHECK(*request.min_p >= 0 && *request.min_p <= 1);
  if (request.top_k) CHECK(*request.top_k >= 0);
  if (request.repetition_penalty) CHECK(*request.repetition_penalty > 0);
  for (const auto& tool : request.tools) {
    CHECK(!tool.name.empty());
    CHECK(tool.input_schema_json.empty() || parse_json(tool.input_schema_json)->is_object());
  }
  for (const auto& block : request.system) check_block(block);
  api::Message message;
  for (const auto& turn : request.messages) {
    for (const auto& block : turn.content) check_block(block);
    message.content = turn.content;
  }
  CHECK(parse_json(api::to_json(message)).has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  const auto request = api::parse_messages_request(body);
  const auto counted = api::parse_count_tokens_request(body);
  if (request) {
    CHECK(counted.has_value());
    check_request(*request);
  } else {
    CHECK(request.error().kind == ErrorKind::InvalidRequest && !request.error().message.empty());
    CHECK(is_valid_utf8(request.error().message));
    CHECK(parse_json(api::error_json(request.error(), "req_x")).has_value());
  }
  return 0;
}
