// The body that the tables of the request tests start from, and what they expect of a changed one.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "foundation/json.h"

#include "domain/api/messages.h"

namespace pensieve::api {

using Pointer = Json::json_pointer;

inline Json parsed(std::string_view text) {
  auto value = parse_json(text);
  if (!value) ADD_FAILURE() << value.error().message << " in " << text;
  return value ? *std::move(value) : Json();
}

// A request with every field the server reads.
inline Json full_body() {
  return parsed(R"json({
    "model": "claude-sonnet-4-5", "max_tokens": 100, "stream": true,
    "system": [{"type": "text", "text": "be brief"}],
    "messages": [
      {"role": "user", "content": [
        {"type": "text", "text": "look"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
        {"type": "document", "title": "T", "context": "C",
         "source": {"type": "text", "media_type": "text/plain", "data": "body"}},
        {"type": "search_result", "title": "T", "source": "https://example.org",
         "content": [{"type": "text", "text": "found"}]}]},
      {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xx"},
        {"type": "text", "text": "I look"},
        {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}}]},
      {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": false, "content": [
          {"type": "text", "text": "a.txt"}, {"type": "tool_reference", "tool_name": "Read"}]}]},
      {"role": "system", "content": "the date changed"}],
    "tools": [
      {"name": "Bash", "type": "custom", "description": "runs", "defer_loading": false,
       "input_schema": {"type": "object"}},
      {"name": "web_search", "type": "web_search_20250305"}],
    "tool_choice": {"type": "tool", "name": "Bash", "disable_parallel_tool_use": true},
    "stop_sequences": ["END"],
    "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "repetition_penalty": 1.1,
    "seed": 7,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}}
  })json");
}

inline void expect_accepted(const Json& body) {
  const auto request = parse_messages_request(body.dump());
  EXPECT_TRUE(request.has_value()) << request.error().message;
}

// `exactly`: the sentence names this field and not one inside it.
inline void expect_refused_at(const Json& body, const std::string& path, bool exactly) {
  const auto request = parse_messages_request(body.dump());
  ASSERT_FALSE(request.has_value());
  EXPECT_EQ(request.error().kind, ErrorKind::InvalidRequest);
  const std::string& sentence = request.error().message;
  const bool starts =
      sentence.rfind(path + ":", 0) == 0 || (!exactly && sentence.rfind(path + ".", 0) == 0);
  EXPECT_TRUE(starts) << sentence << "\n  should begin with " << path;
  EXPECT_EQ(sentence.find('\n'), std::string::npos);
}

}  // namespace pensieve::api
