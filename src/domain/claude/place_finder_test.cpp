// Goal: a place in the text becomes the first token that begins at or behind it, whatever stretches
// of text and control tokens the prompt is made of. Method: prompts of random words are cut into
// parts at random bytes; the tokens before a part's begin must be as long as the text before it, or
// reach less than one token into it.
#include "domain/claude/internal/place_finder.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "domain/claude/internal/test_support.h"

namespace pensieve::claude {
namespace {

// Bytes of text that the tokens [first, last) stand for, `first` being right behind a control
// token.
std::size_t text_bytes(std::span<const TokenId> tokens) {
  std::size_t n = 0;
  for (const TokenId token : tokens) n += tiny_model().tokenizer->bytes(token).size();
  return n == 0 ? 0 : n - 1;  // the vocabulary's space before the text
}

TEST(PlaceFinder, FindsTheTokenThatBeginsAtOrBehindAPlace) {
  std::mt19937 random(7);
  const std::string words[] = {"alpha ", "be", "\n\n", "naïve ", "日本", "x = 1;", "  "};
  for (int round = 0; round < 200; ++round) {
    chat::Prompt prompt;
    for (int i = 0; i < 3; ++i) {
      prompt.pieces.push_back({.control = true, .text = "<|user|>"});
      std::string& text = prompt.pieces.emplace_back().text;
      const auto n_words = random() % 12 + 1;
      for (unsigned k = 0; k < n_words; ++k) text += words[random() % std::size(words)];
      prompt.parts.push_back({.index = i, .begin = {prompt.pieces.size() - 2, 0}});
      prompt.parts.push_back(
          {.index = i, .begin = {prompt.pieces.size() - 1, random() % (text.size() + 1)}});
    }
    const std::size_t marked = random() % prompt.parts.size();
    prompt.marked_end = prompt.parts[marked].begin;

    const auto& tokenizer = *tiny_model().tokenizer;
    PlaceFinder finder(prompt, tokenizer);
    std::vector<TokenId> tokens;
    std::vector<std::size_t> control_at;
    for (std::size_t i = 0; i < prompt.pieces.size(); i += 2) {
      finder.control(i, tokens.size());
      control_at.push_back(tokens.size());
      tokens.push_back(*tokenizer.control("<|user|>"));
      finder.text(i + 1, 0);
      const std::size_t first = tokens.size();
      tokenizer.encode(prompt.pieces[i + 1].text, true, tokens);
      finder.encoded(std::span(tokens).subspan(first), first, true);
    }
    finder.finish(tokens.size());
    const auto begins = finder.take_begins();
    ASSERT_EQ(begins.size(), prompt.parts.size());
    EXPECT_EQ(finder.n_marked(), begins[marked]);
    for (std::size_t p = 0; p < begins.size(); ++p) {
      SCOPED_TRACE(testing::Message() << "round " << round << ", part " << p);
      const std::size_t control = control_at[p / 2];
      const auto begin = static_cast<std::size_t>(begins[p]);
      if (p % 2 == 0) {
        EXPECT_EQ(begin, control);
        continue;
      }
      const std::size_t offset = prompt.parts[p].begin.offset;
      ASSERT_GT(begin, control);
      ASSERT_LE(begin, tokens.size());
      const auto before = std::span(tokens).subspan(control + 1, begin - control - 1);
      EXPECT_GE(text_bytes(before), offset);
      if (!before.empty()) {
        EXPECT_LT(text_bytes(before.first(before.size() - 1)), offset);
      }
    }
  }
}

TEST(PlaceFinder, CountsAllOfAKnownAnswerAsItsFirstBlock) {
  chat::Prompt prompt;
  prompt.pieces = {{.control = true, .text = "<|assistant|>"},
                   {.text = "first"},
                   {.text = "second"},
                   {.control = true, .text = "<|end|>"}};
  prompt.parts = {{.begin = {0, 0}}, {.begin = {1, 5}}, {.begin = {2, 3}}, {.begin = {3, 0}}};
  PlaceFinder finder(prompt, *tiny_model().tokenizer);
  finder.control(0, 40);
  finder.known(1, 3, 41, 60);
  finder.control(3, 60);
  finder.finish(61);
  EXPECT_EQ(finder.take_begins(), (std::vector<int>{40, 60, 60, 60}));
  EXPECT_EQ(finder.n_marked(), 0);
}

}  // namespace
}  // namespace pensieve::claude
