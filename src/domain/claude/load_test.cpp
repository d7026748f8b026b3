// Goal: what does not fit together is refused in one sentence before anything is served.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "foundation/json.h"

#include "domain/claude/internal/test_support.h"

namespace pensieve::claude {
namespace {

// A model file that claims what a test wants it to claim.
class ClaimedFile : public model::ModelFile {
 public:
  model::TokenizerSource source;
  compute::ModelWeights model_weights;
  std::string template_text;

  const compute::ModelWeights& weights() const override { return model_weights; }
  const model::TokenizerSource& tokenizer() const override { return source; }
  std::string_view chat_template() const override { return template_text; }
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

// A Qwen2 model with a small vocabulary, whose texts this holds: from its tokenizer.json, or what a
// GGUF file of it would say.
struct Qwen2Claims {
  std::string json_text;
  Json json;
  std::vector<std::string> merges;

  Qwen2Claims() {
    std::ifstream in(PENSIEVE_SOURCE_DIR "/src/domain/tokenizer/testdata/byte-level/qwen2.json");
    json_text.assign(std::istreambuf_iterator<char>(in), {});
    json = *parse_json(json_text);
    for (const Json& merge : json["model"]["merges"]) {
      merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    }
  }

  std::unique_ptr<ClaimedFile> file(bool gguf) const {
    auto file = tiny_claims();
    file->template_text = "<|im_start|>user\n<|im_end|>";
    file->source = {};
    const Json& vocab = json["model"]["vocab"];
    const Json& added = json["added_tokens"];
    const auto n_tokens = vocab.size() + added.size();
    file->model_weights.hyper.vocab = static_cast<int>(n_tokens);
    file->source.eos_ids = {static_cast<TokenId>(vocab.size())};
    if (!gguf) {
      file->source.tokenizer_json = json_text;
      return file;
    }
    file->source.kind = "gpt2";
    file->source.pre = "qwen2";
    file->source.add_bos = false;
    file->source.tokens.resize(n_tokens);
    file->source.types.assign(n_tokens, 1);
    for (auto entry = vocab.begin(); entry != vocab.end(); ++entry) {
      file->source.tokens[entry.value().get<std::size_t>()] = entry.key();
    }
    for (const Json& token : added) {
      const auto id = token["id"].get<std::size_t>();
      file->source.tokens[id] = token["content"].get_ref<const std::string&>();
      file->source.types[id] = token["special"].get<bool>() ? 3 : 4;
    }
    file->source.merges.assign(merges.begin(), merges.end());
    return file;
  }
};

TEST(Load, TakesByteLevelVocabulariesAndReadsTheSameFromBothFormats) {
  const Qwen2Claims claims;
  const auto from_json = load(claims.file(false));
  ASSERT_TRUE(from_json.has_value()) << from_json.error().message;
  const auto from_gguf = load(claims.file(true));
  ASSERT_TRUE(from_gguf.has_value()) << from_gguf.error().message;
  EXPECT_EQ(from_gguf->tokenizer->control("<|im_end|>"),
            from_json->tokenizer->control("<|im_end|>"));
  EXPECT_FALSE(from_gguf->tokenizer->add_bos());
  const std::string text = "List the files, s'il vous plaît: 日本 😀\n  e\u0301<|im_end|>";
  std::vector<TokenId> json_ids, gguf_ids;
  from_json->tokenizer->encode(text, true, json_ids);
  from_gguf->tokenizer->encode(text, true, gguf_ids);
  EXPECT_EQ(json_ids, gguf_ids);
  EXPECT_LT(json_ids.size(), text.size());
}

TEST(Load, NamesATokenizerItDoesNotSpeak) {
  auto file = tiny_claims();
  file->source.kind = "bert";
  EXPECT_NE(refusal(std::move(file)).find("\"bert\" is not supported"), std::string::npos);
  file = tiny_claims();
  file->source.kind.clear();
  EXPECT_NE(refusal(std::move(file)).find("tokenizer.ggml.model is missing"), std::string::npos);
  const Qwen2Claims claims;
  file = claims.file(true);
  file->source.pre = "tekken";
  EXPECT_NE(refusal(std::move(file)).find("\"tekken\" (tokenizer.ggml.pre)"), std::string::npos);
  file = claims.file(true);
  file->source.pre.clear();
  EXPECT_NE(refusal(std::move(file)).find("tokenizer.ggml.pre is missing"), std::string::npos);
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
