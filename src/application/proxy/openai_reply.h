// Answers of the Messages API -> what OpenAI's API gives: one object, or the data of its chunks.
// Source: the API reference's pages "The chat completion object", "The chat completion chunk
// object", "The completion object" and "Errors" (platform.openai.com/docs/api-reference). Pure:
// time and fingerprint come from the caller. Knows JSON field names. Must not know sockets or
// models.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/result.h"

#include "domain/api/messages.h"
#include "domain/claude/token_score.h"

#include "application/proxy/openai_request.h"

namespace pensieve::proxy {

// What every object of one answer carries.
struct ReplyStamp {
  std::int64_t created_unix_s = 0;
  std::string system_fingerprint;  // changes when the same request may give another answer
};

// One answer as chunks. Told from time to time how far the message has come; what it returns for
// all of it does not depend on when it was asked, but for the borders between the pieces. Each
// string is the data of one server-sent event; the caller ends the stream with kStreamEnd.
class ChunkWriter {
 public:
  virtual ~ChunkWriter() = default;

  // `message` has grown since the last call and keeps what it had; `scores`: those of tokens that
  // were not told before; `finished`: it is complete and this is the last call. The first call
  // always has something to say. REQUIRES: every block's text ends at a character's border.
  virtual std::vector<std::string> take(const api::Message& message,
                                        std::span<const claude::TokenScore> scores,
                                        bool finished) = 0;
};

// object "chat.completion.chunk": first the role, then content, reasoning_content and tool_calls as
// they grow, then the finish_reason, then the usage if the request wanted it.
std::unique_ptr<ChunkWriter> chat_chunks(const ReplyShape& shape, const ReplyStamp& stamp);

// object "text_completion".
std::unique_ptr<ChunkWriter> completion_chunks(const ReplyShape& shape, const ReplyStamp& stamp);

inline constexpr std::string_view kStreamEnd = "[DONE]";

// object "chat.completion" and object "text_completion" of a complete message.
std::string chat_json(const api::Message& message,
                      std::span<const claude::TokenScore> scores,
                      const ReplyShape& shape,
                      const ReplyStamp& stamp);
std::string completion_json(const api::Message& message,
                            std::span<const claude::TokenScore> scores,
                            const ReplyShape& shape,
                            const ReplyStamp& stamp);

// {"error":{"message","type","param","code"}}: `param` is the field that the sentence begins with,
// if it does.
std::string error_json(const Error& error);

// As api::http_status(), but for a full queue, which is 429 here: clients of this API know no 529.
int http_status(ErrorKind kind);

}  // namespace pensieve::proxy
