// OpenAI's requests as values, in the vocabulary of the Messages API: bodies of POST
// /v1/chat/completions and POST /v1/completions in, api::MessagesRequest out. Source: the API
// reference's pages "Create chat completion" and "Create completion" (platform.openai.com/docs/
// api-reference). Knows JSON field names. Must not know sockets, prompts or models.
#pragma once

#include <string>
#include <string_view>

#include "foundation/result.h"

#include "domain/api/messages.h"

namespace pensieve::proxy {

// What max_tokens becomes when a chat request names no limit: more than any window holds, so the
// answer may fill what the prompt leaves of it.
inline constexpr int kWhatTheWindowLeaves = 0x7fff'ffff;
inline constexpr int kMaxTopLogprobs = 20;

// How an answer is to be written, beyond what the Messages API knows.
struct ReplyShape {
  bool include_usage = false;  // stream_options: one more chunk, with the usage
  bool logprobs = false;
  int top_logprobs = 0;  // alternatives beside each token
  std::string echo{};    // completions: text given out in front of the answer
};

struct ChatRequest {
  api::MessagesRequest messages;
  ReplyShape shape;
};

// Parses and validates. Unknown fields are ignored, and so are presence_penalty, frequency_penalty
// (their range is checked), logit_bias, user, store, metadata and service_tier. Errors:
// InvalidRequest, one sentence that begins with the field's path in OpenAI's spelling
// ("messages.0.content: …"), among them for n other than 1, the deprecated functions, and audio.
//
// What becomes of what: system and developer turns before all others are the system prompt, later
// ones stay where they are; a tool turn is a tool_result; a refusal is text; an image keeps its
// address; a file is a document with its name; response_format json_object is the schema
// {"type":"object"}; tool_choice "required" is "any"; no limit on tokens is kWhatTheWindowLeaves.
// A call in the history whose arguments are no JSON object becomes text, and so does its result: a
// model shown its own slip can mend it, and the conversation goes on.
Result<ChatRequest> parse_chat_request(std::string_view body);

struct CompletionRequest {
  api::MessagesRequest request;  // model, limits and sampling; no messages
  std::string prompt;            // taken as it stands
  ReplyShape shape;
};

// As above. The prompt is a string or an array of one; max_tokens is 16 by default, as there.
// Refused: several prompts, token ids, a suffix, n or best_of other than 1.
Result<CompletionRequest> parse_completion_request(std::string_view body);

}  // namespace pensieve::proxy
