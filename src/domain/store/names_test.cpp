// Names, references and digests: what is let in, and what is refused before any file is looked at.
#include "domain/store/names.h"

#include <gtest/gtest.h>

#include <span>
#include <string>
#include <vector>

#include "domain/store/internal/digest.h"

namespace pensieve::store {
namespace {

using Kind = Reference::Kind;

TEST(Names, TakeWhatIsPlainAndRefuseWhatCouldBeAPath) {
  for (const char* good : {"a", "phi-3.5-mini_4bit", "Qwen2.5-Coder", "7b"}) {
    EXPECT_TRUE(is_model_name(good)) << good;
    EXPECT_TRUE(is_file_name(good)) << good;
  }
  const std::string nul("a\0b", 3);
  for (const std::string& bad : {std::string(),
                                 std::string("."),
                                 std::string(".."),
                                 std::string("../x"),
                                 std::string("/etc/passwd"),
                                 std::string("C:\\x"),
                                 std::string("a/b"),
                                 std::string("-rf"),
                                 std::string(".hidden"),
                                 std::string("a b"),
                                 std::string("ü"),
                                 std::string(300, 'n'),
                                 nul}) {
    EXPECT_FALSE(is_model_name(bad)) << bad;
    EXPECT_FALSE(is_file_name(bad)) << bad;
  }
  EXPECT_FALSE(is_model_name("tiny"));
  EXPECT_FALSE(is_model_name("default"));
  for (const char* own : {"manifest.json", "x.part", "x.part.json", "x.rejected"}) {
    EXPECT_FALSE(is_file_name(own)) << own;
  }
}

TEST(Names, ThatAreNoneHaveOneNearby) {
  for (const auto& [text, plain] : {std::pair{"My model (1)", "My-model-1"},
                                    {"phi-3-mini_4bit", "phi-3-mini_4bit"},
                                    {"..hidden", "hidden"},
                                    {"--x--", "x"},
                                    {"a  -  b", "a-b"},
                                    {"müll", "m-ll"},
                                    {"v1.5", "v1.5"},
                                    {"../../etc/passwd", "etc-passwd"}}) {
    EXPECT_EQ(plain_name(text), plain);
    EXPECT_TRUE(is_model_name(plain_name(text))) << text;
  }
  EXPECT_EQ(plain_name(" ü/"), "");
  EXPECT_EQ(plain_name(std::string(300, 'n')).size(), 100u);
}

TEST(Names, ADigestHasExactlyItsDigits) {
  EXPECT_TRUE(is_sha256(std::string(64, 'a')));
  EXPECT_TRUE(is_git_hash(std::string(40, '0')));
  for (const std::string& bad : {std::string(63, 'a'),
                                 std::string(65, 'a'),
                                 std::string(64, 'A'),
                                 std::string(64, 'g'),
                                 std::string()}) {
    EXPECT_FALSE(is_sha256(bad)) << bad;
  }
}

TEST(Reference, KnowsItsFourForms) {
  const auto name = parse_reference("phi-3-mini");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->kind, Kind::Name);
  const auto hub = parse_reference("hub:owner/My-Model@v1.2:my-q4.gguf");
  ASSERT_TRUE(hub) << hub.error().message;
  EXPECT_EQ(hub->kind, Kind::Hub);
  EXPECT_EQ(hub->repository, "owner/My-Model");
  EXPECT_EQ(hub->revision, "v1.2");
  EXPECT_EQ(hub->file, "my-q4.gguf");
  EXPECT_EQ(hub->name, "my-q4");
  EXPECT_EQ(parse_reference("hub:owner/My-Model")->name, "My-Model");
  EXPECT_EQ(parse_reference("hub:owner/My-Model")->revision, "main");
  const auto url = parse_reference("https://host/a/b.gguf?download=true");
  ASSERT_TRUE(url) << url.error().message;
  EXPECT_EQ(url->kind, Kind::Url);
  EXPECT_EQ(url->file, "b.gguf");
  EXPECT_EQ(url->name, "b");
  for (const char* path : {"./phi", "/models/x", "~/x", "a/b.gguf", "tiny"}) {
    EXPECT_EQ(parse_reference(path)->kind, Kind::Path) << path;
  }
}

TEST(Reference, RefusesWhatCannotBeFetched) {
  for (const char* bad : {"",
                          "hub:",
                          "hub:owner",
                          "hub:../x",
                          "hub:a/b/c",
                          "hub:a/b@",
                          "hub:a/b@x/..",
                          "hub:a/b:x.bin",
                          "hub:a/b:../x.gguf",
                          "hub:a/..",
                          "https://host/",
                          "https://host/x.bin",
                          "http://host/..gguf/",
                          "ftp://host/x.gguf",
                          "file:///x.gguf"}) {
    EXPECT_FALSE(parse_reference(bad)) << bad;
  }
}

std::string sha256(std::string_view text) {
  Digest digest;
  digest.update(std::as_bytes(std::span(text)));
  return digest.finish().sha256;
}

// FIPS 180-4, examples of SHA-256; the blob ids are the ones of the Pro Git book, chapter 10.2.
TEST(Digest, IsTheOneThatEverybodyComputes) {
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  const std::string content = "test content\n";
  Digest digest(content.size());
  for (const char& c : content) digest.update(std::as_bytes(std::span(&c, 1)));
  EXPECT_EQ(digest.finish().git_blob, "d670460b4b4aece5915caf5c68d12f560a9fe3e4");
}

}  // namespace
}  // namespace pensieve::store
