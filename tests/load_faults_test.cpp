// Goal: whatever the system refuses while a model is loaded - memory, a mapping, a file, a read, a
// thread - loading ends with one sentence, holds nothing any more, and works the next time. Every
// call of every kind fails once, alone and with all that follow it.
#include <dirent.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "foundation/accountant.h"

#include "domain/claude/service.h"

#include "faults/faults.h"

namespace pensieve {
namespace {

using faults::Call;

struct Model {
  const char* path;  // below the source directory
  model::PlainWeights plain;
  std::uint64_t stride;  // every so many allocations fail; of all other calls each does
};

// Every kind of file, weights and tokenizer.
constexpr Model kModels[] = {
    {"tests/fixtures/phi3/gguf/q4_0.gguf", model::PlainWeights::AsIs, 1},
    {"tests/fixtures/phi3/gguf-sharded", model::PlainWeights::AsIs, 1},
    {"tests/fixtures/phi3/gguf/bf16.gguf", model::PlainWeights::Q8, 1},
    {"tests/fixtures/families/qwen3", model::PlainWeights::Q8, 13},
    {"tests/fixtures/families/gguf/qwen3.gguf", model::PlainWeights::AsIs, 1},
    {"tools/tiny-model/artefacts/mlx", model::PlainWeights::AsIs, 1201},
    {"tools/tiny-model/artefacts/pensieve-tiny-q4_0.gguf", model::PlainWeights::AsIs, 41},
};

int open_descriptors() {
  DIR* directory = opendir("/proc/self/fd");
  int n = 0;
  while (readdir(directory) != nullptr) ++n;
  closedir(directory);
  return n;
}

struct Fault {
  Call call;
  std::uint64_t n;
  bool on;
};

struct Outcome {
  std::string said;           // empty: the model was loaded
  std::uint64_t n_calls = 0;  // of the fault's kind
};

Outcome load(const Model& model, std::optional<Fault> fault = std::nullopt) {
  const std::string path = std::string(PENSIEVE_SOURCE_DIR "/") + model.path;
  const model::OpenOptions options{.plain = model.plain, .n_threads = 3};
  Accountant accountant;
  Outcome outcome;
  if (fault) faults::arm(fault->call, fault->n, fault->on);
  {
    auto file = model::ModelFile::open(path, accountant, options);
    if (!file) {
      outcome.said = std::move(file).error().message;
    } else if (auto loaded = claude::load(*std::move(file)); !loaded) {
      outcome.said = std::move(loaded).error().message;
    }
  }
  outcome.n_calls = faults::disarm();
  EXPECT_EQ(accountant.total(), 0u);
  return outcome;
}

class LoadFaults : public testing::TestWithParam<std::tuple<Model, Call>> {};

TEST_P(LoadFaults, EveryCallMayFail) {
  const auto [model, call] = GetParam();
  const std::string unharmed = load(model).said;
  const int descriptors = open_descriptors();
  // PENSIEVE_EVERY_FAULT=1 leaves no allocation out.
  const bool all = std::getenv("PENSIEVE_EVERY_FAULT") != nullptr || call != Call::Allocate;
  std::uint64_t n_refused = 0, n_faults = 0;
  for (const bool on : {false, true}) {
    for (std::uint64_t n = 0;; n += all ? 1 : model.stride) {
      const auto [said, n_calls] = load(model, Fault{call, n, on});
      if (n_calls <= n) {
        EXPECT_EQ(said, unharmed);
        break;
      }
      ++n_faults;
      n_refused += said.empty() ? 0 : 1;
      if (unharmed.empty() && on && call != Call::Spawn) {
        EXPECT_NE(said, "") << "call " << n;
      }
      EXPECT_EQ(said.find('\n'), std::string::npos);
      ASSERT_EQ(open_descriptors(), descriptors) << "call " << n;
    }
  }
  EXPECT_EQ(load(model).said, unharmed);
  RecordProperty("faults", static_cast<int>(n_faults));
  std::printf("%llu faults, %llu refusals\n",
              static_cast<unsigned long long>(n_faults),
              static_cast<unsigned long long>(n_refused));
}

INSTANTIATE_TEST_SUITE_P(EveryKind,
                         LoadFaults,
                         testing::Combine(testing::ValuesIn(kModels),
                                          testing::Values(Call::Allocate,
                                                          Call::Map,
                                                          Call::Open,
                                                          Call::Status,
                                                          Call::Read,
                                                          Call::Spawn)));

}  // namespace
}  // namespace pensieve
