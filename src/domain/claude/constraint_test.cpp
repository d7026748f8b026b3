// Grammars over the embedded model's tokenizer: the dummy prefix, stop tokens, forced text as the
// tokens that the model itself would have chosen, and answers that end within what they may have.
#include "domain/claude/internal/constraint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <sstream>
#include <string>

#include "domain/claude/internal/answer_grammar.h"
#include "domain/claude/internal/test_support.h"

namespace pensieve::claude {
namespace {

using Tokens = std::vector<TokenId>;
using Kind = api::ToolChoice::Kind;

const tokenizer::Tokenizer& tokenizer() {
  return *tiny_model().tokenizer;
}

AnswerGrammars& grammars() {
  static AnswerGrammars all(grammar_vocabulary(tokenizer()), tiny_model().format->call_syntax());
  return all;
}

api::Tool tool(std::string name, std::string schema) {
  return {.name = std::move(name),
          .description = {},
          .input_schema_json = std::move(schema),
          .type = {}};
}

api::MessagesRequest with_tools(Kind choice) {
  api::MessagesRequest request = ask("Do it.");
  request.tools = {
      tool(
          "Bash",
          R"({"type":"object","properties":{"command":{"type":"string"}},"required":["command"]})"),
      tool("Count", R"({"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]})")};
  request.tool_choice.kind = choice;
  request.tool_choice.name = "Count";
  return request;
}

const auto kStops = std::make_shared<const Tokens>(Tokens{2});

std::unique_ptr<engine::Constraint> constraint_for(const api::MessagesRequest& request) {
  const auto grammar = grammars().of(request);
  CHECK(grammar && grammar->grammar);
  return make_constraint({.grammar = grammar->grammar,
                          .tokenizer = &tokenizer(),
                          .vocabulary = grammars().vocabulary(),
                          .stop_tokens = kStops,
                          .at_start = true,
                          .completes = grammar->completes});
}

struct Walk {
  Tokens tokens;
  bool complete = false;
  bool cut_short = false;
  int sampled = 0;
  std::string text() const { return tokenizer().decode(tokens, true); }
};

// An answer of at most `n` tokens, each drawn among those that are allowed.
Walk walk(engine::Constraint& constraint, int n, unsigned seed) {
  std::mt19937 random(seed);
  Walk walk;
  std::vector<std::uint32_t> mask((static_cast<std::size_t>(tokenizer().size()) + 31) / 32);
  while (static_cast<int>(walk.tokens.size()) < n) {
    const int left = n - static_cast<int>(walk.tokens.size());
    Tokens choices;
    const bool masked = constraint.allowed(mask, left);
    for (TokenId token = 0; token < tokenizer().size(); ++token) {
      const auto bit = static_cast<std::size_t>(token);
      if (!masked || (mask[bit / 32] >> (bit % 32) & 1) != 0) choices.push_back(token);
    }
    if (choices.empty()) break;
    const TokenId token = choices[random() % choices.size()];
    if (token == (*kStops)[0]) {
      walk.complete = true;
      break;
    }
    ++walk.sampled;
    walk.tokens.push_back(token);
    constraint.accept(token);
    constraint.force(walk.tokens, n);
    if (constraint.complete()) {
      walk.complete = true;
      break;
    }
  }
  walk.cut_short = constraint.cut_short();
  return walk;
}

// The input of the one call that `text` is.
Json input_of(const std::string& text, const std::string& name) {
  const std::string head = "<tool_call>\n{\"name\": \"" + name + "\", \"arguments\": ";
  const std::string tail = "}\n</tool_call>";
  EXPECT_TRUE(text.starts_with(head) && text.ends_with(tail)) << text;
  if (text.size() < head.size() + tail.size()) return {};
  const auto json = parse_json(text.substr(head.size(), text.size() - head.size() - tail.size()));
  EXPECT_TRUE(json.has_value()) << text;
  return json ? *json : Json();
}

TEST(Constraint, AForcedToolIsCalledWithinWhatTheAnswerMayHave) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    const int n = 80 + static_cast<int>(seed) * 3;
    const auto constraint = constraint_for(with_tools(Kind::Tool));
    const Walk answer = walk(*constraint, n, seed);
    ASSERT_TRUE(answer.complete) << answer.text();
    const Json input = input_of(answer.text(), "Count");
    ASSERT_TRUE(input.is_object() && input["n"].is_number_integer()) << answer.text();
  }
}

// A string that a random walk seldom closes: it is bent towards its end, and says so.
TEST(Constraint, AnAnswerThatRunsOutOfRoomIsCompletedAndKnownAsCutShort) {
  auto request = with_tools(Kind::Tool);
  request.tool_choice.name = "Bash";
  int cut = 0;
  for (unsigned seed = 0; seed < 20; ++seed) {
    const auto constraint = constraint_for(request);
    const Walk answer = walk(*constraint, 100, seed);
    ASSERT_TRUE(answer.complete) << answer.text();
    EXPECT_TRUE(input_of(answer.text(), "Bash")["command"].is_string());
    cut += answer.cut_short ? 1 : 0;
  }
  EXPECT_GT(cut, 10);
}

// With room for everything nothing is bent.
TEST(Constraint, AnAnswerWithRoomIsNotCutShort) {
  for (unsigned seed = 0; seed < 10; ++seed) {
    const auto constraint = constraint_for(with_tools(Kind::Tool));
    const Walk answer = walk(*constraint, 4'000, seed);
    EXPECT_TRUE(answer.complete);
    EXPECT_FALSE(answer.cut_short);
  }
}

// Nor is a short one that ends well before the limit, although some tokens would not have fitted.
TEST(Constraint, AShortAnswerNearItsLimitIsNotCutShort) {
  const auto constraint = constraint_for(with_tools(Kind::Tool));
  Tokens whole, answer;
  tokenizer().encode(
      "<tool_call>\n{\"name\": \"Count\", \"arguments\": {\"n\": 7}}\n</tool_call>", true, whole);
  std::vector<std::uint32_t> mask((static_cast<std::size_t>(tokenizer().size()) + 31) / 32);
  constexpr int kLimit = 90;
  while (answer.size() < whole.size() && !constraint->complete()) {
    const int left = kLimit - static_cast<int>(answer.size());
    EXPECT_TRUE(constraint->allowed(mask, left));
    answer.push_back(whole[answer.size()]);
    constraint->accept(answer.back());
    constraint->force(answer, left);
  }
  EXPECT_EQ(answer, whole);
  EXPECT_TRUE(constraint->complete());
  EXPECT_FALSE(constraint->cut_short());
}

// The tokens of forced text are those of the whole text, so a model trained on whole texts meets
// nothing new.
TEST(Constraint, ForcedTextHasTheTokensOfTheWholeText) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    const auto constraint = constraint_for(with_tools(Kind::Tool));
    std::mt19937 random(seed);
    const std::string whole = "<tool_call>\n{\"name\": \"Count\", \"arguments\": {\"n\": " +
                              std::to_string(random() % 100000) + "}}\n</tool_call>";
    Tokens expected;
    tokenizer().encode(whole, true, expected);
    Tokens answer;
    std::vector<std::uint32_t> mask((static_cast<std::size_t>(tokenizer().size()) + 31) / 32);
    int sampled = 0;
    while (answer.size() < expected.size() && !constraint->complete()) {
      const TokenId next = expected[answer.size()];
      if (constraint->allowed(mask, 100)) {
        const auto bit = static_cast<std::size_t>(next);
        ASSERT_NE(mask[bit / 32] >> (bit % 32) & 1, 0u) << tokenizer().piece(next);
      }
      answer.push_back(next);
      constraint->accept(next);
      ++sampled;
      constraint->force(answer, 100);
    }
    EXPECT_EQ(answer, expected) << whole;
    EXPECT_LT(sampled, static_cast<int>(expected.size()) / 2) << "most of a call is known before";
  }
}

TEST(Constraint, FreeTextIsFreeAndACallInItFollowsItsSchema) {
  const auto constraint = constraint_for(with_tools(Kind::Auto));
  std::vector<std::uint32_t> mask((static_cast<std::size_t>(tokenizer().size()) + 31) / 32);
  EXPECT_FALSE(constraint->allowed(mask, 100));
  Tokens text;
  tokenizer().encode("I count: <tool_call>\n{\"name\": \"", true, text);
  for (const TokenId token : text) {
    if (constraint->allowed(mask, 100)) {
      const auto bit = static_cast<std::size_t>(token);
      EXPECT_NE(mask[bit / 32] >> (bit % 32) & 1, 0u);
    }
    constraint->accept(token);
  }
  ASSERT_TRUE(constraint->allowed(mask, 100));
  std::string first;
  for (TokenId token = 0; token < tokenizer().size(); ++token) {
    const auto bit = static_cast<std::size_t>(token);
    if ((mask[bit / 32] >> (bit % 32) & 1) != 0) first += tokenizer().bytes(token)[0];
  }
  std::sort(first.begin(), first.end());
  first.erase(std::unique(first.begin(), first.end()), first.end());
  EXPECT_EQ(first, "BC");
}

// A vocabulary of the kind of Qwen's, where the tags are tokens: forced text is written with them,
// and the words of a user inside of a string are not.
TEST(Constraint, TagsThatAreTokensAreForcedAsTokens) {
  std::ifstream file(PENSIEVE_SOURCE_DIR "/src/domain/tokenizer/testdata/byte-level/qwen2.json");
  std::ostringstream text;
  text << file.rdbuf();
  const auto qwen = tokenizer::Tokenizer::from_json(text.str(), {});
  ASSERT_TRUE(qwen.has_value()) << qwen.error().message;
  const auto open = (*qwen)->control("<tool_call>"), close = (*qwen)->control("</tool_call>");
  ASSERT_TRUE(open && close);
  AnswerGrammars grammars(grammar_vocabulary(**qwen), tiny_model().format->call_syntax());
  const auto grammar = grammars.of(with_tools(Kind::Tool));
  ASSERT_TRUE(grammar);
  const auto constraint =
      make_constraint({.grammar = grammar->grammar,
                       .tokenizer = qwen->get(),
                       .vocabulary = grammars.vocabulary(),
                       .stop_tokens = kStops,
                       .tags = {{"<tool_call>", *open}, {"</tool_call>", *close}},
                       .at_start = true,
                       .completes = true});
  std::vector<std::uint32_t> mask((static_cast<std::size_t>((*qwen)->size()) + 31) / 32);
  ASSERT_TRUE(constraint->allowed(mask, 100));
  ASSERT_NE(mask[static_cast<std::size_t>(*open) / 32] >> (*open % 32) & 1, 0u);
  Tokens answer{*open};
  constraint->accept(*open);
  constraint->force(answer, 100);
  const std::string whole =
      "<tool_call>\n{\"name\": \"Count\", \"arguments\": {\"n\": 7}}\n</tool_call>";
  int sampled = 1;
  for (; !constraint->complete() && sampled < 10; ++sampled) {
    const std::string rest = whole.substr((*qwen)->decode(answer, false).size());
    Tokens next;
    (*qwen)->encode(rest, false, next);
    ASSERT_FALSE(next.empty());
    answer.push_back(rest.starts_with("</tool_call>") ? *close : next[0]);
    constraint->accept(answer.back());
    constraint->force(answer, 100);
  }
  EXPECT_EQ((*qwen)->decode(answer, false), whole);
  EXPECT_EQ(answer.back(), *close);
  EXPECT_TRUE(constraint->complete());
}

// Goes on with `n` tokens, with room for many more.
void take_some(engine::Constraint& constraint, unsigned n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::uint32_t> mask((static_cast<std::size_t>(tokenizer().size()) + 31) / 32);
  for (unsigned taken = 0; taken < n; ++taken) {
    Tokens choices, forced;
    if (!constraint.allowed(mask, 500)) return;
    for (TokenId token = 0; token < tokenizer().size(); ++token)
      if ((mask[static_cast<std::size_t>(token) / 32] >> (token % 32) & 1) != 0)
        choices.push_back(token);
    const TokenId token = choices[random() % choices.size()];
    if (token == (*kStops)[0]) return;
    constraint.accept(token);
    constraint.force(forced, 30);
    if (constraint.complete()) return;
  }
}

// At different places of answers: a copy goes on as the original does, and nothing that one of them
// takes moves the other.
TEST(Constraint, ACopyGoesItsOwnWay) {
  std::size_t n_tokens = 0;
  for (unsigned seed = 0; seed < 12; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const auto original = constraint_for(with_tools(Kind::Any));
    const int n = 60 + static_cast<int>(seed);
    take_some(*original, seed, 7 * seed);
    const auto first = original->clone(), second = original->clone();
    walk(*first, n, seed + 100);
    const Walk of_copy = walk(*second, n, seed), of_original = walk(*original, n, seed);
    EXPECT_EQ(of_copy.tokens, of_original.tokens);
    EXPECT_EQ(of_copy.complete, of_original.complete);
    EXPECT_EQ(of_copy.cut_short, of_original.cut_short);
    n_tokens += of_copy.tokens.size();
  }
  EXPECT_GT(n_tokens, 60u);
}

TEST(AnswerGrammars, RefuseAChoiceWithoutItsTool) {
  auto request = with_tools(Kind::Tool);
  request.tool_choice.name = "None";
  const auto unknown = grammars().of(request);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().kind, ErrorKind::InvalidRequest);
  EXPECT_EQ(unknown.error().message, "tool_choice.name: there is no tool \"None\"");
  request = with_tools(Kind::Any);
  for (api::Tool& one : request.tools) one.type = "web_search_20250305";
  EXPECT_FALSE(grammars().of(request));
}

TEST(AnswerGrammars, ConstrainWhatTheRequestAsksFor) {
  EXPECT_EQ(grammars().of(ask("Hi"))->grammar, nullptr);
  EXPECT_EQ(grammars().of(with_tools(Kind::None))->grammar, nullptr);
  EXPECT_EQ(grammars().of(with_tools(Kind::Auto))->mode, chat::ReplyMode::ConstrainedCalls);
  EXPECT_FALSE(grammars().of(with_tools(Kind::Auto))->completes);
  EXPECT_TRUE(grammars().of(with_tools(Kind::Any))->completes);
  EXPECT_EQ(grammars().of(with_tools(Kind::Any))->grammar,
            grammars().of(with_tools(Kind::Any))->grammar)
      << "compiled once";
  EXPECT_NE(grammars().of(with_tools(Kind::Any))->grammar,
            grammars().of(with_tools(Kind::Auto))->grammar);
  auto json = ask("Hi");
  json.output_schema_json = R"({"type":"boolean"})";
  EXPECT_EQ(grammars().of(json)->mode, chat::ReplyMode::Text);
  EXPECT_TRUE(grammars().of(json)->completes);
}

TEST(AnswerGrammars, AnOutputSchemaBesideToolsIsForTheTextThatCallsNone) {
  auto request = with_tools(Kind::Auto);
  request.output_schema_json = R"({"type":"boolean"})";
  const auto both = grammars().of(request);
  EXPECT_EQ(both->mode, chat::ReplyMode::ConstrainedCalls);
  EXPECT_TRUE(both->completes);
  EXPECT_TRUE(grammar::Matcher(both->grammar).accept_bytes("true"));
  EXPECT_TRUE(grammar::Matcher(both->grammar).accept_bytes("<tool_call>"));
  EXPECT_FALSE(grammar::Matcher(both->grammar).accept_bytes("Well"));
  EXPECT_NE(both->grammar, grammars().of(with_tools(Kind::Auto))->grammar);

  request.tool_choice.kind = Kind::Any;
  EXPECT_FALSE(grammar::Matcher(grammars().of(request)->grammar).accept_bytes("true"))
      << "a call is asked for";
  request.tool_choice.kind = Kind::None;
  EXPECT_FALSE(grammar::Matcher(grammars().of(request)->grammar).accept_bytes("<tool_call>"));
}

}  // namespace
}  // namespace pensieve::claude
