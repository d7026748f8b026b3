// Goal: what does not fit together is refused in one sentence before anything is served.
#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "domain/claude/internal/test_support.h"

namespace pensieve::claude {
namespace {

// A model file that claims what a test wants it to claim.
class ClaimedFile : public model::ModelFile {
 public:
  model::TokenizerSource source;
  compute::ModelWeights model_weights;

  const compute::ModelWeights& weights() const override { return model_weights; }
  const model::TokenizerSource& tokenizer() const override { return source; }
  std::string_view chat_template() const override { return {}; }
  std::string_view name() const override { return "claimed"; }
  std::string_view format() const override { return "GGUF v3"; }
  std::string_view quantization() const override { return "F32"; }
  std::uint64_t file_bytes() const override { return 0; }
  std::uint64_t parameters() const override { return 0; }
  const std::vector<model::TensorInfo>& tensors() const override { return tensors_; }
  const std::vector<std::pair<std::string, std::string>>& metadata() const override {
    return metadata_;
  }
  std::vector<std::span<const std::byte>> mapped() const override { return {}; }
  void prefetch() const override {}

 private:
  std::vector<model::TensorInfo> tensors_;
  std::vector<std::pair<std::string, std::string>> metadata_;
};

// The embedded model's own claims, for a test to spoil.
std::unique_ptr<ClaimedFile> tiny_claims() {
  auto file = std::make_unique<ClaimedFile>();
  file->source = tiny_model().file->tokenizer();
  file->model_weights.hyper = tiny_model().file->weights().hyper;
  return file;
}

std::string refusal(std::unique_ptr<ClaimedFile> file) {
  const auto loaded = load(std::move(file));
  if (loaded) return "";
  EXPECT_EQ(loaded.error().kind, ErrorKind::BadFile);
  return loaded.error().message;
}

TEST(Load, TakesTheEmbeddedModel) {
  EXPECT_EQ(refusal(tiny_claims()), "");
  EXPECT_EQ(tiny_model().format->name(), "phi3");
  EXPECT_TRUE(tiny_model().tokenizer->control("<|end|>").has_value());
}

TEST(Load, TakesTheMlxTwinAndReadsTheSameVocabulary) {
  Accountant accountant;
  auto file =
      model::ModelFile::open(PENSIEVE_SOURCE_DIR "/tools/tiny-model/artefacts/mlx", accountant);
  ASSERT_TRUE(file.has_value()) << file.error().message;
  const auto loaded = load(*std::move(file));
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  const std::string text = "List the files, s'il vous plaît: 日本 😀\n  <|end|>";
  std::vector<TokenId> from_mlx, from_gguf;
  loaded->tokenizer->encode(text, true, from_mlx);
  tiny_model().tokenizer->encode(text, true, from_gguf);
  EXPECT_EQ(from_mlx, from_gguf);
}

TEST(Load, NamesATokenizerItDoesNotSpeak) {
  auto file = tiny_claims();
  file->source.kind = "gpt2";
  EXPECT_NE(refusal(std::move(file)).find("\"gpt2\" is not supported yet"), std::string::npos);
  file = tiny_claims();
  file->source.kind.clear();
  EXPECT_NE(refusal(std::move(file)).find("tokenizer.ggml.model is missing"), std::string::npos);
}

TEST(Load, NamesATokenTypeThatMeansNothing) {
  for (const std::int32_t type : {0, 7, -1, 2'000'000'000}) {
    auto file = tiny_claims();
    file->source.types[5] = type;
    const std::string sentence = refusal(std::move(file));
    EXPECT_NE(sentence.find("element 5 is " + std::to_string(type)), std::string::npos) << sentence;
  }
}

TEST(Load, RefusesMoreTokensThanTheModelHasRows) {
  auto file = tiny_claims();
  file->model_weights.hyper.vocab = tiny_model().tokenizer->size() - 1;
  EXPECT_NE(refusal(std::move(file)).find("rows"), std::string::npos);
}

TEST(Load, NamesTheControlTokenThatTheChatFormatMisses) {
  for (const std::string name : {"<|user|>", "<|assistant|>", "<|system|>", "<|end|>"}) {
    SCOPED_TRACE(name);
    auto file = tiny_claims();
    bool found = false;
    for (auto& token : file->source.tokens) {
      if (token != name) continue;
      token = "<|something_else|>";
      found = true;
    }
    ASSERT_TRUE(found);
    const std::string sentence = refusal(std::move(file));
    EXPECT_NE(sentence.find(name), std::string::npos) << sentence;
  }
}

}  // namespace
}  // namespace pensieve::claude
