// safetensors directories made here with one thing wrong each: every one is refused in a sentence
// that names file, key or tensor; and the variants of config.json that mean something are read.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "foundation/json.h"

#include "domain/model/internal/cursor.h"
#include "domain/model/internal/file_builder.h"
#include "domain/model/internal/readers.h"
#include "domain/model/internal/safetensors.h"
#include "domain/model/model_file.h"

namespace pensieve::model {
namespace {

Json small_config() {
  return {{"model_type", "phi3"},
          {"hidden_size", 64},
          {"intermediate_size", 64},
          {"num_hidden_layers", 1},
          {"num_attention_heads", 2},
          {"num_key_value_heads", 2},
          {"vocab_size", 4},
          {"max_position_embeddings", 256},
          {"rms_norm_eps", 1e-5},
          {"eos_token_id", 2},
          {"tie_word_embeddings", false}};
}
Json quantized_config() {
  Json config = small_config();
  config["quantization"] = {{"group_size", 32}, {"bits", 4}};
  return config;
}
Json longrope(const std::string& type) {
  return {{"type", type},
          {"short_factor", std::vector<double>(16, 1.5)},
          {"long_factor", std::vector<double>(16, 2.5)}};
}

// The bytes of `file` lie in an allocation that ends where they end and lives until the next call.
Result<std::unique_ptr<OpenedModel>> read(const Json& config, const std::string& file) {
  static std::vector<std::byte> copy;
  const auto bytes = as_bytes(file);
  copy.assign(bytes.begin(), bytes.end());
  copy.shrink_to_fit();
  MlxParts parts;
  parts.name = "small";
  parts.config = config.dump();
  parts.shards.push_back({.name = "model.safetensors", .bytes = copy});
  return read_mlx_model(std::move(parts));
}

void expect_refused(const Result<std::unique_ptr<OpenedModel>>& model, const std::string& words) {
  ASSERT_FALSE(model) << "accepted";
  EXPECT_EQ(model.error().kind, ErrorKind::BadFile);
  EXPECT_NE(model.error().message.find(words), std::string::npos) << model.error().message;
  EXPECT_EQ(model.error().message.find('\n'), std::string::npos);
}

void expect_file_refused(const std::string& file, const std::string& words) {
  SCOPED_TRACE(words);
  auto parsed = parse_safetensors(as_bytes(file));
  ASSERT_FALSE(parsed) << "accepted";
  EXPECT_EQ(parsed.error().kind, ErrorKind::BadFile);
  EXPECT_NE(parsed.error().message.find(words), std::string::npos) << parsed.error().message;
}

std::string entry(const std::string& name, const std::string& shape, const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"F16\",\"shape\":" + shape + ",\"data_offsets\":" + offsets +
         "}";
}

TEST(Safetensors, ReadsTensorsInTheOrderOfTheirData) {
  const std::string file =
      safetensors("{\"__metadata__\":{\"format\":\"mlx\"}," + entry("b", "[2,2]", "[2,10]") + "," +
                      entry("a", "[]", "[0,2]") + "}",
                  std::string(10, 'x'));
  auto parsed = parse_safetensors(as_bytes(file));
  ASSERT_TRUE(parsed) << parsed.error().message;
  ASSERT_EQ(parsed->tensors.size(), 2u);
  EXPECT_EQ(parsed->tensors[0].name, "a");
  EXPECT_EQ(parsed->tensors[0].bytes, 2u);
  EXPECT_EQ(parsed->tensors[1].shape, (std::vector<std::uint64_t>{2, 2}));
  EXPECT_EQ(parsed->tensors[1].begin, file.size() - 8);
  EXPECT_EQ(file.substr(parsed->tensors[1].entry_offset, 3), "\"b\"");
  EXPECT_EQ(parsed->metadata.at(0), (std::pair<std::string, std::string>{"format", "mlx"}));
}

TEST(Safetensors, RefusesWhatIsNotExactlyTheFormat) {
  const std::string ten(10, 'x');
  expect_file_refused("", "first 8 bytes");
  expect_file_refused("1234567", "first 8 bytes");
  expect_file_refused(raw<std::uint64_t>(100) + "{}", "beyond the end of the file at byte 10");
  expect_file_refused(raw<std::uint64_t>(100'000'001) + "{}", "beyond 100000000");
  expect_file_refused(raw<std::uint64_t>(1ull << 40) + "{}", "beyond 100000000");
  expect_file_refused(raw(~0ull) + "{}", "beyond 100000000");
  const std::pair<std::string, std::string> headers[] = {
      {"", "no valid JSON"},
      {"{", "no valid JSON"},
      {"{} x", "no valid JSON at byte 11"},
      {"[]", "an array"},
      {"null", "null"},
      {"{\"a\":1}", "a number"},
      {"{\"a\":{\"dtype\":1}}", "a number"},
      {"{\"a\":{\"shape\":[[1]]}}", "an array"},
      {"{\"a\":{\"shape\":{}}}", "an object"},
      {"{\"a\":{\"dtype\":{\"dtype\":{}}}}", "an object"},
      {"{\"a\":{\"shape\":[-1]}}", "a negative number"},
      {"{\"a\":{\"shape\":[1.5]}}", "a fraction"},
      {"{\"a\":{\"shape\":[1,1,1,1,1,1,1,1,1]}}", "too many dimensions"},
      {"{\"a\":{\"data_offsets\":[0,1,2]}}", "more than two data_offsets"},
      {"{\"a\":{\"dtype\":\"F16\",\"dtype\":\"F32\"}}", "\"dtype\" twice"},
      {"{\"a\":{\"color\":\"red\"}}", "unknown field"},
      {"{\"a\":{}}", "lacks dtype"},
      {"{\"a\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[0]}}", "two data_offsets"},
      {"{\"a\":{\"dtype\":\"F17\",\"shape\":[5],\"data_offsets\":[0,10]}}", "dtype \"F17\""},
      {"{\"__metadata__\":{\"a\":1}}", "a number"},
      {"{\"__metadata__\":{\"a\":{}}}", "an object"},
      {"{" + entry("", "[5]", "[0,10]") + "}", "empty name"},
      {"{" + entry("a", "[1]", "[0,2]") + "," + entry("a", "[4]", "[2,10]") + "}", "occurs twice"},
      {"{" + entry("a", "[5]", "[0,8]") + "}", "needs 10 bytes"},
      {"{" + entry("a", "[5]", "[10,0]") + "}", "needs 10 bytes"},
      {"{" + entry("a", "[5]", "[18446744073709551606,0]") + "}", "needs 10 bytes"},
      {"{" + entry("a", "[4194305,4194305,211106198978564]", "[0,4]") + "}", "64 bits"},
      {"{" + entry("a", "[18446744073709551616]", "[0,4]") + "}", "a fraction"},
      {"{" + entry("a", "[6]", "[0,12]") + "}", "which has 10"},
      {"{" + entry("a", "[5]", "[9223372036854775807,9223372036854775817]") + "}", "which has 10"},
      {"{" + entry("a", "[3]", "[0,6]") + "," + entry("b", "[3]", "[4,10]") + "}",
       "begins at byte 4 of the data"},
      {"{" + entry("a", "[1]", "[0,2]") + "," + entry("b", "[3]", "[4,10]") + "}",
       "begins at byte 4 of the data"},
      {"{" + entry("a", "[4]", "[0,8]") + "}", "the last tensor ends at byte 8"},
      {"{" + entry("a", "[4]", "[2,10]") + "}", "begins at byte 2 of the data"},
      {"{" + entry("a\\u0000b", "[5]", "[0,10]") + "}", "NUL"},
      {"{" + entry("\xff", "[5]", "[0,10]") + "}", "no valid JSON"},
  };
  for (const auto& [header, words] : headers) {
    SCOPED_TRACE(header);
    expect_file_refused(safetensors(header, ten), words);
  }
  expect_file_refused(safetensors("{\"a\":{\"shape\":" + std::string(1'000'000, '['), ten),
                      "an array");
}

TEST(Safetensors, AHundredThousandEntriesTakeLessThanTwoSeconds) {
  std::string header = "{";
  for (int i = 0; i < 100'000; ++i) {
    header += (i == 0 ? "" : ",") +
              entry("model.layers.weight." + std::to_string(i),
                    "[1]",
                    "[" + std::to_string(2 * i) + "," + std::to_string(2 * i + 2) + "]");
  }
  const std::string file = safetensors(header + "}", std::string(200'000, 'x'));
  const std::clock_t start = std::clock();  // of this process: a busy machine changes nothing
  auto parsed = parse_safetensors(as_bytes(file));
  EXPECT_LT(std::clock() - start, 2 * CLOCKS_PER_SEC);
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->tensors.size(), 100'000u);
}

TEST(Safetensors, AHeaderCutAnywhereIsRefused) {
  const std::string file = SafetensorsBuilder::phi3(true).build();
  ASSERT_TRUE(parse_safetensors(as_bytes(file)));
  const auto header = static_cast<std::size_t>(load_number<std::uint64_t>(as_bytes(file).data()));
  const std::size_t json = file.find_last_of('}', 8 + header) + 1 - 8;
  for (std::size_t size = 0; size < file.size(); ++size) {  // the file ends there
    const std::vector<char> copy(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
    ASSERT_FALSE(parse_safetensors(std::as_bytes(std::span(copy)))) << "cut at " << size;
    if (size > 8 + header) size += 63;
  }
  for (std::size_t size = 0; size < json; ++size) {  // the header ends there
    const std::string cut = raw<std::uint64_t>(size) + file.substr(8);
    ASSERT_FALSE(parse_safetensors(as_bytes(cut))) << "header cut at " << size;
  }
}

TEST(MlxModel, ReadsPlainAndQuantisedLayers) {
  auto plain = read(small_config(), SafetensorsBuilder::phi3(false).build());
  ASSERT_TRUE(plain) << plain.error().message;
  EXPECT_EQ((*plain)->quantization(), "F16");
  EXPECT_EQ((*plain)->tokenizer().eos_ids, std::vector<std::int32_t>{2});
  auto quantized = read(quantized_config(), SafetensorsBuilder::phi3(true).build());
  ASSERT_TRUE(quantized) << quantized.error().message;
  EXPECT_EQ((*quantized)->quantization(), "MLX 4-bit g32");
  EXPECT_EQ((*quantized)->parameters(), (*plain)->parameters());

  SafetensorsBuilder mixed = SafetensorsBuilder::phi3(true);  // one 8-bit layer, one plain
  mixed.zeros("lm_head.weight", "U32", {4, 16});
  std::erase_if(mixed.tensors, [](const auto& t) {
    return t.first == "model.embed_tokens.scales" || t.first == "model.embed_tokens.biases";
  });
  mixed.zeros("model.embed_tokens.weight", "BF16", {4, 64});
  Json config = quantized_config();
  config["quantization"]["lm_head"] = {{"group_size", 32}, {"bits", 8}};
  config["quantization"]["model.embed_tokens"] = false;
  auto both = read(config, mixed.build());
  ASSERT_TRUE(both) << both.error().message;
  EXPECT_EQ((*both)->weights().output.type, compute::WeightType::Mlx8);
  EXPECT_EQ((*both)->weights().token_embedding.type, compute::WeightType::BF16);
}

TEST(MlxModel, RefusesABadConfig) {
  struct Case {
    const char* key;
    Json value;
    const char* words;
  };
  const Case cases[] = {
      {"model_type", "gemma", "\"gemma\""},
      {"model_type", nullptr, "model_type"},
      {"hidden_act", "gelu", "\"gelu\""},
      {"attention_bias", true, "attention_bias"},
      {"num_hidden_layers", 0, "\"num_hidden_layers\" is 0"},
      {"num_hidden_layers", -1, "num_hidden_layers"},
      {"num_hidden_layers", 2147483648, "num_hidden_layers"},
      {"num_hidden_layers", 18446744073709551615u, "63 bits"},
      {"num_hidden_layers", 1.5, "not a whole number"},
      {"num_hidden_layers", "1", "not a whole number"},
      {"num_hidden_layers", nullptr, "\"num_hidden_layers\" is missing"},
      {"num_hidden_layers", 2, "model.layers.1.input_layernorm.weight"},
      {"num_attention_heads", 0, "num_attention_heads"},
      {"num_attention_heads", 3, "does not divide"},
      {"num_key_value_heads", 0, "num_key_value_heads"},
      {"num_key_value_heads", 3, "does not divide"},
      {"hidden_size", 0, "hidden_size"},
      {"hidden_size", 1099511627776, "hidden_size"},
      {"intermediate_size", 65, "instead of [130, 8]"},
      {"vocab_size", 5, "instead of [5, 8]"},
      {"max_position_embeddings", 0, "max_position_embeddings"},
      {"rms_norm_eps", 0, "rms_norm_eps"},
      {"rope_theta", -1, "rope_theta"},
      {"rope_theta", "big", "not a number"},
      {"partial_rotary_factor", 0.1, "3 rotated dimensions"},
      {"partial_rotary_factor", 2, "partial_rotary_factor"},
      {"sliding_window", -5, "sliding_window"},
      {"rope_scaling", 5, "not an object"},
      {"rope_scaling", {{"factor", 2}}, "\"rope_scaling.type\" is missing"},
      {"rope_scaling", {{"type", "dynamic"}, {"factor", 2}}, "\"dynamic\""},
      {"rope_scaling", {{"type", "linear"}}, "factor"},
      {"rope_scaling", {{"type", "llama3"}, {"factor", 8}}, "low_freq_factor"},
      {"rope_scaling", {{"type", "longrope"}}, "long_factor"},
      {"rope_scaling", {{"type", "longrope"}, {"long_factor", {1, 2}}}, "without"},
      {"rope_scaling",
       {{"type", "su"}, {"long_factor", {1, 2}}, {"short_factor", {1, 2}}},
       "2 factors"},
      {"original_max_position_embeddings", 1, "original_max_position_embeddings"},
      {"eos_token_id", 4, "no token"},
      {"eos_token_id", {2, -1}, "no token"},
      {"eos_token_id", {2, "3"}, "no token"},
      {"bos_token_id", 4, "bos_token_id"},
      {"tie_word_embeddings", "no", "tie_word_embeddings"},
      {"quantization", 4, "not an object"},
      {"quantization", {{"bits", 4}}, "\"quantization.group_size\" is missing"},
      {"quantization", {{"group_size", 32}, {"bits", 7}}, "6 and 8"},
      {"quantization", {{"group_size", 32}, {"bits", 1}}, "6 and 8"},
      {"quantization", {{"group_size", 32}, {"bits", 3}}, "instead of [4, 6]"},
      {"quantization", {{"group_size", 32}, {"bits", 6}}, "instead of [4, 12]"},
      {"quantization", {{"group_size", 48}, {"bits", 4}}, "32, 64 and 128"},
      {"quantization", {{"group_size", 32}, {"bits", 4}, {"mode", "mxfp4"}}, "\"mxfp4\""},
      {"quantization", {{"group_size", 64}, {"bits", 4}}, "instead of [4, 1]"},
      {"quantization", {{"group_size", 32}, {"bits", 8}}, "instead of [4, 16]"},
      {"quantization", {{"group_size", 128}, {"bits", 4}}, "no whole groups"},
      {"quantization",
       {{"group_size", 32}, {"bits", 4}, {"lm_head", {{"group_size", 32}, {"bits", 7}}}},
       "quantization.lm_head.bits"},
      {"quantization",
       {{"group_size", 32}, {"bits", 4}, {"lm_head", {{"group_size", 32}, {"bits", 5}}}},
       "instead of [4, 10]"},
      {"quantization",
       {{"group_size", 32}, {"bits", 4}, {"lm_head", {{"bits", 4}}}},
       "quantization.lm_head.group_size"},
      {"quantization",
       {{"group_size", 32}, {"bits", 4}, {"lm_head", false}},
       "config.json says that it is not"},
      {"quantization", {{"quant_method", "awq"}, {"bits", 4}}, "\"awq\""},
      {"quantization", nullptr, "no key \"quantization\""},
  };
  const std::string file = SafetensorsBuilder::phi3(true).build();
  for (const Case& test : cases) {
    SCOPED_TRACE(std::string(test.key) + ": " + test.value.dump());
    Json config = quantized_config();
    config[test.key] = test.value;
    expect_refused(read(config, file), test.words);
  }
}

// MLX writes both names; other programs use the second one for layouts of their own.
TEST(MlxModel, ReadsTheOtherNameOfTheQuantisation) {
  const std::string file = SafetensorsBuilder::phi3(true).build();
  Json config = small_config();
  config["quantization_config"] = {{"group_size", 32}, {"bits", 4}, {"mode", "affine"}};
  auto model = read(config, file);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ((*model)->quantization(), "MLX 4-bit g32");
  config["quantization_config"] = {{"quant_method", "gptq"}, {"group_size", 32}, {"bits", 4}};
  expect_refused(read(config, file), "\"gptq\"");
}

TEST(MlxModel, EveryLayerMayHaveItsOwnNumberOfBits) {
  SafetensorsBuilder builder = SafetensorsBuilder::phi3(true);
  Json config = quantized_config();
  const std::pair<const char*, int> layers[] = {{"model.embed_tokens", 2},
                                                {"model.layers.0.self_attn.qkv_proj", 3},
                                                {"model.layers.0.self_attn.o_proj", 5},
                                                {"model.layers.0.mlp.gate_up_proj", 6},
                                                {"lm_head", 8}};
  for (const auto& [layer, bits] : layers) {
    for (auto& [name, tensor] : builder.tensors) {
      if (name != std::string(layer) + ".weight") continue;
      builder.zeros(name, "U32", {tensor.shape[0], static_cast<std::uint64_t>(2 * bits)});
      break;
    }
    config["quantization"][layer] = {{"group_size", 32}, {"bits", bits}};
  }
  auto model = read(config, builder.build());
  ASSERT_TRUE(model) << model.error().message;
  const compute::ModelWeights& weights = (*model)->weights();
  const compute::LayerWeights& layer = weights.layers[0];
  EXPECT_EQ(weights.token_embedding.type, compute::WeightType::Mlx2);
  EXPECT_EQ(layer.qkv.parts()[0].type, compute::WeightType::Mlx3);
  EXPECT_EQ(layer.down.type, compute::WeightType::Mlx4);
  EXPECT_EQ(layer.attention_out.type, compute::WeightType::Mlx5);
  EXPECT_EQ(layer.gate_up.parts()[0].type, compute::WeightType::Mlx6);
  EXPECT_EQ(weights.output.type, compute::WeightType::Mlx8);
}

TEST(MlxModel, RefusesBadTensors) {
  const std::pair<std::function<void(SafetensorsBuilder&)>, const char*> cases[] = {
      {[](auto& b) { b.tensors.erase(b.tensors.begin()); }, "embed_tokens.weight\" is missing"},
      {[](auto& b) { b.zeros("lm_head.bias", "F16", {4}); }, "not part of a phi3 model"},
      {[](auto& b) {
         b.zeros("lm_head.weight", "F32", {4, 8});
       },
       "dtype F32"},
      {[](auto& b) {
         b.zeros("lm_head.weight", "U32", {8, 4});
       },
       "[8, 4] instead of [4, 8]"},
      {[](auto& b) {
         b.zeros("lm_head.biases", "F32", {4, 2});
       },
       "its scales are F16"},
      {[](auto& b) {
         b.zeros("lm_head.scales", "U32", {4, 2});
       },
       "dtype U32"},
      {[](auto& b) { b.zeros("model.norm.weight", "F16", {63}); }, "[63] instead of [64]"},
      {[](auto& b) { b.zeros("model.norm.weight", "U32", {64}); }, "dtype U32"},
      {[](auto& b) {
         b.set("model.norm.weight", {"F16", {64}, std::string(128, '\xff')});
       },
       "nan at index 0"},
      {[](auto& b) {  // moves what follows to odd places
         b.tensors.insert(b.tensors.begin(), {"pad", {"U8", {1}, "x"}});
       },
       "not a multiple of"},
  };
  for (const auto& [spoil, words] : cases) {
    SCOPED_TRACE(words);
    SafetensorsBuilder builder = SafetensorsBuilder::phi3(true);
    spoil(builder);
    expect_refused(read(quantized_config(), builder.build()), words);
  }
}

// The same length ratio said in the ways that configurations say it. 256 / 64 = 4 and ln 4 / ln 64
// is 1/3; without an original length the factor alone counts: 1 + ln 4 / ln 256 = 1.25.
TEST(MlxModel, ReadsLongRopeHoweverItIsWritten) {
  const std::string file = SafetensorsBuilder::phi3(false).build();
  const auto hyper_of = [&](const Json& config) {
    auto model = read(config, file);
    EXPECT_TRUE(model) << model.error().message;
    return model ? (*model)->weights().hyper : compute::HyperParameters();
  };
  Json config = small_config();
  config["rope_scaling"] = longrope("su");
  config["original_max_position_embeddings"] = 64;
  EXPECT_FLOAT_EQ(hyper_of(config).rope_attention_scale, std::sqrt(4.0f / 3.0f));
  EXPECT_EQ(hyper_of(config).rope_long, std::vector<float>(16, 2.5f));
  EXPECT_EQ(hyper_of(config).rope_short, std::vector<float>(16, 1.5f));

  config["rope_scaling"]["attention_factor"] = 1.25;
  EXPECT_EQ(hyper_of(config).rope_attention_scale, 1.25f);

  config = small_config();
  config["rope_scaling"] = longrope("longrope");
  EXPECT_EQ(hyper_of(config).rope_attention_scale, 1.0f);
  EXPECT_EQ(hyper_of(config).original_context_length, 256);
  config["rope_scaling"]["factor"] = 4.0;
  EXPECT_FLOAT_EQ(hyper_of(config).rope_attention_scale, std::sqrt(1.25f));

  config = small_config();  // as transformers 5 writes it
  config["rope_parameters"] = longrope("");
  config["rope_parameters"].erase("type");
  config["rope_parameters"]["rope_type"] = "longrope";
  config["rope_parameters"]["original_max_position_embeddings"] = 64;
  config["rope_parameters"]["rope_theta"] = 5000.0;
  config["rope_parameters"]["partial_rotary_factor"] = 1.0;
  EXPECT_FLOAT_EQ(hyper_of(config).rope_attention_scale, std::sqrt(4.0f / 3.0f));
  EXPECT_EQ(hyper_of(config).rope_theta, 5000.0f);
  EXPECT_EQ(hyper_of(config).original_context_length, 64);
}

class MlxDirectory : public testing::Test {
 protected:
  MlxDirectory() {
    std::string pattern = std::filesystem::temp_directory_path() / "pensieve-mlx-XXXXXX";
    CHECK(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
    write("model/config.json", quantized_config().dump());
  }
  ~MlxDirectory() override { std::filesystem::remove_all(path_); }

  void write(const std::string& name, const std::string& text) {
    const std::string whole = path_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(whole).parent_path());
    std::ofstream(whole, std::ios::binary) << text;
  }
  Result<std::unique_ptr<ModelFile>> open() {
    return ModelFile::open(path_ + "/model", accountant_);
  }

  std::string path_;
  Accountant accountant_;
};

TEST_F(MlxDirectory, OpensShardsThatAnIndexNames) {
  const SafetensorsBuilder whole = SafetensorsBuilder::phi3(true);
  SafetensorsBuilder shards[2];
  Json index = {{"metadata", {{"total_size", 1}}}, {"weight_map", Json::object()}};
  for (std::size_t i = 0; i < whole.tensors.size(); ++i) {
    const auto& [name, tensor] = whole.tensors[i];
    const std::size_t shard = i * 2 / whole.tensors.size();
    shards[shard].set(name, tensor);
    index["weight_map"][name] = "model-" + std::to_string(shard) + ".safetensors";
  }
  write("model/model.safetensors.index.json", index.dump());
  write("model/model-0.safetensors", shards[0].build());
  auto missing = open();
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("model-1.safetensors"), std::string::npos);

  write("model/model-1.safetensors", shards[1].build());
  auto model = open();
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ((*model)->mapped().size(), 2u);
  EXPECT_EQ((*model)->name(), "model");
  EXPECT_EQ((*model)->tensors().size(), whole.tensors.size());

  const std::string fingerprint = (*model)->weights().fingerprint;
  std::filesystem::remove(path_ + "/model/model.safetensors.index.json");
  auto unlisted = open();  // the same files under the same names
  ASSERT_TRUE(unlisted) << unlisted.error().message;
  EXPECT_EQ((*unlisted)->weights().fingerprint, fingerprint);
  write("model/model.safetensors.index.json", index.dump());

  shards[1].set(whole.tensors[0].first, whole.tensors[0].second);  // in both shards
  write("model/model-1.safetensors", shards[1].build());
  auto twice = open();
  ASSERT_FALSE(twice);
  EXPECT_NE(twice.error().message.find("as well"), std::string::npos) << twice.error().message;
}

// The file outside is a valid one: only the name keeps it out.
TEST_F(MlxDirectory, NoNameInAnIndexLeadsOutOfTheDirectory) {
  write("outside.safetensors", SafetensorsBuilder::phi3(true).build());
  write("model/sub/inside.safetensors", SafetensorsBuilder::phi3(true).build());
  const Json names[] = {"../outside.safetensors",
                        path_ + "/outside.safetensors",
                        "sub/inside.safetensors",
                        "sub\\..\\outside.safetensors",
                        "C:outside.safetensors",
                        "..",
                        "",
                        ".safetensors",
                        ".hidden.safetensors",
                        std::string("a\0.safetensors", 14),
                        std::string(300, 'a') + ".safetensors",
                        "config.json",
                        "/etc/passwd",
                        7,
                        nullptr};
  for (const Json& name : names) {
    SCOPED_TRACE(name.dump());
    const Json index = {{"weight_map", {{"lm_head.weight", name}}}};
    write("model/model.safetensors.index.json", index.dump());
    auto model = open();
    ASSERT_FALSE(model);
    EXPECT_EQ(model.error().kind, ErrorKind::BadFile);
    EXPECT_NE(model.error().message.find("index.json"), std::string::npos) << model.error().message;
  }
}

TEST_F(MlxDirectory, ReadsTheNeighboursOfTheConfig) {
  write("model/model.safetensors", SafetensorsBuilder::phi3(true).build());
  write("model/generation_config.json", R"({"eos_token_id": [3, 2]})");
  write("model/tokenizer.json", R"({"model": {}})");
  write("model/tokenizer_config.json",
        R"({"add_bos_token": false, "chat_template": [{"name": "tool_use", "template": "no"},
            {"name": "default", "template": "{{ yes }}"}]})");
  auto model = open();
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ((*model)->tokenizer().eos_ids, (std::vector<std::int32_t>{2, 3}));
  EXPECT_EQ((*model)->tokenizer().tokenizer_json, R"({"model": {}})");
  EXPECT_FALSE((*model)->tokenizer().add_bos);
  EXPECT_EQ((*model)->chat_template(), "{{ yes }}");
  const std::string fingerprint = (*model)->weights().fingerprint;

  write("model/chat_template.jinja", "{{ of its own }}");
  model = open();
  ASSERT_TRUE(model);
  EXPECT_EQ((*model)->chat_template(), "{{ of its own }}");
  EXPECT_NE((*model)->weights().fingerprint, fingerprint);

  const std::pair<std::string, std::string> broken[] = {
      {"generation_config.json", R"({"eos_token_id": 4})"},
      {"generation_config.json", "[]"},
      {"tokenizer_config.json", R"({"chat_template": 5})"},
      {"tokenizer_config.json", R"({"chat_template": [{"name": 5}]})"},
      {"tokenizer_config.json", "{"},
      {"config.json", std::string(100'000, '[')},
      {"config.json", ""},
  };
  for (const auto& [name, text] : broken) {
    std::ifstream file(path_ + "/model/" + name);
    const std::string kept(std::istreambuf_iterator<char>(file), {});
    write("model/" + name, text);
    auto refused = open();
    ASSERT_FALSE(refused) << name << ": " << text;
    EXPECT_NE(refused.error().message.find(name), std::string::npos) << refused.error().message;
    write("model/" + name, kept);
  }
  EXPECT_TRUE(open());
}

}  // namespace
}  // namespace pensieve::model
