#include "application/proxy/openai_reply.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "foundation/json.h"
#include "foundation/text.h"

#include "domain/api/fields.h"

namespace pensieve::proxy {
namespace {

using api::BlockKind;
using api::ContentBlock;
using api::Message;
using claude::TokenScore;
using Scores = std::span<const TokenScore>;

std::string_view chat_finish_reason(api::StopReason reason) {
  switch (reason) {
    case api::StopReason::EndTurn:
    case api::StopReason::StopSequence:
      return "stop";
    case api::StopReason::MaxTokens:
    case api::StopReason::ModelContextWindowExceeded:
      return "length";
    case api::StopReason::ToolUse:
      return "tool_calls";
    case api::StopReason::Refusal:
      return "content_filter";
  }
  return "stop";
}

Json usage_json(const api::Usage& usage) {
  const int prompt =
      usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens;
  return Json{{"prompt_tokens", prompt},
              {"completion_tokens", usage.output_tokens},
              {"total_tokens", prompt + usage.output_tokens},
              {"prompt_tokens_details", Json{{"cached_tokens", usage.cache_read_input_tokens}}}};
}

// "msg_abc" -> "chatcmpl-abc"
std::string object_id(std::string_view prefix, std::string_view message_id) {
  const auto underscore = message_id.find('_');
  std::string id(prefix);
  id += underscore == std::string_view::npos ? message_id : message_id.substr(underscore + 1);
  return id;
}

Json object_head(std::string_view prefix,
                 std::string_view kind,
                 const Message& message,
                 const ReplyStamp& stamp) {
  return Json{{"id", object_id(prefix, message.id)},
              {"object", kind},
              {"created", stamp.created_unix_s},
              {"model", message.model},
              {"system_fingerprint", stamp.system_fingerprint}};
}

Json bytes_json(std::string_view bytes) {
  Json list = Json::array();
  for (const char c : bytes) list.push_back(static_cast<unsigned char>(c));
  return list;
}

Json score_json(std::string_view bytes, float logprob) {
  return Json{
      {"token", replace_invalid_utf8(bytes)}, {"logprob", logprob}, {"bytes", bytes_json(bytes)}};
}

Json chat_logprobs(Scores scores) {
  Json content = Json::array();
  for (const TokenScore& score : scores) {
    Json item = score_json(score.bytes, score.logprob);
    Json top = Json::array();
    for (const auto& other : score.top) top.push_back(score_json(other.bytes, other.logprob));
    item["top_logprobs"] = std::move(top);
    content.push_back(std::move(item));
  }
  return Json{{"content", std::move(content)}, {"refusal", nullptr}};
}

// Characters of UTF-8: all bytes but those that continue one.
std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  }));
}

// `offset`: characters of the answer before these tokens; it is moved behind them.
Json completion_logprobs(Scores scores, bool with_top, std::size_t& offset) {
  Json tokens = Json::array(), logprobs = Json::array(), tops = Json::array(),
       offsets = Json::array();
  for (const TokenScore& score : scores) {
    tokens.push_back(replace_invalid_utf8(score.bytes));
    logprobs.push_back(score.logprob);
    offsets.push_back(offset);
    offset += characters(score.bytes);
    Json top = Json::object();
    for (const auto& other : score.top) top[replace_invalid_utf8(other.bytes)] = other.logprob;
    tops.push_back(std::move(top));
  }
  return Json{{"tokens", std::move(tokens)},
              {"token_logprobs", std::move(logprobs)},
              {"top_logprobs", with_top ? std::move(tops) : Json(nullptr)},
              {"text_offset", std::move(offsets)}};
}

// A call without input is one with an empty object.
std::string_view arguments_of(const ContentBlock& block) {
  return block.input_json.empty() ? std::string_view("{}") : std::string_view(block.input_json);
}

class ChatChunks final : public ChunkWriter {
 public:
  ChatChunks(const ReplyShape& shape, ReplyStamp stamp) : shape_(shape), stamp_(std::move(stamp)) {}

  std::vector<std::string> take(const Message& message, Scores scores, bool finished) override {
    chunks_.clear();
    scores_ = scores;
    if (!started_) {
      started_ = true;
      add(message, Json{{"role", "assistant"}, {"content", ""}});
    }
    for (; block_ < message.content.size(); ++block_, begun_ = false, told_ = 0) {
      const bool last = block_ + 1 == message.content.size();
      take_block(message, message.content[block_], finished || !last);
      if (last && !finished) break;
    }
    if (!scores_.empty()) add(message, Json{{"content", ""}});  // text that is still held back
    if (finished) {
      add(message, Json::object(), chat_finish_reason(message.stop_reason));
      if (shape_.include_usage) add_usage(message);
    }
    return std::exchange(chunks_, {});
  }

 private:
  void take_block(const Message& message, const ContentBlock& block, bool complete) {
    switch (block.kind) {
      case BlockKind::Text:
        return take_text(message, "content", block.text);
      case BlockKind::Thinking:
        return take_text(message, "reasoning_content", block.text);
      case BlockKind::ToolUse:
        return take_call(message, block, complete);
      default:
        return;  // nothing else stands in an answer
    }
  }

  void take_text(const Message& message, const char* field, const std::string& text) {
    if (text.size() == told_) return;
    add(message, Json{{field, std::string_view(text).substr(told_)}});
    told_ = text.size();
  }

  void take_call(const Message& message, const ContentBlock& block, bool complete) {
    if (!begun_) {
      begun_ = true;
      add_call(message,
               Json{{"index", calls_++},
                    {"id", block.id},
                    {"type", "function"},
                    {"function", Json{{"name", block.name}, {"arguments", ""}}}});
    }
    const std::string_view arguments = complete ? arguments_of(block) : block.input_json;
    if (arguments.size() == told_) return;
    add_call(
        message,
        Json{{"index", calls_ - 1}, {"function", Json{{"arguments", arguments.substr(told_)}}}});
    told_ = arguments.size();
  }

  void add_call(const Message& message, Json call) {
    Json calls = Json::array();
    calls.push_back(std::move(call));
    add(message, Json{{"tool_calls", std::move(calls)}});
  }

  // The first chunk with content takes the scores along.
  void add(const Message& message, Json delta, std::optional<std::string_view> finish = {}) {
    const bool has_scores =
        !scores_.empty() && delta.contains("content") && !delta.contains("role");
    Json choice{{"index", 0},
                {"delta", std::move(delta)},
                {"logprobs", has_scores ? chat_logprobs(scores_) : Json(nullptr)},
                {"finish_reason", finish ? Json(*finish) : Json(nullptr)}};
    if (has_scores) scores_ = {};
    Json choices = Json::array();
    choices.push_back(std::move(choice));
    push(message, std::move(choices), Json(nullptr));
  }

  void add_usage(const Message& message) {
    push(message, Json::array(), usage_json(message.usage));
  }

  void push(const Message& message, Json choices, Json usage) {
    Json chunk = object_head("chatcmpl-", "chat.completion.chunk", message, stamp_);
    chunk["choices"] = std::move(choices);
    if (shape_.include_usage) chunk["usage"] = std::move(usage);
    chunks_.push_back(api::compact(chunk));
  }

  const ReplyShape shape_;
  const ReplyStamp stamp_;
  std::vector<std::string> chunks_;
  Scores scores_;
  bool started_ = false;
  std::size_t block_ = 0;  // the first block that is not told to its end
  bool begun_ = false;     // its start was told
  std::size_t told_ = 0;   // bytes of it
  int calls_ = 0;
};

class CompletionChunks final : public ChunkWriter {
 public:
  CompletionChunks(const ReplyShape& shape, ReplyStamp stamp)
      : shape_(shape), stamp_(std::move(stamp)), offset_(characters(shape.echo)) {}

  std::vector<std::string> take(const Message& message, Scores scores, bool finished) override {
    std::vector<std::string> chunks;
    std::string text;
    if (!started_) text = shape_.echo;
    for (; block_ < message.content.size(); ++block_, told_ = 0) {
      const ContentBlock& block = message.content[block_];
      if (block.kind == BlockKind::Text) {
        text += std::string_view(block.text).substr(told_);
        told_ = block.text.size();
      }
      if (block_ + 1 == message.content.size() && !finished) break;
    }
    if (!started_ || !text.empty() || !scores.empty() || finished) {
      Json choice{{"index", 0},
                  {"text", std::move(text)},
                  {"logprobs",
                   scores.empty() ? Json(nullptr)
                                  : completion_logprobs(scores, shape_.top_logprobs > 0, offset_)},
                  {"finish_reason",
                   finished ? Json(chat_finish_reason(message.stop_reason)) : Json(nullptr)}};
      Json choices = Json::array();
      choices.push_back(std::move(choice));
      chunks.push_back(chunk(message, std::move(choices), Json(nullptr)));
    }
    started_ = true;
    if (finished && shape_.include_usage) {
      chunks.push_back(chunk(message, Json::array(), usage_json(message.usage)));
    }
    return chunks;
  }

 private:
  std::string chunk(const Message& message, Json choices, Json usage) const {
    Json object = object_head("cmpl-", "text_completion", message, stamp_);
    object["choices"] = std::move(choices);
    if (shape_.include_usage) object["usage"] = std::move(usage);
    return api::compact(object);
  }

  const ReplyShape shape_;
  const ReplyStamp stamp_;
  bool started_ = false;
  std::size_t block_ = 0;
  std::size_t told_ = 0;
  std::size_t offset_ = 0;  // characters of the text before the next token
};

Json chat_message_json(const Message& message) {
  std::string content, reasoning;
  Json calls = Json::array();
  for (const ContentBlock& block : message.content) {
    if (block.kind == BlockKind::Text) content += block.text;
    if (block.kind == BlockKind::Thinking) reasoning += block.text;
    if (block.kind != BlockKind::ToolUse) continue;
    calls.push_back(
        Json{{"id", block.id},
             {"type", "function"},
             {"function", Json{{"name", block.name}, {"arguments", arguments_of(block)}}}});
  }
  Json json{{"role", "assistant"}};
  json["content"] = content.empty() && !calls.empty() ? Json(nullptr) : Json(std::move(content));
  json["refusal"] = nullptr;
  if (!reasoning.empty()) json["reasoning_content"] = std::move(reasoning);
  if (!calls.empty()) json["tool_calls"] = std::move(calls);
  return json;
}

std::string whole_json(Json object, Json choice, const api::Usage& usage) {
  Json choices = Json::array();
  choices.push_back(std::move(choice));
  object["choices"] = std::move(choices);
  object["usage"] = usage_json(usage);
  return api::compact(object);
}

// The field that a sentence begins with ("messages.0.content: must be …"), or nothing.
Json param_of(std::string_view sentence) {
  const auto colon = sentence.find(": ");
  if (colon == std::string_view::npos || colon == 0) return nullptr;
  const std::string_view path = sentence.substr(0, colon);
  const bool is_path = std::all_of(path.begin(), path.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
  });
  return is_path && path != "body" ? Json(path) : Json(nullptr);
}

struct ErrorWords {
  std::string_view type;
  const char* code;  // null: JSON null
};

ErrorWords words_of(const Error& error) {
  switch (error.kind) {
    case ErrorKind::InvalidRequest:
      if (error.message.starts_with("prompt is too long")) {
        return {"invalid_request_error", "context_length_exceeded"};
      }
      return {"invalid_request_error", nullptr};
    case ErrorKind::Authentication:
      return {"invalid_request_error", "invalid_api_key"};
    case ErrorKind::RateLimited:
    case ErrorKind::Overloaded:
      return {"rate_limit_error", "rate_limit_exceeded"};
    case ErrorKind::Unavailable:
    case ErrorKind::Cancelled:
    case ErrorKind::BadFile:
    case ErrorKind::Internal:
      return {"server_error", nullptr};
    default:
      return {"invalid_request_error", nullptr};
  }
}

}  // namespace

std::unique_ptr<ChunkWriter> chat_chunks(const ReplyShape& shape, const ReplyStamp& stamp) {
  return std::make_unique<ChatChunks>(shape, stamp);
}

std::unique_ptr<ChunkWriter> completion_chunks(const ReplyShape& shape, const ReplyStamp& stamp) {
  return std::make_unique<CompletionChunks>(shape, stamp);
}

std::string chat_json(const Message& message,
                      Scores scores,
                      const ReplyShape& shape,
                      const ReplyStamp& stamp) {
  Json choice{{"index", 0},
              {"message", chat_message_json(message)},
              {"logprobs", shape.logprobs ? chat_logprobs(scores) : Json(nullptr)},
              {"finish_reason", chat_finish_reason(message.stop_reason)}};
  return whole_json(object_head("chatcmpl-", "chat.completion", message, stamp),
                    std::move(choice),
                    message.usage);
}

std::string completion_json(const Message& message,
                            Scores scores,
                            const ReplyShape& shape,
                            const ReplyStamp& stamp) {
  std::string text = shape.echo;
  for (const ContentBlock& block : message.content) {
    if (block.kind == BlockKind::Text) text += block.text;
  }
  std::size_t offset = characters(shape.echo);
  Json choice{{"index", 0},
              {"text", std::move(text)},
              {"logprobs",
               shape.logprobs ? completion_logprobs(scores, shape.top_logprobs > 0, offset)
                              : Json(nullptr)},
              {"finish_reason", chat_finish_reason(message.stop_reason)}};
  return whole_json(
      object_head("cmpl-", "text_completion", message, stamp), std::move(choice), message.usage);
}

std::string error_json(const Error& error) {
  const ErrorWords words = words_of(error);
  const bool about_field = error.kind == ErrorKind::InvalidRequest;
  return api::compact(
      Json{{"error",
            Json{{"message", error.message},
                 {"type", words.type},
                 {"param", about_field ? param_of(error.message) : Json(nullptr)},
                 {"code", words.code == nullptr ? Json(nullptr) : Json(words.code)}}}});
}

int http_status(ErrorKind kind) {
  return kind == ErrorKind::Overloaded ? 429 : api::http_status(kind);
}

}  // namespace pensieve::proxy
