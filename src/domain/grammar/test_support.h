// What the room's tests share: a small vocabulary with awkward cuts, ways to ask a grammar about
// whole texts, and a walk that draws tokens.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "domain/grammar/grammar.h"

namespace pensieve::grammar::test {

// All bytes, pieces of JSON's syntax across its seams, words, cut characters, a token twice, two
// tokens without bytes.
inline std::vector<std::string> small_vocabulary() {
  std::vector<std::string> tokens = {"", ""};
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  for (const char* piece : {"\", \"",
                            "\": \"",
                            "\": ",
                            "\",",
                            "\"}",
                            "\"]",
                            "\"}}",
                            "{\"",
                            "{}",
                            "[]",
                            "[[",
                            "[{\"",
                            "}, {\"",
                            "], [",
                            ", ",
                            "}}",
                            "]}",
                            "true",
                            "false",
                            "null",
                            "ab",
                            "abc",
                            "aaaa",
                            "foo",
                            "bar",
                            "name",
                            "na",
                            "id",
                            "12",
                            "123",
                            "0.5",
                            "e+1",
                            "-1",
                            "00",
                            "\\n",
                            "\\\"",
                            "\\u00",
                            "\\u0",
                            "é",
                            "é\"",
                            "\xC3",
                            "\xA9\"",
                            "日本",
                            "\xF0\x9F",
                            "🙂",
                            "\"a\"",
                            "\"a",
                            "a\", ",
                            "a\": ",
                            "ab",
                            "<tool_call>",
                            "<tool",
                            "_call>\n{",
                            ">\n{\"name\": \"",
                            "><",
                            "}\n</tool_call>",
                            "\n<tool_call>",
                            "hello ",
                            "\", \"arguments\": {"})
    tokens.emplace_back(piece);
  tokens.emplace_back("\0x", 2);
  return tokens;
}

inline std::shared_ptr<const Vocabulary> vocabulary() {
  static const auto shared = Vocabulary::create(small_vocabulary());
  return shared;
}

// Whether `text` is an answer under the schema.
inline bool takes(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  Matcher matcher(grammar);
  return (text.empty() || matcher.accept_bytes(text)) && matcher.may_end();
}

// Whether `text` is the beginning of an answer.
inline bool begins(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  Matcher matcher(grammar);
  return matcher.accept_bytes(text);
}

inline std::vector<TokenId> bits_of(const std::vector<std::uint32_t>& mask) {
  std::vector<TokenId> tokens;
  for (std::size_t i = 0; i < mask.size() * 32; ++i)
    if (mask[i / 32] >> (i % 32) & 1) tokens.push_back(static_cast<TokenId>(i));
  return tokens;
}

struct Walk {
  std::string text;
  int n_tokens = 0;
  bool complete = false;
  std::string trouble;  // a promise that was broken
};

// Draws tokens from those allowed until the answer ends or `n_left` are used up.
inline Walk walk(Matcher matcher,
                 const Vocabulary& tokens,
                 std::mt19937_64& random,
                 int n_left,
                 unsigned end_one_in = 4) {
  Walk walk;
  std::vector<std::uint32_t> mask((static_cast<std::size_t>(tokens.size()) + 31) / 32);
  for (; n_left > 0; --n_left) {
    if (matcher.may_end() && random() % end_one_in == 0) break;
    TokenId token = 0;
    if (matcher.allowed(mask, n_left)) {
      const auto allowed = bits_of(mask);
      if (allowed.empty()) {
        if (!matcher.may_end()) walk.trouble = "nothing may come and it may not end";
        break;
      }
      token = allowed[random() % allowed.size()];
    } else {
      do {
        token = static_cast<TokenId>(random() % static_cast<unsigned>(tokens.size()));
      } while (tokens.bytes(token).empty());
    }
    if (!matcher.accept(token)) {
      walk.trouble = "refuses what it allowed";
      break;
    }
    walk.text += tokens.bytes(token);
    ++walk.n_tokens;
  }
  walk.complete = matcher.may_end();
  return walk;
}

}  // namespace pensieve::grammar::test
