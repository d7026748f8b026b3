#include "domain/claude/internal/answer_grammar.h"

#include <algorithm>
#include <string_view>
#include <vector>

namespace pensieve::claude {
namespace {

// Compiled grammars with their caches: a main conversation's, a few sub-agents', titles.
constexpr std::size_t kGrammarsKept = 16;

void append(std::string& key, std::string_view part) {
  key += std::to_string(part.size());
  key += ' ';
  key += part;
}

Error invalid(std::string message) {
  return {.kind = ErrorKind::InvalidRequest, .message = std::move(message)};
}

// The tools that the answer may call.
Result<std::vector<const api::Tool*>> tools_for(const api::MessagesRequest& request) {
  using Kind = api::ToolChoice::Kind;
  const api::ToolChoice& choice = request.tool_choice;
  std::vector<const api::Tool*> tools;
  if (choice.kind != Kind::None) tools = chat::callable_tools(request);
  if (choice.kind == Kind::Tool) {
    std::erase_if(tools, [&](const api::Tool* tool) { return tool->name != choice.name; });
    if (tools.empty()) return invalid("tool_choice.name: there is no tool \"" + choice.name + "\"");
  }
  if (choice.kind == Kind::Any && tools.empty()) {
    return invalid("tool_choice: \"any\" needs at least one tool that can be called");
  }
  return tools;
}

}  // namespace

AnswerGrammars::AnswerGrammars(std::shared_ptr<const grammar::Vocabulary> vocabulary,
                               const chat::CallSyntax& syntax)
    : vocabulary_(std::move(vocabulary)),
      syntax_{.open = std::string(syntax.open),
              .before_name = std::string(syntax.before_name),
              .before_arguments = std::string(syntax.before_arguments),
              .close = std::string(syntax.close),
              .between = std::string(syntax.between)} {}

Result<AnswerGrammar> AnswerGrammars::of(const api::MessagesRequest& request) {
  using Kind = api::ToolChoice::Kind;
  PENSIEVE_TRY(const auto callable, tools_for(request));
  if (callable.empty()) {
    if (request.output_schema_json.empty()) return AnswerGrammar{};
    std::string key = "json ";
    append(key, request.output_schema_json);
    return AnswerGrammar{
        .grammar =
            kept(std::move(key),
                 [&] { return grammar::compile_json(request.output_schema_json, vocabulary_); }),
        .mode = chat::ReplyMode::Text,
        .completes = true};
  }

  const bool required =
      request.tool_choice.kind == Kind::Any || request.tool_choice.kind == Kind::Tool;
  const grammar::CallRules rules{
      .required = required,
      .only_one =
          request.tool_choice.disable_parallel_tool_use || request.tool_choice.kind == Kind::Tool,
      .text_schema_json = required ? std::string() : request.output_schema_json};
  std::string key = rules.required ? "calls " : "text and calls ";
  key += rules.only_one ? "1 " : "n ";
  append(key, rules.text_schema_json);
  std::vector<grammar::Tool> tools;
  for (const api::Tool* tool : callable) {
    append(key, tool->name);
    append(key, tool->input_schema_json);
    tools.push_back({.name = tool->name, .schema_json = tool->input_schema_json});
  }
  return AnswerGrammar{
      .grammar = kept(std::move(key),
                      [&] { return grammar::compile_calls(syntax_, tools, rules, vocabulary_); }),
      .mode = chat::ReplyMode::ConstrainedCalls,
      .completes = rules.required || !rules.text_schema_json.empty()};
}

// Compiles outside of the lock; of two that compile the same at once, the first to end stays.
template <typename Compile>
AnswerGrammars::Compiled AnswerGrammars::kept(std::string key, const Compile& compile) {
  const auto find = [&]() -> Compiled {
    const auto found = std::find_if(
        kept_.begin(), kept_.end(), [&](const auto& entry) { return entry.first == key; });
    if (found == kept_.end()) return nullptr;
    kept_.splice(kept_.begin(), kept_, found);
    return found->second;
  };
  {
    const std::lock_guard lock(mutex_);
    if (auto known = find()) return known;
  }
  auto compiled = compile();
  const std::lock_guard lock(mutex_);
  if (auto known = find()) return known;
  kept_.emplace_front(std::move(key), compiled);
  if (kept_.size() > kGrammarsKept) kept_.pop_back();
  return compiled;
}

}  // namespace pensieve::claude
