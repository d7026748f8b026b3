// What the store notes beside its files: read back as it was written, and refused where a program
// or a disk wrote something else.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "domain/store/internal/manifest.h"
#include "domain/store/internal/sidecar.h"

namespace pensieve::store {
namespace {

const std::string kDigest(64, 'a');

// docs/formats/model-store.md, member by member.
std::string manifest_with(const std::string& member, const std::string& value) {
  std::vector<std::pair<std::string, std::string>> members = {
      {"format", "1"},
      {"name", "\"m\""},
      {"source", "\"hub:o/m\""},
      {"revision", "\"\""},
      {"fetched_unix_s", "1760000000"},
      {"verified_unix_s", "1760000001"},
      {"files", R"([{"name":"m.gguf","bytes":5,"sha256":")" + kDigest + R"(","changed_ns":-7}])"}};
  std::string text;
  for (auto& [name, old] : members) {
    if (name == member && value.empty()) continue;
    text += (text.empty() ? "{\"" : ",\"") + name + "\":" + (name == member ? value : old);
  }
  return text + "}";
}

TEST(ManifestText, SaysWhatTheFormatSays) {
  const auto manifest = parse_manifest(manifest_with("", ""));
  ASSERT_TRUE(manifest);
  EXPECT_EQ(manifest->name, "m");
  EXPECT_EQ(manifest->source, "hub:o/m");
  EXPECT_EQ(manifest->fetched_unix_s, 1760000000);
  EXPECT_EQ(manifest->verified_unix_s, 1760000001);
  ASSERT_EQ(manifest->files.size(), 1u);
  EXPECT_EQ(manifest->files[0].name, "m.gguf");
  EXPECT_EQ(manifest->files[0].bytes, 5u);
  EXPECT_EQ(manifest->files[0].sha256, kDigest);
  EXPECT_EQ(manifest->files[0].changed_ns, -7);
  const auto again = parse_manifest(manifest_text(*manifest));
  ASSERT_TRUE(again);
  EXPECT_EQ(manifest_text(*again), manifest_text(*manifest));
}

TEST(ManifestText, WithoutAMemberOrWithAnotherKindOfValueIsNone) {
  for (const char* member :
       {"format", "name", "source", "revision", "fetched_unix_s", "verified_unix_s", "files"}) {
    for (const char* value : {"", "null", "1.5", "true", "{}", "18446744073709551616"}) {
      EXPECT_FALSE(parse_manifest(manifest_with(member, value))) << member << " " << value;
    }
  }
  for (const auto& [member, value] : {std::pair{"format", "2"},
                                      {"format", "4294967297"},  // 1 in 32 bits
                                      {"format", "-1"},
                                      {"name", "\"../m\""},
                                      {"name", "\"tiny\""},
                                      {"fetched_unix_s", "18446744073709551615"},
                                      {"files", "[]"},
                                      {"files", "[5]"}}) {
    EXPECT_FALSE(parse_manifest(manifest_with(member, value))) << member << " " << value;
  }
  for (const char* text : {"", "[]", "nothing", "{}"}) EXPECT_FALSE(parse_manifest(text)) << text;
}

TEST(ManifestText, AFileHasAPlainNameALengthAndADigest) {
  const auto file = [](const std::string& name, const std::string& bytes, const std::string& hash) {
    return R"({"name":")" + name + R"(","bytes":)" + bytes + R"(,"sha256":")" + hash +
           R"(","changed_ns":0})";
  };
  const auto with = [](const std::string& files) {
    return parse_manifest(manifest_with("files", "[" + files + "]")).has_value();
  };
  EXPECT_TRUE(with(file("a", "0", kDigest) + "," + file("b", "4398046511104", kDigest)));
  EXPECT_FALSE(with(file("a", "0", kDigest) + "," + file("a", "0", kDigest))) << "twice";
  EXPECT_FALSE(with(file("a", "-1", kDigest)));
  EXPECT_FALSE(with(file("a", "4398046511105", kDigest)));
  EXPECT_FALSE(with(file("../a", "5", kDigest)));
  EXPECT_FALSE(with(file("manifest.json", "5", kDigest)));
  EXPECT_FALSE(with(file("a", "5", kDigest.substr(1))));
  EXPECT_FALSE(with(file("a", "5", std::string(64, 'A'))));
}

TEST(ManifestText, CanBeWrittenWhateverAPathWasCalled) {
  Manifest manifest{.name = "m", .source = "import:/models/\xFF.gguf"};
  manifest.files.push_back({.name = "x.gguf", .bytes = 1, .sha256 = kDigest});
  EXPECT_TRUE(parse_manifest(manifest_text(manifest)));
}

TEST(SidecarText, IsReadBackAsItWasWritten) {
  for (const Sidecar& sidecar :
       {Sidecar{.url = "https://h/f", .etag = "\"a\"", .total = 5, .sha256 = kDigest, .synced = 3},
        Sidecar{.url = "https://h/f", .synced = 0}}) {
    const auto read = parse_sidecar(sidecar_text(sidecar));
    ASSERT_TRUE(read);
    EXPECT_EQ(read->url, sidecar.url);
    EXPECT_EQ(read->etag, sidecar.etag);
    EXPECT_EQ(read->total, sidecar.total);
    EXPECT_EQ(read->sha256, sidecar.sha256);
    EXPECT_EQ(read->synced, sidecar.synced);
  }
}

TEST(SidecarText, ThatCannotBeReliedOnIsNone) {
  const std::string good = R"({"url":"u","etag":"\"a\"","total":9,"sha256":"","synced":3})";
  ASSERT_TRUE(parse_sidecar(good));
  for (const auto& [from, to] : {std::pair{R"("synced":3)", R"("synced":-3)"},
                                 {R"("synced":3)", R"("synced":3.5)"},
                                 {R"("total":9)", R"("total":"9")"},
                                 {R"("total":9)", R"("total":-9)"},
                                 {R"("sha256":"")", R"("sha256":"abc")"},
                                 {R"("\"a\"")", R"("W/\"a\"")"},
                                 {R"("\"a\"")", R"("\"a\r\nX: y\"")"},
                                 {R"("url":"u")", R"("url":5)"},
                                 {R"("url":"u",)", ""}}) {
    std::string bad = good;
    bad.replace(bad.find(from), std::string(from).size(), to);
    EXPECT_FALSE(parse_sidecar(bad)) << bad;
  }
}

// RFC 9110, 8.8.3: entity-tag = [ weak ] DQUOTE *etagc DQUOTE.
TEST(SidecarText, OnlyAPlainStrongTagCanBeSentBack) {
  for (const char* good : {"\"\"", "\"a\"", "\"5f-8d'!~\""}) EXPECT_TRUE(is_strong_tag(good));
  for (const char* bad :
       {"", "\"", "a", "W/\"a\"", "\"a\"b\"", "\"a b\"", "\"a\rb\"", "\"\x7f\"", "\"\xE9\""}) {
    EXPECT_FALSE(is_strong_tag(bad)) << bad;
  }
}

}  // namespace
}  // namespace pensieve::store
