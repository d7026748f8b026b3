// A request of the Messages API -> the body of a chat completion request for another server. Pure.
// Knows JSON field names of OpenAI's API. Must not know sockets.
#pragma once

#include <string>
#include <string_view>

#include "domain/api/messages.h"

namespace pensieve::proxy {

// Always streamed, with the usage at the end. What becomes of what:
// - system blocks are one system message, without the billing header that differs from session to
//   session (it would cost the other server its prefix cache); system turns stay where they are.
// - tool_use is tool_calls; a tool_result is a tool message, in the order of the calls; its images
//   follow in a user message, since a tool message holds text alone. A failed one begins "Error: ".
// - An image without an address, a document without text and a tool_reference are words; a
//   referenced tool is then among the tools, and deferred ones nobody referenced are not.
// - Thinking is left out, and so are tools that run on Anthropic's own servers.
// - tool_choice any is "required"; a schema for the answer is response_format json_schema, or
//   json_object for {"type":"object"}.
// - Stop sequences are not sent: which of them ended an answer is not told there, so they are
// looked
//   for here. max_tokens is left out when it is kWhatTheWindowLeaves.
// `model` replaces the request's. `max_tokens`: > 0 replaces the request's.
std::string chat_body(const api::MessagesRequest& request,
                      std::string_view model,
                      int max_tokens = 0);

// The same for POST /v1/completions: `prompt` as it stands. Log probabilities are not asked for:
// that API has another form for them.
std::string completion_body(const api::MessagesRequest& request,
                            std::string_view prompt,
                            std::string_view model);

}  // namespace pensieve::proxy
