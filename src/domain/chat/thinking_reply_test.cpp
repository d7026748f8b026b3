// Thoughts in front of an answer: told apart whatever the cut, and nothing of the answer is lost.
#include "domain/chat/internal/thinking_reply.h"

#include <gtest/gtest.h>

#include "domain/chat/internal/hermes_reply.h"

namespace pensieve::chat {
namespace {

using Kind = ReplyPart::Kind;

struct Read {
  std::string thinking, text;
  bool operator==(const Read&) const = default;
};

Read read(const std::vector<std::string>& pieces) {
  ThinkingReply reply(std::make_unique<PlainReply>());
  Read read;
  const auto take = [&](const std::vector<ReplyPart>& parts) {
    for (const ReplyPart& part : parts) {
      EXPECT_FALSE(part.text.empty());
      EXPECT_TRUE(part.kind != Kind::Thinking || read.text.empty()) << "a thought behind the text";
      (part.kind == Kind::Thinking ? read.thinking : read.text) += part.text;
    }
  };
  for (const std::string& piece : pieces) take(reply.push(piece));
  take(reply.finish());
  return read;
}

struct Case {
  std::string answer;
  Read expected;
};

const Case kCases[] = {
    {"<think>\nIt is two.\n</think>\n\nTwo.", {"It is two.", "Two."}},
    {"<think>\n\n</think>\n\nTwo.", {"", "Two."}},
    {"\n<think>a\n\nb</think>c", {"a\n\nb", "c"}},
    {"Two.", {"", "Two."}},
    {"", {"", ""}},
    {" \nTwo <think>no</think>", {"", " \nTwo <think>no</think>"}},
    {"<thin", {"", "<thin"}},
    {"<think>never closed </thin", {"never closed </thin", ""}},
    {"<think>a < b </think > c</think>\nd", {"a < b </think > c", "d"}},
    {"<think>x</think>\n\n<think>y", {"x", "<think>y"}},
};

TEST(ThinkingReply, TellsThoughtsFromTheAnswerWhateverTheCut) {
  for (const Case& test : kCases) {
    SCOPED_TRACE(test.answer);
    EXPECT_EQ(read({test.answer}), test.expected);
    std::vector<std::string> bytes;
    for (std::size_t cut = 0; cut < test.answer.size(); ++cut) {
      EXPECT_EQ(read({test.answer.substr(0, cut), test.answer.substr(cut)}), test.expected)
          << "cut at " << cut;
      bytes.emplace_back(1, test.answer[cut]);
    }
    EXPECT_EQ(read(bytes), test.expected);
  }
}

TEST(ThinkingReply, ACallBehindAThoughtIsACall) {
  ThinkingReply reply(std::make_unique<HermesReply>(false));
  const auto parts = reply.push(
      "<think>\nls\n</think>\n\n<tool_call>\n{\"name\": \"Bash\", \"arguments\": "
      "{}}\n</tool_call>");
  ASSERT_EQ(parts.size(), 4u);
  EXPECT_EQ(parts[0].kind, Kind::Thinking);
  EXPECT_EQ(parts[1].kind, Kind::ToolUseStart);
  EXPECT_EQ(parts[1].text, "Bash");
}

}  // namespace
}  // namespace pensieve::chat
