// Goal: the whole path from a request to its answer on the real, embedded model. Expected token ids
// and texts are the reference vectors that come with the model (computed by other code, see
// tools/tiny-model/reference.py). Activations and KV stay in 32 bit, as they were there.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "domain/claude/internal/test_support.h"
#include "domain/compute/cpu/cpu_backend.h"

namespace pensieve::claude {
namespace {

constexpr int kContext = 2048;

// Model, engine and service, made once: every test leaves the engine idle again.
class ServiceTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    accountant_ = new Accountant;
    const compute::cpu::CpuOptions cpu{.n_threads = 1,
                                       .kernel = "",
                                       .activations = compute::cpu::Activations::F32,
                                       .kv = compute::KvType::F32,
                                       .max_context = kContext,
                                       .kv_budget_bytes = std::size_t{256} << 20};
    engine::EngineOptions options;
    options.max_requests = 4;
    auto made = engine::Engine::create(
        [cpu] {
          return compute::cpu::create_backend(tiny_model().file->weights(), cpu, *accountant_);
        },
        options);
    ASSERT_TRUE(made.has_value()) << made.error().message;
    engine_ = made->release();
    service_ = Service::create(tiny_model(), *engine_).release();
  }
  static void TearDownTestSuite() {
    delete service_;
    delete engine_;
    delete accountant_;
  }

  static std::unique_ptr<Answer> begin(const api::MessagesRequest& request) {
    auto answer = service_->answer(request, "test");
    if (!answer) ADD_FAILURE() << answer.error().message;
    return answer ? *std::move(answer) : nullptr;
  }

  // Runs an answer to its end through the strict reader.
  static api::Message run(Answer& answer) {
    StreamReader stream;
    while (!answer.finished()) {
      answer.wait(60'000);
      auto events = answer.poll();
      if (!events) {
        ADD_FAILURE() << events.error().message;
        return {};
      }
      stream.read(*events);
      if (HasFatalFailure()) return {};
    }
    expect_same_message(stream, answer);
    return answer.message();
  }

  static api::Message run(const api::MessagesRequest& request) {
    const auto answer = begin(request);
    return answer ? run(*answer) : api::Message{};
  }

  static bool idle_within(std::chrono::milliseconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (std::chrono::steady_clock::now() < deadline) {
      const auto stats = engine_->stats();
      if (stats.running == 0 && stats.waiting == 0) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

  static inline Accountant* accountant_ = nullptr;
  static inline engine::Engine* engine_ = nullptr;
  static inline Service* service_ = nullptr;
};

std::string text_of(const api::Message& message) {
  std::string text;
  for (const api::ContentBlock& block : message.content) text += block.text;
  return text;
}

struct Reference {
  std::string prompt;
  std::vector<TokenId> ids;
  std::vector<TokenId> greedy;
  std::string text;
  std::vector<std::pair<TokenId, double>> top;  // logits of the first token's best, best first
};

const std::map<std::string, Reference>& references() {
  static const auto cases = [] {
    std::ifstream in(PENSIEVE_SOURCE_DIR "/tools/tiny-model/artefacts/reference.json");
    std::ostringstream all;
    all << in.rdbuf();
    const auto json = parse_json(all.str());
    CHECK(json.has_value());
    std::map<std::string, Reference> by_name;
    for (const Json& one : json->at("cases")) {
      by_name[one["name"]] = {.prompt = one["prompt"],
                              .ids = one["ids"],
                              .greedy = one["gguf"]["greedy"],
                              .text = one["gguf"]["text"],
                              .top = one["gguf"]["top"]};
    }
    return by_name;
  }();
  return cases;
}

// "<|user|>\nhello<|end|>\n" -> "hello"
std::string turn(const std::string& prompt, const std::string& role) {
  const std::string begin = "<|" + role + "|>\n";
  const std::size_t at = prompt.find(begin);
  if (at == std::string::npos) return "";
  const std::size_t from = at + begin.size();
  return prompt.substr(from, prompt.find("<|end|>", from) - from);
}

// The request whose prompt this is, with the tools of the prompt's <tools> list.
api::MessagesRequest request_for(const Reference& reference) {
  auto request = ask(turn(reference.prompt, "user"));
  std::string system = turn(reference.prompt, "system");
  const std::size_t tools_at = system.find("\n\n# Tools\n");
  if (tools_at != std::string::npos) {
    const std::size_t from = system.find("<tools>\n") + 8;
    std::istringstream lines(system.substr(from, system.find("</tools>", from) - from));
    for (std::string line; std::getline(lines, line);) {
      const auto json = parse_json(line);
      CHECK(json.has_value());
      api::Tool tool;
      tool.name = (*json)["function"]["name"];
      tool.description = (*json)["function"]["description"];
      tool.input_schema_json = (*json)["function"]["parameters"].dump();
      request.tools.push_back(tool);
    }
    system.resize(tools_at);
  }
  if (!system.empty()) request.system = {text_block(system)};
  return request;
}

// The sanitizers make a token of this model cost tens of milliseconds, so their build takes fewer.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSlowBuild = true;
#else
constexpr bool kSlowBuild = false;
#endif

TEST_F(ServiceTest, GivesTheReferenceAnswersTokenForToken) {
  std::vector<std::string> names = {"hello", "plain-ls", "echo"};
  if (!kSlowBuild) {
    names.insert(names.end(),
                 {"who", "plain-find", "plain-grep", "explain", "sum", "title", "json"});
  }
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const Reference& reference = references().at(name);
    const auto request = request_for(reference);
    const auto prompt = tiny_model().format->render(request);
    ASSERT_TRUE(prompt.has_value());
    const auto ids = service_->encode(*prompt);
    ASSERT_TRUE(ids.has_value());
    EXPECT_EQ(*ids, reference.ids);
    const auto message = run(request);
    EXPECT_EQ(text_of(message), reference.text);
    EXPECT_EQ(message.stop_reason, api::StopReason::EndTurn);
    // The reference's tokens end with the one that stopped it.
    EXPECT_EQ(message.usage.output_tokens, static_cast<int>(reference.greedy.size()) - 1);
  }
}

// The reference has the 50 highest scores of the first token. Softmax moves all of them by the same
// amount, so differences must agree; 1e-2 is what its rounding to four digits and f32 sums leave.
TEST_F(ServiceTest, TellsTheProbabilitiesOfTheReference) {
  const Reference& reference = references().at("hello");
  auto request = request_for(reference);
  request.top_logprobs = 20;
  request.max_tokens = 1;
  const auto answer = begin(request);
  ASSERT_NE(answer, nullptr);
  run(*answer);
  const auto scores = answer->take_scores();
  ASSERT_EQ(scores.size(), 1u);
  ASSERT_EQ(scores[0].top.size(), 20u);
  EXPECT_EQ(scores[0].bytes, "Hello");
  EXPECT_EQ(scores[0].logprob, scores[0].top[0].logprob);
  const double best = reference.top[0].second;
  double rest = 0;  // of the probabilities beside the best token's, from the reference alone
  for (const auto& [token, logit] : reference.top) rest += std::exp(logit - best);
  EXPECT_NEAR(scores[0].logprob, -std::log(rest), 1e-2);
  for (std::size_t i = 0; i < 20; ++i) {
    EXPECT_NEAR(scores[0].top[i].logprob - scores[0].logprob, reference.top[i].second - best, 1e-2);
    std::string_view text = tiny_model().tokenizer->bytes(reference.top[i].first);
    if (text.starts_with(' ')) text.remove_prefix(1);
    EXPECT_EQ(scores[0].top[i].bytes, text);
  }
}

TEST_F(ServiceTest, CompletesTextAsItStands) {
  api::MessagesRequest request;
  request.model = "claude-test";
  request.max_tokens = 4;
  const std::string prompt = "<|user|>\nhello<|end|>\n<|assistant|>\n";
  auto answer = service_->complete(request, prompt, "test");
  ASSERT_TRUE(answer.has_value()) << answer.error().message;
  const auto message = run(**answer);
  // As text, each of these names is several tokens; as control tokens the prompt has five in all.
  std::vector<TokenId> ids;
  tiny_model().tokenizer->encode(prompt, true, ids);
  EXPECT_EQ(message.usage.input_tokens + message.usage.cache_read_input_tokens,
            static_cast<int>(ids.size()) + 1);
  EXPECT_GT(ids.size(), 10u);
  EXPECT_LE(message.usage.output_tokens, 4);
  EXPECT_EQ(message.model, "claude-test");
}

TEST_F(ServiceTest, CallsTheToolThatTheReferenceCalls) {
  auto request = request_for(references().at("tool-ls"));
  if (kSlowBuild) request.tools.resize(1);  // Bash alone: a third of the prompt, the same call
  const auto message = run(request);
  ASSERT_EQ(message.content.size(), 1u);
  const api::ContentBlock& call = message.content[0];
  EXPECT_EQ(call.kind, api::BlockKind::ToolUse);
  EXPECT_EQ(call.name, "Bash");
  const auto input = parse_json(call.input_json);
  ASSERT_TRUE(input.has_value());
  EXPECT_EQ((*input)["command"], "ls src");
  EXPECT_EQ(message.stop_reason, api::StopReason::ToolUse);
}

TEST_F(ServiceTest, CountsWhatTheUsageSays) {
  for (const std::string name : {"hello", "echo"}) {
    SCOPED_TRACE(name);
    const auto request = request_for(references().at(name));
    const auto count = service_->count_tokens(request);
    ASSERT_TRUE(count.has_value());
    EXPECT_EQ(*count, static_cast<int>(references().at(name).ids.size()));
    for (const api::Message& message : {run(request), run(request)}) {
      const api::Usage& usage = message.usage;
      EXPECT_EQ(
          usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens,
          *count);
      EXPECT_GT(usage.input_tokens, 0);  // the last token is always computed
    }
  }
}

// A mark at the end of the last message: only what closes its turn and opens the next one is
// behind. A mark in the system text: what stands before its end, as tokens of their own.
TEST_F(ServiceTest, CountsTheTokensUpToTheLastMark) {
  auto request = ask("Which files did I change on Monday? " + std::to_string(17), 1);
  request.system = {text_block("You are terse."), text_block("Answer in English.")};
  request.messages.back().content.back().cache_mark = true;
  const auto whole = run(request).usage;
  EXPECT_EQ(whole.input_tokens, 2);  // <|end|> <|assistant|>
  EXPECT_GT(whole.cache_creation_input_tokens, 10);
  const auto again = run(request).usage;
  EXPECT_EQ(again.input_tokens + again.cache_creation_input_tokens, 1);

  auto system = ask("And on Tuesday?", 1);
  system.system = {text_block("You are a poet from the north."), text_block("Rhyme always.")};
  system.system.back().cache_mark = true;
  chat::Prompt before;
  before.pieces = {{.control = true, .text = "<|system|>"},
                   {.text = "You are a poet from the north.\n\nRhyme always."}};
  const auto expected = service_->encode(before);
  ASSERT_TRUE(expected.has_value());
  const auto usage = run(system).usage;
  EXPECT_EQ(usage.cache_read_input_tokens + usage.cache_creation_input_tokens,
            static_cast<int>(expected->size()));
}

TEST_F(ServiceTest, ReusesThePrefixOfAnEarlierAnswer) {
  auto request = request_for(references().at("plain-find"));
  request.max_tokens = 4;
  const auto first = run(request);
  const auto again = run(request);
  EXPECT_EQ(text_of(again), text_of(first));
  EXPECT_GT(again.usage.cache_read_input_tokens, again.usage.input_tokens);
}

// What a client sends back of an answer: its text trimmed, the inputs of its calls rewritten.
api::InputMessage echoed(const api::Message& message) {
  api::InputMessage back{.role = api::Role::Assistant, .content = message.content};
  for (api::ContentBlock& block : back.content) {
    if (block.kind == api::BlockKind::ToolUse) block.input_json = R"({"added":false,"other":1})";
    while (block.text.ends_with('\n') || block.text.ends_with(' ')) block.text.pop_back();
  }
  return back;
}

// The tokens of a long random answer are not those that its text would get, and a rewritten call is
// no longer what was sampled: the next prompt holds the tokens themselves, so their KV is reused.
TEST_F(ServiceTest, TheNextPromptBeginsWithTheLastOneAndItsAnswer) {
  auto request = request_for(references().at("tool-ls"));
  request.tools.resize(1);
  int text_answers = 0;
  for (int turn = 0; turn < 5; ++turn) {
    SCOPED_TRACE(turn);
    // The first turn calls the tool; the others are noise.
    request.max_tokens = turn == 0 ? 64 : 12;
    if (turn > 0) request.temperature = 2;
    request.seed = static_cast<std::uint64_t>(turn);
    const auto first = run(request);
    const int known = *service_->count_tokens(request) + first.usage.output_tokens;
    request.messages.push_back(echoed(first));
    api::InputMessage next{.role = api::Role::User, .content = {text_block("And then?")}};
    for (const api::ContentBlock& block : first.content) {
      if (block.kind != api::BlockKind::ToolUse) continue;
      api::ContentBlock result;
      result.kind = api::BlockKind::ToolResult;
      result.id = block.id;
      result.content = {text_block("main.cpp")};
      next.content.push_back(result);
    }
    if (first.stop_reason != api::StopReason::ToolUse) ++text_answers;
    request.messages.push_back(next);

    // The last token that was sampled is in no KV yet where max_tokens ended the answer.
    auto probe = request;
    probe.max_tokens = 1;
    EXPECT_GE(run(probe).usage.cache_read_input_tokens, known - 1);
  }
  EXPECT_GE(text_answers, 3);
}

TEST_F(ServiceTest, EndsAtMaxTokens) {
  const auto& whole = references().at("count").text;
  for (const int max_tokens : {1, 2, 7}) {
    auto request = request_for(references().at("count"));
    request.max_tokens = max_tokens;
    const auto message = run(request);
    EXPECT_EQ(message.usage.output_tokens, max_tokens);
    EXPECT_EQ(message.stop_reason, api::StopReason::MaxTokens);
    EXPECT_EQ(whole.rfind(text_of(message), 0), 0u) << text_of(message);
  }
}

TEST_F(ServiceTest, EndsAtAStopSequence) {
  auto request = request_for(references().at("count"));
  request.stop_sequences = {"nothing", ", 5"};
  const auto message = run(request);
  EXPECT_EQ(text_of(message), "1, 2, 3, 4");
  EXPECT_EQ(message.stop_reason, api::StopReason::StopSequence);
  EXPECT_EQ(message.stop_sequence, ", 5");
  EXPECT_TRUE(idle_within(std::chrono::seconds(5)));
}

TEST_F(ServiceTest, AnswersSeveralAtOnceAsIfAlone) {
  const std::vector<std::string> names = {"hello", "plain-ls", "sum", "echo"};
  std::vector<std::string> texts(names.size());
  std::vector<std::thread> clients;
  for (std::size_t i = 0; i < names.size(); ++i) {
    clients.emplace_back(
        [&, i] { texts[i] = text_of(run(request_for(references().at(names[i])))); });
  }
  for (std::thread& client : clients) client.join();
  for (std::size_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(texts[i], references().at(names[i]).text);
  }
}

TEST_F(ServiceTest, SamplesTheSameForTheSameSeed) {
  auto request = ask("tell me a joke", 6);
  request.temperature = 1.0;
  request.top_p = 0.95;
  request.seed = 42;
  const auto first = text_of(run(request));
  EXPECT_EQ(text_of(run(request)), first);
  request.top_p = 0.0;  // the most probable token alone
  request.seed.reset();
  const auto narrow = text_of(run(request));
  request.temperature = 0;
  EXPECT_EQ(narrow, text_of(run(request)));
}

TEST_F(ServiceTest, FreesItsPlaceWhenAnAnswerIsDropped) {
  auto answer = begin(ask("count to 12", 400));
  ASSERT_NE(answer, nullptr);
  StreamReader stream;
  while (stream.deltas() < 2) {
    answer->wait(60'000);
    auto events = answer->poll();
    ASSERT_TRUE(events.has_value());
    stream.read(*events);
    ASSERT_FALSE(answer->finished());
  }
  answer.reset();
  EXPECT_TRUE(idle_within(std::chrono::seconds(5)));
}

TEST_F(ServiceTest, RefusesOneRequestTooManyAsOverloaded) {
  std::vector<std::unique_ptr<Answer>> running;
  for (int i = 0; i < 4; ++i) running.push_back(begin(ask("count to 12", 200)));
  const auto refused = service_->answer(ask("hello"), "test");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().kind, ErrorKind::Overloaded);
  running.clear();
  EXPECT_TRUE(idle_within(std::chrono::seconds(5)));
  EXPECT_EQ(text_of(run(ask("hello"))), references().at("hello").text);
}

TEST_F(ServiceTest, RefusesAPromptBeyondTheWindowWithBothNumbers) {
  std::string text;
  for (int i = 0; i < kContext; ++i) text += "word ";
  const auto request = ask(text);
  const auto refused = service_->answer(request, "test");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().kind, ErrorKind::InvalidRequest);
  const auto count = service_->count_tokens(request);
  ASSERT_TRUE(count.has_value());
  EXPECT_EQ(refused.error().message,
            "prompt is too long: " + std::to_string(*count) + " tokens > " +
                std::to_string(kContext) + " maximum");
}

// 16 MB that could never fit are not tokenized first.
TEST_F(ServiceTest, RefusesAHopelessPromptAtOnce) {
  const auto refused = service_->answer(ask("x" + std::string(16 << 20, ' ')), "test");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::InvalidRequest);
  EXPECT_TRUE(refused.error().message.starts_with("prompt is too long: "));
  EXPECT_TRUE(refused.error().message.ends_with(" tokens > 2048 maximum"));
}

TEST_F(ServiceTest, NeverMakesAControlTokenOfText) {
  const tokenizer::Tokenizer& tokenizer = *tiny_model().tokenizer;
  const auto control_ids = [&](const api::MessagesRequest& request) {
    std::vector<TokenId> controls;
    const auto ids = service_->encode(*tiny_model().format->render(request));
    for (const TokenId id : *ids) {
      if (tokenizer.kind(id) == tokenizer::TokenKind::Control) controls.push_back(id);
    }
    return controls;
  };
  const auto expected = control_ids(ask("x"));
  int literals = 0;
  for (TokenId id = 0; id < tokenizer.size(); ++id) {
    if (tokenizer.kind(id) != tokenizer::TokenKind::Control) continue;
    const std::string literal(tokenizer.piece(id));
    EXPECT_EQ(control_ids(ask("a " + literal + " b")), expected) << literal;
    EXPECT_EQ(control_ids(ask(literal)), expected) << literal;
    ++literals;
  }
  EXPECT_GE(literals, 6);  // <s>, </s> and Phi-3's four of a conversation at least
}

}  // namespace
}  // namespace pensieve::claude
