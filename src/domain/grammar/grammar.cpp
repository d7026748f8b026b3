#include "domain/grammar/grammar.h"

#include <algorithm>
#include <set>
#include <utility>

#include "foundation/check.h"
#include "foundation/log.h"
#include "foundation/text.h"

#include "domain/grammar/internal/compiled_grammar.h"
#include "domain/grammar/internal/schema_compiler.h"
#include "domain/grammar/internal/text_set.h"

namespace pensieve::grammar {

using internal::CallsRule;
using internal::CompiledGrammar;
using internal::Literals;
using internal::NodeId;
using internal::Program;
using internal::SchemaCompiler;
using internal::Threads;

namespace {

// One line for each compilation, of keywords alone: what schemas say is the client's own.
void log_widened(const Program& program) {
  if (program.widened.empty()) return;
  std::string list;
  for (const auto& keyword : program.widened)
    list += (list.empty() ? "" : ", ") + printable(keyword);
  log_info("grammar: what a schema says is not kept in full: " + list);
}

internal::RuleId add_rule(Program& program, internal::Rule rule) {
  program.rules.push_back(std::move(rule));
  return static_cast<internal::RuleId>(program.rules.size() - 1);
}

internal::Rule end_rule() {
  return {.body = internal::EndRule{}, .shortest = 0, .longest = 0};
}

// Where nothing fits a schema because its oneOf takes what it takes more than once, once is read as
// at least once.
template <typename Fill>
std::shared_ptr<const Grammar> compiled_from(std::shared_ptr<const Vocabulary> vocabulary,
                                             const Fill& fill) {
  Program program;
  for (const bool strict : {true, false}) {
    program = {};
    SchemaCompiler compiler(program, strict);
    fill(program, compiler);
    if (compiler.finish()) break;
  }
  log_widened(program);
  return std::make_shared<CompiledGrammar>(std::move(program), std::move(vocabulary));
}

}  // namespace

std::shared_ptr<const Grammar> compile_json(std::string_view schema_json,
                                            std::shared_ptr<const Vocabulary> vocabulary) {
  return compiled_from(std::move(vocabulary), [&](Program& program, SchemaCompiler& compiler) {
    program.root_node = compiler.add(schema_json, false);
    program.end_rule = add_rule(program, end_rule());
  });
}

std::shared_ptr<const Grammar> compile_calls(const CallSyntax& syntax,
                                             std::span<const Tool> tools,
                                             const CallRules& rules,
                                             std::shared_ptr<const Vocabulary> vocabulary) {
  const bool has_schema = !rules.text_schema_json.empty();
  CHECK(!tools.empty() || !(rules.required || has_schema));
  CHECK(!rules.required || !has_schema);
  return compiled_from(std::move(vocabulary), [&](Program& program, SchemaCompiler& compiler) {
    CallsRule calls{.close = syntax.close,
                    .between = syntax.between,
                    .required = rules.required || has_schema,
                    .only_one = rules.only_one};
    if (!tools.empty()) calls.open = syntax.open;
    std::vector<std::string> heads;
    std::vector<NodeId> arguments;
    std::set<std::string_view> names;
    for (const auto& tool : tools) {
      if (!names.insert(tool.name).second) continue;
      heads.push_back(syntax.before_name + internal::escaped(tool.name) + syntax.before_arguments);
      arguments.push_back(compiler.add(tool.schema_json, true));
    }
    calls.heads = Literals(std::move(heads));
    for (std::uint32_t i = 0; i < calls.heads.all().high; ++i)
      calls.arguments.push_back(arguments[calls.heads.original(i)]);
    calls.failure = internal::border_lengths(calls.open);
    if (has_schema) {
      program.root_node = compiler.add(rules.text_schema_json, false);
      program.end_rule = add_rule(program, end_rule());
    }
    program.calls_rule = add_rule(program, {.body = std::move(calls)});
  });
}

struct Matcher::State {
  Threads threads;
  bool begun = false;
};

namespace {

const CompiledGrammar& compiled(const std::shared_ptr<const Grammar>& grammar) {
  return static_cast<const CompiledGrammar&>(*grammar);
}

}  // namespace

Matcher::Matcher(std::shared_ptr<const Grammar> grammar) : grammar_(std::move(grammar)) {
  state_ = std::make_shared<State>(State{.threads = compiled(grammar_).machine().start()});
}

bool Matcher::allowed(std::span<std::uint32_t> mask, int n_left) const {
  const auto& grammar = compiled(grammar_);
  CHECK(mask.size() == grammar.vocabulary().n_words());
  const auto& threads = state_->threads;
  if (threads.size() == 1 && grammar.machine().in_free_text(threads[0]))
    return grammar.masks().free_text(threads[0], n_left, mask);
  std::fill(mask.begin(), mask.end(), 0u);
  for (const auto& thread : threads) grammar.masks().add(thread, n_left, mask);
  return true;
}

bool Matcher::may_end() const {
  const auto& machine = compiled(grammar_).machine();
  return std::any_of(state_->threads.begin(), state_->threads.end(), [&](const auto& thread) {
    return machine.may_end(thread);
  });
}

bool Matcher::inside() const {
  const auto& machine = compiled(grammar_).machine();
  return state_->begun && !may_end() &&
         std::any_of(state_->threads.begin(), state_->threads.end(), [&](const auto& thread) {
           return machine.inside(thread);
         });
}

bool Matcher::accept(TokenId token) {
  const auto bytes = compiled(grammar_).vocabulary().bytes(token);
  return !bytes.empty() && accept_bytes(bytes);
}

bool Matcher::accept_bytes(std::string_view bytes) {
  const auto& machine = compiled(grammar_).machine();
  State next{.threads = {}, .begun = state_->begun || !bytes.empty()};
  for (const auto& thread : state_->threads) {
    for (auto& behind : machine.run(thread, bytes))
      if (std::find(next.threads.begin(), next.threads.end(), behind) == next.threads.end())
        next.threads.push_back(std::move(behind));
  }
  if (next.threads.empty()) return false;
  machine.keep_nearest(next.threads);
  state_ = std::make_shared<State>(std::move(next));
  return true;
}

std::string Matcher::forced(std::size_t limit) const {
  const auto& machine = compiled(grammar_).machine();
  Threads threads = state_->threads, next, only;
  std::string out;
  const auto may_end = [&](const auto& thread) { return machine.may_end(thread); };
  while (out.size() < limit && !std::any_of(threads.begin(), threads.end(), may_end)) {
    int n_ways = 0;
    std::uint8_t way = 0;
    for (int byte = 0; byte < 256 && n_ways < 2; ++byte) {
      machine.step_all(threads, static_cast<std::uint8_t>(byte), next);
      if (next.empty()) continue;
      ++n_ways;
      way = static_cast<std::uint8_t>(byte);
      std::swap(only, next);
    }
    if (n_ways != 1) break;
    out += static_cast<char>(way);
    std::swap(threads, only);
  }
  // Whole characters, so that it is a text; none if it would begin in the middle of one.
  if (!out.empty() && (static_cast<std::uint8_t>(out[0]) & 0xC0) == 0x80) return {};
  out.resize(complete_utf8_prefix(out));
  return out;
}

int Matcher::shortest_completion() const {
  const auto& machine = compiled(grammar_).machine();
  int least = internal::kEndless;
  for (const auto& thread : state_->threads) least = std::min(least, machine.distance(thread));
  return least;
}

}  // namespace pensieve::grammar
