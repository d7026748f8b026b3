// The reply interpreter: what becomes a tool call, what stays text, and that no cut of the answer
// makes a difference.

#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "foundation/json.h"

#include "domain/chat/chat_format.h"

namespace pensieve::chat {
namespace {

using Kind = ReplyPart::Kind;
using Parts = std::vector<ReplyPart>;

// Neighbouring parts of text or input are one, as they are in a content block.
Parts joined(const Parts& parts) {
  Parts out;
  for (const auto& part : parts) {
    const bool goes_on = part.kind == Kind::Text || part.kind == Kind::ToolUseInput;
    if (goes_on && !out.empty() && out.back().kind == part.kind) {
      out.back().text += part.text;
    } else {
      out.push_back(part);
    }
  }
  return out;
}

Parts interpret(const std::vector<std::string>& pieces, ReplyMode mode = ReplyMode::Calls) {
  const auto interpreter = phi3_format()->interpreter(mode);
  Parts all;
  for (const auto& piece : pieces) {
    for (auto& part : interpreter->push(piece)) {
      EXPECT_FALSE(part.kind == Kind::Text && part.text.empty());
      all.push_back(std::move(part));
    }
  }
  for (auto& part : interpreter->finish()) all.push_back(std::move(part));
  return joined(all);
}

Parts text(std::string s) {
  return {{.kind = Kind::Text, .text = std::move(s)}};
}
Parts call(std::string name, std::string input) {
  return {{.kind = Kind::ToolUseStart, .text = std::move(name)},
          {.kind = Kind::ToolUseInput, .text = std::move(input)},
          {.kind = Kind::ToolUseEnd, .text = {}}};
}
Parts operator+(Parts a, const Parts& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

struct Case {
  std::string answer;
  Parts parts;
};

const std::vector<Case>& cases() {
  static const std::string ls =
      "<tool_call>\n{\"name\": \"Bash\", \"arguments\": {\"command\": \"ls\"}}\n</tool_call>";
  static const Parts ls_parts = call("Bash", "{\"command\": \"ls\"}");
  static const std::vector<Case> all = {
      {"Hello! What can I do for you?", text("Hello! What can I do for you?")},
      {"", {}},
      {" \n", text(" \n")},
      {"\n\nHi\n", text("\n\nHi\n")},
      {ls, ls_parts},
      {"\n" + ls + "\n", ls_parts},
      {"I look.\n" + ls, text("I look.\n") + ls_parts},
      {ls + "\n" + ls, ls_parts + ls_parts},
      {ls + ls + "\nDone.", ls_parts + ls_parts + text("\nDone.")},
      {"<tool_call>{\"arguments\":{},\"name\":\"Now\"}</tool_call>", call("Now", "{}")},
      {"<tool_call> {\"id\": 7, \"name\": \"a b\", \"arguments\": { \"x\" : [1, {}] } }  "
       "</tool_call>",
       call("a b", "{ \"x\" : [1, {}] }")},
      // Tags, braces and quotes inside strings are content.
      {"<tool_call>{\"name\": \"Write\", \"arguments\": {\"content\": "
       "\"}</tool_call>\\\"{<tool_call>\"}}</tool_call>",
       call("Write", "{\"content\": \"}</tool_call>\\\"{<tool_call>\"}")},
      {"<tool_call>{\"name\": \"W\", \"arguments\": {\"t\": \"日本\\n🙂\"}}</tool_call>",
       call("W", "{\"t\": \"日本\\n🙂\"}")},
      {"<tool_call>{\"n\\u0061me\": \"W\", \"argument\\u0073\": {\"t\":1}}</tool_call>",
       call("W", "{\"t\":1}")},
      // A complete call whose closing tag the answer no longer had room for.
      {"<tool_call>\n{\"name\": \"Bash\", \"arguments\": {\"command\": \"ls\"}}\n</tool", ls_parts},
      {"<tool_call>\n{\"name\": \"Bash\", \"arguments\": {\"command\": \"ls\"}}", ls_parts},
      // No calls: all of it is text, byte for byte.
      {"<tool_call>\n{\"name\": \"Bash\", \"arguments\": {\"command\": \"ls", {}},
      {"<tool_call>\n{\"name\": \"Bash\", \"arguments\": {\"command\": \"ls\"}\n</tool_call>", {}},
      {"<tool_call>{\"name\": \"Bash\", \"arguments\": \"ls\"}</tool_call>", {}},
      {"<tool_call>{\"name\": 1, \"arguments\": {}}</tool_call>", {}},
      {"<tool_call>{\"name\": \"\", \"arguments\": {}}</tool_call>", {}},
      {"<tool_call>{\"arguments\": {}}</tool_call>", {}},
      {"<tool_call>{\"name\": \"Bash\"}</tool_call>", {}},
      {"<tool_call>{\"name\": \"A\", \"name\": \"B\", \"arguments\": {}}</tool_call>", {}},
      {"<tool_call>{\"name\": \"A\", \"arguments\": {},}</tool_call>", {}},
      {"<tool_call>{'name': 'A', 'arguments': {}}</tool_call>", {}},
      {"<tool_call>[]</tool_call>", {}},
      {"<tool_call></tool_call>", {}},
      {"<tool_call>", {}},
      {"<tool_c", {}},
      {"a < b && c <tool> d <<tool_call", {}},
      {"</tool_call> alone", {}},
      {"Write <tool_call> and </tool_call> around it.", {}},
      {"<tool_call>{\"name\": \"A\", \"arguments\": {\"x\": \"a\nb\"}}</tool_call>", {}},
      {"<tool_call>{\"name\": \"A\", \"arguments\": {}} trailing</tool_call>", {}},
      // A good call behind a bad one is found.
      {"<tool_call><tool_call>{\"name\": \"N\", \"arguments\": {}}</tool_call>",
       text("<tool_call>") + call("N", "{}")},
      {"<tool_call>{\"name\": oops}\n</tool_call>\n" + ls,
       text("<tool_call>{\"name\": oops}\n</tool_call>\n") + ls_parts},
      {"<tool_call>{\"name\": \"never closed\n" + ls,
       text("<tool_call>{\"name\": \"never closed\n") + ls_parts},
      {"<tool_call>{\"a\": \""
       "<tool_call>{\"name\": \"N\", \"arguments\": {}}</tool_call>",
       text("<tool_call>{\"a\": \"") + call("N", "{}")},
  };
  return all;
}

Parts expected(const Case& c) {
  return c.parts.empty() && !c.answer.empty() ? text(c.answer) : c.parts;
}

TEST(HermesReply, CallsBecomeToolUsesAndEverythingElseIsText) {
  for (const Case& c : cases()) EXPECT_EQ(interpret({c.answer}), expected(c)) << c.answer;
}

TEST(HermesReply, EveryCutInTwoGivesTheSameParts) {
  for (const Case& c : cases()) {
    for (std::size_t cut = 0; cut <= c.answer.size(); ++cut) {
      EXPECT_EQ(interpret({c.answer.substr(0, cut), c.answer.substr(cut)}), expected(c))
          << c.answer << " cut at " << cut;
    }
  }
}

TEST(HermesReply, EveryCutInThreeGivesTheSameParts) {
  for (const Case& c : cases()) {
    if (c.answer.size() > 90) continue;
    for (std::size_t a = 0; a <= c.answer.size(); ++a) {
      for (std::size_t b = a; b <= c.answer.size(); ++b) {
        ASSERT_EQ(interpret({c.answer.substr(0, a), c.answer.substr(a, b - a), c.answer.substr(b)}),
                  expected(c))
            << c.answer << " cut at " << a << " and " << b;
      }
    }
  }
}

TEST(HermesReply, ByteByByteGivesTheSameParts) {
  for (const Case& c : cases()) {
    std::vector<std::string> bytes;
    for (const char byte : c.answer) bytes.emplace_back(1, byte);
    EXPECT_EQ(interpret(bytes), expected(c)) << c.answer;
  }
}

// Answers glued together from tags, halves of calls and text, cut at random.
TEST(HermesReply, RandomAnswersAreTheSameInAnyPiecesAndLoseNothing) {
  const std::string fragments[] = {"<tool_call>",
                                   "</tool_call>",
                                   "{\"name\": \"A\", \"arguments\": ",
                                   "{}",
                                   "{\"x\": \"",
                                   "\"}",
                                   "}",
                                   "\"",
                                   "\\",
                                   "\n",
                                   " ",
                                   "text",
                                   "<",
                                   "é",
                                   "{",
                                   "[1, 2]",
                                   ", "};
  for (unsigned seed = 1; seed <= 3000; ++seed) {
    std::mt19937 random(seed);
    std::string answer;
    for (std::size_t n = random() % 14; n > 0; --n) answer += fragments[random() % 17];
    std::vector<std::string> pieces;
    for (std::size_t at = 0; at < answer.size();) {
      const std::size_t n = 1 + random() % 9;
      pieces.push_back(answer.substr(at, n));
      at += n;
    }
    const Parts whole = interpret({answer});
    ASSERT_EQ(interpret(pieces), whole) << "seed " << seed << ": " << answer;
    // Inputs are JSON objects; text is a stretch of the answer.
    std::size_t at = 0;
    for (const auto& part : whole) {
      if (part.kind == Kind::ToolUseInput) {
        const auto input = parse_json(part.text);
        ASSERT_TRUE(input && input->is_object());
      }
      if (part.kind == Kind::ToolUseEnd) continue;
      const std::size_t found = answer.find(part.text, at);
      ASSERT_NE(found, std::string::npos) << "seed " << seed << ": " << answer;
      at = found + part.text.size();
    }
    if (whole.size() == 1 && whole[0].kind == Kind::Text) {
      ASSERT_EQ(whole[0].text, answer);
    }
  }
}

TEST(HermesReply, TextIsNotHeldBack) {
  const auto interpreter = phi3_format()->interpreter(ReplyMode::Calls);
  EXPECT_EQ(interpreter->push("Hello"), text("Hello"));
  EXPECT_EQ(interpreter->push(" a < b <too"), text(" a < b "));
  EXPECT_EQ(interpreter->push("l> c"), text("<tool> c"));
  EXPECT_EQ(interpreter->push("<tool_call>"), Parts{});
  EXPECT_EQ(interpreter->push("x"), text("<tool_call>x"));
  EXPECT_EQ(interpreter->finish(), Parts{});
}

TEST(HermesReply, WithoutToolsAllIsText) {
  for (const Case& c : cases()) {
    EXPECT_EQ(interpret({c.answer}, ReplyMode::Text), c.answer.empty() ? Parts{} : text(c.answer));
  }
}

// ---- sampled under a grammar

TEST(ConstrainedReply, EveryCutGivesTheSameParts) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.answer);
    const Parts whole = interpret({c.answer}, ReplyMode::ConstrainedCalls);
    for (std::size_t cut = 1; cut < c.answer.size(); ++cut) {
      const auto pieces = {c.answer.substr(0, cut), c.answer.substr(cut)};
      ASSERT_EQ(interpret(pieces, ReplyMode::ConstrainedCalls), whole) << "cut at " << cut;
    }
    std::vector<std::string> bytes;
    for (const char byte : c.answer) bytes.emplace_back(1, byte);
    EXPECT_EQ(interpret(bytes, ReplyMode::ConstrainedCalls), whole);
  }
}

// What such a grammar can bring about is read as the patient reader reads it.
TEST(ConstrainedReply, CompleteCallsAreThoseOfAnyReply) {
  const std::string write =
      "<tool_call>\n{\"name\": \"Write\", \"arguments\": {\"file_path\": \"a.txt\", \"content\": "
      "\"}\\n</tool_call>\\\"{\"}}\n</tool_call>";
  const std::string now = "<tool_call>\n{\"name\": \"N\\\"w\", \"arguments\": {}}\n</tool_call>";
  for (const std::string& answer :
       {write, now, "I do.\n" + write, write + "\n" + now, now + "\n" + write + "\n" + now}) {
    EXPECT_EQ(interpret({answer}, ReplyMode::ConstrainedCalls), interpret({answer})) << answer;
  }
}

TEST(ConstrainedReply, InputGoesOutAsItComes) {
  const auto interpreter = phi3_format()->interpreter(ReplyMode::ConstrainedCalls);
  const auto input = [](std::string s) {
    return Parts{{.kind = Kind::ToolUseInput, .text = std::move(s)}};
  };
  EXPECT_EQ(interpreter->push("Yes.<tool_call>\n{\"name\": \"Bash"), text("Yes."));
  EXPECT_EQ(interpreter->push("\", \"arguments\":"), Parts{});
  EXPECT_EQ(interpreter->push(" {\"comm"),
            (Parts{{.kind = Kind::ToolUseStart, .text = "Bash"}} + input("{\"comm")));
  EXPECT_EQ(interpreter->push("and\": \"l"), input("and\": \"l"));
  EXPECT_EQ(interpreter->push("s\"}"), (input("s\"}") + Parts{{Kind::ToolUseEnd, ""}}));
  EXPECT_EQ(interpreter->push("}\n</tool_"), Parts{});
  EXPECT_EQ(interpreter->push("call>"), Parts{});
  EXPECT_EQ(interpreter->finish(), Parts{});
}

TEST(ConstrainedReply, ACallThatIsCutShortEndsWithWhatThereIs) {
  EXPECT_EQ(interpret({"<tool_call>\n{\"name\": \"Bash\", \"arguments\": {\"command\": \"l"},
                      ReplyMode::ConstrainedCalls),
            call("Bash", "{\"command\": \"l"));
  // Before the name is known there is no call yet.
  const std::string head = "<tool_call>\n{\"name\": \"Ba";
  EXPECT_EQ(interpret({head}, ReplyMode::ConstrainedCalls), text(head));
}

// Every opening tag is tried as a call of its own; a quadratic interpreter would take minutes here.
TEST(HermesReply, HostileAnswersTakeLinearTime) {
  for (const std::string unit : {"<tool_call>",
                                 "<tool_call>{\"",
                                 "<tool_call>{\"a\":\"",
                                 "<tool_call>{\",\":\"",
                                 "<tool_call>{\"\\",
                                 "<tool_call>{\"a\":[",
                                 "<",
                                 "<tool_call",
                                 "{",
                                 "\\\""}) {
    for (const std::string before : {"", "<tool_call>{\"a\":\""}) {
      std::string answer = before;
      while (answer.size() < 300'000) answer += unit;
      const auto start = std::chrono::steady_clock::now();
      EXPECT_EQ(interpret({answer}), text(answer));
      EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5)) << unit;
    }
  }
}

}  // namespace
}  // namespace pensieve::chat
