// Bytes per second of encode() on the fixture's texts (a mixture of languages, code and noise), on
// English prose, and on a megabyte of one letter.

#include <benchmark/benchmark.h>

#include <fstream>
#include <iterator>
#include <string>

#include "foundation/check.h"

#include "domain/tokenizer/tokenizer.h"

namespace pensieve::tokenizer {
namespace {

std::string file(const char* path) {
  std::ifstream in(std::string(PENSIEVE_SOURCE_DIR "/") + path, std::ios::binary);
  CHECK(in.good());
  return {std::istreambuf_iterator<char>(in), {}};
}

const Tokenizer& tiny() {
  static const auto made =
      Tokenizer::from_json(file("tools/tiny-model/artefacts/mlx/tokenizer.json"), {});
  CHECK(made);
  return **made;
}

void encode(benchmark::State& state, const std::string& text) {
  std::vector<TokenId> ids;
  for (auto _ : state) {
    ids.clear();
    tiny().encode(text, true, ids);
    benchmark::DoNotOptimize(ids.data());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}

void BM_Encode_Prose(benchmark::State& state) {
  encode(state, file("tools/tiny-model/intents.txt"));
}
void BM_Encode_Code(benchmark::State& state) {
  encode(state, file("tools/tiny-model/slots.py"));
}
void BM_Encode_Mixture(benchmark::State& state) {
  encode(state, file("src/domain/tokenizer/testdata/tiny.json"));
}
void BM_Encode_OneLetter(benchmark::State& state) {
  encode(state, std::string(1 << 20, 'e'));
}
BENCHMARK(BM_Encode_Prose);
BENCHMARK(BM_Encode_Code);
BENCHMARK(BM_Encode_Mixture);
BENCHMARK(BM_Encode_OneLetter);

void BM_FromJson(benchmark::State& state) {
  const std::string json = file("tools/tiny-model/artefacts/mlx/tokenizer.json");
  for (auto _ : state) benchmark::DoNotOptimize(Tokenizer::from_json(json, {}));
}
BENCHMARK(BM_FromJson);

}  // namespace
}  // namespace pensieve::tokenizer
