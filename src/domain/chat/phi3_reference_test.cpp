// Requests equivalent to the reference prompts of the embedded model must be rendered to exactly
// those prompts. reference.json comes with the model (tools/tiny-model/export.py made it); that the
// prompts' pieces then get the reference token ids is shown in domain/tokenizer.

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "foundation/json.h"

#include "domain/chat/chat_format.h"

namespace pensieve::chat {
namespace {

using api::BlockKind;
using api::ContentBlock;
using api::Role;

std::map<std::string, std::string> reference_prompts() {
  std::ifstream in(PENSIEVE_SOURCE_DIR "/tools/tiny-model/artefacts/reference.json");
  std::ostringstream all;
  all << in.rdbuf();
  const auto json = parse_json(all.str());
  CHECK(json);
  std::map<std::string, std::string> prompts;
  for (const Json& c : json->at("cases")) {
    prompts.emplace(c.at("name").get<std::string>(), c.at("prompt").get<std::string>());
  }
  return prompts;
}

// The prompt as the tokenizer sees it: control tokens, and text without the white space that is
// stripped behind them.
std::vector<Piece> pieces_of(const std::string& prompt) {
  std::vector<Piece> pieces;
  for (std::size_t at = 0; at < prompt.size();) {
    const std::size_t end = prompt.find("|>", at) + 2;
    pieces.push_back({.control = true, .text = prompt.substr(at, end - at)});
    const std::size_t text = std::min(prompt.find_first_not_of(" \n", end), prompt.size());
    at = std::min(prompt.find("<|", text), prompt.size());
    if (at > text) pieces.push_back({.control = false, .text = prompt.substr(text, at - text)});
  }
  return pieces;
}

std::vector<Piece> render(const api::MessagesRequest& request) {
  const auto prompt = phi3_format()->render(request);
  CHECK(prompt);
  return prompt->pieces;
}

ContentBlock text(std::string s) {
  ContentBlock block;
  block.text = std::move(s);
  return block;
}

// What stands between two marks; npos as `to` means the end.
std::string between(const std::string& s, std::size_t from, std::size_t to) {
  return s.substr(from, to == std::string::npos ? to : to - from);
}

// The system text and the tools of a reference prompt as a client would send them.
void take_system(const std::string& prompt, api::MessagesRequest& request) {
  if (!prompt.starts_with("<|system|>\n")) return;
  const std::string system = between(prompt, 11, prompt.find("<|end|>"));
  const std::size_t tools = system.rfind("\n\n# Tools\n");
  request.system.push_back(text(system.substr(0, tools)));
  if (tools == std::string::npos) return;
  const std::size_t first = system.find("<tools>\n", tools) + 8;
  std::istringstream lines(between(system, first, system.find("</tools>", first)));
  for (std::string line; std::getline(lines, line);) {
    const auto json = parse_json(line);
    CHECK(json);
    const Json& function = json->at("function");
    request.tools.push_back({.name = function.at("name").get<std::string>(),
                             .description = function.at("description").get<std::string>(),
                             .input_schema_json = function.at("parameters").dump(),
                             .type = {},
                             .defer_loading = false});
  }
}

TEST(Phi3Reference, RequestsAreRenderedToThePromptsOfTheEmbeddedModel) {
  const auto prompts = reference_prompts();
  ASSERT_EQ(prompts.size(), 21u);
  int n_with_tools = 0;
  for (const auto& [name, prompt] : prompts) {
    api::MessagesRequest request;
    take_system(prompt, request);
    const std::size_t user = prompt.find("<|user|>\n") + 9;
    request.messages.push_back(
        {.role = Role::User,
         .content = {text(between(prompt, user, prompt.find("<|end|>", user)))}});
    if (name == "tool-result" || name == "tool-error") {
      ContentBlock call;
      call.kind = BlockKind::ToolUse;
      call.id = "toolu_1";
      call.name = "Bash";
      call.input_json = R"({"command":"ls src","description":"List files"})";
      ContentBlock result;
      result.kind = BlockKind::ToolResult;
      result.id = "toolu_1";
      result.is_error = name == "tool-error";
      result.content = {text(result.is_error
                                 ? "Exit code 2\nls: cannot access 'src': No such file or directory"
                                 : "main.cpp\nparser.cpp\nparser.h")};
      request.messages.push_back({.role = Role::Assistant, .content = {call}});
      request.messages.push_back({.role = Role::User, .content = {result}});
    }
    EXPECT_EQ(render(request), pieces_of(prompt)) << name;
    n_with_tools += !request.tools.empty();
  }
  EXPECT_EQ(n_with_tools, 9);
}

}  // namespace

// For messages of failed comparisons.
static void PrintTo(const Piece& piece, std::ostream* out) {
  *out << (piece.control ? "" : "\"") << piece.text << (piece.control ? "" : "\"");
}

}  // namespace pensieve::chat
