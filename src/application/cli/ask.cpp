// `pensieve ask`: one question, answered on the terminal while it is being made, in this process.
#include <cstdio>
#include <string>

#include "domain/api/messages.h"

#include "application/cli/commands.h"
#include "application/cli/exit_status.h"
#include "application/cli/models.h"
#include "application/cli/signals.h"
#include "application/cli/stack.h"

namespace pensieve::cli {
namespace {

constexpr std::size_t kLongestPrompt = std::size_t{32} << 20;

api::MessagesRequest request_of(const Options& options, const std::string& prompt) {
  const auto text_block = [](const std::string& text) {
    api::ContentBlock block;
    block.text = text;
    return block;
  };
  api::MessagesRequest request;
  request.model = "local";
  request.max_tokens = options.max_tokens;
  request.temperature = options.temperature;
  request.seed = options.seed;
  if (!options.system.empty()) request.system.push_back(text_block(options.system));
  request.messages.push_back({.role = api::Role::User, .content = {text_block(prompt)}});
  return request;
}

// The text of the answer so far.
std::string text_of(const api::Message& message) {
  std::string text;
  for (const api::ContentBlock& block : message.content) {
    if (block.kind == api::BlockKind::Text) text += block.text;
  }
  return text;
}

}  // namespace

int ask(const Options& options) {
  std::string prompt = options.prompt;
  if (prompt == "-") {
    auto input = read_input("-", kLongestPrompt);
    if (!input) return complain(input.error());
    prompt = *std::move(input);
  }
  while (!prompt.empty() && (prompt.back() == '\n' || prompt.back() == '\r')) prompt.pop_back();

  if (!options.model.empty()) {  // the default model is the server's to fetch
    if (const auto ensured = ensure_model(options); !ensured) return complain(ensured.error());
  }
  auto stack = build_stack(options, 1);
  if (!stack) return complain(stack.error());
  if ((*stack)->by_default) std::fprintf(stderr, "%s\n\n", embedded_model_notice().c_str());

  auto answer = (*stack)->service->answer(request_of(options, prompt), "ask");
  if (!answer) return complain(answer.error());

  orderly_signals();
  std::size_t printed = 0;
  while (true) {
    if (const int signal = wait_for_signal(0); signal != 0) {
      std::fputc('\n', stdout);
      return kExitSignal + signal;  // the answer goes first, which cancels the request
    }
    (*answer)->wait(50);
    const auto events = (*answer)->poll();
    if (!events) {
      std::fputc('\n', stdout);
      return complain(events.error());
    }
    const std::string text = text_of((*answer)->message());
    std::fwrite(text.data() + printed, 1, text.size() - printed, stdout);
    std::fflush(stdout);
    printed = text.size();
    if ((*answer)->finished()) break;
    if (std::ferror(stdout) != 0) return kExitFailed;  // whoever read it is gone
  }
  std::fputc('\n', stdout);
  if ((*answer)->message().stop_reason == api::StopReason::MaxTokens) {
    std::fprintf(stderr, "(cut after %d tokens; --max-tokens N allows more)\n", options.max_tokens);
  }
  return kExitDone;
}

}  // namespace pensieve::cli
