#include "application/cli/bench.h"

#include <gtest/gtest.h>

#include "domain/model/model_file.h"

#include "application/cli/window.h"

namespace pensieve::cli {
namespace {

class BenchOnTheEmbeddedModel : public testing::Test {
 protected:
  static std::unique_ptr<model::ModelFile> open(Accountant& accountant) {
    auto file = model::ModelFile::open(
        PENSIEVE_SOURCE_DIR "/tools/tiny-model/artefacts/pensieve-tiny-q4_0.gguf", accountant);
    EXPECT_TRUE(file.has_value());
    return *std::move(file);
  }
  Accountant accountant_;
  const std::unique_ptr<model::ModelFile> file_ = open(accountant_);
};

TEST_F(BenchOnTheEmbeddedModel, MeasuresEverythingThatIsPlannedAndLeavesNothingBehind) {
  const BenchPlan plan{
      .prompts = {20, 70}, .generate = 3, .depths = {130, 0}, .batches = {1, 3}, .repeat = 2};
  EXPECT_EQ(kv_tokens(plan), 64u * (4 + 2 * 3)) << "130 + 70, and twice 130 + 3, in whole pages";
  auto backend = compute::cpu::create_backend(
      file_->weights(),
      {.n_threads = 2,
       .kv = compute::KvType::F16,
       .kv_budget_bytes =
           kv_tokens(plan) * kv_bytes_per_token(file_->weights().hyper, compute::KvType::F16)},
      accountant_);
  ASSERT_TRUE(backend.has_value());
  const int free_before = (*backend)->free_pages();
  std::vector<std::string> results;
  const auto ran = run_bench(
      **backend,
      plan,
      [](const std::string&) {},
      [&](const BenchResult& result) {
        results.push_back((result.decode ? "decode " : "prefill ") + std::to_string(result.tokens) +
                          " at " + std::to_string(result.depth) + " times " +
                          std::to_string(result.batch));
        EXPECT_EQ(result.samples.size(), 2u);
        for (const double sample : result.samples) EXPECT_GT(sample, 0);
      });
  ASSERT_TRUE(ran.has_value()) << ran.error().message;
  EXPECT_EQ(results,
            (std::vector<std::string>{"prefill 20 at 0 times 1",
                                      "prefill 70 at 0 times 1",
                                      "decode 3 at 0 times 1",
                                      "decode 3 at 0 times 3",
                                      "prefill 20 at 130 times 1",
                                      "prefill 70 at 130 times 1",
                                      "decode 3 at 130 times 1",
                                      "decode 3 at 130 times 3"}));
  EXPECT_EQ((*backend)->free_pages(), free_before);
}

TEST_F(BenchOnTheEmbeddedModel, CountsEveryParameterOnce) {
  const auto& weights = file_->weights();
  const Cost cost = cost_of(weights, compute::KvType::Q8);
  const auto& hyper = weights.hyper;
  const double embedding = static_cast<double>(hyper.vocab) * hyper.hidden;
  const double norms = (2.0 * hyper.n_layers + 1) * hyper.hidden;
  const bool tied = weights.output.data == weights.token_embedding.data;
  EXPECT_EQ(cost.weight_macs + cost.head_macs + (tied ? 0 : embedding) + norms,
            static_cast<double>(file_->parameters()));
  EXPECT_EQ(cost.head_macs, embedding);
}

TEST(BenchRoofs, APrefillIsHeldAgainstArithmeticAndADecodeAgainstMemory) {
  const Cost cost{
      .weight_macs = 1000, .head_macs = 100, .kv_macs = 10, .weight_bytes = 600, .kv_bytes = 20};
  const compute::cpu::Roofs roofs{.bytes_per_s = 10'000, .macs_per_s = 120'000};
  // 10 tokens, 5 before each in the mean, in half a second: 10 x (1000 + 50) + 100 in 0.5 s.
  EXPECT_DOUBLE_EQ(share_of_roof({.tokens = 10, .samples = {20}}, cost, roofs), 21'200. / 120'000);
  // Two sequences at 30 + 5 tokens: 600 + 2 x 35 x 20 bytes a step, 3 steps a second.
  EXPECT_DOUBLE_EQ(
      share_of_roof(
          {.decode = true, .tokens = 10, .depth = 30, .batch = 2, .samples = {6}}, cost, roofs),
      6'000. / 10'000);
  EXPECT_EQ(share_of_roof({.tokens = 10, .samples = {20}}, cost, {}), 0);
}

TEST(BenchResult, TheMedianOfTwoIsBetweenThem) {
  EXPECT_DOUBLE_EQ((BenchResult{.samples = {3, 1, 2}}.median()), 2);
  EXPECT_DOUBLE_EQ((BenchResult{.samples = {3, 1}}.median()), 2);
}

}  // namespace
}  // namespace pensieve::cli
