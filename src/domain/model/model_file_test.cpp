// Real model files: the embedded model in both formats, and the small reference models.
#include "domain/model/model_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "foundation/json.h"

#include "domain/model/inspect.h"
#include "domain/model/internal/file_builder.h"

namespace pensieve::model {
namespace {

namespace fs = std::filesystem;

const std::string kArtefacts = PENSIEVE_SOURCE_DIR "/tools/tiny-model/artefacts";
const std::string kTinyGguf = kArtefacts + "/pensieve-tiny-q4_0.gguf";
const std::string kTinyMlx = kArtefacts + "/mlx";
const std::string kFixtures = PENSIEVE_SOURCE_DIR "/tests/fixtures/phi3";

std::unique_ptr<ModelFile> opened(const std::string& path, Accountant& accountant) {
  auto model = ModelFile::open(path, accountant);
  EXPECT_TRUE(model) << model.error().message;
  return model ? *std::move(model) : nullptr;
}

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// A directory that goes away with the test.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = fs::temp_directory_path() / "pensieve-model-XXXXXX";
    CHECK(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TemporaryDirectory() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(*this / name, std::ios::binary) << text;
  }

 private:
  std::string path_;
};

std::vector<float> row_of(const compute::WeightView& view, int row) {
  std::vector<float> values(static_cast<std::size_t>(view.cols));
  compute::dequantize_row(view, row, values.data());
  return values;
}

// Root mean square of the difference over that of the first.
double relative_distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double{a[i]} - double{b[i]}, 2);
    size += std::pow(double{a[i]}, 2);
  }
  return std::sqrt(difference / size);
}

TEST(ModelFile, TheEmbeddedModelHasTheSameHyperParametersInBothFormats) {
  Accountant accountant;
  const auto gguf = opened(kTinyGguf, accountant);
  const auto mlx = opened(kTinyMlx, accountant);
  ASSERT_TRUE(gguf && mlx);
  for (const ModelFile* model : {gguf.get(), mlx.get()}) {
    SCOPED_TRACE(model->format());
    // What tools/tiny-model/export.py writes, as both files state it.
    const compute::HyperParameters& hyper = model->weights().hyper;
    EXPECT_EQ(hyper.n_layers, 6);
    EXPECT_EQ(hyper.hidden, 512);
    EXPECT_EQ(hyper.n_heads, 8);
    EXPECT_EQ(hyper.n_kv_heads, 8);
    EXPECT_EQ(hyper.head_dim, 64);
    EXPECT_EQ(hyper.ffn, 1536);
    EXPECT_EQ(hyper.vocab, 4160);
    EXPECT_EQ(hyper.context_length, 131072);
    EXPECT_EQ(hyper.original_context_length, 131072);
    EXPECT_EQ(hyper.rms_eps, 1e-5f);
    EXPECT_EQ(hyper.rope_theta, 10000.0f);
    EXPECT_EQ(hyper.rope_dims, 64);
    EXPECT_TRUE(hyper.rope_short.empty() && hyper.rope_long.empty());
    EXPECT_EQ(hyper.rope_attention_scale, 1.0f);
    EXPECT_EQ(hyper.sliding_window, 1024);
    EXPECT_EQ(model->weights().layers.size(), 6u);
    EXPECT_EQ(model->parameters(), gguf->parameters());
    EXPECT_FALSE(model->chat_template().empty());
    EXPECT_EQ(model->chat_template(), gguf->chat_template());
  }
  EXPECT_EQ(gguf->format(), "GGUF v3");
  EXPECT_EQ(mlx->format(), "MLX safetensors");
  EXPECT_EQ(gguf->quantization(), "Q4_0");
  EXPECT_EQ(mlx->quantization(), "MLX 4-bit g64");
  EXPECT_EQ(gguf->name(), "Pensieve Tiny phi3");
  EXPECT_EQ(mlx->name(), "mlx");
  EXPECT_NE(gguf->weights().fingerprint, mlx->weights().fingerprint);
}

// Both files come from one grid of 4-bit codes, which Q4_0 and MLX's affine layout hold exactly but
// for the rounding of scales to f16; Q6_K (the GGUF's output matrix) rounds once more, within half
// of a 6-bit step.
TEST(ModelFile, TheEmbeddedModelHasTheSameWeightsInBothFormats) {
  Accountant accountant;
  const auto gguf = opened(kTinyGguf, accountant);
  const auto mlx = opened(kTinyMlx, accountant);
  ASSERT_TRUE(gguf && mlx);
  const auto& a = gguf->weights();
  const auto& b = mlx->weights();
  const auto compare =
      [](const compute::WeightView& x, const compute::WeightView& y, double bound) {
        ASSERT_EQ(x.rows, y.rows);
        ASSERT_EQ(x.cols, y.cols);
        for (int row = 0; row < x.rows; row += std::max(1, x.rows / 97)) {
          ASSERT_LT(relative_distance(row_of(x, row), row_of(y, row)), bound) << "row " << row;
        }
      };
  compare(a.token_embedding, b.token_embedding, 2e-3);
  compare(a.output, b.output, 2e-2);
  compare(a.output_norm, b.output_norm, 1e-3);
  for (std::size_t i = 0; i < a.layers.size(); ++i) {
    SCOPED_TRACE(i);
    compare(a.layers[i].attention_norm, b.layers[i].attention_norm, 1e-3);
    compare(a.layers[i].qkv.parts()[0], b.layers[i].qkv.parts()[0], 2e-3);
    compare(a.layers[i].attention_out, b.layers[i].attention_out, 2e-3);
    compare(a.layers[i].ffn_norm, b.layers[i].ffn_norm, 1e-3);
    compare(a.layers[i].gate_up.parts()[0], b.layers[i].gate_up.parts()[0], 2e-3);
    compare(a.layers[i].down, b.layers[i].down, 2e-3);
  }
}

TEST(ModelFile, TellsWhatTheFileSaysAboutItsTokenizer) {
  Accountant accountant;
  const auto gguf = opened(kTinyGguf, accountant);
  ASSERT_TRUE(gguf);
  const TokenizerSource& source = gguf->tokenizer();
  EXPECT_EQ(source.kind, "llama");
  EXPECT_EQ(source.pre, "default");
  ASSERT_EQ(source.tokens.size(), 4160u);
  ASSERT_EQ(source.scores.size(), 4160u);
  ASSERT_EQ(source.types.size(), 4160u);
  EXPECT_EQ(source.tokens[0], "<unk>");
  EXPECT_EQ(source.tokens[1], "<s>");
  EXPECT_EQ(source.tokens[4103], "<|end|>");
  EXPECT_EQ(source.types[0], 2);
  EXPECT_EQ(source.types[4103], 3);
  EXPECT_EQ(source.bos, 1);
  EXPECT_EQ(source.eos, 4096);
  EXPECT_EQ(source.unknown, 0);
  EXPECT_TRUE(source.add_bos);
  EXPECT_TRUE(source.add_space_prefix);
  EXPECT_EQ(source.eos_ids, (std::vector<std::int32_t>{4096, 4103}));

  const auto mlx = opened(kTinyMlx, accountant);
  ASSERT_TRUE(mlx);
  EXPECT_TRUE(mlx->tokenizer().tokens.empty());
  EXPECT_EQ(mlx->tokenizer().tokenizer_json, text_of(kTinyMlx + "/tokenizer.json"));
  EXPECT_EQ(mlx->tokenizer().bos, 1);
  EXPECT_EQ(mlx->tokenizer().eos_ids, (std::vector<std::int32_t>{4096, 4097, 4103}));
}

TEST(ModelFile, AnImageInMemoryIsTheSameModelAsTheFile) {
  Accountant accountant;
  const std::string image = text_of(kTinyGguf);
  const auto bytes = std::as_bytes(std::span(image));
  auto in_memory = ModelFile::from_memory(bytes, "embedded", accountant);
  ASSERT_TRUE(in_memory) << in_memory.error().message;
  const auto file = opened(kTinyGguf, accountant);
  ASSERT_TRUE(file);
  EXPECT_EQ((*in_memory)->weights().fingerprint, file->weights().fingerprint);
  EXPECT_EQ((*in_memory)->weights().fingerprint.size(), 64u);
  EXPECT_EQ((*in_memory)->mapped().at(0).data(), bytes.data());
}

TEST(ModelFile, TheFingerprintChangesWithHeaderSizeAndWeights) {
  Accountant accountant;
  std::string image = text_of(kFixtures + "/gguf/q4_0.gguf");
  const auto fingerprint = [&] {
    auto model = ModelFile::from_memory(std::as_bytes(std::span(image)), "image", accountant);
    EXPECT_TRUE(model) << model.error().message;
    return model ? (*model)->weights().fingerprint : "";
  };
  const std::string original = fingerprint();
  EXPECT_EQ(fingerprint(), original);
  const std::size_t name = image.find("llama");  // tokenizer.ggml.model
  ASSERT_NE(name, std::string::npos);
  image[name] = 'k';
  EXPECT_NE(fingerprint(), original);
  image[name] = 'l';
  image.push_back('\0');
  EXPECT_NE(fingerprint(), original);
  image.pop_back();
  auto model = ModelFile::from_memory(std::as_bytes(std::span(image)), "image", accountant);
  ASSERT_TRUE(model);
  const compute::WeightView qkv = (*model)->weights().layers[0].qkv.parts()[0];
  const auto* weight = reinterpret_cast<const char*>(qkv.data);
  image[static_cast<std::size_t>(weight - image.data()) + 5] ^= 1;
  EXPECT_NE(fingerprint(), original);
}

TEST(ModelFile, TheMappingIsHeldByTheAccountantUntilTheModelGoes) {
  Accountant accountant;
  auto model = opened(kTinyGguf, accountant);
  ASSERT_TRUE(model);
  EXPECT_EQ(accountant.held(MemoryUse::Weights), fs::file_size(kTinyGguf));
  EXPECT_EQ(model->file_bytes(), fs::file_size(kTinyGguf));
  ASSERT_EQ(model->mapped().size(), 1u);
  EXPECT_EQ(model->mapped()[0].size(), model->file_bytes());
  model->prefetch();
  model.reset();
  EXPECT_EQ(accountant.total(), 0u);

  Accountant small(1 << 20);
  auto refused = ModelFile::open(kTinyGguf, small);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::Unavailable);
  EXPECT_EQ(small.total(), 0u);
}

// All reference models open; weights and shapes are proven by the logits elsewhere.
TEST(ModelFile, OpensEveryReferenceModel) {
  Accountant accountant;
  int n_opened = 0;
  for (const auto& entry : fs::directory_iterator(kFixtures)) {
    if (!fs::exists(entry.path() / "config.json")) continue;
    EXPECT_TRUE(opened(entry.path(), accountant)) << entry.path();
    ++n_opened;
  }
  for (const auto& entry : fs::directory_iterator(kFixtures + "/gguf")) {
    if (entry.path().extension() != ".gguf") continue;
    const auto model = opened(entry.path(), accountant);
    ASSERT_TRUE(model) << entry.path();
    std::string type = entry.path().stem();
    std::transform(type.begin(), type.end(), type.begin(), [](unsigned char c) {
      return static_cast<char>(std::toupper(c));
    });
    EXPECT_EQ(model->quantization(), type);
    ++n_opened;
  }
  EXPECT_GE(n_opened, 20);
}

TEST(ModelFile, ReadsLongRopeFromConfig) {
  Accountant accountant;
  const auto model = opened(kFixtures + "/longrope", accountant);
  ASSERT_TRUE(model);
  const compute::HyperParameters& hyper = model->weights().hyper;
  auto config = parse_json(text_of(kFixtures + "/longrope/config.json"));
  ASSERT_TRUE(config);
  EXPECT_EQ(hyper.rope_short, (*config)["rope_scaling"]["short_factor"].get<std::vector<float>>());
  EXPECT_EQ(hyper.rope_long, (*config)["rope_scaling"]["long_factor"].get<std::vector<float>>());
  EXPECT_EQ(hyper.context_length, 256);
  EXPECT_EQ(hyper.original_context_length, 64);
  // 256 = 64 * 4 and ln 4 / ln 64 = 1/3.
  EXPECT_FLOAT_EQ(hyper.rope_attention_scale, std::sqrt(4.0f / 3.0f));
  EXPECT_EQ(model->quantization(), "F32");
  EXPECT_EQ(model->format(), "safetensors");
}

TEST(ModelFile, ReadsTiedWeightsPartialRotationAndGroupedHeads) {
  Accountant accountant;
  const auto model = opened(kFixtures + "/partial-tied", accountant);
  ASSERT_TRUE(model);
  const compute::ModelWeights& weights = model->weights();
  EXPECT_EQ(weights.hyper.rope_dims, 16);
  EXPECT_EQ(weights.hyper.head_dim, 32);
  EXPECT_EQ(weights.hyper.n_kv_heads, 1);
  EXPECT_EQ(weights.output.data, weights.token_embedding.data);
  std::size_t tensors = 0;
  for (const TensorInfo& tensor : model->tensors()) tensors += tensor.bytes;
  EXPECT_EQ(weights.total_bytes, tensors);  // the shared matrix counts once
}

TEST(ModelFile, ALayerMayHaveItsOwnQuantisation) {
  Accountant accountant;
  const auto model = opened(kFixtures + "/mlx4-g64-mixed", accountant);
  ASSERT_TRUE(model);
  EXPECT_EQ(model->weights().output.type, compute::WeightType::Mlx8);
  EXPECT_EQ(model->weights().token_embedding.type, compute::WeightType::Mlx4);

  const auto other = opened(kFixtures + "/mlx3-g64-mixed", accountant);
  ASSERT_TRUE(other);
  EXPECT_EQ(other->quantization(), "MLX 3-bit g64");
  EXPECT_EQ(other->weights().output.type, compute::WeightType::BF16);
  EXPECT_EQ(other->weights().layers[0].down.type, compute::WeightType::Mlx6);
  EXPECT_EQ(other->weights().layers[0].down.group_size, 32);
}

// Q8_0 rounds to steps of the largest of 32 values over 127. Of normally distributed ones that is a
// step of about 0.017 standard deviations, so an error of 0.005 (uniform: over the root of 12).
TEST(ModelFile, PlainMatricesBecomeQ8OnRequestAndNothingElseDoes) {
  for (const std::string name : {"mha", "partial-tied", "gguf/bf16.gguf", "safetensors-sharded"}) {
    SCOPED_TRACE(name);
    Accountant accountant;
    const auto plain = opened(kFixtures + "/" + name, accountant);
    ASSERT_TRUE(plain);
    const std::size_t held = accountant.held(MemoryUse::Weights);
    std::uint64_t done = 0, total = 1;
    auto result = ModelFile::open(kFixtures + "/" + name,
                                  accountant,
                                  {.plain = PlainWeights::Q8,
                                   .n_threads = 2,
                                   .progress = [&](std::uint64_t d, std::uint64_t t) {
                                     EXPECT_GE(d, done);
                                     done = d;
                                     total = t;
                                   }});
    ASSERT_TRUE(result) << result.error().message;
    const auto q8 = *std::move(result);
    EXPECT_EQ(done, total);
    EXPECT_EQ(q8->quantization(), "Q8_0");
    EXPECT_EQ(q8->made_from(), plain->quantization());
    EXPECT_TRUE(plain->made_from().empty());
    EXPECT_NE(q8->weights().fingerprint, plain->weights().fingerprint);
    EXPECT_EQ(q8->parameters(), plain->parameters());
    const auto& a = plain->weights();
    const auto& b = q8->weights();
    const auto expect_near = [&](const compute::WeightView& x, const compute::WeightView& y) {
      ASSERT_EQ(y.type, compute::WeightType::Q8_0);
      ASSERT_EQ(x.rows, y.rows);
      for (int row = 0; row < x.rows; ++row) {
        ASSERT_LT(relative_distance(row_of(x, row), row_of(y, row)), 8e-3) << "row " << row;
      }
    };
    for (std::size_t i = 0; i < a.layers.size(); ++i) {
      expect_near(a.layers[i].qkv.parts()[0], b.layers[i].qkv.parts()[0]);
      expect_near(a.layers[i].attention_out, b.layers[i].attention_out);
      expect_near(a.layers[i].gate_up.parts()[0], b.layers[i].gate_up.parts()[0]);
      expect_near(a.layers[i].down, b.layers[i].down);
      EXPECT_EQ(b.layers[i].attention_norm.type, a.layers[i].attention_norm.type);
    }
    expect_near(a.output, b.output);
    const bool tied = a.output.data == a.token_embedding.data;
    EXPECT_EQ(b.output.data == b.token_embedding.data, tied);
    EXPECT_EQ(b.token_embedding.type == a.token_embedding.type, !tied);
    // Held: the new matrices, rounded up to lines of the cache, and what is still read in the file.
    const std::size_t more = accountant.held(MemoryUse::Weights) - held;
    EXPECT_GE(more, b.total_bytes);
    EXPECT_LE(more, b.total_bytes + 64 * 40);
    EXPECT_LT(more, held);
  }
}

TEST(ModelFile, ModelsThatAreSmallOrQuantisedStayAsTheyAre) {
  Accountant accountant;
  auto small = ModelFile::open(kFixtures + "/mha", accountant, {.plain = PlainWeights::Auto});
  ASSERT_TRUE(small);
  EXPECT_EQ((*small)->quantization(), "F32");
  auto quantized = ModelFile::open(kTinyGguf, accountant, {.plain = PlainWeights::Q8});
  ASSERT_TRUE(quantized);
  EXPECT_EQ((*quantized)->quantization(), "Q4_0");
  EXPECT_TRUE((*quantized)->made_from().empty());
  Accountant narrow(64 << 10);
  const auto refused = ModelFile::open(kFixtures + "/mha", narrow, {.plain = PlainWeights::Q8});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::Unavailable);
  EXPECT_EQ(narrow.total(), 0u);
}

// A value that is not finite, in one matrix of a file of zeros: that matrix alone stays in 16 bits.
TEST(ModelFile, AMatrixThatQ8CannotHoldStaysPlain) {
  const TemporaryDirectory home;
  SafetensorsBuilder builder = SafetensorsBuilder::phi3(false);
  for (auto& [name, tensor] : builder.tensors) {
    if (name == "model.layers.0.mlp.down_proj.weight") {
      tensor.data[100] = '\x00';
      tensor.data[101] = '\x7C';
    }
  }
  home.write("model.safetensors", builder.build());
  home.write("config.json",
             R"({"model_type": "phi3", "hidden_size": 64, "intermediate_size": 64,
                 "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 4,
                 "max_position_embeddings": 256, "rms_norm_eps": 1e-5})");
  Accountant accountant;
  auto model = ModelFile::open(home.path(), accountant, {.plain = PlainWeights::Q8});
  ASSERT_TRUE(model) << model.error().message;
  const compute::LayerWeights& layer = (*model)->weights().layers[0];
  EXPECT_EQ(layer.down.type, compute::WeightType::F16);
  EXPECT_EQ(layer.attention_out.type, compute::WeightType::Q8_0);
  EXPECT_EQ(row_of(layer.down, 0)[50], std::numeric_limits<float>::infinity());

  for (auto& [name, tensor] : builder.tensors) {  // the other way round: only one that can
    if (tensor.shape.size() == 2 && !name.ends_with("o_proj.weight")) tensor.data[1] = '\x7C';
  }
  home.write("model.safetensors", builder.build());
  Accountant most;
  auto little = ModelFile::open(home.path(), most, {.plain = PlainWeights::Q8});
  ASSERT_TRUE(little) << little.error().message;
  EXPECT_EQ((*little)->weights().layers[0].attention_out.type, compute::WeightType::Q8_0);
  EXPECT_EQ((*little)->weights().output.type, compute::WeightType::F16);
  EXPECT_LE(most.total(), 2 * (*little)->file_bytes());
}

TEST(ModelFile, WhatIsNoModelIsRefusedInOneSentence) {
  Accountant accountant;
  const TemporaryDirectory home;
  fs::create_directory(home / "empty");
  home.write("nothing.gguf", "");
  home.write("text.gguf", "hello, this is no model at all");
  home.write("weights.safetensors", "x");
  ASSERT_EQ(::mkfifo((home / "pipe").c_str(), 0600), 0);
  const std::pair<std::string, std::string> cases[] = {
      {"empty", "config.json is missing, and there is no GGUF file"},
      {"nothing.gguf", "is empty"},
      {"text.gguf", "magic number at byte 0"},
      {"weights.safetensors", "by its directory"},
      {"pipe", "not a regular file"},
  };
  for (const auto& [name, words] : cases) {
    auto model = ModelFile::open(home / name, accountant);
    ASSERT_FALSE(model) << name;
    EXPECT_EQ(model.error().kind, ErrorKind::BadFile);
    EXPECT_NE(model.error().message.find(words), std::string::npos) << model.error().message;
    EXPECT_NE(model.error().message.find(home / name), std::string::npos) << model.error().message;
  }
  auto missing = ModelFile::open(home / "missing", accountant);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind, ErrorKind::NotFound);
  EXPECT_EQ(missing.error().message, (home / "missing") + " does not exist");
  auto nowhere = ModelFile::open(home / "no/such/model.gguf", accountant);
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().kind, ErrorKind::NotFound);
  EXPECT_EQ(nowhere.error().message, (home / "no/such/model.gguf") + " does not exist");
  EXPECT_EQ(accountant.total(), 0u);
}

TEST(Inspect, ShowsTheFileAsTextAndAsJson) {
  Accountant accountant;
  for (const std::string& path : {kTinyGguf, kTinyMlx}) {
    const auto model = opened(path, accountant);
    ASSERT_TRUE(model);
    auto json = parse_json(inspect_json(*model));
    ASSERT_TRUE(json) << json.error().message;
    EXPECT_EQ((*json)["hyper_parameters"]["layers"], 6);
    EXPECT_EQ((*json)["hyper_parameters"]["rms_eps"], 1e-5);
    EXPECT_EQ((*json)["fingerprint"], model->weights().fingerprint);
    EXPECT_EQ((*json)["parameters"], model->parameters());
    EXPECT_EQ((*json)["tensors"].size(), model->tensors().size());
    EXPECT_EQ((*json)["metadata"].size(), model->metadata().size());

    const std::string text = inspect_text(*model);
    EXPECT_NE(text.find("context_length            131072"), std::string::npos) << text;
    for (const TensorInfo& tensor : model->tensors()) {
      ASSERT_NE(text.find(tensor.name), std::string::npos) << tensor.name;
    }
    EXPECT_EQ(text.find('\x1b'), std::string::npos);
  }
}

}  // namespace
}  // namespace pensieve::model
