// Goal: whatever order parts come in, the stream nests and the message says the same.
#include "domain/claude/reply_writer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "domain/claude/internal/test_support.h"

namespace pensieve::claude {
namespace {

struct Written {
  api::Message message;
  std::vector<api::Event> events;
  ReplyWriter writer{message.content, events};

  // Reads everything back as a client does.
  StreamReader finish() {
    writer.close_block();
    StreamReader reader;
    reader.read(api::message_start("msg_1", "m", {}));
    reader.read(events);
    reader.read(api::message_delta(api::StopReason::EndTurn, "", {}));
    reader.read(api::message_stop());
    return reader;
  }
};

Json blocks_of(const api::Message& message) {
  return (*parse_json(api::to_json(message)))["content"];
}

TEST(ReplyWriter, KeepsTextInOneBlockUntilAnotherKindComes) {
  Written written;
  written.writer.text("a");
  written.writer.text("b");
  written.writer.start_tool_use("Bash");
  written.writer.tool_input("{\"x\":");
  written.writer.tool_input("1}");
  written.writer.close_block();
  written.writer.text("c");
  const auto reader = written.finish();
  const Json& content = reader.message()["content"];
  ASSERT_EQ(content.size(), 3u);
  EXPECT_EQ(content[0]["text"], "ab");
  EXPECT_EQ(content[1]["name"], "Bash");
  EXPECT_EQ(content[1]["input"].dump(), R"({"x":1})");
  EXPECT_EQ(content[2]["text"], "c");
  EXPECT_EQ(content, blocks_of(written.message));
  EXPECT_TRUE(written.writer.has_tool_use());
}

TEST(ReplyWriter, SignsThinkingBeforeItClosesIt) {
  Written written;
  written.writer.thinking("h");
  written.writer.thinking("m");
  written.writer.text("a");
  const auto reader = written.finish();
  const Json& content = reader.message()["content"];
  ASSERT_EQ(content.size(), 2u);
  EXPECT_EQ(content[0]["thinking"], "hm");
  EXPECT_FALSE(content[0]["signature"].get<std::string>().empty());
  EXPECT_EQ(content, blocks_of(written.message));
}

TEST(ReplyWriter, OpensNoBlockForEmptyText) {
  Written written;
  written.writer.text("");
  written.writer.thinking("");
  written.writer.tool_input("{}");
  written.writer.close_block();
  EXPECT_TRUE(written.events.empty());
  EXPECT_TRUE(written.message.content.empty());
}

TEST(ReplyWriter, GivesEveryToolUseItsOwnId) {
  Written written;
  written.writer.start_tool_use("A");
  written.writer.start_tool_use("A");
  EXPECT_NE(written.message.content[0].id, written.message.content[1].id);
  EXPECT_EQ(written.message.content[0].id.rfind("toolu_", 0), 0u);
}

TEST(ReplyWriter, KeepsAnIdThatIsGiven) {
  Written written;
  written.writer.start_tool_use("A", "call_1");
  const auto reader = written.finish();
  EXPECT_EQ(written.message.content[0].id, "call_1");
  EXPECT_EQ(reader.message()["content"][0]["id"], "call_1");
}

TEST(ReplyWriter, NestsInEveryOrderOfParts) {
  std::mt19937 random(20260);
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(round);
    Written written;
    for (int step = 0; step < 20; ++step) {
      switch (random() % 6) {
        case 0:
          written.writer.text("t");
          break;
        case 1:
          written.writer.thinking("h");
          break;
        case 2:
          written.writer.start_tool_use("n");
          break;
        case 3:
          written.writer.tool_input("{}");
          break;
        case 4:
          written.writer.close_block();
          break;
        default:
          written.writer.text("");
          break;
      }
    }
    const auto reader = written.finish();
    EXPECT_EQ(nlohmann::json::parse(reader.message()["content"].dump()),
              nlohmann::json::parse(blocks_of(written.message).dump()));
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace pensieve::claude
