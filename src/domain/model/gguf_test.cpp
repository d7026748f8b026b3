// GGUF files written here with one thing wrong each, and a real one cut short: every one is refused
// in a sentence that names the place, and none is read beyond its end.
#include "domain/model/internal/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <ctime>
#include <fstream>
#include <functional>
#include <limits>
#include <sstream>
#include <string>

#include "foundation/system_memory.h"

#include "domain/model/internal/file_builder.h"
#include "domain/model/model_file.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size) (static_cast<void>(at), static_cast<void>(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) (static_cast<void>(at), static_cast<void>(size))
#endif

namespace pensieve::model {
namespace {

// Opens a copy that ends where its allocation ends.
Result<std::unique_ptr<ModelFile>> open_image(const std::string& image, Accountant& accountant) {
  static std::vector<std::byte> copy;  // outlives the model, which no caller keeps
  copy = {reinterpret_cast<const std::byte*>(image.data()),
          reinterpret_cast<const std::byte*>(image.data()) + image.size()};
  copy.shrink_to_fit();
  return ModelFile::from_memory(copy, "image", accountant);
}

void expect_refused(const std::string& image, const std::string& words) {
  Accountant accountant;
  auto model = open_image(image, accountant);
  ASSERT_FALSE(model) << "accepted";
  EXPECT_EQ(model.error().kind, ErrorKind::BadFile);
  EXPECT_NE(model.error().message.find(words), std::string::npos) << model.error().message;
  EXPECT_EQ(model.error().message.find('\n'), std::string::npos);
  EXPECT_EQ(accountant.total(), 0u);
}

struct Case {
  const char* name;
  std::function<void(GgufBuilder&)> spoil;
  const char* words;  // in the sentence
};

void expect_each_refused(const std::vector<Case>& cases) {
  for (const Case& test : cases) {
    SCOPED_TRACE(test.name);
    GgufBuilder builder = GgufBuilder::phi3();
    test.spoil(builder);
    expect_refused(builder.build(), test.words);
  }
}

constexpr std::uint64_t kHuge = std::uint64_t{1} << 40;

TEST(Gguf, TheBuildersOwnModelIsAccepted) {
  Accountant accountant;
  for (const std::uint32_t version : {2u, 3u}) {
    GgufBuilder builder = GgufBuilder::phi3();
    builder.version = version;
    auto model = open_image(builder.build(), accountant);
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_EQ((*model)->format(), "GGUF v" + std::to_string(version));
    EXPECT_EQ((*model)->weights().layers.size(), 1u);
  }
}

TEST(Gguf, RefusesABadHeader) {
  using B = GgufBuilder;
  expect_each_refused({
      {"magic", [](B& b) { b.magic = "GGUG"; }, "magic number at byte 0"},
      {"version 0", [](B& b) { b.version = 0; }, "version 0 at byte 4"},
      {"version 1", [](B& b) { b.version = 1; }, "version 1 at byte 4"},
      {"future version", [](B& b) { b.version = 4; }, "version 4 at byte 4"},
      {"big-endian", [](B& b) { b.version = 3u << 24; }, "big-endian"},
      {"tensor count -1", [](B& b) { b.n_tensors = ~0ull; }, "tensor count"},
      {"key count -1", [](B& b) { b.n_keys = ~0ull; }, "key count"},
      {"a tensor too many", [](B& b) { b.n_tensors = b.tensors.size() + 1; }, "tensor"},
      {"a key too many", [](B& b) { b.n_keys = b.keys.size() + 1; }, "name of tensor 0"},
      {"a key too few", [](B& b) { b.n_keys = b.keys.size() - 1; }, "tensor"},
  });
}

TEST(Gguf, RefusesBadKeys) {
  using B = GgufBuilder;
  const std::string nested = raw<std::uint32_t>(9) + raw<std::uint32_t>(9) + raw<std::uint64_t>(1) +
                             raw<std::uint32_t>(4) + raw<std::uint64_t>(0);
  std::string deep;  // an array in an array in an array …
  for (int i = 0; i < 100'000; ++i) deep += raw<std::uint32_t>(9) + raw<std::uint64_t>(1);
  const auto end_with = [](const std::string& bytes) {  // the last key's value is `bytes`
    return [bytes](B& b) {
      b.tensors.clear();
      b.n_tensors = 0;
      b.set("zz", bytes);
    };
  };
  expect_each_refused({
      {"empty key", [](B& b) { b.set("", u32(1)); }, "empty name"},
      {"duplicate key", [](B& b) { b.keys.push_back(b.keys[2]); }, "\"phi3.block_count\" at byte"},
      {"key not UTF-8", [](B& b) { b.set("\xff\xfe", u32(1)); }, "not valid UTF-8"},
      {"key too long", [](B& b) { b.set(std::string(65'536, 'k'), u32(1)); }, "limit is 65535"},
      {"bad type",
       [](B& b) { b.set("zz", raw<std::uint32_t>(13) + raw(0)); },
       "unknown value type 13"},
      {"bad element type", [](B& b) { b.set("zz", array(99, 0, "")); }, "unknown value type 99"},
      {"nested array", [&](B& b) { b.set("zz", nested); }, "array of arrays"},
      {"deeply nested array",
       [&](B& b) { b.set("zz", raw<std::uint32_t>(9) + deep); },
       "array of arrays"},
      {"bool 2", [](B& b) { b.set("zz", boolean(2)); }, "bool"},
      {"huge string", end_with(raw<std::uint32_t>(8) + raw(kHuge)), "beyond the end"},
      {"string of length -1", end_with(raw<std::uint32_t>(8) + raw(~0ull)), "beyond the end"},
      {"huge array", end_with(array(4, kHuge, "")), "\"zz\" at byte"},
      {"overflowing array",
       end_with(array(10, (1ull << 61) + 1, "")),
       "claims 2305843009213693953"},
      {"huge array of strings", end_with(array(8, kHuge, "")), "claims 1099511627776"},
      {"a string array's last element",
       end_with(array(8, 2, gguf_string("a") + raw(kHuge))),
       "element 1"},
      {"alignment 0", [](B& b) { b.set("general.alignment", u32(0)); }, "power of two"},
      {"alignment 13", [](B& b) { b.set("general.alignment", u32(13)); }, "power of two"},
      {"alignment 2^31", [](B& b) { b.set("general.alignment", u32(1u << 31)); }, "power of two"},
      {"alignment of another type",
       [](B& b) { b.set("general.alignment", u64(32)); },
       "must be a u32"},
  });
}

TEST(Gguf, RefusesBadTensors) {
  using B = GgufBuilder;
  const auto qkv = [](auto change) {
    return [change](B& b) { change(b.tensor("blk.0.attn_qkv.weight")); };
  };
  using Tensor = B::Tensor;
  expect_each_refused({
      {"name of length -1", qkv([](Tensor& t) { t.name_size = ~0ull; }), "name of tensor 2"},
      {"name too long", qkv([](Tensor& t) { t.name = std::string(65, 'n'); }), "limit is 64"},
      {"empty name", qkv([](Tensor& t) { t.name = ""; }), "empty name"},
      {"duplicate name", [](B& b) { b.tensors.push_back(b.tensors[3]); }, "occurs twice"},
      {"no dimensions", qkv([](Tensor& t) { t.n_dims = 0; }), "0 dimensions"},
      {"five dimensions",
       qkv([](Tensor& t) {
         t.dims = {32, 96, 1, 1, 1};
       }),
       "5 dimensions"},
      {"2^31 dimensions", qkv([](Tensor& t) { t.n_dims = 1u << 31; }), "dimensions"},
      {"length 0", qkv([](Tensor& t) { t.dims[1] = 0; }), "length 0 in dimension 1"},
      {"negative length", qkv([](Tensor& t) { t.dims[0] = ~0ull; }), "in dimension 0"},
      {"overflowing shape",
       qkv([](Tensor& t) {
         t.dims = {1ull << 32, 1ull << 32};
       }),
       "63 bits"},
      {"overflowing bytes",
       qkv([](Tensor& t) {
         t.dims = {1ull << 62, 1};
       }),
       "64 bits"},
      {"bad type", qkv([](Tensor& t) { t.type = 99; }), "type 99"},
      {"removed type", qkv([](Tensor& t) { t.type = 4; }), "type 4"},
      {"broken block", qkv([](Tensor& t) { t.type = 12; }), "blocks of 256"},
      {"misplaced", qkv([](Tensor& t) { t.offset = 16; }), "multiple of the alignment 32"},
      {"far away", qkv([](Tensor& t) { t.offset = kHuge; }), "beyond the end"},
      {"offset overflow", qkv([](Tensor& t) { t.offset = ~31ull; }), "beyond the end"},
      {"overlap", qkv([](Tensor& t) { t.offset = 0; }), "inside that of"},
      {"size beyond the end", qkv([](Tensor& t) { t.dims[1] = 1'000'000; }), "beyond the end"},
      {"missing",
       [](B& b) { b.erase_tensor("blk.0.ffn_down.weight"); },
       "\"blk.0.ffn_down.weight\" is missing"},
      {"no embedding", [](B& b) { b.erase_tensor("token_embd.weight"); }, "token_embd.weight"},
      {"one too many",
       [](B& b) { b.f32_tensor("blk.0.attn_qkv.bias", {96}); },
       "not part of a phi3 model"},
      {"a layer too many",
       [](B& b) { b.f32_tensor("blk.1.attn_norm.weight", {32}); },
       "not part of a phi3 model"},
      {"other shape",
       [](B& b) {
         b.f32_tensor("blk.0.attn_qkv.weight", {32, 95});
       },
       "[95, 32] instead of [96, 32]"},
      {"transposed",
       [](B& b) {
         b.f32_tensor("blk.0.ffn_up.weight", {64, 32});
       },
       "[32, 64] instead of [64, 32]"},
      {"a third dimension",
       [](B& b) {
         b.f32_tensor("blk.0.ffn_down.weight", {32, 32, 2});
       },
       "[2, 32, 32]"},
      {"NaN in a norm",
       [](B& b) { b.f32_tensor("blk.0.ffn_norm.weight", {32}, std::nanf("")); },
       "nan at index 0"},
      {"quantised norm",
       [](B& b) {
         auto& t = b.tensor("output_norm.weight");
         t.type = 8;
         t.data = std::string(34, '\0');
       },
       "must be F32, F16 or BF16"},
  });
}

TEST(Gguf, RefusesHostileHyperParameters) {
  using B = GgufBuilder;
  const auto key = [](const std::string& name, const std::string& value) {
    return [=](B& b) { b.set("phi3." + name, value); };
  };
  const auto without = [](const std::string& name) { return [=](B& b) { b.erase(name); }; };
  const auto inf = std::numeric_limits<float>::infinity();
  expect_each_refused({
      {"no architecture", without("general.architecture"), "general.architecture"},
      {"other architecture",
       [](B& b) { b.set("general.architecture", text("mamba")); },
       "\"mamba\""},
      {"architecture is a number", [](B& b) { b.set("general.architecture", u32(3)); }, "phi3"},
      {"split", [](B& b) { b.set("split.count", u32(3)); }, "split over 3"},
      {"no layers key", without("phi3.block_count"), "\"phi3.block_count\" is missing"},
      {"0 layers", key("block_count", u32(0)), "\"phi3.block_count\" at byte"},
      {"2^31 layers", key("block_count", u32(1u << 31)), "\"phi3.block_count\" at byte"},
      {"-1 layers", key("block_count", i32(-1)), "\"phi3.block_count\" at byte"},
      {"2^63 layers", key("block_count", u64(1ull << 63)), "\"phi3.block_count\" at byte"},
      {"layers as text", key("block_count", text("one")), "not a whole number"},
      {"layers as float", key("block_count", f32(1)), "not a whole number"},
      {"layers as array", key("block_count", numbers<std::uint32_t>(4, {1})), "not a whole number"},
      {"2 layers of 1", key("block_count", u32(2)), "blk.1.attn_norm.weight"},
      {"0 heads", key("attention.head_count", u32(0)), "attention.head_count"},
      {"3 heads of 32", key("attention.head_count", u32(3)), "does not divide"},
      {"0 KV heads", key("attention.head_count_kv", u32(0)), "head_count_kv"},
      {"3 KV heads", key("attention.head_count_kv", u32(3)), "head_count_kv"},
      {"4 KV heads of 2", key("attention.head_count_kv", u32(4)), "does not divide"},
      {"0 hidden", key("embedding_length", u32(0)), "embedding_length"},
      {"2^40 hidden", key("embedding_length", u64(kHuge)), "embedding_length"},
      {"0 ffn", key("feed_forward_length", u32(0)), "feed_forward_length"},
      {"0 context", key("context_length", u32(0)), "context_length"},
      {"2^31 context", key("context_length", u32(1u << 31)), "context_length"},
      {"NaN eps", key("attention.layer_norm_rms_epsilon", f32(std::nanf(""))), "is nan"},
      {"0 eps", key("attention.layer_norm_rms_epsilon", f32(0)), "rms_epsilon"},
      {"integer eps", key("attention.layer_norm_rms_epsilon", u32(0)), "floating point"},
      {"no eps", without("phi3.attention.layer_norm_rms_epsilon"), "rms_epsilon"},
      {"infinite theta", key("rope.freq_base", f32(inf)), "rope.freq_base"},
      {"negative theta", key("rope.freq_base", f32(-1)), "rope.freq_base"},
      {"odd rotation", key("rope.dimension_count", u32(15)), "rope.dimension_count"},
      {"rotation beyond the head", key("rope.dimension_count", u32(18)), "rope.dimension_count"},
      {"key and value differ", key("attention.value_length", u32(8)), "value_length"},
      {"negative window", key("attention.sliding_window", i64(-1)), "sliding_window"},
      {"vocabulary", key("vocab_size", u32(5)), "\"phi3.vocab_size\" at byte"},
      {"scaling", key("rope.scaling.type", text("dynamic")), "\"dynamic\""},
      {"yarn without a factor", key("rope.scaling.type", text("yarn")), "rope.scaling.factor"},
      {"longrope without factors", key("rope.scaling.type", text("longrope")), "missing"},
      {"one set of factors",
       [](B& b) { b.f32_tensor("rope_factors_long.weight", {8}); },
       "without"},
      {"short of factors",
       [](B& b) {
         b.f32_tensor("rope_factors_long.weight", {8});
         b.f32_tensor("rope_factors_short.weight", {7});
       },
       "7 factors"},
      {"factor 0",
       [](B& b) {
         b.f32_tensor("rope_factors_long.weight", {8}, 0);
         b.f32_tensor("rope_factors_short.weight", {8});
       },
       "factor 0 at index 0"},
      {"original context 1",
       key("rope.scaling.original_context_length", u32(1)),
       "original_context_length"},
  });
}

TEST(Gguf, RefusesABadVocabulary) {
  using B = GgufBuilder;
  const auto key = [](const std::string& name, const std::string& value) {
    return [=](B& b) { b.set("tokenizer.ggml." + name, value); };
  };
  expect_each_refused({
      {"a token too many", key("tokens", texts({"a", "b", "c", "d", "e"})), "5 tokens"},
      {"tokens as numbers", key("tokens", numbers<std::int32_t>(5, {1, 2, 3, 4})), "strings"},
      {"scores", key("scores", numbers<float>(6, {0, 0, 0})), "3 elements"},
      {"NaN score", key("scores", numbers<float>(6, {0, 0, 0, std::nanf("")})), "NaN at index 3"},
      {"scores as integers", key("scores", numbers<std::int32_t>(5, {0, 0, 0, 0})), "array of f32"},
      {"types", key("token_type", numbers<std::int32_t>(5, {1})), "1 elements"},
      {"type 7", key("token_type", numbers<std::int32_t>(5, {2, 3, 3, 7})), "7 at index 3"},
      {"merges", key("merges", u32(1)), "merges"},
      {"bos", key("bos_token_id", u32(4)), "\"tokenizer.ggml.bos_token_id\" at byte"},
      {"eos", key("eos_token_id", i64(-5)), "\"tokenizer.ggml.eos_token_id\" at byte"},
      {"eot", key("eot_token_id", u64(kHuge)), "eot_token_id"},
      {"unknown", key("unknown_token_id", text("0")), "unknown_token_id"},
      {"add_bos", key("add_bos_token", u8(1)), "add_bos_token"},
      {"model", key("model", u32(1)), "tokenizer.ggml.model"},
  });
}

// Source: llama.cpp's reader, which knows it by the names of Llama 3's pattern.
TEST(Gguf, ATextBeginsWithATokenWhereTheFileOrItsKindSaysSo) {
  const auto add_bos = [](const std::string& model, const std::string& pre, int flag) {
    Accountant accountant;
    GgufBuilder builder = GgufBuilder::phi3();
    builder.set("tokenizer.ggml.model", text(model));
    builder.set("tokenizer.ggml.pre", text(pre));
    if (flag >= 0) builder.set("tokenizer.ggml.add_bos_token", boolean(flag == 1));
    const auto opened = open_image(builder.build(), accountant);
    EXPECT_TRUE(opened);
    return opened && (*opened)->tokenizer().add_bos;
  };
  EXPECT_TRUE(add_bos("llama", "default", -1));
  EXPECT_TRUE(add_bos("gpt2", "llama-bpe", -1));
  EXPECT_FALSE(add_bos("gpt2", "qwen2", -1));
  EXPECT_FALSE(add_bos("gpt2", "llama-bpe", 0));
  EXPECT_TRUE(add_bos("gpt2", "qwen2", 1));
}

TEST(Gguf, ReadsLongRopeTensorsAndTheWindow) {
  Accountant accountant;
  GgufBuilder builder = GgufBuilder::phi3();
  builder.set("phi3.rope.scaling.original_context_length", u64(64));
  builder.set("phi3.attention.sliding_window", u32(100));
  builder.f32_tensor("rope_factors_long.weight", {8}, 2.5f);
  builder.f32_tensor("rope_factors_short.weight", {8}, 1.5f);
  auto model = open_image(builder.build(), accountant);
  ASSERT_TRUE(model) << model.error().message;
  const compute::HyperParameters& hyper = (*model)->weights().hyper;
  EXPECT_EQ(hyper.rope_long, std::vector<float>(8, 2.5f));
  EXPECT_EQ(hyper.rope_short, std::vector<float>(8, 1.5f));
  EXPECT_EQ(hyper.original_context_length, 64);
  EXPECT_EQ(hyper.sliding_window, 100);
  EXPECT_FLOAT_EQ(hyper.rope_attention_scale, std::sqrt(4.0f / 3.0f));  // ln 4 / ln 64 = 1/3

  builder.set("phi3.rope.scaling.attn_factor", f32(1.19f));
  builder.set("phi3.attention.sliding_window", u32(256));
  auto stated = open_image(builder.build(), accountant);
  ASSERT_TRUE(stated) << stated.error().message;
  EXPECT_EQ((*stated)->weights().hyper.rope_attention_scale, 1.19f);
  EXPECT_EQ((*stated)->weights().hyper.sliding_window, 0);  // hides nothing
}

// Phi-3-mini-128k, from the numbers its documents give: sqrt(1 + ln 32 / ln 4096) = 1.19024.
TEST(Gguf, ScalesTheAttentionOfPhi3MiniAsItsAuthorsDo) {
  Accountant accountant;
  GgufBuilder builder = GgufBuilder::phi3();
  builder.set("phi3.context_length", u32(131072));
  builder.set("phi3.rope.scaling.original_context_length", u32(4096));
  builder.f32_tensor("rope_factors_long.weight", {8});
  builder.f32_tensor("rope_factors_short.weight", {8});
  auto model = open_image(builder.build(), accountant);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_NEAR((*model)->weights().hyper.rope_attention_scale, 1.190238, 1e-6);
}

TEST(Gguf, ATiedModelUsesItsEmbeddingAsOutput) {
  Accountant accountant;
  GgufBuilder builder = GgufBuilder::phi3();
  builder.erase_tensor("output.weight");
  auto model = open_image(builder.build(), accountant);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ((*model)->weights().output.data, (*model)->weights().token_embedding.data);
}

TEST(Gguf, ClaimedLengthsCostNeitherTimeNorMemory) {
  std::vector<std::string> images;
  const auto with = [&](auto change) {
    GgufBuilder builder = GgufBuilder::phi3();
    builder.tensors.clear();
    change(builder);
    images.push_back(builder.build());
  };
  with([](GgufBuilder& b) { b.n_tensors = kHuge; });
  with([](GgufBuilder& b) { b.n_keys = kHuge; });
  with([](GgufBuilder& b) { b.n_tensors = kMaxGgufTensors; });
  with([](GgufBuilder& b) { b.n_keys = kMaxGgufKeys; });
  with([](GgufBuilder& b) { b.set("zz", array(8, kHuge, "")); });
  with([](GgufBuilder& b) { b.set("zz", array(0, kHuge, "")); });
  with([](GgufBuilder& b) { b.set("zz", raw<std::uint32_t>(8) + raw(kHuge)); });
  with([](GgufBuilder& b) { b.tensors.push_back({.name = "t", .dims = {kHuge, 8}}); });
  const std::uint64_t before = resident_bytes();
  const std::clock_t start = std::clock();  // of this process: a busy machine changes nothing
  for (const std::string& image : images) expect_refused(image, " ");
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC / 10);  // all of them together
  EXPECT_LT(resident_bytes(), before + (16u << 20));
}

// Cuts `path` at every `step`th byte of its header and every 4 KiB behind it. The tail is poisoned
// instead of copied away, so that a read beyond the end stops the test. Returns the number of cuts.
std::size_t refused_cuts(const std::string& path, std::size_t step) {
  std::ifstream file(PENSIEVE_SOURCE_DIR + path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  const std::string image = text.str();
  const auto bytes = std::as_bytes(std::span(image));
  auto whole = parse_gguf(bytes);
  EXPECT_TRUE(whole) << whole.error().message;
  Accountant accountant;
  std::size_t n_cuts = 0;
  for (std::size_t size = 0; size < bytes.size();
       size += size < whole->data_begin ? step : std::size_t{4096}) {
    const std::byte* tail = bytes.data() + size;
    ASAN_POISON_MEMORY_REGION(tail, bytes.size() - size);
    auto model = ModelFile::from_memory(bytes.first(size), "cut", accountant);
    ASAN_UNPOISON_MEMORY_REGION(tail, bytes.size() - size);
    if (model || model.error().kind != ErrorKind::BadFile) {
      ADD_FAILURE() << "cut at " << size;
      break;
    }
    ++n_cuts;
  }
  EXPECT_EQ(accountant.total(), 0u);
  return n_cuts;
}

TEST(Gguf, AFileCutAtAnyByteOfItsHeaderIsRefused) {
  EXPECT_GT(refused_cuts("/tests/fixtures/phi3/gguf/q4_k.gguf", 1), 2000u);
}

// Every eleventh byte of a header that is mostly vocabulary, to keep the test short.
TEST(Gguf, TheEmbeddedModelCutAnywhereIsRefused) {
  EXPECT_GT(refused_cuts("/tools/tiny-model/artefacts/pensieve-tiny-q4_0.gguf", 11), 5'000u);
}

}  // namespace
}  // namespace pensieve::model
