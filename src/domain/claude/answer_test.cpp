// Goal: whatever tokens the engine gives and however it ends, the answer is a stream that a client
// can follow and a message that says the same. Method: a generation that plays a written list of
// token events, over the embedded model's tokenizer and chat format.
#include "domain/claude/internal/answer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "foundation/text.h"

#include "domain/claude/internal/test_support.h"

namespace pensieve::claude {
namespace {

using engine::FinishReason;
using engine::TokenEvent;

// Events that a test puts in, on any thread, and an answer takes out.
class ScriptedGeneration : public engine::Generation {
 public:
  struct Script {
    std::mutex mutex;
    std::deque<TokenEvent> events;
    std::function<void()> ready;
    bool cancelled = false;

    void play(TokenEvent event) {
      const std::lock_guard lock(mutex);
      events.push_back(std::move(event));
      if (ready) ready();
    }
  };

  explicit ScriptedGeneration(std::shared_ptr<Script> script) : script_(std::move(script)) {}
  ~ScriptedGeneration() override { cancel(); }

  std::optional<TokenEvent> try_next() override {
    const std::lock_guard lock(script_->mutex);
    if (script_->events.empty()) return std::nullopt;
    TokenEvent event = std::move(script_->events.front());
    script_->events.pop_front();
    return event;
  }
  std::optional<TokenEvent> next() override { return try_next(); }
  void on_ready(std::function<void()> ready) override {
    const std::lock_guard lock(script_->mutex);
    script_->ready = std::move(ready);
    if (!script_->events.empty()) script_->ready();
  }
  void cancel() override {
    const std::lock_guard lock(script_->mutex);
    script_->cancelled = true;
  }
  engine::Progress progress() const override { return {}; }

 private:
  std::shared_ptr<Script> script_;
};

TokenEvent started(int cached) {
  TokenEvent event;
  event.kind = TokenEvent::Kind::Started;
  event.cached_tokens = cached;
  return event;
}

TokenEvent token(TokenId id) {
  TokenEvent event;
  event.token = id;
  return event;
}

TokenEvent end(FinishReason reason) {
  TokenEvent event;
  event.kind = TokenEvent::Kind::Finished;
  event.reason = reason;
  return event;
}

std::vector<TokenId> tokens_of(std::string_view text) {
  std::vector<TokenId> tokens;
  tiny_model().tokenizer->encode(text, true, tokens);
  return tokens;
}

struct Playing {
  explicit Playing(AnswerSetup setup = {}) {
    setup.model = "claude-test";
    setup.prompt_tokens = 10;
    answer = make_answer(std::move(setup),
                         std::make_unique<ScriptedGeneration>(script),
                         *tiny_model().tokenizer,
                         *tiny_model().format);
  }

  std::shared_ptr<ScriptedGeneration::Script> script =
      std::make_shared<ScriptedGeneration::Script>();
  std::unique_ptr<Answer> answer;
  StreamReader stream;

  void poll() {
    auto events = answer->poll();
    ASSERT_TRUE(events.has_value()) << events.error().message;
    stream.read(*events);
  }

  // Plays the tokens, polling after each, and the end.
  void play(const std::vector<TokenId>& tokens, FinishReason reason) {
    poll();
    script->play(started(4));
    for (const TokenId id : tokens) {
      script->play(token(id));
      poll();
    }
    script->play(end(reason));
    poll();
  }
};

AnswerSetup stopping_at(std::vector<std::string> sequences) {
  AnswerSetup setup;
  setup.stop_sequences = std::move(sequences);
  return setup;
}

AnswerSetup with_tools() {
  AnswerSetup setup;
  setup.mode = chat::ReplyMode::Calls;
  return setup;
}

constexpr std::string_view kToolCall =
    "<tool_call>\n{\"name\": \"Bash\", \"arguments\": {\"command\": \"ls -a\", \"n\": "
    "1}}\n</tool_call>";

// The usage of a message_start that comes alone.
Json usage_at_start(const Result<std::vector<api::Event>>& events) {
  if (!events || events->size() != 1 || events->front().name != "message_start") {
    ADD_FAILURE() << "no message_start";
    return {};
  }
  return (*parse_json(events->front().json))["message"]["usage"];
}

TEST(Answer, StartsOnceTheEngineHasBegunWithThePrompt) {
  Playing playing;
  EXPECT_TRUE(playing.answer->poll()->empty());
  EXPECT_EQ(playing.answer->cache(), nullptr);
  playing.script->play(started(4));
  const Json usage = usage_at_start(playing.answer->poll());
  EXPECT_EQ(usage["input_tokens"], 6);
  EXPECT_EQ(usage["cache_read_input_tokens"], 4);
  ASSERT_NE(playing.answer->cache(), nullptr);
  EXPECT_EQ(playing.answer->cache()->hit, 4);
  EXPECT_EQ(playing.answer->cache()->restored, 0);
  EXPECT_EQ(playing.answer->cache()->missed, 6);
  EXPECT_TRUE(playing.answer->poll()->empty());
}

TEST(Answer, TellsWhatTheDiskGaveFromWhatMemoryHad) {
  Playing playing;
  TokenEvent begun = started(7);
  begun.restored_tokens = 5;
  playing.script->play(begun);
  playing.poll();
  EXPECT_EQ(playing.answer->cache()->hit, 2);
  EXPECT_EQ(playing.answer->cache()->restored, 5);
  EXPECT_EQ(playing.answer->cache()->missed, 3);
  EXPECT_EQ(playing.answer->message().usage.cache_read_input_tokens, 7);
}

// Up to the mark it is kept because the client asked for it; what was read was not computed.
TEST(Answer, CountsWhatIsComputedUpToTheLastMarkAsCreated) {
  struct Case {
    int marked, cached, created;
  };
  for (const auto& [marked, cached, created] : {Case{0, 4, 0},
                                                Case{8, 0, 8},
                                                Case{8, 4, 4},
                                                Case{8, 8, 0},
                                                Case{8, 9, 0},
                                                Case{10, 4, 6}}) {
    SCOPED_TRACE(testing::Message() << marked << " marked, " << cached << " cached");
    AnswerSetup setup;
    setup.marked_tokens = marked;
    Playing playing(setup);
    playing.script->play(started(cached));
    const Json usage = usage_at_start(playing.answer->poll());
    EXPECT_EQ(usage["cache_creation_input_tokens"], created);
    EXPECT_EQ(usage["cache_read_input_tokens"], cached);
    EXPECT_EQ(usage["input_tokens"], 10 - created - cached);
  }
}

TEST(Answer, NamesThePartOfTheRequestWhereItsBeginningDiffers) {
  using Kind = chat::Prompt::Part::Kind;
  AnswerSetup setup;
  setup.map.parts = {{.kind = Kind::Format},
                     {.kind = Kind::System, .index = 1},
                     {.kind = Kind::Tool, .index = 13, .name = "Ba\nsh"},
                     {.kind = Kind::Message, .index = 6, .block = 0},
                     {.kind = Kind::Message, .index = 7, .block = 1, .role = api::Role::Assistant}};
  setup.map.begins = {0, 3, 5, 7, 9};
  const std::vector<std::string> names = {"the format's own words",
                                          "the format's own words",
                                          "the format's own words",
                                          "system block 2",
                                          "system block 2",
                                          R"(tool 14 (Ba\x0ash))",
                                          R"(tool 14 (Ba\x0ash))",
                                          "message 7 (user), block 1",
                                          "message 7 (user), block 1",
                                          "message 8 (assistant), block 2",
                                          "message 8 (assistant), block 2"};
  for (int at = 0; at <= 10; ++at) {
    Playing playing(setup);
    TokenEvent begun = started(0);
    begun.divergence = {.n_common = at,
                        .kept = tokens_of("left")[0],
                        .now = tokens_of("right")[0],
                        .same_group = true};
    playing.script->play(begun);
    playing.poll();
    const auto& miss = playing.answer->cache()->miss;
    ASSERT_TRUE(miss.has_value());
    EXPECT_EQ(miss->n_common, at);
    EXPECT_EQ(miss->part, names[static_cast<std::size_t>(at)]);
    EXPECT_EQ(miss->kept, tiny_model().tokenizer->bytes(tokens_of("left")[0]));
    EXPECT_EQ(miss->now, tiny_model().tokenizer->bytes(tokens_of("right")[0]));
    EXPECT_TRUE(miss->same_session);
  }
}

TEST(Answer, StartsBeforeTheEngineDoesWhenItIsToldTo) {
  Playing playing;
  playing.answer->begin();
  auto events = playing.answer->poll();
  ASSERT_TRUE(events.has_value());
  ASSERT_EQ(events->size(), 1u);
  EXPECT_EQ((*events)[0].name, "message_start");
  const auto json = *parse_json((*events)[0].json);
  EXPECT_EQ(json["message"]["usage"]["input_tokens"], 10);
  EXPECT_EQ(json["message"]["model"], "claude-test");
  EXPECT_EQ(json["message"]["id"].get<std::string>().rfind("msg_", 0), 0u);
  EXPECT_FALSE(playing.answer->finished());
  EXPECT_TRUE(playing.answer->poll()->empty());
}

TEST(Answer, TellsReusedTokensFromComputedOnesAtTheEnd) {
  Playing playing;
  const auto tokens = tokens_of("Hello there.");
  playing.play(tokens, FinishReason::StopToken);
  const api::Usage& usage = playing.answer->message().usage;
  EXPECT_EQ(usage.input_tokens, 6);
  EXPECT_EQ(usage.cache_read_input_tokens, 4);
  EXPECT_EQ(usage.cache_creation_input_tokens, 0);
  EXPECT_EQ(usage.output_tokens, static_cast<int>(tokens.size()));
  EXPECT_EQ(playing.stream.message()["usage"]["cache_read_input_tokens"], 4);
  expect_same_message(playing.stream, *playing.answer);
}

TEST(Answer, GivesTheTextOfTheTokensAndNoSpaceBeforeIt) {
  for (const std::string text : {"Hello there.",
                                 "blue café 日本 😀👩‍👩‍👧",
                                 "a\n\n  b\tc",
                                 "<|end|> is text",
                                 "<tool_call> without tools"}) {
    SCOPED_TRACE(text);
    Playing playing;
    playing.play(tokens_of(text), FinishReason::StopToken);
    EXPECT_EQ(playing.stream.text(), text);
    EXPECT_EQ(playing.stream.message()["stop_reason"], "end_turn");
    expect_same_message(playing.stream, *playing.answer);
  }
}

TEST(Answer, IsWellFormedWithoutAnyToken) {
  Playing playing;
  playing.play({}, FinishReason::StopToken);
  EXPECT_TRUE(playing.stream.message()["content"].empty());
  EXPECT_EQ(playing.stream.message()["stop_reason"], "end_turn");
  expect_same_message(playing.stream, *playing.answer);
}

TEST(Answer, EndsInCompleteCharactersAtEveryMaxTokens) {
  const auto tokens = tokens_of("né 日本 😀👩‍👩‍👧 ok");
  for (std::size_t n = 0; n <= tokens.size(); ++n) {
    SCOPED_TRACE(n);
    const std::vector<TokenId> cut(tokens.begin(), tokens.begin() + static_cast<long>(n));
    Playing playing;
    playing.play(cut, FinishReason::MaxTokens);
    EXPECT_EQ(playing.stream.text(), tiny_model().tokenizer->decode(cut, true));
    EXPECT_TRUE(is_valid_utf8(playing.stream.text()));
    EXPECT_EQ(playing.stream.message()["stop_reason"], "max_tokens");
    expect_same_message(playing.stream, *playing.answer);
  }
}

TEST(Answer, StopsAtASequenceWhereverTokensCutIt) {
  const std::string text = "one two three STOP four five";
  const auto tokens = tokens_of(text);
  for (const std::string sequence : {"STOP", "e S", "OP f", "three STOP four", "t", "o"}) {
    SCOPED_TRACE(sequence);
    Playing playing(stopping_at({"never", sequence}));
    playing.play(tokens, FinishReason::StopToken);
    EXPECT_EQ(playing.stream.text(), text.substr(0, text.find(sequence)));
    EXPECT_EQ(playing.stream.message()["stop_reason"], "stop_sequence");
    EXPECT_EQ(playing.stream.message()["stop_sequence"], sequence);
    EXPECT_TRUE(playing.script->cancelled);
    EXPECT_LE(playing.answer->message().usage.output_tokens, static_cast<int>(tokens.size()));
    expect_same_message(playing.stream, *playing.answer);
  }
}

TEST(Answer, GivesOutWhatOnlyBeganLikeAStopSequence) {
  Playing playing(stopping_at({"STOPPED"}));
  playing.play(tokens_of("do not STOP"), FinishReason::StopToken);
  EXPECT_EQ(playing.stream.text(), "do not STOP");
  EXPECT_EQ(playing.stream.message()["stop_reason"], "end_turn");
  EXPECT_TRUE(playing.stream.message()["stop_sequence"].is_null());
}

TEST(Answer, MakesAToolUseOfAToolCall) {
  Playing playing(with_tools());
  playing.play(tokens_of("I look. " + std::string(kToolCall)), FinishReason::StopToken);
  const Json& message = playing.stream.message();
  ASSERT_EQ(message["content"].size(), 2u);
  EXPECT_EQ(message["content"][0]["text"].get<std::string>().rfind("I look.", 0), 0u);
  EXPECT_EQ(message["content"][1]["type"], "tool_use");
  EXPECT_EQ(message["content"][1]["name"], "Bash");
  EXPECT_EQ(message["content"][1]["input"].dump(), R"({"command":"ls -a","n":1})");
  EXPECT_EQ(message["stop_reason"], "tool_use");
  expect_same_message(playing.stream, *playing.answer);
}

TEST(Answer, LeavesStopSequencesInAToolsInputAlone) {
  AnswerSetup setup = with_tools();
  setup.stop_sequences = {"ls", "\""};
  Playing playing(setup);
  playing.play(tokens_of(kToolCall), FinishReason::StopToken);
  const Json& message = playing.stream.message();
  ASSERT_EQ(message["content"].size(), 1u);
  EXPECT_EQ(message["content"][0]["input"]["command"], "ls -a");
  EXPECT_EQ(message["stop_reason"], "tool_use");
}

TEST(Answer, EndsBehindTheFirstToolCallIfOnlyOneMayBe) {
  AnswerSetup setup = with_tools();
  setup.one_tool_use = true;
  Playing playing(setup);
  playing.play(tokens_of(std::string(kToolCall) + "\n" + std::string(kToolCall)),
               FinishReason::StopToken);
  EXPECT_EQ(playing.stream.message()["content"].size(), 1u);
  EXPECT_EQ(playing.stream.message()["stop_reason"], "tool_use");
  EXPECT_TRUE(playing.script->cancelled);
  expect_same_message(playing.stream, *playing.answer);

  Playing both(with_tools());
  both.play(tokens_of(std::string(kToolCall) + "\n" + std::string(kToolCall)),
            FinishReason::StopToken);
  int tool_uses = 0;
  for (const Json& block : both.stream.message()["content"])
    tool_uses += block["type"] == "tool_use";
  EXPECT_EQ(tool_uses, 2);
}

TEST(Answer, StaysWellFormedWhereverMaxTokensCutsAToolCall) {
  const auto tokens = tokens_of("Yes. " + std::string(kToolCall));
  for (std::size_t n = 0; n <= tokens.size(); ++n) {
    SCOPED_TRACE(n);
    Playing playing(with_tools());
    playing.play({tokens.begin(), tokens.begin() + static_cast<long>(n)}, FinishReason::MaxTokens);
    EXPECT_EQ(playing.stream.message()["stop_reason"], "max_tokens");
    expect_same_message(playing.stream, *playing.answer);
  }
}

TEST(Answer, NamesAFullContext) {
  Playing playing;
  playing.play(tokens_of("a"), FinishReason::ContextFull);
  EXPECT_EQ(playing.stream.message()["stop_reason"], "model_context_window_exceeded");
}

TEST(Answer, EndsInOneErrorWhenTheEngineFails) {
  Playing playing;
  playing.poll();
  playing.script->play(token(tokens_of("a")[0]));
  TokenEvent failed = end(FinishReason::Failed);
  failed.error = Error{.kind = ErrorKind::Unavailable, .message = "no page left"};
  playing.script->play(failed);
  const auto events = playing.answer->poll();
  ASSERT_FALSE(events.has_value());
  EXPECT_EQ(events.error().kind, ErrorKind::Unavailable);
  EXPECT_EQ(events.error().message, "no page left");
  EXPECT_TRUE(playing.answer->finished());
  const auto after = playing.answer->poll();
  ASSERT_TRUE(after.has_value());
  EXPECT_TRUE(after->empty());
}

// What was sampled for a text, with made-up scores.
engine::TokenEvent scored(TokenId id, float logprob, std::vector<compute::Choice> top) {
  return {.kind = engine::TokenEvent::Kind::Token,
          .token = id,
          .logprob = logprob,
          .top = std::move(top)};
}

TEST(Answer, TellsTheScoresOfItsText) {
  AnswerSetup setup;
  setup.top_logprobs = 2;
  Playing playing(setup);
  playing.poll();
  std::vector<TokenId> ids;
  tiny_model().tokenizer->encode("Hello you", true, ids);
  ASSERT_GE(ids.size(), 2u);
  playing.script->play(started(4));
  playing.script->play(scored(ids[0], -0.5f, {{ids[0], -0.5f}, {ids[1], -2.0f}}));
  for (std::size_t i = 1; i < ids.size(); ++i) playing.script->play(scored(ids[i], -1.0f, {}));
  playing.poll();
  const auto scores = playing.answer->take_scores();
  ASSERT_EQ(scores.size(), ids.size());
  EXPECT_EQ(scores[0].logprob, -0.5f);
  ASSERT_EQ(scores[0].top.size(), 2u);
  EXPECT_EQ(scores[0].top[0].bytes, scores[0].bytes);
  EXPECT_EQ(scores[0].top[1].logprob, -2.0f);
  ASSERT_EQ(scores[1].top.size(), 1u);  // forced: nothing else could come
  EXPECT_EQ(scores[1].top[0].bytes, scores[1].bytes);
  std::string text;
  for (const TokenScore& score : scores) text += score.bytes;
  EXPECT_EQ(text, "Hello you");
  EXPECT_TRUE(playing.answer->take_scores().empty());
}

TEST(Answer, TellsNoScoresOfToolCallsAndNoneUnasked) {
  std::vector<TokenId> ids;
  tiny_model().tokenizer->encode(kToolCall, true, ids);
  AnswerSetup setup = with_tools();
  setup.top_logprobs = 0;
  Playing calling(setup);
  calling.play(ids, FinishReason::StopToken);
  EXPECT_TRUE(calling.answer->take_scores().empty());

  ids.clear();
  tiny_model().tokenizer->encode("Hello", true, ids);
  Playing unasked;
  unasked.play(ids, FinishReason::StopToken);
  EXPECT_TRUE(unasked.answer->take_scores().empty());
}

TEST(Answer, SaysThatTheServerLeaves) {
  Playing playing;
  playing.poll();
  playing.script->play(end(FinishReason::Cancelled));
  const auto events = playing.answer->poll();
  ASSERT_FALSE(events.has_value());
  EXPECT_EQ(events.error().kind, ErrorKind::Cancelled);
  EXPECT_GT(events.error().retry_after_s, 0);
}

TEST(Answer, TakesTokensThatStandForNoTextAsNone) {
  const tokenizer::Tokenizer& tokenizer = *tiny_model().tokenizer;
  Playing playing;
  auto tokens = tokens_of("ab");
  tokens.insert(tokens.begin() + 1, {tokenizer.size(), tokenizer.size() + 500, -1});
  playing.play(tokens, FinishReason::StopToken);
  EXPECT_EQ(playing.stream.text(), "ab");
}

TEST(Answer, CancelsTheGenerationWhenItGoes) {
  Playing playing;
  playing.poll();
  EXPECT_FALSE(playing.script->cancelled);
  playing.answer.reset();
  EXPECT_TRUE(playing.script->cancelled);
}

TEST(Answer, WakesAReaderOnceThereIsSomething) {
  Playing playing;
  std::atomic<int> rings{0};
  playing.answer->on_ready([&] { ++rings; });
  EXPECT_EQ(rings, 0);
  playing.poll();
  playing.answer->wait(0);  // nothing new: comes back at its limit
  const auto tokens = tokens_of("Hello there, how are you?");
  std::thread engine([&] {
    playing.script->play(started(0));
    for (const TokenId id : tokens) playing.script->play(token(id));
    playing.script->play(end(FinishReason::StopToken));
  });
  while (!playing.answer->finished()) {
    playing.answer->wait(10'000);
    playing.poll();
  }
  engine.join();
  EXPECT_EQ(rings, 1 + static_cast<int>(tokens.size()) + 1);
  EXPECT_EQ(playing.stream.text(), "Hello there, how are you?");
  playing.answer->wait(10'000);  // a finished answer has nothing to wait for
}

TEST(Answer, CallsNobodyBackWhoHasLeft) {
  auto script = std::make_shared<ScriptedGeneration::Script>();
  int rings = 0;
  {
    auto answer = make_answer({},
                              std::make_unique<ScriptedGeneration>(script),
                              *tiny_model().tokenizer,
                              *tiny_model().format);
    answer->on_ready([&] { ++rings; });
    script->play(started(0));
    EXPECT_EQ(rings, 1);
  }
  script->play(end(FinishReason::StopToken));
  EXPECT_EQ(rings, 1);
}

}  // namespace
}  // namespace pensieve::claude
