// The store on a real directory: what counts as a model, and what becomes of one that changes.
#include "domain/store/store.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "domain/store/catalog.h"
#include "domain/store/internal/hub.h"
#include "domain/store/names.h"

namespace pensieve::store {
namespace {

namespace fs = std::filesystem;

class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    std::string pattern = (fs::temp_directory_path() / "store-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
    store_ = Store((root_ / "home").string());
    fs::create_directories(root_ / "from" / "original");
    write("from/config.json", "{}");
    write("from/model.safetensors", "weights");
    write("from/README.md", "not needed");
    write("from/original/x.safetensors", "not needed");
  }
  ~StoreTest() override { fs::remove_all(root_); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(root_ / name, std::ios::binary) << text;
  }
  Result<Manifest> import(const std::string& name) {
    return store_.import((root_ / "from").string(), name, {});
  }

  fs::path root_;
  Store store_{""};
};

TEST_F(StoreTest, ImportsAGgufModelWithAllItsShards) {
  fs::create_directories(root_ / "ggufs");
  for (const char* name : {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"})
    write(std::string("ggufs/") + name, name);
  const auto names_of = [](const Result<Manifest>& manifest) {
    std::vector<std::string> names;
    if (manifest)
      for (const FileRecord& file : manifest->files) names.push_back(file.name);
    return names;
  };
  const std::vector<std::string> both = {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"};
  EXPECT_EQ(names_of(store_.import((root_ / "ggufs").string(), "all", {})), both);
  write("ggufs/other.gguf", "x");
  EXPECT_EQ(names_of(store_.import((root_ / "ggufs/m-00002-of-00002.gguf").string(), "m", {})),
            both);
  fs::create_symlink(root_ / "ggufs/m-00001-of-00002.gguf", root_ / "link.gguf");
  EXPECT_EQ(names_of(store_.import((root_ / "link.gguf").string(), "linked", {})), both);
  EXPECT_EQ(*store_.path("m"), (root_ / "home/models/m" / both[0]).string());
  const auto several = store_.import((root_ / "ggufs").string(), "several", {});
  ASSERT_FALSE(several);
  EXPECT_EQ(several.error().kind, ErrorKind::InvalidRequest);
}

TEST_F(StoreTest, ImportsWhatAModelNeedsAndFindsItAgain) {
  EXPECT_TRUE(store_.list().empty());
  const auto imported = import("mine");
  ASSERT_TRUE(imported) << imported.error().message;
  const auto models = store_.list();
  ASSERT_EQ(models.size(), 1u);
  EXPECT_EQ(models[0].name, "mine");
  EXPECT_EQ(models[0].bytes(), 9u);
  ASSERT_EQ(models[0].files.size(), 2u);
  // sha256sum of "weights".
  EXPECT_EQ(models[0].files[1].sha256,
            "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c");
  EXPECT_EQ(*store_.path("mine"), (root_ / "home/models/mine").string());
  const auto perms = fs::status(root_ / "home/models/mine/model.safetensors").permissions();
  EXPECT_EQ(perms, fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(StoreTest, TheNameOfAGgufFileIsItsPath) {
  write("m.gguf", "GGUF");
  ASSERT_TRUE(store_.import((root_ / "m.gguf").string(), "g", {}));
  EXPECT_EQ(*store_.path("g"), (root_ / "home/models/g/m.gguf").string());
}

TEST_F(StoreTest, ATakenNameIsRefusedAndNothingChanges) {
  ASSERT_TRUE(import("mine"));
  write("from/model.safetensors", "others!");
  EXPECT_FALSE(import("mine"));
  EXPECT_TRUE(store_.verify("mine", {}));
}

TEST_F(StoreTest, AnotherTimeIsLookedAtAndAnotherByteIsRefused) {
  ASSERT_TRUE(import("mine"));
  const fs::path weights = root_ / "home/models/mine/model.safetensors";
  fs::last_write_time(weights, fs::last_write_time(weights) + std::chrono::hours(1));
  ASSERT_TRUE(store_.check("mine", {}));
  EXPECT_EQ(store_.find("mine")->files[1].changed_ns,
            store_.check("mine", {})->files[1].changed_ns);

  write("home/models/mine/model.safetensors", "Weights");
  fs::last_write_time(weights, fs::last_write_time(weights) + std::chrono::hours(2));
  const auto checked = store_.check("mine", {});
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().kind, ErrorKind::DigestMismatch);
  const auto verified = store_.verify("mine", {});
  ASSERT_FALSE(verified);
  EXPECT_EQ(verified.error().kind, ErrorKind::DigestMismatch);

  fs::remove(weights);
  EXPECT_FALSE(store_.check("mine", {}));
}

TEST_F(StoreTest, AManifestThatNamesAFileElsewhereIsNone) {
  ASSERT_TRUE(import("mine"));
  const fs::path manifest = root_ / "home/models/mine/manifest.json";
  std::ifstream file(manifest);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto at = text.find("model.safetensors");
  ASSERT_NE(at, std::string::npos);
  text.replace(at, std::string("model.safetensors").size(), "../../../etc/passwd");
  write("home/models/mine/manifest.json", text);
  const auto found = store_.find("mine");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, ErrorKind::BadFile);
  EXPECT_TRUE(store_.list().empty());
}

TEST_F(StoreTest, RemovesWhatItHasAndSaysHowMuch) {
  ASSERT_TRUE(import("mine"));
  const auto freed = store_.remove("mine", {});
  ASSERT_TRUE(freed) << freed.error().message;
  EXPECT_GT(*freed, 9u);
  EXPECT_FALSE(fs::exists(root_ / "home/models/mine"));
  EXPECT_EQ(store_.remove("mine", {}).error().kind, ErrorKind::NotFound);
  EXPECT_EQ(store_.remove("../mine", {}).error().kind, ErrorKind::InvalidRequest);
}

TEST_F(StoreTest, WhatTheUserPutThereStays) {
  fs::create_directories(root_ / "home/models/mine");
  write("home/models/mine/model.safetensors", "my own");
  write("home/models/file", "my own");
  for (const char* name : {"mine", "file"}) {
    const auto removed = store_.remove(name, {});
    ASSERT_FALSE(removed) << name;
    EXPECT_EQ(removed.error().kind, ErrorKind::InvalidRequest);
    EXPECT_FALSE(import(name)) << name;
  }
  EXPECT_EQ(fs::file_size(root_ / "home/models/mine/model.safetensors"), 6u);
  EXPECT_EQ(fs::file_size(root_ / "home/models/file"), 6u);
}

TEST_F(StoreTest, AFileWithSpacesInItsNameIsTakenInUnderAPlainOne) {
  write("My model (1).gguf", "GGUF");
  const auto imported = store_.import((root_ / "My model (1).gguf").string(), "mine", {});
  ASSERT_TRUE(imported) << imported.error().message;
  EXPECT_EQ(*store_.path("mine"), (root_ / "home/models/mine/My-model-1.gguf").string());
}

TEST_F(StoreTest, AnImportThatIsStoppedLeavesNothing) {
  WorkHooks hooks;
  hooks.stopped = [] { return true; };
  const auto stopped = store_.import((root_ / "from").string(), "mine", hooks);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().kind, ErrorKind::Cancelled);
  EXPECT_FALSE(fs::exists(root_ / "home/models/mine"));
  EXPECT_FALSE(fs::exists(root_ / "home/models/.mine.partial"));
}

TEST(Catalog, HasTheDefaultFirstAndOnlyNamesThatCanBeStored) {
  ASSERT_FALSE(catalog().empty());
  EXPECT_EQ(catalog().front().name, kDefaultModel);
  for (const CatalogEntry& entry : catalog()) {
    EXPECT_TRUE(is_model_name(entry.name)) << entry.name;
    EXPECT_TRUE(parse_reference("hub:" + std::string(entry.repository))) << entry.repository;
    EXPECT_EQ(find_in_catalog(entry.name), &entry);
  }
  EXPECT_EQ(find_in_catalog("nothing"), nullptr);
  // DESIGN, section 5: 209,000 to 221,000 bytes per token at q8.
  EXPECT_GE(catalog().front().kv_bytes_per_token, 208'000u);
  EXPECT_LE(catalog().front().kv_bytes_per_token, 221'000u);
}

constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";

std::string listing(const std::string& siblings) {
  return std::string(R"({"sha":")") + kCommit + R"(","siblings":[)" + siblings + "]}";
}
std::string large(const std::string& name) {
  return R"({"rfilename":")" + name + R"(","size":5,"blobId":"x","lfs":{"sha256":")" +
         std::string(64, 'a') + R"(","size":5}})";
}
std::string small(const std::string& name) {
  return R"({"rfilename":")" + name + R"(","size":2,"blobId":")" + kCommit + "\"}";
}

TEST(Hub, PicksTheModelsFiles) {
  const auto model = parse_listing(listing(small("README.md") + "," + large("b.safetensors") + "," +
                                           small("config.json") + "," + large("x/b.safetensors")),
                                   "");
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->commit, kCommit);
  ASSERT_EQ(model->files.size(), 2u);
  EXPECT_EQ(model->files[0].name, "b.safetensors");
  EXPECT_EQ(model->files[0].sha256, std::string(64, 'a'));
  EXPECT_EQ(model->files[1].git_blob, kCommit);

  const std::string ggufs = large("a.gguf") + "," + large("b.gguf");
  EXPECT_EQ(parse_listing(listing(ggufs), "").error().kind, ErrorKind::InvalidRequest);
  EXPECT_EQ(parse_listing(listing(ggufs), "b.gguf")->files[0].name, "b.gguf");
  EXPECT_EQ(parse_listing(listing(ggufs), "c.gguf").error().kind, ErrorKind::NotFound);
  EXPECT_TRUE(parse_listing(listing(large("a.gguf")), ""));

  // The shards of one model come together, whichever is named.
  const std::string shards = large("m-00001-of-00002.gguf") + "," + large("m-00002-of-00002.gguf");
  EXPECT_EQ(parse_listing(listing(shards), "")->files.size(), 2u);
  const std::string more =
      shards + "," + large("m-00001-of-00003.gguf") + "," + large("other-q4.gguf");
  EXPECT_EQ(parse_listing(listing(more), "").error().kind, ErrorKind::InvalidRequest);
  const auto set = parse_listing(listing(more), "m-00002-of-00002.gguf");
  ASSERT_TRUE(set);
  ASSERT_EQ(set->files.size(), 2u);
  EXPECT_EQ(set->files[0].name, "m-00001-of-00002.gguf");
  EXPECT_EQ(set->files[1].name, "m-00002-of-00002.gguf");
  EXPECT_EQ(parse_listing(listing(more), "m-00003-of-00003.gguf").error().kind,
            ErrorKind::NotFound);
}

TEST(Hub, RefusesAnswersThatMakeNoSense) {
  for (const std::string& bad :
       {std::string(),
        std::string("[]"),
        std::string("{}"),
        std::string(R"({"sha":"x","siblings":[]})"),
        listing(R"({"rfilename":"a.safetensors","blobId":"x","size":-1})"),
        listing(R"({"rfilename":"a.safetensors","size":5,"blobId":"x"})"),
        listing(R"({"rfilename":"a.safetensors","size":5,"lfs":{"sha256":"zz"}})"),
        listing(large("../a.safetensors")),
        listing(large("/a.safetensors")),
        listing(large("a.safetensors") + "," + large("a.safetensors"))}) {
    EXPECT_FALSE(parse_listing(bad, "")) << bad;
  }
}

}  // namespace
}  // namespace pensieve::store
