// The memory of exact tokens: found by all of its key or not at all, and never beyond its budget.
#include "domain/claude/internal/answer_memory.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace pensieve::claude {
namespace {

using chat::AnswerKey;
using Tokens = std::vector<TokenId>;

AnswerKey key(std::vector<std::string> ids, std::string text) {
  return {.tool_use_ids = std::move(ids), .text = std::move(text)};
}

TEST(AnswerMemory, FindsAnAnswerByItsWholeKey) {
  AnswerMemory memory(1 << 20);
  memory.remember(key({"a", "b"}, "I look."), {1, 2, 3});
  memory.remember(key({}, "Hello!"), {4});
  EXPECT_EQ(memory.find(key({"a", "b"}, "I look.")), Tokens({1, 2, 3}));
  EXPECT_EQ(memory.find(key({}, "Hello!")), Tokens({4}));
  for (const AnswerKey& other : {key({"a"}, "I look."),
                                 key({"b", "a"}, "I look."),
                                 key({"a", "b"}, ""),
                                 key({"a b"}, "I look."),
                                 key({}, "I look."),
                                 key({}, "Hello"),
                                 key({"Hello!"}, "")}) {
    EXPECT_EQ(memory.find(other), std::nullopt) << other.text;
  }
}

TEST(AnswerMemory, NoTextPassesForAnId) {
  AnswerMemory memory(1 << 20);
  memory.remember(key({"a"}, "b"), {1});
  EXPECT_EQ(memory.find(key({}, "a\nb")), std::nullopt);
  EXPECT_EQ(memory.find(key({}, " 1 a\nb")), std::nullopt);
  EXPECT_EQ(memory.find(key({"a\nb"}, "")), std::nullopt);
}

TEST(AnswerMemory, TheSameWordsAgainReplaceTheOlderTokens) {
  AnswerMemory memory(1 << 20);
  memory.remember(key({}, "Hi"), {1, 2});
  const std::size_t held = memory.held_bytes();
  memory.remember(key({}, "Hi"), {3, 4});
  EXPECT_EQ(memory.find(key({}, "Hi")), Tokens({3, 4}));
  EXPECT_EQ(memory.held_bytes(), held);
}

TEST(AnswerMemory, KeepsNothingThatSaysNothing) {
  AnswerMemory memory(1 << 20);
  memory.remember(key({}, ""), {1});
  memory.remember(key({}, "Hi"), {});
  EXPECT_EQ(memory.held_bytes(), 0u);
}

// Against a plain map: what is found is what was put in last, and what was asked for lately stays.
TEST(AnswerMemory, ForgetsTheLongestUnaskedAndKeepsItsBudget) {
  constexpr std::size_t kBudget = 20'000;
  AnswerMemory memory(kBudget);
  std::map<std::string, Tokens> all;
  std::mt19937 random(5);
  for (int i = 0; i < 2'000; ++i) {
    const std::string id = "toolu_" + std::to_string(random() % 300);
    Tokens tokens(1 + random() % 40, static_cast<TokenId>(i));
    all[id] = tokens;
    memory.remember(key({id}, ""), tokens);
    ASSERT_LE(memory.held_bytes(), kBudget);
    ASSERT_EQ(memory.find(key({id}, "")), tokens);
    const std::string other = "toolu_" + std::to_string(random() % 300);
    if (const auto found = memory.find(key({other}, ""))) {
      ASSERT_EQ(*found, all[other]);
    }
  }
  memory.remember(key({"large"}, ""), Tokens(100'000, 1));
  EXPECT_EQ(memory.find(key({"large"}, "")), std::nullopt) << "more than the whole budget";
  EXPECT_GT(memory.held_bytes(), kBudget / 2) << "nothing else had to go for it";
}

}  // namespace
}  // namespace pensieve::claude
