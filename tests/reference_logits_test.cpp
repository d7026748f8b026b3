// Logits against independent implementations. tests/fixtures/phi3 and families hold small random
// models and what Hugging Face transformers computes for them; tools/tiny-model/artefacts holds the
// embedded model in both formats and what plain numpy computes from its dequantised weights.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "foundation/json.h"

#include "domain/compute/cpu/cpu_backend.h"
#include "domain/model/model_file.h"

namespace pensieve {
namespace {

using compute::KvType;
using compute::RopeVariant;
using compute::cpu::Activations;
namespace fs = std::filesystem;

const fs::path kFixtures = fs::path(PENSIEVE_SOURCE_DIR) / "tests/fixtures";
const fs::path kTiny = fs::path(PENSIEVE_SOURCE_DIR) / "tools/tiny-model/artefacts";

Json read_json(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  auto json = parse_json(text.str());
  CHECK(json.has_value());
  return std::move(*json);
}

struct Runner {
  Runner(const fs::path& path,
         Activations activations,
         KvType kv,
         const std::string& kernel = "",
         model::PlainWeights plain = model::PlainWeights::AsIs) {
    auto opened =
        model::ModelFile::open(path.string(), accountant, {.plain = plain, .n_threads = 2});
    if (!opened) {
      ADD_FAILURE() << opened.error().message;
      return;
    }
    file = std::move(*opened);
    auto made = compute::cpu::create_backend(
        file->weights(),
        {.n_threads = 2,
         .kernel = kernel,
         .activations = activations,
         .kv = kv,
         .max_context = std::min(8192, file->weights().hyper.context_length)},
        accountant);
    if (!made) {
      ADD_FAILURE() << made.error().message;
      return;
    }
    backend = std::move(*made);
  }

  // Scores of the token behind the last of `tokens`, appended in chunks.
  std::vector<float> feed(compute::SequenceId id, std::span<const TokenId> tokens) {
    const compute::SamplingParameters greedy{.temperature = 0};
    constexpr std::size_t kChunk = 96;  // not a multiple of the page
    while (true) {
      const auto part = tokens.first(std::min(tokens.size(), kChunk));
      tokens = tokens.subspan(part.size());
      const compute::Step step{.sequence = id,
                               .tokens = part,
                               .sample = tokens.empty() ? &greedy : nullptr,
                               .allowed = {},
                               .return_logits = tokens.empty()};
      auto ticket = backend->submit({&step, 1});
      CHECK(ticket.has_value());
      const auto sampled = backend->collect(*ticket);
      CHECK(sampled.has_value());
      next = (*sampled)[0].token;
      if (tokens.empty()) return {(*sampled)[0].logits.begin(), (*sampled)[0].logits.end()};
    }
  }

  Accountant accountant;
  std::unique_ptr<model::ModelFile> file;
  std::unique_ptr<compute::Backend> backend;
  TokenId next = kNoToken;
};

// The largest relative error |ours - theirs| / |theirs| (l2 norms) over all positions of all cases.
double worst_error(const fs::path& model,
                   const fs::path& reference,
                   Activations activations,
                   KvType kv,
                   const std::string& kernel = "",
                   model::PlainWeights plain = model::PlainWeights::AsIs) {
  Runner runner(model, activations, kv, kernel, plain);
  if (runner.backend == nullptr) return 1e9;
  double worst = 0;
  int n_compared = 0;
  const Json expectations = read_json(reference);
  for (const Json& test : expectations.at("cases")) {
    const auto ids = test.at("ids").get<std::vector<TokenId>>();
    const auto rope = test.at("rope") == "long" ? RopeVariant::Long : RopeVariant::Short;
    const auto id = runner.backend->open(rope, kv);
    CHECK(id.has_value());
    std::size_t fed = 0;
    for (std::size_t i = 0; i < test.at("positions").size(); ++i) {
      const auto position = test.at("positions")[i].get<std::size_t>();
      const auto logits = runner.feed(*id, std::span(ids).subspan(fed, position + 1 - fed));
      fed = position + 1;
      const auto expected = test.at("logits")[i].get<std::vector<double>>();
      EXPECT_EQ(logits.size(), expected.size());
      double error = 0, norm = 0;
      for (std::size_t j = 0; j < expected.size(); ++j) {
        error += std::pow(logits[j] - expected[j], 2);
        norm += expected[j] * expected[j];
      }
      worst = std::max(worst, std::sqrt(error / norm));
      ++n_compared;
    }
    runner.backend->close(*id);
  }
  EXPECT_GT(n_compared, 0) << reference;
  return worst;
}

struct Fixture {
  std::string name;
  fs::path model, reference;
};

std::vector<Fixture> fixtures() {
  std::vector<Fixture> found;
  for (const fs::path& group : {kFixtures / "phi3", kFixtures / "families"}) {
    for (const auto& entry : fs::directory_iterator(group)) {
      if (entry.is_directory() && fs::exists(entry.path() / "reference.json")) {
        found.push_back({entry.path().filename(), entry.path(), entry.path() / "reference.json"});
      }
    }
    // A file that holds the model of a folder shares its reference.
    for (const auto& entry : fs::directory_iterator(group / "gguf")) {
      if (entry.path().extension() != ".gguf") continue;
      const std::string stem = entry.path().stem();
      const fs::path own = group / "gguf" / (stem + "-reference.json");
      found.push_back(
          {"gguf-" + stem, entry.path(), fs::exists(own) ? own : group / stem / "reference.json"});
    }
  }
  std::sort(
      found.begin(), found.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return found;
}

TEST(ReferenceLogits, F32ActivationsAgreeWithTransformers) {
  const auto all = fixtures();
  ASSERT_GE(all.size(), 45u);
  for (const Fixture& fixture : all) {
    for (const std::string& kernel : compute::cpu::runnable_kernel_names()) {
      const double error =
          worst_error(fixture.model, fixture.reference, Activations::F32, KvType::F32, kernel);
      EXPECT_LE(error, 1e-4) << fixture.name << ", " << kernel;
      std::printf("%-18s %-11s %.1e\n", fixture.name.c_str(), kernel.c_str(), error);
    }
  }
}

// Rounding activations to 8 bits in groups of 32 is worth about 2^-8 of a group's largest value;
// over random models of two or three layers the logits move by up to a few percent of their norm. K
// and V in q8 add the same kind of error, f16 KV adds 2^-11. A step of q4 is about 17 times one of
// q8 (15 steps to a group's range for 254); up to 0.35 were measured.
TEST(ReferenceLogits, RoundedPathsStayWithinTheirBounds) {
  for (const Fixture& fixture : fixtures()) {
    const double f16_kv =
        worst_error(fixture.model, fixture.reference, Activations::F32, KvType::F16);
    const double q8_kv =
        worst_error(fixture.model, fixture.reference, Activations::F32, KvType::Q8);
    const double q4_kv =
        worst_error(fixture.model, fixture.reference, Activations::F32, KvType::Q4);
    const double int8 =
        worst_error(fixture.model, fixture.reference, Activations::Int8, KvType::F32);
    EXPECT_LE(f16_kv, 2e-3) << fixture.name;
    EXPECT_LE(q8_kv, 6e-2) << fixture.name;
    EXPECT_LE(q4_kv, 0.5) << fixture.name;
    EXPECT_LE(int8, 3e-2) << fixture.name;
    std::printf("%-18s f16 KV %.1e, q8 KV %.1e, q4 KV %.1e, int8 activations %.1e\n",
                fixture.name.c_str(),
                f16_kv,
                q8_kv,
                q4_kv,
                int8);
  }
}

// Weights in 16 and 32 bits as Q8_0 answer what transformers answers with the `gguf` package's Q8_0
// of the same weights. How far that is from the plain weights is the models' own: up to 13 % of the
// logits' norm where the embedding is the output matrix too, 1 to 5 % elsewhere.
TEST(ReferenceLogits, PlainWeightsAsQ8AgreeWithTransformersOnTheSameBlocks) {
  int n_compared = 0;
  for (const Fixture& fixture : fixtures()) {
    const fs::path reference = fixture.reference.parent_path() / "q8-reference.json";
    if (!fs::is_directory(fixture.model) || !fs::exists(reference)) continue;
    ++n_compared;
    for (const std::string& kernel : compute::cpu::runnable_kernel_names()) {
      const auto error = [&](const fs::path& expected) {
        return worst_error(fixture.model,
                           expected,
                           Activations::F32,
                           KvType::F32,
                           kernel,
                           model::PlainWeights::Q8);
      };
      const double same = error(reference), plain = error(fixture.reference);
      EXPECT_LE(same, 1e-4) << fixture.name << ", " << kernel;
      EXPECT_GT(plain, 1e-3) << fixture.name << " was not rounded at all";
      EXPECT_LE(plain, 0.15) << fixture.name << ", " << kernel;
      std::printf(
          "%-18s %-11s %.1e, from plain %.1e\n", fixture.name.c_str(), kernel.c_str(), same, plain);
    }
  }
  EXPECT_GE(n_compared, 6);
}

// The embedded model on its default path (f32 activations, f16 KV) and with int8 activations.
struct TinyResult {
  double top50_max = 0, top50_l2 = 0;
  int cases = 0, same_greedy = 0;
};
TinyResult run_tiny(const fs::path& path,
                    const char* format,
                    Activations activations,
                    KvType kv,
                    std::size_t longest_prompt) {
  TinyResult result;
  Runner runner(path, activations, kv);
  if (runner.backend == nullptr) return result;
  const Json expectations = read_json(kTiny / "reference.json");
  for (const Json& test : expectations.at("cases")) {
    const auto ids = test.at("ids").get<std::vector<TokenId>>();
    if (ids.size() > longest_prompt) continue;
    const Json& expected = test.at(format);
    const auto id = runner.backend->open(RopeVariant::Short, kv);
    CHECK(id.has_value());
    const auto logits = runner.feed(*id, ids);
    double squares = 0;
    for (const Json& pair : expected.at("top")) {
      const double difference = logits[pair[0].get<std::size_t>()] - pair[1].get<double>();
      result.top50_max = std::max(result.top50_max, std::abs(difference));
      squares += difference * difference;
    }
    result.top50_l2 = std::max(result.top50_l2, std::sqrt(squares));
    const auto greedy = expected.at("greedy").get<std::vector<TokenId>>();
    std::vector<TokenId> ours;
    while (ours.size() < greedy.size()) {
      ours.push_back(runner.next);
      if (ours.size() < greedy.size()) runner.feed(*id, {&ours.back(), 1});
    }
    ++result.cases;
    if (ours == greedy) {
      ++result.same_greedy;
    } else {
      std::printf("%s: other tokens than the reference's in case %s\n",
                  format,
                  test.at("name").get<std::string>().c_str());
    }
    runner.backend->close(*id);
  }
  std::printf(
      "%-5s top-50 logits: largest difference %.1e, largest l2 %.1e; greedy %d of %d the same\n",
      format,
      result.top50_max,
      result.top50_l2,
      result.same_greedy,
      result.cases);
  return result;
}

// Under the sanitizers prompts of more than 100 tokens take minutes; there the whole-server tests
// answer all of them, and every other build runs all of them here.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t kLongestPrompt = 100;
constexpr int kCases = 12;
#else
constexpr std::size_t kLongestPrompt = 100'000;
constexpr int kCases = 21;
#endif

TEST(EmbeddedModel, BothFormatsGiveTheReferenceTokensAndLogits) {
  const fs::path gguf = kTiny / "pensieve-tiny-q4_0.gguf", mlx = kTiny / "mlx";
  for (const TinyResult& result :
       {run_tiny(gguf, "gguf", Activations::Auto, KvType::F16, kLongestPrompt),
        run_tiny(mlx, "mlx", Activations::Auto, KvType::F16, kLongestPrompt),
        run_tiny(gguf, "gguf", Activations::Auto, KvType::F32, kLongestPrompt)}) {
    EXPECT_EQ(result.cases, kCases);
    EXPECT_EQ(result.same_greedy, result.cases);
    EXPECT_LE(result.top50_max, 1e-2);
  }
}

// Eight bits a group move the 50 largest logits (which lie between 5 and 21) by a few tenths.
TEST(EmbeddedModel, Int8ActivationsAndQ8KvKeepTheReferenceTokens) {
  const TinyResult result = run_tiny(
      kTiny / "pensieve-tiny-q4_0.gguf", "gguf", Activations::Int8, KvType::Q8, kLongestPrompt);
  EXPECT_EQ(result.cases, kCases);
  EXPECT_EQ(result.same_greedy, result.cases);
  EXPECT_LE(result.top50_max, 0.5);
}

}  // namespace
}  // namespace pensieve
