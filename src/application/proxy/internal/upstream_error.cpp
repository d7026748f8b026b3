#include "application/proxy/internal/upstream_error.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <vector>

#include "foundation/text.h"

#include "domain/api/fields.h"

namespace pensieve::proxy {
namespace {

constexpr std::size_t kMaxSentence = 600;
constexpr int kLongestWaitS = 10;
constexpr int kShortestWaitS = 1;

// {"error": {"message": "…"}}, {"error": "…"}, {"message": "…"}, {"detail": "…"}: what there is.
std::string sentence_in(const Json& json) {
  if (json.is_string()) return json.get<std::string>();
  if (!json.is_object()) return {};
  for (const char* field : {"error", "message", "detail"}) {
    const auto found = json.find(field);
    if (found == json.end()) continue;
    if (std::string inner = sentence_in(*found); !inner.empty()) return inner;
  }
  return {};
}

std::string sentence_of(std::string_view body) {
  const auto json = parse_json(body);
  std::string sentence = json ? sentence_in(*json) : std::string(body);
  while (!sentence.empty() && (sentence.back() == '\n' || sentence.back() == ' ')) {
    sentence.pop_back();
  }
  return sentence;
}

std::string without_key(std::string text, std::string_view key) {
  if (key.empty()) return text;
  for (auto at = text.find(key); at != std::string::npos; at = text.find(key, at)) {
    text.replace(at, key.size(), "***");
    at += 3;
  }
  return text;
}

std::string said(const UpstreamName& upstream, const std::string& sentence) {
  if (sentence.empty()) return {};
  return ": " + printable(without_key(sentence, upstream.key), kMaxSentence);
}

// Every whole number of a sentence, with the place behind it.
struct Number {
  std::int64_t value = 0;
  std::size_t begin = 0, end = 0;
};
std::vector<Number> numbers_in(std::string_view text) {
  std::vector<Number> numbers;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] < '0' || text[i] > '9') {
      ++i;
      continue;
    }
    Number number{.begin = i};
    const auto parsed = std::from_chars(text.data() + i, text.data() + text.size(), number.value);
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') ++i;
    number.end = i;
    if (parsed.ec == std::errc()) numbers.push_back(number);
  }
  return numbers;
}

struct WindowComplaint {
  std::int64_t window = 0;
  std::int64_t prompt = 0;  // 0: not said
  std::int64_t asked = 0;   // prompt and answer together; 0: not said
};

// The first number behind `words`, or the one directly in front of them.
std::int64_t number_near(std::string_view text,
                         const std::vector<Number>& numbers,
                         std::string_view words,
                         bool number_first) {
  const auto at = text.find(words);
  if (at == std::string_view::npos) return 0;
  std::int64_t found = 0;
  for (const Number& number : numbers) {
    if (number_first && number.end <= at && at - number.end <= 2) found = number.value;
    if (!number_first && number.begin >= at + words.size()) return number.value;
  }
  return found;
}

// The sentences of OpenAI, vLLM, SGLang and llama-cpp-python, as the test has them; llama.cpp's has
// its numbers in fields. Ours is the one of Anthropic's API.
std::optional<WindowComplaint> window_complaint(std::string_view sentence) {
  const std::string text = lower_ascii(sentence);
  const auto numbers = numbers_in(text);
  if (text.starts_with("prompt is too long: ") && numbers.size() >= 2) {
    return WindowComplaint{.window = numbers[1].value, .prompt = numbers[0].value};
  }
  WindowComplaint complaint;
  const auto find = [&](std::int64_t& number,
                        std::initializer_list<std::string_view> all_words,
                        bool number_first) {
    for (const std::string_view words : all_words) {
      if (number == 0) number = number_near(text, numbers, words, number_first);
    }
  };
  find(complaint.window, {"maximum context length is", "context length ("}, false);
  if (complaint.window == 0) return std::nullopt;
  find(complaint.prompt, {"in the messages", "in your prompt", "input tokens"}, true);
  find(complaint.prompt, {"the input (", "messages resulted in"}, false);
  find(complaint.asked, {"you requested"}, false);
  return complaint;
}

std::optional<WindowComplaint> window_complaint_in_fields(std::string_view body) {
  const auto json = parse_json(body);
  if (!json || !json->is_object() || !json->contains("error")) return std::nullopt;
  const Json& error = (*json)["error"];
  if (!error.is_object()) return std::nullopt;
  const auto number = [&](const char* name) {
    const auto field = error.find(name);
    return field != error.end() && field->is_number_integer() ? field->get<std::int64_t>() : 0;
  };
  const WindowComplaint complaint{.window = number("n_ctx"), .prompt = number("n_prompt_tokens")};
  if (complaint.window <= 0 || complaint.prompt <= 0) return std::nullopt;
  return complaint;
}

std::optional<Error> prompt_too_long(std::string_view body, const std::string& sentence) {
  auto complaint = window_complaint_in_fields(body);
  if (!complaint) complaint = window_complaint(sentence);
  if (!complaint) return std::nullopt;
  const std::int64_t tokens = std::max(complaint->prompt, std::int64_t{0});
  if (tokens == 0 && complaint->asked == 0) return std::nullopt;
  return Error{
      .kind = ErrorKind::InvalidRequest,
      .message = "prompt is too long: " + std::to_string(tokens > 0 ? tokens : complaint->asked) +
                 " tokens > " + std::to_string(complaint->window) + " maximum"};
}

}  // namespace

std::optional<int> room_for_answer(std::string_view body) {
  const auto complaint = window_complaint(sentence_of(body));
  if (!complaint || complaint->prompt <= 0 || complaint->prompt >= complaint->window) {
    return std::nullopt;
  }
  const std::int64_t room = complaint->window - complaint->prompt;
  return room > std::numeric_limits<int>::max() ? std::nullopt
                                                : std::optional(static_cast<int>(room));
}

Error upstream_status_error(const UpstreamName& upstream,
                            int status,
                            int retry_after_s,
                            std::string_view body) {
  const std::string sentence = sentence_of(body);
  const std::string who = "the upstream " + upstream.url;
  const std::string answered = who + " answered " + std::to_string(status);
  switch (status) {
    case 400:
    case 409:
    case 422:
      if (auto error = prompt_too_long(body, sentence)) return *std::move(error);
      return {.kind = ErrorKind::InvalidRequest, .message = answered + said(upstream, sentence)};
    case 401:
    case 403:
      // What it says about the key may hold a part of it.
      return {.kind = ErrorKind::Unavailable,
              .message = answered + ": it does not take " +
                         (upstream.key.empty() ? "requests without a key; set PENSIEVE_UPSTREAM_KEY"
                                               : "the key in PENSIEVE_UPSTREAM_KEY")};
    case 404:
      return {.kind = ErrorKind::NotFound, .message = answered + said(upstream, sentence)};
    case 408:
    case 504:
      return {.kind = ErrorKind::Unavailable,
              .message = answered + ": it took too long",
              .retry_after_s = kShortestWaitS};
    case 413:
      return {.kind = ErrorKind::TooLarge, .message = answered + said(upstream, sentence)};
    case 429:
      return {.kind = ErrorKind::RateLimited,
              .message = answered + said(upstream, sentence),
              .retry_after_s = std::clamp(retry_after_s, kShortestWaitS, kLongestWaitS)};
    case 503:
    case 529:
      return {.kind = ErrorKind::Overloaded,
              .message = answered + said(upstream, sentence),
              .retry_after_s = std::clamp(retry_after_s, kShortestWaitS, kLongestWaitS)};
    default:
      break;
  }
  if (status >= 300 && status < 400) {
    return {.kind = ErrorKind::Unavailable,
            .message = answered +
                       ", a redirect, which is not followed: give --upstream the address it leads "
                       "to"};
  }
  if (status >= 400 && status < 500) {
    return {.kind = ErrorKind::InvalidRequest, .message = answered + said(upstream, sentence)};
  }
  return {.kind = ErrorKind::Internal, .message = answered + said(upstream, sentence)};
}

std::optional<Error> upstream_chunk_error(const UpstreamName& upstream, const Json& chunk) {
  const auto found = chunk.find("error");
  if (found == chunk.end() || found->is_null()) return std::nullopt;
  const std::string sentence = sentence_in(*found);
  if (found->is_object() && found->contains("code") && (*found)["code"].is_number_integer()) {
    const auto code = (*found)["code"].get<std::int64_t>();
    if (code >= 300 && code < 600) {
      return upstream_status_error(upstream, static_cast<int>(code), 0, api::compact(chunk));
    }
  }
  if (auto error = prompt_too_long({}, sentence)) return error;
  return Error{.kind = ErrorKind::Internal,
               .message = "the upstream " + upstream.url + " ended its answer with an error" +
                          said(upstream, sentence)};
}

}  // namespace pensieve::proxy
