// One GGUF model in several files: real ones that the `gguf` package wrote, and ones made here with
// one thing wrong each.
#include "domain/model/internal/gguf_shards.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "domain/model/inspect.h"
#include "domain/model/internal/file_builder.h"
#include "domain/model/model_file.h"

namespace pensieve::model {
namespace {

namespace fs = std::filesystem;

const std::string kFixtures = PENSIEVE_SOURCE_DIR "/tests/fixtures/phi3";
const std::string kSharded = kFixtures + "/gguf-sharded";

TEST(GgufShardNames, AreWhatGgufSplitWrites) {
  const auto second = parse_gguf_shard_name("Phi-3-mini-q4-00002-of-00003.gguf");
  ASSERT_TRUE(second);
  EXPECT_EQ(second->model, "Phi-3-mini-q4");
  EXPECT_EQ(second->number, 2);
  EXPECT_EQ(second->count, 3);
  EXPECT_EQ(gguf_shard_names(*second),
            (std::vector<std::string>{"Phi-3-mini-q4-00001-of-00003.gguf",
                                      "Phi-3-mini-q4-00002-of-00003.gguf",
                                      "Phi-3-mini-q4-00003-of-00003.gguf"}));
  for (const char* other : {"",
                            ".gguf",
                            "model.gguf",
                            "00001-of-00003.gguf",
                            "-00001-of-00003.gguf",
                            "m-00001-of-00003.safetensors",
                            "m-00001-of-00003",
                            "m-0001-of-0003.gguf",
                            "m-00000-of-00003.gguf",
                            "m-00004-of-00003.gguf",
                            "m-00001-of-00000.gguf",
                            "m-00001-of-01001.gguf",
                            "m-000 1-of-00003.gguf",
                            "m-+0001-of-00003.gguf",
                            "m-00001of-00003.gguf",
                            "m_00001-of-00003.gguf"}) {
    EXPECT_FALSE(parse_gguf_shard_name(other)) << other;
  }
}

// A directory with the files of one model, small-0000N-of-00003.gguf: no tensor in the first one,
// as gguf-split --no-tensor-first-split leaves it.
class GgufShards : public testing::Test {
 protected:
  GgufShards() {
    std::string pattern = fs::temp_directory_path() / "pensieve-shards-XXXXXX";
    CHECK(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
    for (std::uint16_t i = 0; i < 3; ++i) {
      GgufBuilder& b = shards_[i];
      if (i == 0) b.keys = whole_.keys;
      b.set("split.no", raw<std::uint32_t>(2) + raw(i));
      b.set("split.count", raw<std::uint32_t>(2) + raw<std::uint16_t>(3));
      b.set("split.tensors.count", i32(static_cast<std::int32_t>(whole_.tensors.size())));
    }
    for (std::size_t i = 0; i < whole_.tensors.size(); ++i) {
      shards_[1 + i % 2].tensors.push_back(whole_.tensors[i]);
    }
    write_all();
  }
  ~GgufShards() override { fs::remove_all(path_); }

  static std::string name(int i) { return "small-0000" + std::to_string(i) + "-of-00003.gguf"; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(file(name), std::ios::binary) << bytes;
  }
  void write_all() const {
    for (int i = 0; i < 3; ++i) write(name(i + 1), shards_[i].build());
  }

  void expect_refused(const std::string& path, const std::string& words) {
    auto model = ModelFile::open(path, accountant_);
    ASSERT_FALSE(model) << "accepted";
    EXPECT_EQ(model.error().kind, ErrorKind::BadFile);
    EXPECT_NE(model.error().message.find(words), std::string::npos) << model.error().message;
    EXPECT_EQ(model.error().message.find('\n'), std::string::npos);
    EXPECT_EQ(accountant_.total(), 0u);
  }

  const GgufBuilder whole_ = GgufBuilder::phi3();
  GgufBuilder shards_[3];
  std::string path_;
  Accountant accountant_;
};

TEST_F(GgufShards, OpenFromAnyOfTheFilesAndFromTheirDirectory) {
  fs::create_directory(file("elsewhere"));
  fs::create_symlink(file(name(3)), file("elsewhere/default"));
  std::vector<std::string> paths{path_, path_ + "/", file("elsewhere/default")};
  for (int i = 1; i <= 3; ++i) paths.push_back(file(name(i)));
  std::string fingerprint;
  for (const std::string& path : paths) {
    SCOPED_TRACE(path);
    auto model = ModelFile::open(path, accountant_);
    ASSERT_TRUE(model) << model.error().message;
    if (fingerprint.empty()) fingerprint = (*model)->weights().fingerprint;
    EXPECT_EQ((*model)->weights().fingerprint, fingerprint);
    EXPECT_EQ((*model)->format(), "GGUF v3 in 3 files");
    EXPECT_EQ((*model)->name(), "Small");
    EXPECT_EQ((*model)->mapped().size(), 3u);
    EXPECT_EQ((*model)->tensors().size(), whole_.tensors.size());
    EXPECT_EQ(accountant_.held(MemoryUse::Weights), (*model)->file_bytes());
    const std::string text = inspect_text(**model);
    for (int i = 1; i <= 3; ++i) EXPECT_NE(text.find(name(i)), std::string::npos) << text;
  }
  // A name from the working directory has no directory in it.
  const fs::path before = fs::current_path();
  fs::current_path(path_);
  EXPECT_TRUE(ModelFile::open(name(2), accountant_));
  fs::current_path(before);
}

TEST_F(GgufShards, AMissingFileIsNamed) {
  for (int i = 1; i <= 3; ++i) {
    write_all();
    fs::remove(file(name(i)));
    for (const std::string& path : {path_, file(name(i % 3 + 1))}) {
      expect_refused(path, name(i) + " is missing, and the model is in 3 files");
    }
    auto itself = ModelFile::open(file(name(i)), accountant_);
    ASSERT_FALSE(itself);
  }
}

TEST_F(GgufShards, NumbersThatDoNotFitAreRefused) {
  const auto u16 = [](std::uint16_t v) { return raw<std::uint32_t>(2) + raw(v); };
  struct Case {
    int shard;
    std::function<void(GgufBuilder&)> spoil;
    const char* words;
  };
  const Case cases[] = {
      {0, [&](auto& b) { b.erase("split.count"); }, "00001-of-00003.gguf: key \"split.count\" is"},
      {1,
       [&](auto& b) { b.erase("split.no"); },
       "00002-of-00003.gguf: key \"split.no\" is missing"},
      {2, [&](auto& b) { b.erase("split.tensors.count"); }, "\"split.tensors.count\" is missing"},
      {1, [&](auto& b) { b.set("split.count", u16(2)); }, "is 2 instead of 3"},
      {1, [&](auto& b) { b.set("split.count", i32(-3)); }, "is -3 instead of 3"},
      {1, [&](auto& b) { b.set("split.count", u64(~0ull)); }, "instead of 3"},
      {1, [&](auto& b) { b.set("split.count", text("3")); }, "instead of 3"},
      {1, [&](auto& b) { b.set("split.no", u16(2)); }, "is 2 instead of 1"},
      {2, [&](auto& b) { b.set("split.tensors.count", i32(10)); }, "is 10 instead of 9"},
      {2, [&](auto& b) { b.tensors.pop_back(); }, "is 9 instead of 8"},
      {2, [&](auto& b) { b.tensors.push_back(b.tensors[0]); }, "occurs twice"},
      {2,
       [&](auto& b) { b.tensors[0] = whole_.tensors[0]; },
       "is in small-00002-of-00003.gguf as well"},
      {2, [&](auto& b) { b.tensors[0].name = "blk.7.x.weight"; }, "is missing"},
      {1,
       [&](auto& b) {
         b.tensors[1].dims = {32, 1};
       },
       "small-00002-of-00003.gguf: tensor \"blk.0.attn_qkv.weight\""},
      {1, [&](auto& b) { b.set("general.architecture", text("llama")); }, "instead of \"phi3\""},
      {2, [&](auto& b) { b.magic = "GGUG"; }, "small-00003-of-00003.gguf: the magic number"},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.words);
    GgufBuilder& shard = shards_[test.shard];
    const GgufBuilder kept = shard;
    test.spoil(shard);
    write_all();
    expect_refused(file(name(1)), test.words);
    shard = kept;
  }
}

TEST_F(GgufShards, ACutFileIsRefusedWhereverItEnds) {
  const std::string image = shards_[1].build();
  for (std::size_t size = 1; size < image.size(); size += 61) {
    write(name(2), image.substr(0, size));
    expect_refused(path_, "small-00002-of-00003.gguf");
  }
}

TEST_F(GgufShards, AFileThatStandsAloneUnderAnotherNameSaysWhatIsMissing) {
  fs::rename(file(name(1)), file("first.gguf"));
  expect_refused(file("first.gguf"), "split over 3 files");
}

TEST_F(GgufShards, ADirectoryOfSeveralModelsIsRefused) {
  write("another.gguf", whole_.build());
  expect_refused(path_, "name one file");
  EXPECT_TRUE(ModelFile::open(file("another.gguf"), accountant_));
  for (int i = 1; i <= 3; ++i) fs::remove(file(name(i)));
  EXPECT_TRUE(ModelFile::open(path_, accountant_));
  write("small-00001-of-00002.gguf", whole_.build());
  expect_refused(path_, "name one file");
}

// The same weights as the file that holds all of them.
TEST(GgufShardsOfTheGgufPackage, HoldTheModelOfTheWholeFile) {
  Accountant accountant;
  auto sharded = ModelFile::open(kSharded + "/small-00002-of-00003.gguf", accountant);
  auto whole = ModelFile::open(kFixtures + "/gguf/q4_0.gguf", accountant);
  ASSERT_TRUE(sharded) << sharded.error().message;
  ASSERT_TRUE(whole);
  EXPECT_EQ((*sharded)->quantization(), "Q4_0");
  EXPECT_EQ((*sharded)->parameters(), (*whole)->parameters());
  EXPECT_EQ((*sharded)->weights().total_bytes, (*whole)->weights().total_bytes);
  const compute::WeightView a = (*sharded)->weights().layers[0].down;
  const compute::WeightView b = (*whole)->weights().layers[0].down;
  std::vector<float> x(static_cast<std::size_t>(a.cols)), y(x.size());
  for (int row = 0; row < a.rows; ++row) {
    compute::dequantize_row(a, row, x.data());
    compute::dequantize_row(b, row, y.data());
    EXPECT_EQ(x, y);
  }
}

}  // namespace
}  // namespace pensieve::model
