// Compiling a list of tools like a coding assistant's, and one mask in each kind of place. The
// vocabulary has 32,000 tokens: bytes, syntax across its seams, words and numbers of an ordinary
// distribution of lengths. Masks are measured one by one along many walks; the counters give the
// median and the 99th percentile in microseconds, the cold ones included.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "foundation/check.h"

#include "domain/grammar/grammar.h"

namespace pensieve::grammar {
namespace {

std::shared_ptr<const Vocabulary> vocabulary(std::size_t n_tokens) {
  std::vector<std::string> tokens = {"", "", ""};
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  std::set<std::string> seen(tokens.begin(), tokens.end());
  const auto add = [&](const std::string& token) {
    if (seen.insert(token).second) tokens.push_back(token);
  };
  for (const char* seam : {"\", \"",    "\": \"", "\": ", "\"}", "\"]",  "{\"", "[{\"", "}, {\"",
                           "],",        "},",     "\"}}", "\\n", "\\\"", "\\u", "</",   "<tool",
                           "tool_call", ">\n",    "/\"",  "=\"", " \"",  "\"."})
    add(seam);
  for (int n = 0; n < 1'000; ++n) add(std::to_string(n));
  for (int n = 1; n <= 16; ++n) add(std::string(static_cast<std::size_t>(n), ' '));
  std::mt19937_64 random(1);
  static constexpr std::string_view kLetters = "etaoinshrdlucmfwypvbgkjqxz";
  while (tokens.size() < n_tokens) {
    std::string word = random() % 2 ? " " : "";
    if (random() % 40 == 0)
      word += "\xC3" + std::string(1, static_cast<char>(0xA0 + random() % 32));
    const auto length = 1 + random() % 4 + random() % 5;
    for (std::size_t i = 0; i < length; ++i)
      word += kLetters[std::min(random() % 26, random() % 26)];
    if (random() % 4 == 0)
      word[word.size() - length] = static_cast<char>(word[word.size() - length] & ~0x20);
    static constexpr std::string_view kEnds = "\"_(.,/:";
    if (random() % 30 == 0) word += kEnds[random() % kEnds.size()];
    add(word);
  }
  return Vocabulary::create(tokens);
}

const std::shared_ptr<const Vocabulary>& tokens_32k() {
  static const auto shared = vocabulary(32'000);
  return shared;
}

const CallSyntax kHermes{.open = "<tool_call>",
                         .before_name = "\n{\"name\": \"",
                         .before_arguments = "\", \"arguments\": ",
                         .close = "}\n</tool_call>",
                         .between = "\n"};

// 24 tools, about 70 KB of schemas, nine tenths of it descriptions.
std::vector<Tool> coding_tools() {
  const std::string words = "Says at length what this is for, when it is to be used and when not. ";
  const auto text = [&](int n) {
    std::string out;
    for (int i = 0; i < n; ++i) out += words;
    return "\"description\": \"" + out + "\"";
  };
  std::vector<Tool> tools;
  for (int i = 0; i < 24; ++i) {
    std::string schema =
        R"({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", )" + text(20) +
        R"(, "properties": {)";
    for (int p = 0; p < 4 + i % 6; ++p) {
      const std::string name = "\"parameter_" + std::to_string(p) + "\": {" + text(2) + ", ";
      static constexpr const char* kKinds[] = {
          R"("type": "string"})",
          R"("type": "string", "minLength": 1, "maxLength": 200})",
          R"("type": "integer", "minimum": 0, "maximum": 600000})",
          R"("type": "string", "enum": ["content", "files_with_matches", "count"]})",
          R"("type": "boolean", "default": false})",
          R"("type": "array", "items": {"type": "object", "properties": {"old": {"type": "string"}, "new": {"type": "string"},
              "all": {"type": "boolean"}}, "required": ["old", "new"], "additionalProperties": false}, "minItems": 1})",
          R"("type": "string", "format": "uri"})",
          R"("type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"})",
          R"("anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}]})"};
      schema += (p ? ", " : "") + name + kKinds[static_cast<std::size_t>(p + i) % 9];
    }
    schema += R"(}, "required": ["parameter_0", "parameter_1"], "additionalProperties": false})";
    tools.push_back({.name = "Tool" + std::to_string(i), .schema_json = std::move(schema)});
  }
  return tools;
}

void compile_tools(benchmark::State& state) {
  const auto tools = coding_tools();
  std::size_t n_bytes = 0;
  for (const auto& tool : tools) n_bytes += tool.schema_json.size();
  for ([[maybe_unused]] const auto step : state)
    benchmark::DoNotOptimize(compile_calls(kHermes, tools, {}, tokens_32k()));
  state.counters["schema_bytes"] = static_cast<double>(n_bytes);
}
BENCHMARK(compile_tools)->Unit(benchmark::kMillisecond);

void vocabulary_cost(benchmark::State& state) {
  for ([[maybe_unused]] const auto step : state) benchmark::DoNotOptimize(vocabulary(32'000));
}
BENCHMARK(vocabulary_cost)->Unit(benchmark::kMillisecond);

// Measures masks along random walks that begin behind `before` and go on for `n_steps` tokens,
// which stay clear of the end as long as they can.
void masks(benchmark::State& state,
           const std::shared_ptr<const Grammar>& grammar,
           std::string_view before,
           int n_steps) {
  std::vector<double> micros;
  std::vector<std::uint32_t> mask(1'000);
  std::mt19937_64 random(1);
  for ([[maybe_unused]] const auto round : state) {
    Matcher matcher(grammar);
    CHECK(before.empty() || matcher.accept_bytes(before));
    for (int step = 0; step < n_steps; ++step) {
      const auto begin = std::chrono::steady_clock::now();
      const bool limited = matcher.allowed(mask, 4'000);
      micros.push_back(
          std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin)
              .count());
      std::vector<TokenId> allowed;
      for (TokenId token = 3; token < 32'000; ++token)
        if (!limited || (mask[static_cast<std::size_t>(token) / 32] >> (token % 32) & 1))
          allowed.push_back(token);
      if (allowed.empty()) break;
      const auto token = allowed[random() % allowed.size()];
      CHECK(matcher.accept(token));
    }
  }
  std::sort(micros.begin(), micros.end());
  state.counters["median_us"] = micros[micros.size() / 2];
  state.counters["p99_us"] = micros[micros.size() * 99 / 100];
  state.counters["max_us"] = micros.back();
  state.counters["masks"] = static_cast<double>(micros.size());
}

void json_masks(benchmark::State& state, const char* schema, std::string_view before, int n_steps) {
  masks(state, compile_json(schema, tokens_32k()), before, n_steps);
}

void mask_free_text(benchmark::State& state) {
  masks(state, compile_calls(kHermes, coding_tools(), {}, tokens_32k()), "", 50);
}
BENCHMARK(mask_free_text)->Iterations(20);

void mask_tool_call(benchmark::State& state) {
  masks(state, compile_calls(kHermes, coding_tools(), {.required = true}, tokens_32k()), "", 120);
}
BENCHMARK(mask_tool_call)->Iterations(20);

void mask_keys(benchmark::State& state) {
  std::string schema = R"({"type": "object", "properties": {)";
  for (int i = 0; i < 60; ++i)
    schema += (i ? ", " : "") + std::string("\"option_") + std::to_string(i) +
              R"(": {"type": "boolean"})";
  json_masks(state, (schema + "}}").c_str(), "{", 60);
}
BENCHMARK(mask_keys)->Iterations(20);

void mask_free_keys(benchmark::State& state) {
  json_masks(
      state,
      R"({"type": "object", "properties": {"name": {}}, "additionalProperties": {"type": "boolean"}})",
      "{\"",
      40);
}
BENCHMARK(mask_free_keys)->Iterations(20);

void mask_string_body(benchmark::State& state) {
  json_masks(
      state,
      R"({"type": "object", "properties": {"text": {"type": "string"}, "n": {"type": "integer"}}, "required": ["text"]})",
      "{\"text\": \"",
      60);
}
BENCHMARK(mask_string_body)->Iterations(20);

void mask_bounded_string(benchmark::State& state) {
  json_masks(state,
             R"({"type": "array", "items": {"type": "string", "minLength": 5, "maxLength": 60}})",
             "[\"",
             60);
}
BENCHMARK(mask_bounded_string)->Iterations(20);

void mask_pattern(benchmark::State& state) {
  json_masks(
      state,
      R"({"type": "array", "items": {"type": "string", "pattern": "^[a-z][a-z0-9_]*(/[a-z0-9_]+)*$"}})",
      "[\"",
      60);
}
BENCHMARK(mask_pattern)->Iterations(20);

void mask_number(benchmark::State& state) {
  json_masks(state,
             R"({"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 99999}})",
             "[",
             60);
}
BENCHMARK(mask_number)->Iterations(20);

void mask_enum(benchmark::State& state) {
  json_masks(
      state,
      R"({"type": "array", "items": {"enum": ["content", "files_with_matches", "count", "all"]}})",
      "[",
      60);
}
BENCHMARK(mask_enum)->Iterations(20);

void mask_any_json(benchmark::State& state) {
  json_masks(state, "true", "[", 60);
}
BENCHMARK(mask_any_json)->Iterations(20);

// The last tokens before the limit, where every token's completion counts.
void mask_string_body_at_the_limit(benchmark::State& state) {
  const auto grammar = compile_json(R"({"type": "object", "properties": {"text": {"type": "string"},
      "other": {"type": "string"}}, "required": ["text", "other"]})",
                                    tokens_32k());
  Matcher matcher(grammar);
  CHECK(matcher.accept_bytes("{\"text\": \"abc"));
  std::vector<std::uint32_t> mask(1'000);
  for ([[maybe_unused]] const auto step : state)
    matcher.allowed(mask, matcher.shortest_completion() + 2);
}
BENCHMARK(mask_string_body_at_the_limit)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace pensieve::grammar
