// Model-based test of the whole engine: seeded random engines (arena, batch, chunk and queue sizes)
// serve seeded random traffic (shared prefixes, cancellations, slow readers, backend failures).
// Whatever happens: every accepted request ends in exactly one Finished, its tokens are those of
// the slow model or, when it was cut short, a beginning of them, and no page or sequence stays
// behind.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "domain/engine/engine.h"
#include "domain/engine/internal/engine_test_support.h"
#include "domain/engine/internal/fake_tier.h"

namespace pensieve::engine {
namespace {

struct Traffic {
  int n_requests = 40;
  bool cancels = true;
  bool failures = false;
  FakeTier* tier = nullptr;
  Speculation speculation = Speculation::Off;
};

// One request in flight, read a little at a time.
struct Client {
  Request request;
  compute::RopeVariant rope = compute::RopeVariant::Short;
  std::unique_ptr<Generation> generation;
  Answer answer;
  bool started = false;
  bool cancelled = false;
  bool finished = false;
};

class RandomSchedule {
 public:
  RandomSchedule(unsigned seed, const Traffic& traffic) : random_(seed), traffic_(traffic) {
    auto& fake = test_.control.options;
    fake.n_pages = pick(4, 40);
    fake.max_sequences = pick(3, 30);
    fake.max_batch = pick(1, 10);
    fake.max_tokens = pick(16, 300);
    fake.max_samples = pick(1, 64);
    fake.max_context = pick(100, 900);
    fake.vocab = 50;
    auto& options = test_.options;
    options.max_requests = pick(1, 12);
    options.prefill_chunk = pick(1, 200);
    options.token_queue = pick(1, 40);
    options.idle_sequences = pick(0, 8);
    options.original_context_length = pick(0, 1) * 300;
    options.speculation = traffic.speculation;
    options.tier = traffic.tier;
    if (traffic.tier != nullptr) options.idle_sequences = pick(0, 2);  // so that pages come back
    options.save_timeout_ms = 20;
    if (traffic.failures) {
      test_.control.on_submit = [this](auto) { return submit_outcome(); };
      test_.control.on_collect = [this] { return collect_outcome(); };
    }
    for (int i = 0; i < 4; ++i) bases_.push_back(tokens(static_cast<std::size_t>(pick(1, 400))));
  }

  void run() {
    test_.start();
    window_ = test_.engine->context_length();
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    int submitted = 0;
    while (submitted < traffic_.n_requests || !clients_.empty()) {
      ASSERT_LT(std::chrono::steady_clock::now(), give_up) << "somebody starves";
      if (submitted < traffic_.n_requests && pick(0, 3) == 0) {
        submit();
        ++submitted;
      }
      for (auto& client : clients_) act(client);
      std::erase_if(clients_, [](const Client& client) { return client.finished; });
      if (pick(0, 9) == 0) std::this_thread::yield();
    }
    // Clients that left without a word are dropped before the engine's next step.
    for (;;) {
      const EngineStats stats = test_.engine->stats();
      if (stats.running == 0 && stats.waiting == 0 &&
          test_.control.sequences == stats.idle_sequences)
        break;
      ASSERT_LT(std::chrono::steady_clock::now(), give_up) << "somebody is never dropped";
      std::this_thread::yield();
    }
    const EngineStats stats = test_.engine->stats();
    drafted = static_cast<int>(stats.drafted_tokens);
    accepted = static_cast<int>(stats.accepted_tokens);
    EXPECT_LE(accepted, drafted);
    EXPECT_TRUE(drafted == 0 || test_.options.speculation != Speculation::Off);
    test_.stop();
  }

  int drafted = 0, accepted = 0;  // once run

 private:
  int pick(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }

  Tokens tokens(std::size_t n) {
    Tokens made(n);
    for (TokenId& token : made) token = pick(0, 49);
    return made;
  }

  // A piece of a shared base with something of its own behind it; sometimes an earlier one again.
  Tokens prompt() {
    if (!history_.empty() && pick(0, 2) == 0) {
      Tokens again =
          history_[static_cast<std::size_t>(pick(0, static_cast<int>(history_.size()) - 1))];
      if (pick(0, 1) == 0) again = joined(again, tokens(static_cast<std::size_t>(pick(1, 30))));
      return again;
    }
    const Tokens& base = bases_[static_cast<std::size_t>(pick(0, 3))];
    Tokens made(base.begin(), base.begin() + pick(1, static_cast<int>(base.size())));
    return joined(made, tokens(static_cast<std::size_t>(pick(0, 60))));
  }

  void submit() {
    Client client;
    client.request = greedy(prompt(), pick(1, 300));
    if (pick(0, 1) == 0) client.request.sampling = {.temperature = 1, .seed = random_()};
    if (pick(0, 2) == 0) {
      client.request.stop_tokens = {pick(0, 49)};
    } else if (pick(0, 1) == 0) {  // the made-up grammar knows no stop tokens
      client.request = constrained(std::move(client.request), random_(), 50);
    }
    const int n_prompt = static_cast<int>(client.request.prompt.size());
    const int asked = n_prompt + std::min(client.request.max_tokens, window_ - n_prompt);
    const int original = test_.options.original_context_length;
    if (original > 0 && asked > original) client.rope = compute::RopeVariant::Long;

    const int unfinished = static_cast<int>(clients_.size());
    auto generation = test_.engine->submit(client.request);
    if (n_prompt > window_) {
      ASSERT_FALSE(generation.has_value());
      EXPECT_EQ(generation.error().kind, ErrorKind::InvalidRequest);
      return;
    }
    if (!generation) {
      EXPECT_EQ(generation.error().kind, ErrorKind::Overloaded) << generation.error().message;
      EXPECT_GE(unfinished + n_abandoned_, test_.options.max_requests);
      return;
    }
    history_.push_back(client.request.prompt);
    client.generation = std::move(*generation);
    clients_.push_back(std::move(client));
  }

  void act(Client& client) {
    const int chance = pick(0, 999);
    if (traffic_.cancels && chance < 2) {
      client.generation->cancel();
      client.cancelled = true;
    } else if (traffic_.cancels && chance < 4) {
      check_tokens(client);
      ++n_abandoned_;
      client.generation.reset();  // a client that leaves without a word
      client.finished = true;
      return;
    }
    for (int n = pick(-3, 6); n > 0 && !client.finished; --n) {
      auto event = client.generation->try_next();
      if (!event) break;
      take(client, *event);
    }
  }

  void take(Client& client, const TokenEvent& event) {
    switch (event.kind) {
      case TokenEvent::Kind::Started:
        EXPECT_FALSE(client.started);
        client.started = true;
        EXPECT_GE(event.cached_tokens, 0);
        EXPECT_TRUE(event.cached_tokens < static_cast<int>(client.request.prompt.size()));
        break;
      case TokenEvent::Kind::Token:
        EXPECT_TRUE(client.started);
        client.answer.tokens.push_back(event.token);
        break;
      case TokenEvent::Kind::Finished:
        client.finished = true;
        client.answer.reason = event.reason;
        client.answer.error = event.error;
        check(client);
        EXPECT_FALSE(client.generation->try_next().has_value());
        EXPECT_FALSE(client.generation->next().has_value());
        break;
    }
  }

  void check(const Client& client) {
    if (client.answer.reason == FinishReason::Failed) {
      EXPECT_TRUE(traffic_.failures) << client.answer.error->message;
      return check_tokens(client);
    }
    if (client.answer.reason == FinishReason::Cancelled) {
      EXPECT_TRUE(client.cancelled);
      return check_tokens(client);
    }
    const Answer model =
        model_answer(client.request, window_, test_.control.options.vocab, client.rope);
    EXPECT_EQ(client.answer.tokens, model.tokens);
    EXPECT_EQ(client.answer.reason, model.reason);
    if (client.request.prompt.size() + model.tokens.size() < 500)
      history_.push_back(joined(client.request.prompt, model.tokens));
  }

  void check_tokens(const Client& client) {
    Answer model = model_answer(client.request, window_, test_.control.options.vocab, client.rope);
    ASSERT_LE(client.answer.tokens.size(), model.tokens.size());
    model.tokens.resize(client.answer.tokens.size());
    EXPECT_EQ(client.answer.tokens, model.tokens);
  }

  // On the engine thread, by its own random numbers.
  Result<void> submit_outcome() {
    switch (failures_() % 300) {
      case 0:
        return Error{ErrorKind::Internal, "the device failed"};
      case 1:
      case 2:
        return Error{ErrorKind::Unavailable, "no page after all", 1};
      case 3:
        throw std::bad_alloc();
      default:
        return {};
    }
  }
  Result<void> collect_outcome() {
    if (failures_() % 300 == 0) return Error{ErrorKind::Internal, "the step was lost"};
    return {};
  }

  std::mt19937 random_;
  std::mt19937 failures_{7};
  const Traffic traffic_;
  TestEngine test_;
  int window_ = 0;
  int n_abandoned_ = 0;
  std::vector<Tokens> bases_;
  std::vector<Tokens> history_;
  std::vector<Client> clients_;
};

constexpr unsigned kSeeds = 60;

// Most engines draft wherever they can, some as they see fit, some never.
constexpr Speculation speculation_of(unsigned seed) {
  return seed % 4 == 0 ? Speculation::Off : seed % 4 == 1 ? Speculation::Auto : Speculation::Always;
}

TEST(RandomSchedule, EveryAnswerIsTheModels) {
  int accepted = 0, refused = 0;
  for (unsigned seed = 1; seed <= kSeeds && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RandomSchedule schedule(seed, {.cancels = false, .speculation = speculation_of(seed)});
    schedule.run();
    accepted += schedule.accepted;
    refused += schedule.drafted - schedule.accepted;
  }
  EXPECT_GT(accepted, 3'000) << "guesses hardly ever come true";
  EXPECT_GT(refused, 3'000) << "guesses are hardly ever wrong";
}

TEST(RandomSchedule, WithCancellationsToo) {
  for (unsigned seed = 1001; seed <= 1000 + kSeeds && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RandomSchedule(seed, {.cancels = true, .speculation = speculation_of(seed)}).run();
  }
}

TEST(RandomSchedule, WithABackendThatFails) {
  for (unsigned seed = 2001; seed <= 2000 + kSeeds && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RandomSchedule(seed, {.cancels = true, .failures = true, .speculation = speculation_of(seed)})
        .run();
  }
}

// Pages go to a second tier and come back, also while that puts off, refuses, tears and loses them.
TEST(RandomSchedule, WithASecondTier) {
  int given = 0;
  for (unsigned seed = 3001; seed <= 3000 + kSeeds && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    FakeTier tier(seed, seed % 3 * 20);
    for (int life = 0; life < 2; ++life) {  // the tier outlives an engine
      RandomSchedule(seed,
                     {.n_requests = 40,
                      .cancels = true,
                      .failures = seed % 4 == 0,
                      .tier = &tier,
                      .speculation = speculation_of(seed / 4)})
          .run();
    }
    given += tier.given;
  }
  EXPECT_GT(given, 50) << "the tier was hardly used";
}

// Many threads at once, each with its own requests: for the thread sanitizer above all.
TEST(RandomSchedule, ReadersOnManyThreads) {
  TestEngine test;
  test.control.options.n_pages = 30;
  test.options.max_requests = 6;
  test.options.token_queue = 8;
  test.start();
  std::atomic<int> answered{0}, refused{0};
  const auto client = [&](unsigned seed) {
    std::mt19937 random(seed);
    for (int i = 0; i < 40; ++i) {
      const Request request =
          greedy(random_tokens(20 + random() % 200, static_cast<unsigned>(random() % 5)),
                 1 + static_cast<int>(random() % 60));
      auto generation = test.engine->submit(request);
      if (!generation) {
        EXPECT_EQ(generation.error().kind, ErrorKind::Overloaded);
        ++refused;
        std::this_thread::yield();
        continue;
      }
      test.engine->stats();
      (*generation)->on_ready([] {});
      if (random() % 4 == 0) {
        (*generation)->next();
        if (random() % 2 == 0) continue;  // leaves
        (*generation)->cancel();
        std::optional<TokenEvent> last;
        while (auto event = (*generation)->next()) last = std::move(event);
        ASSERT_TRUE(last.has_value());
        EXPECT_EQ(last->kind, TokenEvent::Kind::Finished);
        EXPECT_NE(last->reason, FinishReason::Failed);
      } else {
        test.expect_answer(request, read_all(**generation));
        ++answered;
      }
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 8; ++i) threads.emplace_back(client, i);
  for (auto& thread : threads) thread.join();
  EXPECT_GT(answered, 0);
  test.stop();
}

}  // namespace
}  // namespace pensieve::engine
