// The CPU backend on small random models. What must hold: a token's scores depend on its own
// sequence alone (batch invariance), however its prompt was cut, shared, saved or computed beside
// others; and every kernel variant says what the scalar definition says.
#include "domain/compute/cpu/cpu_backend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <deque>
#include <fstream>
#include <memory>
#include <random>

#include "domain/compute/kernels/test_weights.h"

namespace pensieve::compute::cpu {
namespace {

// A model of 2 layers with random weights of `type`.
struct TestModel {
  explicit TestModel(WeightType type, int n_heads = 4, int n_kv_heads = 2, int sliding_window = 0) {
    HyperParameters& h = weights.hyper;
    h.n_layers = 2;
    h.hidden = 256;
    h.n_heads = n_heads;
    h.n_kv_heads = n_kv_heads;
    h.head_dim = 64;
    h.ffn = 512;
    h.vocab = 300;
    h.context_length = 1024;
    h.original_context_length = 128;
    h.rope_dims = 64;
    h.sliding_window = sliding_window;
    h.rope_attention_scale = 1.1f;
    for (int i = 0; i < 32; ++i) {
      h.rope_short.push_back(1.0f + 0.01f * static_cast<float>(i));
      h.rope_long.push_back(1.0f + 0.2f * static_cast<float>(i));
    }
    weights.token_embedding = matrix(type, h.vocab, h.hidden);
    weights.output = matrix(type, h.vocab, h.hidden);
    weights.output_norm = matrix(WeightType::F32, 1, h.hidden);
    for (int i = 0; i < h.n_layers; ++i) {
      weights.layers.push_back(
          {.attention_norm = matrix(WeightType::F32, 1, h.hidden),
           .qkv = matrix(type, (n_heads + 2 * n_kv_heads) * h.head_dim, h.hidden),
           .attention_out = matrix(type, h.hidden, n_heads * h.head_dim),
           .ffn_norm = matrix(WeightType::F32, 1, h.hidden),
           .gate_up = matrix(type, 2 * h.ffn, h.hidden),
           .down = matrix(type, h.hidden, h.ffn)});
    }
    weights.fingerprint = "test";
  }
  WeightView matrix(WeightType type, int rows, int cols) {
    storage.push_back(std::make_unique<TestWeights>(type, rows, cols, ++seed));
    weights.total_bytes += storage.back()->view.total_bytes();
    return storage.back()->view;
  }
  ModelWeights weights;
  std::deque<std::unique_ptr<TestWeights>> storage;
  unsigned seed = 0;
};

std::vector<TokenId> random_tokens(int n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> tokens(static_cast<std::size_t>(n));
  for (auto& t : tokens) t = static_cast<TokenId>(random() % 300);
  return tokens;
}

struct Fixture {
  explicit Fixture(const TestModel& model, CpuOptions options = {}) {
    if (options.max_context == 0) options.max_context = 1024;
    if (options.kv_budget_bytes == 0) options.kv_budget_bytes = std::size_t{16} << 20;
    if (options.n_threads == 0) options.n_threads = 2;
    auto made = create_backend(model.weights, options, accountant);
    CHECK(made.has_value());
    backend = std::move(*made);
  }
  SequenceId open(RopeVariant rope = RopeVariant::Short) {
    auto id = backend->open(rope, backend->capabilities().default_kv);
    CHECK(id.has_value());
    return *id;
  }
  // Appends `tokens` in chunks of `chunk`; scores after the last one.
  std::vector<float> feed(SequenceId id, std::span<const TokenId> tokens, int chunk = 512) {
    const SamplingParameters greedy{.temperature = 0};
    std::vector<float> logits;
    while (!tokens.empty()) {
      const auto part = tokens.first(std::min(tokens.size(), static_cast<std::size_t>(chunk)));
      tokens = tokens.subspan(part.size());
      Step step{.sequence = id,
                .tokens = part,
                .sample = tokens.empty() ? &greedy : nullptr,
                .allowed = {},
                .return_logits = tokens.empty()};
      auto ticket = backend->submit({&step, 1});
      CHECK(ticket.has_value());
      const auto sampled = backend->collect(*ticket);
      CHECK(sampled.has_value());
      logits.assign((*sampled)[0].logits.begin(), (*sampled)[0].logits.end());
    }
    return logits;
  }
  Accountant accountant;
  std::unique_ptr<Backend> backend;
};

class CpuBackendPaths : public testing::TestWithParam<std::tuple<Activations, KvTypes>> {
 protected:
  CpuOptions options() const {
    return {.activations = std::get<0>(GetParam()), .kv = std::get<1>(GetParam())};
  }
};
INSTANTIATE_TEST_SUITE_P(Paths,
                         CpuBackendPaths,
                         testing::Combine(testing::Values(Activations::Int8, Activations::F32),
                                          testing::Values(KvTypes(KvType::F32),
                                                          KvTypes(KvType::F16),
                                                          KvTypes(KvType::Q8),
                                                          KvTypes(KvType::Q4),
                                                          KvTypes(KvType::Q8, KvType::Q4))),
                         [](const auto& path) {
                           std::string kv = to_string(std::get<1>(path.param));
                           std::replace(kv.begin(), kv.end(), '/', '_');
                           return (std::get<0>(path.param) == Activations::Int8 ? "int8_"
                                                                                : "f32_") +
                                  kv;
                         });

TEST_P(CpuBackendPaths, APromptCutAnywhereGivesTheSameScores) {
  const TestModel model(WeightType::Q4_0);
  Fixture fixture(model, options());
  const auto prompt = random_tokens(150, 1);
  const auto expected = fixture.feed(fixture.open(), prompt);
  for (const int chunk : {1, 7, 64, 65, 149}) {
    EXPECT_EQ(fixture.feed(fixture.open(), prompt, chunk), expected) << "chunks of " << chunk;
  }
}

TEST_P(CpuBackendPaths, NeighboursInTheBatchDoNotChangeScores) {
  const TestModel model(WeightType::Q4_K);
  Fixture fixture(model, options());
  const SamplingParameters greedy{.temperature = 0};
  std::vector<std::vector<TokenId>> prompts;
  std::vector<std::vector<float>> alone;
  for (unsigned i = 0; i < 8; ++i) {
    prompts.push_back(random_tokens(static_cast<int>(1 + i * 15), 10 + i));
    alone.push_back(fixture.feed(fixture.open(i % 2 == 0 ? RopeVariant::Short : RopeVariant::Long),
                                 prompts.back()));
  }
  // All eight in one step: prefill chunks of different lengths beside single rows.
  std::vector<Step> steps;
  for (unsigned i = 0; i < 8; ++i) {
    const SequenceId id = fixture.open(i % 2 == 0 ? RopeVariant::Short : RopeVariant::Long);
    steps.push_back({.sequence = id,
                     .tokens = prompts[i],
                     .sample = &greedy,
                     .allowed = {},
                     .return_logits = true});
  }
  auto ticket = fixture.backend->submit(steps);
  ASSERT_TRUE(ticket.has_value());
  const auto sampled = fixture.backend->collect(*ticket);
  ASSERT_TRUE(sampled.has_value());
  for (unsigned i = 0; i < 8; ++i) {
    const auto& logits = (*sampled)[i].logits;
    EXPECT_EQ(std::vector<float>(logits.begin(), logits.end()), alone[i]) << "sequence " << i;
  }
}

// A step that samples behind each of its last tokens says what steps of one token each say, bit for
// bit: scores, draws, penalties and masks. Beside it another sequence goes its own way.
TEST_P(CpuBackendPaths, SamplesBehindSeveralTokensAreThoseOfOneTokenSteps) {
  const TestModel model(WeightType::Q4_0);
  Fixture fixture(model, options());
  const SamplingParameters drawn{
      .temperature = 0.9f, .top_p = 0.95f, .repetition_penalty = 1.3f, .seed = 11};
  constexpr std::size_t kWords = (300 + 31) / 32;
  const auto prompt = random_tokens(61, 21), text = random_tokens(9, 22);  // over a page's end
  std::vector<std::uint32_t> masks(text.size() * kWords);
  std::mt19937 random(23);
  for (auto& word : masks) word = static_cast<std::uint32_t>(random()) | 1;
  for (const bool masked : {false, true}) {
    const auto masks_of = [&](std::size_t first, std::size_t n) {
      return masked ? std::span<const std::uint32_t>(masks).subspan(first * kWords, n * kWords)
                    : std::span<const std::uint32_t>();
    };
    const SequenceId one_by_one = fixture.open();
    fixture.feed(one_by_one, prompt);
    std::vector<Sampled> expected;
    std::vector<std::vector<float>> expected_logits;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const Step step{.sequence = one_by_one,
                      .tokens = std::span(text).subspan(i, 1),
                      .sample = &drawn,
                      .allowed = masks_of(i, 1),
                      .return_logits = true};
      const auto sampled = fixture.backend->collect(*fixture.backend->submit({&step, 1}));
      ASSERT_EQ(sampled->size(), 1u);
      expected.push_back((*sampled)[0]);
      expected_logits.emplace_back(expected.back().logits.begin(), expected.back().logits.end());
    }
    for (const std::size_t n_samples : {std::size_t{1}, std::size_t{4}, text.size()}) {
      const std::size_t first = text.size() - n_samples;
      const SequenceId at_once = fixture.open(), beside = fixture.open();
      fixture.feed(at_once, prompt);
      const Step steps[] = {
          {.sequence = beside, .tokens = prompt, .sample = nullptr, .allowed = {}},
          {.sequence = at_once,
           .tokens = text,
           .sample = &drawn,
           .allowed = masks_of(first, n_samples),
           .return_logits = true,
           .n_samples = static_cast<int>(n_samples)}};
      const auto sampled = fixture.backend->collect(*fixture.backend->submit(steps));
      ASSERT_EQ(sampled->size(), 1 + n_samples);
      EXPECT_EQ((*sampled)[0].token, kNoToken);
      for (std::size_t i = 0; i < n_samples; ++i) {
        const Sampled& actual = (*sampled)[1 + i];
        EXPECT_EQ(actual.sequence, at_once);
        EXPECT_EQ(actual.token, expected[first + i].token) << "sample " << i << " of " << n_samples;
        EXPECT_EQ(actual.logprob, expected[first + i].logprob);
        EXPECT_EQ(std::vector<float>(actual.logits.begin(), actual.logits.end()),
                  expected_logits[first + i]);
      }
      // What was guessed wrongly is forgotten without a trace.
      ASSERT_TRUE(fixture.backend->truncate(at_once, 63).has_value());
      EXPECT_EQ(fixture.feed(at_once, std::span(text).subspan(2, 4)), expected_logits[5]);
      fixture.backend->close(at_once);
      fixture.backend->close(beside);
    }
    fixture.backend->close(one_by_one);
  }
}

TEST_P(CpuBackendPaths, AForkAtAnyLengthContinuesAsIfComputedCold) {
  const TestModel model(WeightType::Q4_0);
  Fixture fixture(model, options());
  const auto prompt = random_tokens(200, 2), other = random_tokens(90, 3);
  const SequenceId source = fixture.open();
  const auto expected_source = fixture.feed(source, prompt);
  for (const int shared : {0, 1, 63, 64, 65, 128, 200}) {
    auto joined = std::vector(prompt.begin(), prompt.begin() + shared);
    joined.insert(joined.end(), other.begin(), other.end());
    const auto expected = fixture.feed(fixture.open(), joined);
    const auto forked = fixture.backend->fork(source, shared);
    ASSERT_TRUE(forked.has_value());
    EXPECT_EQ(fixture.feed(*forked, other), expected) << "shared " << shared;
    fixture.backend->close(*forked);
  }
  // The source is as it was: one more token scores as in a sequence that nobody shared.
  const TokenId next[] = {5};
  auto longer = prompt;
  longer.push_back(5);
  EXPECT_EQ(fixture.feed(source, next), fixture.feed(fixture.open(), longer));
}

TEST_P(CpuBackendPaths, TruncateForgetsAndSharedPagesStayWhole) {
  const TestModel model(WeightType::Q4_0);
  Fixture fixture(model, options());
  const auto prompt = random_tokens(130, 4), other = random_tokens(10, 5);
  const SequenceId source = fixture.open();
  fixture.feed(source, prompt);
  const auto forked = fixture.backend->fork(source, 130);
  ASSERT_TRUE(forked.has_value());
  ASSERT_TRUE(fixture.backend->truncate(*forked, 100).has_value());  // into a page both hold
  auto joined = std::vector(prompt.begin(), prompt.begin() + 100);
  joined.insert(joined.end(), other.begin(), other.end());
  EXPECT_EQ(fixture.feed(*forked, other), fixture.feed(fixture.open(), joined));
  const TokenId next[] = {6};
  auto longer = prompt;
  longer.push_back(6);
  EXPECT_EQ(fixture.feed(source, next), fixture.feed(fixture.open(), longer));
}

struct MemoryStream : ByteSink, ByteSource {
  Result<void> write(std::span<const std::byte> in) override {
    bytes.insert(bytes.end(), in.begin(), in.end());
    return {};
  }
  Result<void> read(std::span<std::byte> out) override {
    if (out.size() > bytes.size() - at)
      return Error{.kind = ErrorKind::Internal, .message = "end of data"};
    std::memcpy(out.data(), bytes.data() + at, out.size());
    at += out.size();
    return {};
  }
  std::vector<std::byte> bytes;
  std::size_t at = 0;
};

TEST_P(CpuBackendPaths, WhatWasSavedContinuesInAnotherBackend) {
  const TestModel model(WeightType::Q4_0);
  const auto prompt = random_tokens(150, 6), other = random_tokens(20, 7);
  MemoryStream stream;
  std::vector<float> expected;
  {
    Fixture first(model, options());
    const SequenceId id = first.open();
    first.feed(id, prompt);
    ASSERT_TRUE(first.backend->save(id, {.begin = 0, .end = 150}, stream).has_value());
    expected = first.feed(id, other);
  }
  Fixture second(model, options());
  const SequenceId id = second.open();
  ASSERT_TRUE(second.backend->restore(id, stream).has_value());
  EXPECT_EQ(std::vector(second.backend->tokens(id).begin(), second.backend->tokens(id).end()),
            prompt);
  EXPECT_EQ(second.feed(id, other), expected);
}

TEST(CpuBackend, RefusesSavedStateThatDoesNotFitAndKeepsThePages) {
  const TestModel model(WeightType::Q4_0), gqa(WeightType::Q4_0, 4, 1);
  Fixture fixture(model), other(gqa);
  const SequenceId id = fixture.open();
  const auto prompt = random_tokens(100, 8);
  fixture.feed(id, prompt);
  MemoryStream stream;
  ASSERT_TRUE(fixture.backend->save(id, {.begin = 0, .end = 100}, stream).has_value());
  const SequenceId foreign = other.open();
  const int free = other.backend->free_pages();
  EXPECT_FALSE(other.backend->restore(foreign, stream).has_value());
  for (std::size_t cut = 0; cut < stream.bytes.size(); cut += 997) {
    MemoryStream torn;
    torn.bytes.assign(stream.bytes.begin(),
                      stream.bytes.begin() + static_cast<std::ptrdiff_t>(cut));
    const SequenceId fresh = fixture.open();
    const int before = fixture.backend->free_pages();
    EXPECT_FALSE(fixture.backend->restore(fresh, torn).has_value()) << "cut at " << cut;
    EXPECT_EQ(fixture.backend->free_pages(), before);
    EXPECT_TRUE(fixture.backend->tokens(fresh).empty());
    fixture.backend->close(fresh);
  }
  EXPECT_EQ(other.backend->free_pages(), free);
}

TEST(CpuBackend, EveryKernelVariantScoresLikeTheScalarDefinition) {
  for (const auto activations : {Activations::Int8, Activations::F32}) {
    for (const auto type : {WeightType::Q4_0,
                            WeightType::Q2_K,
                            WeightType::Q6_K,
                            WeightType::Mlx4,
                            WeightType::F16}) {
      const TestModel model(type, 4, 4, 40);
      const auto prompt = random_tokens(40, 9);
      std::vector<float> expected;
      for (const std::string& name :
           {std::string("scalar"), runnable_kernel_names().front(), std::string("avx2")}) {
        CpuOptions options{.kernel = name, .activations = activations, .kv = KvType::F16};
        Accountant accountant;
        if (!create_backend(model.weights, options, accountant)) continue;
        Fixture fixture(model, options);
        const auto logits = fixture.feed(fixture.open(), prompt);
        if (expected.empty()) expected = logits;
        double error = 0, norm = 0;
        for (std::size_t i = 0; i < logits.size(); ++i) {
          error += std::pow(double{logits[i]} - expected[i], 2);
          norm += std::pow(double{expected[i]}, 2);
        }
        // Only exp, norms and f16 KV that rounds the other way differ; int8 activations can move
        // a whole step when they do.
        EXPECT_LT(std::sqrt(error / norm), activations == Activations::Int8 ? 5e-3 : 1e-4)
            << name << ", " << to_string(type);
      }
    }
  }
}

TEST(CpuBackend, AFullArenaIsAnErrorAndChangesNothing) {
  const TestModel model(WeightType::Q4_0);
  CpuOptions options{.kv = KvType::F16};
  options.kv_budget_bytes = 3 * Fixture(model, options).backend->capabilities().page_bytes;
  Fixture fixture(model, options);
  EXPECT_EQ(fixture.backend->free_pages(), 3);
  const SequenceId a = fixture.open(), b = fixture.open();
  fixture.feed(a, random_tokens(128, 10));
  const auto prompt = random_tokens(65, 11);
  const SamplingParameters greedy{.temperature = 0};
  const Step step{
      .sequence = b, .tokens = prompt, .sample = &greedy, .allowed = {}, .return_logits = false};
  const auto refused = fixture.backend->submit({&step, 1});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().kind, ErrorKind::Unavailable);
  EXPECT_TRUE(fixture.backend->tokens(b).empty());
  EXPECT_EQ(fixture.backend->free_pages(), 1);
  fixture.backend->close(a);
  EXPECT_EQ(fixture.backend->free_pages(), 3);
  EXPECT_TRUE(fixture.backend->submit({&step, 1}).has_value());
}

// Resident bytes of this process that are backed by no file, exact (the sum over all mappings).
std::size_t anonymous_bytes() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  for (std::string word; rollup >> word;) {
    std::size_t kib = 0;
    if (word == "Anonymous:" && rollup >> kib) return kib * 1024;
  }
  return 0;
}

// Pages are filled from one saved prompt, which writes what computing it wrote.
TEST(CpuBackend, WhatItSaysThatPagesTakeIsWhatTheProcessHolds) {
  if (anonymous_bytes() == 0) GTEST_SKIP() << "there is no /proc/self/smaps_rollup";
  const TestModel model(WeightType::Q4_0, 4, 4);
  const auto prompt = random_tokens(448, 20);
  for (const KvTypes kv : {KvTypes(KvType::Q4), KvTypes(KvType::Q8, KvType::Q4)}) {
    Fixture fixture(model,
                    {.kv = kv, .max_sequences = 1024, .kv_budget_bytes = std::size_t{208} << 20});
    MemoryStream stream;
    const SequenceId computed = fixture.open();
    fixture.feed(computed, prompt);
    ASSERT_TRUE(fixture.backend->save(computed, {.begin = 0, .end = 448}, stream).has_value());
    const std::size_t held_before = anonymous_bytes();
    const std::size_t said_before = fixture.backend->memory().kv_bytes;
    while (fixture.backend->free_pages() >= 7) {
      stream.at = 0;
      ASSERT_TRUE(fixture.backend->restore(fixture.open(), stream).has_value());
    }
    const auto held = static_cast<double>(anonymous_bytes() - held_before);
    const auto said = static_cast<double>(fixture.backend->memory().kv_bytes - said_before);
    EXPECT_GT(said, 200e6);
    // Beside the pages: up to 2 MiB where the system hands out huge pages, and the token ids, 4
    // bytes each in 640 bytes of q4 pages, once more in the address sanitizer's quarantine.
    EXPECT_NEAR(held, said, 0.02 * said) << to_string(kv);
    std::printf("%-6s said %.0f bytes, held %.0f: %+.2f %%\n",
                to_string(kv).c_str(),
                said,
                held,
                100 * (held / said - 1));
  }
}

TEST(CpuBackend, AccountsForScratchAndPages) {
  const TestModel model(WeightType::Q4_0);
  Fixture fixture(model);
  const auto memory = fixture.backend->memory();
  EXPECT_EQ(fixture.accountant.held(MemoryUse::Kv), memory.kv_capacity_bytes);
  EXPECT_EQ(fixture.accountant.held(MemoryUse::Scratch), memory.scratch_bytes);
  EXPECT_EQ(memory.kv_bytes, 0u);
  const SequenceId id = fixture.open();
  fixture.feed(id, random_tokens(65, 12));
  EXPECT_EQ(fixture.backend->memory().kv_bytes, 2 * fixture.backend->capabilities().page_bytes);
  fixture.backend->close(id);
  fixture.backend->trim();
  EXPECT_EQ(fixture.backend->memory().kv_bytes, 0u);
}

TEST(CpuBackend, NamesTheKernelsItCouldRunWhenAskedForAnother) {
  const TestModel model(WeightType::Q4_0);
  Accountant accountant;
  const auto made = create_backend(model.weights, {.kernel = "sse9"}, accountant);
  ASSERT_FALSE(made.has_value());
  EXPECT_NE(made.error().message.find("scalar"), std::string::npos);
  EXPECT_EQ(accountant.total(), 0u);
}

TEST(CpuBackend, TheMemoryLimitIsKept) {
  const TestModel model(WeightType::Q4_0);
  Accountant small(1 << 20);
  const auto made = create_backend(model.weights, {}, small);
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().kind, ErrorKind::Unavailable);
  EXPECT_EQ(small.total(), 0u);
}

}  // namespace
}  // namespace pensieve::compute::cpu
