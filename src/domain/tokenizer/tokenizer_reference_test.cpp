// The ids must be those of sentencepiece, text by text, from both file formats. Where the expected
// ids come from is said in internal/reference_fixture.h.

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>

#include "foundation/json.h"

#include "domain/tokenizer/internal/reference_fixture.h"

namespace pensieve::tokenizer {
namespace {

class Reference : public testing::TestWithParam<const char*> {};

TEST_P(Reference, EveryTextGetsTheIdsOfSentencepiece) {
  const auto fixture = read_fixture(GetParam());
  const auto tokenizer = fixture.tokenizer();
  ASSERT_GE(fixture.cases.size(), 200u);
  for (const auto& c : fixture.cases) EXPECT_EQ(encode(*tokenizer, c.text), c.ids) << c.text;
}

INSTANTIATE_TEST_SUITE_P(
    Vocabularies,
    Reference,
    testing::Values("tiny.json", "crossing.json", "no-bytes.json", "no-prefix.json"),
    [](const auto& parameter) {
      std::string name = parameter.param;
      name.resize(name.find('.'));
      for (char& c : name) c = c == '-' ? '_' : c;
      return name;
    });

// U+2581 in a text is the one thing that does not survive: it is what a space becomes.
std::string with_spaces(std::string text) {
  for (std::size_t at; (at = text.find("\xE2\x96\x81")) != std::string::npos;) {
    text.replace(at, 3, " ");
  }
  return text;
}

TEST(Reference, IdsDecodeToTheirText) {
  for (const char* name : {"tiny.json", "crossing.json", "no-prefix.json"}) {
    const auto fixture = read_fixture(name);
    const auto tokenizer = fixture.tokenizer();
    for (const auto& c : fixture.cases) {
      EXPECT_EQ(tokenizer->decode(c.ids, true), with_spaces(c.text)) << name;
    }
  }
}

TEST(Reference, TokenizerJsonGivesTheSameIdsByRankAsTheScoresDo) {
  const auto fixture = read_fixture("tiny.json");
  auto tokenizer = Tokenizer::from_json(tiny_tokenizer_json(), std::vector<TokenId>{4096, 4103});
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  for (const auto& c : fixture.cases) EXPECT_EQ(encode(**tokenizer, c.text), c.ids) << c.text;
}

TEST(Reference, MergesAsStringsAreReadLikeMergesAsPairs) {
  auto json = parse_json(tiny_tokenizer_json());
  ASSERT_TRUE(json);
  for (Json& merge : json->at("model").at("merges")) {
    merge = merge.at(0).get<std::string>() + " " + merge.at(1).get<std::string>();
  }
  const auto fixture = read_fixture("tiny.json");
  auto tokenizer = Tokenizer::from_json(json->dump(), {});
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  for (const auto& c : fixture.cases) EXPECT_EQ(encode(**tokenizer, c.text), c.ids) << c.text;
}

// The prompts the embedded model was trained on: control tokens by name, the text between them
// without its leading white space, at_start. reference.json comes with the model.
TEST(Reference, ThePromptsOfTheEmbeddedModelGetTheirIds) {
  auto made = Tokenizer::from_json(tiny_tokenizer_json(), {});
  ASSERT_TRUE(made);
  const Tokenizer& tokenizer = **made;
  const auto reference =
      parse_json(read_file(PENSIEVE_SOURCE_DIR "/tools/tiny-model/artefacts/reference.json"));
  ASSERT_TRUE(reference);
  int n_prompts = 0;
  for (const Json& c : reference->at("cases")) {
    const auto prompt = c.at("prompt").get<std::string>();
    std::vector<TokenId> ids{tokenizer.bos()};
    for (std::size_t at = 0; at < prompt.size();) {
      ASSERT_EQ(prompt.compare(at, 2, "<|"), 0);
      const std::size_t end = prompt.find("|>", at) + 2;
      const auto control = tokenizer.control(prompt.substr(at, end - at));
      ASSERT_TRUE(control.has_value());
      ids.push_back(*control);
      const std::size_t text = std::min(prompt.find_first_not_of(" \n", end), prompt.size());
      at = std::min(prompt.find("<|", text), prompt.size());
      tokenizer.encode(std::string_view(prompt).substr(text, at - text), true, ids);
    }
    EXPECT_EQ(ids, c.at("ids").get<std::vector<TokenId>>()) << c.at("name");
    ++n_prompts;
  }
  EXPECT_EQ(n_prompts, 21);
}

// For a run by hand: see tools/reference/make_tokenizer_fixtures.py --large.
TEST(Reference, AgreesOnALargeCorpusWhereOneIsGiven) {
  const char* path = std::getenv("PENSIEVE_TOKENIZER_CORPUS");
  if (path == nullptr) GTEST_SKIP() << "PENSIEVE_TOKENIZER_CORPUS is not set";
  const auto fixture = read_fixture(path);
  auto by_rank = Tokenizer::from_json(read_file(std::string(path) + ".tokenizer.json"), {});
  ASSERT_TRUE(by_rank) << by_rank.error().message;
  const auto by_score = fixture.tokenizer();
  std::size_t n_bytes = 0, n_equal_by_score = 0, n_equal_by_rank = 0;
  const auto start = std::chrono::steady_clock::now();
  for (const auto& c : fixture.cases) {
    n_bytes += c.text.size();
    n_equal_by_score += encode(*by_score, c.text) == c.ids;
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  for (const auto& c : fixture.cases) n_equal_by_rank += encode(**by_rank, c.text) == c.ids;
  std::printf("%zu texts, %zu bytes: %zu equal by score, %zu by rank; %.1f MB/s\n",
              fixture.cases.size(),
              n_bytes,
              n_equal_by_score,
              n_equal_by_rank,
              static_cast<double>(n_bytes) / 1e6 / seconds.count());
  EXPECT_EQ(n_equal_by_score, fixture.cases.size());
  EXPECT_EQ(n_equal_by_rank, fixture.cases.size());
}

}  // namespace
}  // namespace pensieve::tokenizer
