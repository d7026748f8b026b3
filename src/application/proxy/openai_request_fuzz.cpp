// Any bytes as a body of OpenAI's API. Invariants: a request or a sentence, never an exception; an
// accepted request keeps the bounds its type promises, and can be said again to another server.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "foundation/check.h"
#include "foundation/json.h"
#include "foundation/text.h"

#include "application/proxy/internal/upstream_request.h"
#include "application/proxy/openai_reply.h"
#include "application/proxy/openai_request.h"

namespace {

using namespace pensieve;

void check_block(const api::ContentBlock& block) {
  CHECK(is_valid_utf8(block.text) && is_valid_utf8(block.name));
  if (block.kind == api::BlockKind::ToolUse) CHECK(parse_json(block.input_json)->is_object());
  if (block.kind == api::BlockKind::ToolResult) CHECK(!block.id.empty());
  for (const api::ContentBlock& inner : block.content) check_block(inner);
}

void check_request(const api::MessagesRequest& request) {
  CHECK(!request.model.empty() && request.max_tokens >= 1);
  CHECK(request.tools.size() <= api::kMaxTools);
  CHECK(request.stop_sequences.size() <= api::kMaxStopSequences);
  if (request.top_logprobs) {
    CHECK(*request.top_logprobs >= 0 && *request.top_logprobs <= proxy::kMaxTopLogprobs);
  }
  for (const auto& block : request.system) check_block(block);
  for (const auto& turn : request.messages) {
    for (const auto& block : turn.content) check_block(block);
  }
  if (!request.output_schema_json.empty()) {
    CHECK(parse_json(request.output_schema_json)->is_object());
  }
}

void check_error(const Error& error) {
  CHECK(error.kind == ErrorKind::InvalidRequest && !error.message.empty());
  CHECK(parse_json(proxy::error_json(error)).has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  if (const auto chat = proxy::parse_chat_request(body)) {
    check_request(chat->messages);
    const auto said = parse_json(proxy::chat_body(chat->messages, "m"));
    CHECK(said.has_value() && said->contains("messages"));
  } else {
    check_error(chat.error());
  }
  if (const auto completion = proxy::parse_completion_request(body)) {
    check_request(completion->request);
    CHECK(is_valid_utf8(completion->prompt));
    CHECK(completion->shape.echo.empty() || completion->shape.echo == completion->prompt);
  } else {
    check_error(completion.error());
  }
  return 0;
}
