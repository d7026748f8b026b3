// Goal: nothing of one conversation ever reaches another, and what was cached, restored, shared,
// interrupted or evicted answers as what was computed cold. Many conversations with shared
// beginnings go on at once over the real CPU backend, an arena that is far too small, and a tier on
// the disk that is too small as well; requests are cancelled anywhere and the engine is restarted.
// With random weights every token of the history changes the answer, so a single foreign one shows.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "foundation/accountant.h"

#include "domain/compute/cpu/cpu_backend.h"
#include "domain/engine/engine.h"
#include "domain/kv_store/kv_store.h"
#include "domain/model/model_file.h"

#include "faults/faults.h"

namespace pensieve {
namespace {

using Tokens = std::vector<TokenId>;

constexpr int kConversations = 50;
constexpr int kClients = 4;
constexpr int kContext = 1024;
constexpr int kEndOfConversation = 800;  // tokens; then another one begins
constexpr int kRequestsBetweenRestarts = 100;

Tokens random_tokens(std::mt19937& random, int at_least, int at_most, int vocab) {
  Tokens tokens(
      static_cast<std::size_t>(std::uniform_int_distribution<int>(at_least, at_most)(random)));
  for (TokenId& token : tokens) token = std::uniform_int_distribution<int>(0, vocab - 1)(random);
  return tokens;
}

void append(Tokens& to, const Tokens& more) {
  to.insert(to.end(), more.begin(), more.end());
}

class Model {
 public:
  Model() {
    auto opened = model::ModelFile::open(PENSIEVE_SOURCE_DIR "/tests/fixtures/phi3/gguf/q4_0.gguf",
                                         accountant_);
    CHECK(opened.has_value());
    file_ = *std::move(opened);
    weights_ = file_->weights();
    weights_.hyper.context_length = kContext;
  }
  int vocab() const { return weights_.hyper.vocab; }

  std::unique_ptr<engine::Engine> engine(const engine::EngineOptions& options, int n_pages) {
    const auto& hyper = weights_.hyper;
    const std::size_t head_bytes = 2 * 64 * (static_cast<std::size_t>(hyper.head_dim) / 32 * 34);
    const std::size_t page_bytes = head_bytes * static_cast<std::size_t>(hyper.n_layers) *
                                   static_cast<std::size_t>(hyper.n_kv_heads);
    auto made = engine::Engine::create(
        [&] {
          return compute::cpu::create_backend(
              weights_,
              {.n_threads = 1,
               .kv = compute::KvType::Q8,
               .max_context = kContext,
               .kv_budget_bytes = static_cast<std::size_t>(n_pages) * page_bytes},
              accountant_);
        },
        options);
    CHECK(made.has_value());
    CHECK((*made)->stats().memory.kv_capacity_bytes ==
          static_cast<std::size_t>(n_pages) * page_bytes);
    return *std::move(made);
  }
  Accountant& accountant() { return accountant_; }

 private:
  Accountant accountant_;
  std::unique_ptr<model::ModelFile> file_;
  compute::ModelWeights weights_;
};

struct Outcome {
  Tokens tokens;
  bool whole = false;
};

Outcome run(engine::Engine& engine, const Tokens& prompt, int max_tokens, int cancel_after) {
  engine::Request request;
  request.prompt = prompt;
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  auto generation = engine.submit(std::move(request));
  CHECK(generation.has_value());
  Outcome outcome;
  while (static_cast<int>(outcome.tokens.size()) != cancel_after) {
    const auto event = (*generation)->next();
    if (!event) break;
    if (event->kind == engine::TokenEvent::Kind::Token) outcome.tokens.push_back(event->token);
    if (event->kind == engine::TokenEvent::Kind::Finished)
      outcome.whole = event->reason == engine::FinishReason::MaxTokens;
  }
  return outcome;
}

// The engine under test with its tier, over one directory for the whole test.
class Crowded {
 public:
  Crowded(Model& model, std::string directory) : model_(model), directory_(std::move(directory)) {
    start();
  }
  engine::Engine& engine() { return *engine_; }
  void restart() {
    count();
    engine_.reset();
    tier_.reset();
    start();
    ++restarts;
  }
  void count() {
    const auto stats = engine_->stats();
    cached += stats.cached_tokens;
    restored += stats.restored_tokens;
  }

  std::uint64_t cached = 0, restored = 0;
  int restarts = 0;

 private:
  void start() {
    tier_ = kv_store::KvStore::create({.directory = directory_,
                                       .model = "fixture",
                                       .budget = {.max_bytes = std::uint64_t{6} << 20,
                                                  .max_bytes_per_day = std::uint64_t{1} << 40}},
                                      model_.accountant());
    engine_ = model_.engine(
        {.prefill_chunk = 96, .idle_sequences = 8, .tier = tier_.get(), .save_timeout_ms = 20'000},
        40);
  }

  Model& model_;
  const std::string directory_;
  std::unique_ptr<kv_store::KvStore> tier_;
  std::unique_ptr<engine::Engine> engine_;
};

class Conversations {
 public:
  Conversations(int vocab, unsigned seed) : vocab_(vocab), random_(seed) {
    for (int i = 0; i < 3; ++i) systems_.push_back(random_tokens(random_, 150, 220, vocab));
    for (auto& history : histories_) history = begin();
  }
  // One that nobody works on.
  int take() {
    const std::lock_guard lock(mutex_);
    for (;;) {
      const int i = std::uniform_int_distribution<int>(0, kConversations - 1)(random_);
      if (std::exchange(taken_[static_cast<std::size_t>(i)], true)) continue;
      return i;
    }
  }
  const Tokens& history(int i) const { return histories_[static_cast<std::size_t>(i)]; }
  // What was said, and the user's next words.
  void go_on(int i, const Tokens& said) {
    const std::lock_guard lock(mutex_);
    Tokens& history = histories_[static_cast<std::size_t>(i)];
    append(history, said);
    append(history, random_tokens(random_, 5, 60, vocab_));
    if (history.size() > kEndOfConversation) history = begin();
    taken_[static_cast<std::size_t>(i)] = false;
  }
  void give_back(int i) {
    const std::lock_guard lock(mutex_);
    taken_[static_cast<std::size_t>(i)] = false;
  }
  int draw(int below) {
    const std::lock_guard lock(mutex_);
    return std::uniform_int_distribution<int>(0, below - 1)(random_);
  }

 private:
  Tokens begin() {
    Tokens history = systems_[random_() % systems_.size()];
    append(history, random_tokens(random_, 10, 60, vocab_));  // a secret of this conversation
    return history;
  }

  const int vocab_;
  std::mutex mutex_;
  std::mt19937 random_;
  std::vector<Tokens> systems_;
  std::array<Tokens, kConversations> histories_;
  std::array<bool, kConversations> taken_{};
};

TEST(Contamination, InterleavedConversationsAnswerAsIfEachWereAlone) {
  // PENSIEVE_REQUESTS=10000 is the long form.
  const char* wanted = std::getenv("PENSIEVE_REQUESTS");
  const int n_requests = wanted != nullptr ? std::atoi(wanted) : 300;
  char place[] = "/tmp/pensieve-contamination-XXXXXX";
  ASSERT_NE(mkdtemp(place), nullptr);
  Model model;
  Crowded crowded(model, std::string(place) + "/kv");
  Conversations conversations(model.vocab(), 20);
  std::atomic<int> n_compared{0}, n_cancelled{0}, n_foreign{0};

  for (int done = 0; done < n_requests; done += kRequestsBetweenRestarts) {
    std::atomic<int> left{std::min(kRequestsBetweenRestarts, n_requests - done)};
    std::vector<std::thread> clients;
    for (int client = 0; client < kClients; ++client) {
      clients.emplace_back([&] {
        const auto cold = model.engine({.prefill_chunk = 512, .idle_sequences = 0}, 16);
        while (left.fetch_sub(1) > 0) {
          const int i = conversations.take();
          const Tokens& prompt = conversations.history(i);
          const int max_tokens = 1 + conversations.draw(12);
          const bool cancels = conversations.draw(8) == 0;
          const int cancel_after = cancels ? conversations.draw(max_tokens) : -1;
          const Outcome got = run(crowded.engine(), prompt, max_tokens, cancel_after);
          if (cancels) {
            ++n_cancelled;
            conversations.give_back(i);
            continue;
          }
          const Outcome expected = run(*cold, prompt, max_tokens, -1);
          ++n_compared;
          if (!got.whole || got.tokens != expected.tokens) ++n_foreign;
          conversations.go_on(i, expected.tokens);
        }
      });
    }
    for (std::thread& client : clients) client.join();
    crowded.restart();
  }
  std::printf(
      "%d requests, %d compared, %d cancelled, %d restarts, %llu tokens cached, %llu of "
      "them restored; %d differ\n",
      n_requests,
      n_compared.load(),
      n_cancelled.load(),
      crowded.restarts,
      static_cast<unsigned long long>(crowded.cached),
      static_cast<unsigned long long>(crowded.restored),
      n_foreign.load());
  EXPECT_EQ(n_foreign, 0);
  EXPECT_EQ(n_compared + n_cancelled, n_requests);
  EXPECT_GT(n_cancelled, 0);
  EXPECT_GT(crowded.cached, crowded.restored);
  EXPECT_GT(crowded.restored, 0u);
  std::filesystem::remove_all(place);
}

#ifdef __linux__
// Whatever call on the disk fails, once or from some point on: every request is answered as if
// there were no disk, and the next start finds nothing that is wrong.
TEST(Contamination, ADiskThatFailsChangesNoAnswer) {
  const bool all = std::getenv("PENSIEVE_EVERY_FAULT") != nullptr;
  Model model;
  std::mt19937 random(4);
  const Tokens prompt = random_tokens(random, 300, 300, model.vocab());
  Tokens next_turn = prompt;
  append(next_turn, random_tokens(random, 200, 200, model.vocab()));
  const auto answers = [&](engine::Engine& engine) {
    return std::pair(run(engine, prompt, 6, -1).tokens, run(engine, next_turn, 6, -1).tokens);
  };
  const auto expected = answers(*model.engine({.prefill_chunk = 512, .idle_sequences = 0}, 16));
  std::uint64_t n_faults = 0;
  for (const auto call : {faults::Call::Open,
                          faults::Call::Read,
                          faults::Call::Status,
                          faults::Call::Write,
                          faults::Call::Sync,
                          faults::Call::Rename}) {
    for (const bool on : {false, true}) {
      for (std::uint64_t n = 0;; n += all ? 1 : 9) {
        char place[] = "/tmp/pensieve-disk-XXXXXX";
        ASSERT_NE(mkdtemp(place), nullptr);
        const std::string directory = std::string(place) + "/kv";
        faults::arm(call, n, on);
        for (int start = 0; start < 2; ++start)
          EXPECT_EQ(answers(Crowded(model, directory).engine()), expected) << "call " << n;
        const bool failed = faults::disarm() > n;
        EXPECT_EQ(answers(Crowded(model, directory).engine()), expected) << "after call " << n;
        std::filesystem::remove_all(place);
        if (!failed) break;
        ++n_faults;
      }
    }
  }
  std::printf("%llu faults\n", static_cast<unsigned long long>(n_faults));
  EXPECT_GE(n_faults, 12u);
}
#endif

}  // namespace
}  // namespace pensieve
