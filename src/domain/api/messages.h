// The vocabulary of Anthropic's Messages API, as plain values: requests in, messages and events
// out. Source: the API reference's pages "Messages", "Streaming messages" and "Errors"
// (docs.anthropic.com/en/api). JSON is kept as compact text where the server passes it through (key
// order preserved). Knows JSON field names. Must not know sockets, prompts or models.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/result.h"

namespace pensieve::api {

enum class Role { User, Assistant, System };
std::string_view to_string(Role role);  // "user", as in JSON

enum class BlockKind {
  Text,
  ToolUse,
  ToolResult,
  Thinking,
  RedactedThinking,
  Image,
  Document,
  ToolReference
};

struct ContentBlock {
  BlockKind kind = BlockKind::Text;
  std::string text;        // Text; Thinking: the thinking; Document: its text if it has any
  std::string id;          // ToolUse: id; ToolResult: tool_use_id
  std::string name;        // ToolUse, ToolReference: the tool's name
  std::string input_json;  // ToolUse: the input object, compact, key order kept
  std::string signature;   // Thinking
  std::string url;  // Image: "data:image/png;base64,…", or where it lies; never fetched from here
  bool is_error = false;              // ToolResult
  bool cache_mark = false;            // cache_control: the prompt up to here is to be kept
  std::vector<ContentBlock> content;  // ToolResult: its blocks (a string becomes one Text block)
};

struct InputMessage {
  Role role = Role::User;
  std::vector<ContentBlock> content;  // a plain string becomes one Text block
};

struct Tool {
  std::string name;
  std::string description;
  std::string input_schema_json;  // compact, key order kept; empty if the request had none
  std::string type;               // "" or "custom" for client tools; "web_search_20250305" …
  bool defer_loading = false;
  bool cache_mark = false;  // cache_control, as in a block
};

struct ToolChoice {
  enum class Kind { Auto, Any, Tool, None } kind = Kind::Auto;
  std::string name;  // Kind::Tool
  bool disable_parallel_tool_use = false;
};

struct MessagesRequest {
  std::string model;
  int max_tokens = 0;
  std::vector<ContentBlock> system;  // Text blocks; a string becomes one
  // A cache_control of the request itself marks the last block of its last message.
  std::vector<InputMessage> messages;
  std::vector<Tool> tools;
  ToolChoice tool_choice;
  std::vector<std::string> stop_sequences;
  bool stream = false;
  std::optional<double> temperature;  // [0, 1] by the API; up to 2 is accepted
  std::optional<double> top_p;
  std::optional<int> top_k;
  // Extensions, ignored by Anthropic's own server: accepted under the same names as llama.cpp's.
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
  std::optional<std::uint64_t> seed;
  // Of no body of this API: OpenAI's logprobs, with so many alternatives beside each token.
  std::optional<int> top_logprobs;
  bool thinking_enabled = false;
  std::string output_schema_json;  // output_config.format json_schema, or empty
};

// Limits of RELIABILITY 4.1 that a body must keep.
inline constexpr std::size_t kMaxTools = 1024;
inline constexpr std::size_t kMaxStopSequences = 64;
inline constexpr std::size_t kMaxStopSequenceBytes = 1024;
inline constexpr std::size_t kMaxMessages = 100'000;

// Parses and validates the body of POST /v1/messages. Unknown fields are ignored. Errors:
// InvalidRequest, one sentence that begins with the field's path ("messages.0.content: …").
// A body that is no JSON at all is refused with parse_json()'s sentence. What the API itself
// refuses and a server can still answer is accepted: an assistant turn first, turns of one role in
// a row, empty content, a system turn anywhere, tools without input_schema, null for an optional
// field. A tool_result whose tool_use does not come before it is refused.
Result<MessagesRequest> parse_messages_request(std::string_view body);

// The body of POST /v1/messages/count_tokens: the same without max_tokens, which is not looked at
// and becomes 1.
Result<MessagesRequest> parse_count_tokens_request(std::string_view body);

// The sum of the first three is the whole prompt.
struct Usage {
  int input_tokens = 0;                 // computed, and not asked to be kept
  int cache_creation_input_tokens = 0;  // computed, up to the last cache_control
  int cache_read_input_tokens = 0;      // taken from KV that was already there
  int output_tokens = 0;
};

enum class StopReason {
  EndTurn,
  MaxTokens,
  StopSequence,
  ToolUse,
  ModelContextWindowExceeded,
  Refusal
};
std::string_view to_string(StopReason reason);

// The answer as one JSON object (stream: false).
struct Message {
  std::string id;     // "msg_…"
  std::string model;  // as the request named it
  std::vector<ContentBlock> content;
  StopReason stop_reason = StopReason::EndTurn;
  std::string stop_sequence;  // StopReason::StopSequence
  Usage usage;
};
std::string to_json(const Message& message);

// One server-sent event: `name` for the event: line, `json` for the data: line (no line breaks).
struct Event {
  std::string name;
  std::string json;
};
Event message_start(std::string_view id, std::string_view model, const Usage& usage);
Event text_block_start(int index);
Event tool_use_block_start(int index, std::string_view id, std::string_view name);
Event thinking_block_start(int index);
Event text_delta(int index, std::string_view text);
Event input_json_delta(int index, std::string_view partial_json);
Event thinking_delta(int index, std::string_view text);
Event signature_delta(int index, std::string_view signature);
Event block_stop(int index);
Event message_delta(StopReason reason, std::string_view stop_sequence, const Usage& usage);
Event message_stop();
Event ping();
Event error_event(const Error& error, std::string_view request_id);

// {"type":"error","error":{"type","message"},"request_id"}
std::string error_json(const Error& error, std::string_view request_id);
std::string_view error_type(ErrorKind kind);  // "invalid_request_error", "overloaded_error", …
int http_status(ErrorKind kind);  // 400 … 529; the one place that maps kinds to statuses

struct ModelInfo {
  std::string id;
  std::string display_name;
  std::int64_t created_unix_s = 0;
  int context_length = 0;  // 0: not known
};
// GET /v1/models and /v1/models/{id}; Anthropic's shape or OpenAI's.
std::string models_json(const std::vector<ModelInfo>& models, bool anthropic_shape);
std::string model_json(const ModelInfo& model, bool anthropic_shape);

// {"input_tokens": n}
std::string count_tokens_json(int input_tokens);

// A fresh id with `prefix` ("msg_", "req_", "toolu_"): 24 base-62 characters from the system's
// random source. Any thread.
std::string make_id(std::string_view prefix);

}  // namespace pensieve::api
