// Writes answers under a grammar, for a validator that is not ours to judge (tests/grammar). Reads
// one JSON object a line, {"schema": …}, and writes one a line: {"widened": […], "answers": ["…",
// …], "micros": compile time}. Tokens are drawn evenly from those allowed, with a budget of tokens
// that forces an end.
//   grammar_sampler PIECES [N_ANSWERS [SEED]]
// PIECES: a file with a JSON list of texts; the vocabulary is these and the 256 bytes.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "foundation/json.h"
#include "foundation/log.h"

#include "domain/grammar/grammar.h"
#include "domain/grammar/internal/compiled_grammar.h"

namespace {

using pensieve::Json;
using pensieve::grammar::Matcher;

std::vector<std::string> read_pieces(const char* path) {
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  std::vector<std::string> tokens;
  tokens.reserve(256);
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  const auto pieces = pensieve::parse_json(text);
  if (!pieces) {
    std::cerr << pieces.error().message << "\n";
    std::exit(2);
  }
  for (const auto& piece : *pieces) tokens.push_back(piece.get<std::string>());
  return tokens;
}

// One answer of at most `n_tokens` tokens, all counted; empty text if it did not end in time.
Json sample(Matcher matcher,
            const pensieve::grammar::Vocabulary& vocabulary,
            std::mt19937_64& random,
            int n_tokens) {
  std::vector<std::uint32_t> mask((static_cast<std::size_t>(vocabulary.size()) + 31) / 32);
  std::string answer;
  for (int left = n_tokens; left > 0; --left) {
    if (matcher.may_end() && random() % 4 == 0) return answer;
    std::vector<pensieve::TokenId> allowed;
    if (!matcher.allowed(mask, left)) return "free text";
    for (int token = 0; token < vocabulary.size(); ++token)
      if (mask[static_cast<std::size_t>(token) / 32] >> (token % 32) & 1) allowed.push_back(token);
    if (allowed.empty()) break;
    const auto token = allowed[random() % allowed.size()];
    if (!matcher.accept(token)) return "refused what it allowed";
    answer += vocabulary.bytes(token);
  }
  return matcher.may_end() ? Json(answer) : Json("not complete: " + answer);
}

}  // namespace

int main(int n_arguments, char** arguments) {
  if (n_arguments < 2) return 2;
  pensieve::configure_log(pensieve::LogLevel::Error, pensieve::LogFormat::Text);
  const int n_answers = n_arguments > 2 ? std::atoi(arguments[2]) : 3;
  std::mt19937_64 random(n_arguments > 3 ? std::strtoull(arguments[3], nullptr, 10) : 1);
  const auto vocabulary = pensieve::grammar::Vocabulary::create(read_pieces(arguments[1]));
  for (std::string line; std::getline(std::cin, line);) {
    const auto request = pensieve::parse_json(line);
    if (!request) return 2;
    const auto begin = std::chrono::steady_clock::now();
    const auto grammar = pensieve::grammar::compile_json((*request)["schema"].dump(), vocabulary);
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
    const Matcher matcher(grammar);
    Json reply;
    reply["widened"] = static_cast<const pensieve::grammar::internal::CompiledGrammar&>(*grammar)
                           .program()
                           .widened;
    reply["answers"] = Json::array();
    reply["micros"] = took.count();
    for (int i = 0; i < n_answers; ++i) {
      // Some with hardly more tokens than are needed, some with room.
      const int least = matcher.shortest_completion();
      const int spare = i % 3 == 0 ? 0 : i % 3 == 1 ? 20 : 120;
      reply["answers"].push_back(sample(matcher, *vocabulary, random, std::max(least, 1) + spare));
    }
    std::cout << reply.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n" << std::flush;
  }
  return 0;
}
