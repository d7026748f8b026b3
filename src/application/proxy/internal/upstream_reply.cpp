#include "application/proxy/internal/upstream_reply.h"

#include <algorithm>
#include <climits>
#include <cstdint>
#include <iterator>
#include <utility>

#include "domain/api/fields.h"

#include "application/proxy/openai_reply.h"

namespace pensieve::proxy {
namespace {

constexpr std::size_t kMaxIdBytes = 256;

Error broken(const UpstreamName& upstream, std::string_view what) {
  std::string sentence = "the upstream " + upstream.url;
  sentence += ' ';
  sentence += what;
  return {.kind = ErrorKind::Internal, .message = std::move(sentence)};
}

// The member if it is there and of that kind, else null: other servers add fields and leave some
// out, and null is theirs for "nothing new".
const Json* member(const Json& object, const char* name, bool (Json::*is_kind)() const noexcept) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found != object.end() && ((*found).*is_kind)() ? &*found : nullptr;
}

std::string string_member(const Json& object, const char* name) {
  const Json* value = member(object, name, &Json::is_string);
  return value == nullptr ? std::string() : value->get<std::string>();
}

int count_member(const Json& object, const char* name) {
  const Json* value = member(object, name, &Json::is_number_integer);
  if (value == nullptr) return 0;
  if (value->is_number_unsigned()) {
    return static_cast<int>(std::min<std::uint64_t>(value->get<std::uint64_t>(), INT_MAX));
  }
  return static_cast<int>(std::clamp<std::int64_t>(value->get<std::int64_t>(), 0, INT_MAX));
}

float number_member(const Json& object, const char* name) {
  const Json* value = member(object, name, &Json::is_number);
  return value == nullptr ? 0 : value->get<float>();
}

// A token's bytes, which its text cannot show where it is a part of a character.
std::string token_bytes(const Json& item) {
  const Json* bytes = member(item, "bytes", &Json::is_array);
  if (bytes == nullptr) return string_member(item, "token");
  std::string out;
  for (const Json& byte : *bytes) {
    if (byte.is_number_unsigned()) out += static_cast<char>(byte.get<std::uint64_t>() & 0xffU);
  }
  return out;
}

// An id that may come back in a request to us, and in a URL or header of someone else's.
bool is_good_id(std::string_view id) {
  return !id.empty() && id.size() <= kMaxIdBytes && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

}  // namespace

void UpstreamReply::ObjectEnd::push(std::string_view piece) {
  for (const char c : piece) {
    if (reached_) return;
    if (in_string_) {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == '"') {
        in_string_ = false;
      }
      continue;
    }
    if (c == '"') in_string_ = true;
    if (c == '{' || c == '[') ++depth_;
    if ((c == '}' || c == ']') && --depth_ <= 0) reached_ = true;
  }
}

UpstreamReply::UpstreamReply(api::Message& message,
                             std::vector<std::string> stop_sequences,
                             UpstreamName upstream)
    : message_(message),
      stop_sequences_(std::move(stop_sequences)),
      upstream_(std::move(upstream)),
      stops_(stop_sequences_),
      writer_(message_.content, events_) {}

Result<void> UpstreamReply::take(std::string_view data, std::vector<api::Event>& events) {
  if (over_) return {};
  if (data == kStreamEnd) {
    if (finish_reason_.empty()) finish_reason_ = "stop";  // it says that the answer is complete
    return finish(events);
  }
  auto chunk = parse_json(data);
  if (!chunk || !chunk->is_object()) return broken(upstream_, "sent something that is no chunk");
  if (auto error = upstream_chunk_error(upstream_, *chunk)) return *std::move(error);
  if (const Json* usage = member(*chunk, "usage", &Json::is_object)) take_usage(*usage);
  if (const Json* choices = member(*chunk, "choices", &Json::is_array)) {
    if (!choices->empty()) PENSIEVE_TRY(take_choice(choices->front()));
  }
  PENSIEVE_TRY(write_out(false));
  std::move(events_.begin(), events_.end(), std::back_inserter(events));
  events_.clear();
  return {};
}

Result<void> UpstreamReply::finish(std::vector<api::Event>& events) {
  if (over_) return {};
  if (finish_reason_.empty()) return broken(upstream_, "broke off in the middle of an answer");
  PENSIEVE_TRY(write_out(true));
  if (!over_) end(stop_reason());
  std::move(events_.begin(), events_.end(), std::back_inserter(events));
  events_.clear();
  return {};
}

Result<void> UpstreamReply::take_choice(const Json& choice) {
  const Json* delta = member(choice, "delta", &Json::is_object);
  if (delta == nullptr) delta = member(choice, "message", &Json::is_object);  // a whole object
  if (delta != nullptr) {
    // Two names for the same: the older one is DeepSeek's and vLLM's, the newer OpenRouter's.
    PENSIEVE_TRY(add_text(PartKind::Thinking, *delta, "reasoning_content"));
    if (!delta->contains("reasoning_content")) {
      PENSIEVE_TRY(add_text(PartKind::Thinking, *delta, "reasoning"));
    }
    PENSIEVE_TRY(add_text(PartKind::Text, *delta, "content"));
    PENSIEVE_TRY(add_text(PartKind::Text, *delta, "refusal"));
    if (const Json* calls = member(*delta, "tool_calls", &Json::is_array)) {
      PENSIEVE_TRY(take_calls(*calls));
    }
  }
  take_logprobs(choice);
  PENSIEVE_TRY(add_text(PartKind::Text, choice, "text"));  // of a text completion
  if (const std::string reason = string_member(choice, "finish_reason"); !reason.empty()) {
    finish_reason_ = reason;
  }
  return {};
}

Result<void> UpstreamReply::add_text(PartKind kind, const Json& holder, const char* field) {
  const std::string text = string_member(holder, field);
  if (text.empty()) return {};
  PENSIEVE_TRY(count(text.size()));
  if (line_.empty() || line_.back().kind != kind) line_.push_back({.kind = kind, .waiting = {}});
  line_.back().waiting += text;
  return {};
}

Result<void> UpstreamReply::count(std::size_t bytes) {
  ++n_pieces_;
  answer_bytes_ += bytes;
  if (answer_bytes_ > kMaxAnswerBytes) {
    return broken(upstream_,
                  "sent an answer of more than " + std::to_string(kMaxAnswerBytes) + " bytes");
  }
  return {};
}

Result<void> UpstreamReply::take_calls(const Json& list) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i].is_object()) PENSIEVE_TRY(take_call(list[i], i));
  }
  return {};
}

Result<void> UpstreamReply::take_call(const Json& item, std::size_t place) {
  const Json* function = member(item, "function", &Json::is_object);
  Call& call = call_for(item, place);
  if (calls_.size() > kMaxCalls) return broken(upstream_, "sent too many tool calls");
  if (function == nullptr || call.closed) return {};
  if (call.name.empty()) call.name = string_member(*function, "name");
  std::string arguments = string_member(*function, "arguments");
  // Some give the object itself.
  if (const Json* object = member(*function, "arguments", &Json::is_object)) {
    arguments = api::compact(*object);
  }
  PENSIEVE_TRY(count(arguments.size() + call.name.size()));
  call.arguments.push(arguments);
  const auto which = static_cast<std::size_t>(&call - calls_.data());
  const auto part = std::find_if(line_.begin(), line_.end(), [&](const Part& candidate) {
    return candidate.kind == PartKind::Call && candidate.call == which;
  });
  if (part != line_.end()) part->waiting += arguments;
  return {};
}

// The call a piece belongs to: the last one with its index, unless it brings another id, because
// some servers number every call 0. Without an index, an id begins a call, and its lack goes on
// with the last one.
UpstreamReply::Call& UpstreamReply::call_for(const Json& item, std::size_t place) {
  const std::string id = string_member(item, "id");
  const Json* index = member(item, "index", &Json::is_number_integer);
  const auto open = [&](int number) -> Call& {
    line_.push_back({.kind = PartKind::Call, .call = calls_.size(), .waiting = {}});
    return calls_.emplace_back(Call{.index = number, .id = id, .name = {}, .arguments = {}});
  };
  if (index == nullptr) {
    const bool goes_on = !calls_.empty() && place == 0 && (id.empty() || calls_.back().id == id);
    return goes_on ? calls_.back() : open(static_cast<int>(calls_.size()));
  }
  const int number = count_member(item, "index");
  const auto known = std::find_if(
      calls_.rbegin(), calls_.rend(), [&](const Call& call) { return call.index == number; });
  if (known == calls_.rend()) return open(number);
  if (!id.empty() && !known->id.empty() && known->id != id) return open(number);
  return *known;
}

void UpstreamReply::take_logprobs(const Json& choice) {
  const Json* logprobs = member(choice, "logprobs", &Json::is_object);
  const Json* content =
      logprobs == nullptr ? nullptr : member(*logprobs, "content", &Json::is_array);
  if (content == nullptr) return;
  for (const Json& item : *content) {
    if (!item.is_object()) continue;
    claude::TokenScore& score = scores_.emplace_back();
    score.bytes = token_bytes(item);
    score.logprob = number_member(item, "logprob");
    const Json* top = member(item, "top_logprobs", &Json::is_array);
    if (top == nullptr) continue;
    for (const Json& other : *top) {
      if (!other.is_object()) continue;
      score.top.push_back(
          {.bytes = token_bytes(other), .logprob = number_member(other, "logprob")});
    }
  }
}

void UpstreamReply::take_usage(const Json& usage) {
  const int prompt = count_member(usage, "prompt_tokens");
  int cached = 0;
  if (const Json* details = member(usage, "prompt_tokens_details", &Json::is_object)) {
    cached = std::min(count_member(*details, "cached_tokens"), prompt);
  }
  message_.usage.input_tokens = prompt - cached;
  message_.usage.cache_read_input_tokens = cached;
  message_.usage.output_tokens = count_member(usage, "completion_tokens");
  has_usage_ = true;
}

Result<void> UpstreamReply::write_out(bool everything) {
  while (!line_.empty() && !over_) {
    Part& part = line_.front();
    PENSIEVE_TRY(write(part, everything));
    if (over_) return {};
    bool done = everything || line_.size() > 1;
    if (part.kind == PartKind::Call) {
      Call& call = calls_[part.call];
      // A complete call is closed at once: clients run it before the answer has ended.
      done = everything || (call.begun && call.arguments.reached());
      call.closed = done;
      if (done) writer_.close_block();
    }
    if (!done) return {};
    line_.pop_front();
  }
  return {};
}

Result<void> UpstreamReply::write(Part& part, bool everything) {
  const std::string waiting = std::exchange(part.waiting, {});
  if (part.kind == PartKind::Text) {
    write_text(waiting);
    return {};
  }
  if (part.kind == PartKind::Thinking) {
    if (waiting.empty()) return {};
    writer_.text(stops_.flush());
    writer_.thinking(waiting);
    return {};
  }
  Call& call = calls_[part.call];
  if (!call.begun) {
    if (call.name.empty()) {
      if (everything) return broken(upstream_, "sent a tool call without a name");
      part.waiting = waiting;
      return {};
    }
    call.begun = true;
    writer_.text(stops_.flush());
    writer_.start_tool_use(call.name, is_good_id(call.id) ? call.id : std::string());
  }
  writer_.tool_input(waiting);
  return {};
}

void UpstreamReply::write_text(std::string_view text) {
  writer_.text(stops_.push(text));
  if (!stops_.matched()) return;
  message_.stop_sequence = stop_sequences_[*stops_.matched()];
  end(api::StopReason::StopSequence);
}

api::StopReason UpstreamReply::stop_reason() const {
  if (finish_reason_ == "length") return api::StopReason::MaxTokens;
  if (finish_reason_ == "content_filter") return api::StopReason::Refusal;
  return writer_.has_tool_use() ? api::StopReason::ToolUse : api::StopReason::EndTurn;
}

void UpstreamReply::end(api::StopReason reason) {
  if (reason != api::StopReason::StopSequence) writer_.text(stops_.flush());
  writer_.close_block();
  if (!has_usage_) message_.usage.output_tokens = n_pieces_;
  message_.stop_reason = reason;
  events_.push_back(api::message_delta(reason, message_.stop_sequence, message_.usage));
  events_.push_back(api::message_stop());
  over_ = true;
}

}  // namespace pensieve::proxy
