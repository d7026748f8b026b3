// Byte-level BPE: the ids must be those of Hugging Face's tokenizers, text by text, from
// tokenizer.json and from what a GGUF file of the same model holds. Where the expected ids come
// from is said in internal/byte_level_fixture.h.

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>

#include "foundation/json.h"

#include "domain/tokenizer/internal/byte_level_fixture.h"
#include "domain/tokenizer/internal/nfc.h"
#include "domain/tokenizer/internal/reference_fixture.h"

namespace pensieve::tokenizer {
namespace {

const ByteLevelTexts& texts() {
  static const ByteLevelTexts read;
  return read;
}

void expect_reference_ids(const Tokenizer& tokenizer, const ByteLevelFixture& fixture) {
  ASSERT_EQ(fixture.ids.size(), texts().texts().size());
  for (std::size_t i = 0; i < fixture.ids.size(); ++i) {
    EXPECT_EQ(encode(tokenizer, texts().texts()[i]), fixture.ids[i]) << texts().texts()[i];
  }
  ASSERT_GE(texts().n_random(), 10'000u);
  ASSERT_EQ(fixture.hashes.size(), texts().n_random());
  for (std::size_t i = 0; i < texts().n_random(); ++i) {
    const auto ids = encode(tokenizer, texts().random(i));
    ASSERT_EQ(hash_of(ids), fixture.hashes[i])
        << "random text " << i << ": " << texts().random(i) << "\n ids "
        << testing::PrintToString(ids) << "\n see make_byte_level_fixtures.py --show";
  }
}

struct Variant {
  const char* name;
  const char* pre;
};

class ByteLevel : public testing::TestWithParam<Variant> {
 protected:
  ByteLevelFixture fixture = read_byte_level_fixture(GetParam().name);
};

TEST_P(ByteLevel, EveryTextGetsTheIdsOfHuggingFace) {
  expect_reference_ids(*fixture.tokenizer(), fixture);
}

TEST_P(ByteLevel, TheGgufTwinGivesTheSameIds) {
  const auto twin = twin_of(fixture, GetParam().pre);
  const auto tokenizer = Tokenizer::create(twin.vocabulary());
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  expect_reference_ids(**tokenizer, fixture);
}

TEST_P(ByteLevel, IdsDecodeToTheirTextTokenByToken) {
  const auto tokenizer = fixture.tokenizer();
  const bool nfc = std::string_view(GetParam().name) == "qwen2";
  std::string buffer;
  for (std::size_t i = 0; i < texts().n_random(); i += 4) {
    const std::string text = texts().random(i);
    const auto ids = encode(*tokenizer, text);
    const std::string_view expected = nfc ? to_nfc(text, buffer) : text;
    EXPECT_EQ(tokenizer->decode(ids, true), expected);
    StreamDecoder stream(*tokenizer, true);
    std::string streamed;
    for (const TokenId id : ids) streamed += stream.push(id);
    EXPECT_EQ(streamed, expected);
    EXPECT_EQ(stream.flush(), "");
    EXPECT_GE(ids.size() * tokenizer->longest_piece(), text.size());
  }
}

// T69: no text becomes a token that stands for something else.
TEST_P(ByteLevel, TextThatLooksLikeAControlTokenIsText) {
  const auto tokenizer = fixture.tokenizer();
  int n_controls = 0;
  for (TokenId id = 0; id < tokenizer->size(); ++id) {
    if (tokenizer->kind(id) == TokenKind::Normal) continue;
    ++n_controls;
    const std::string name(tokenizer->piece(id));
    EXPECT_EQ(tokenizer->control(name), id);
    for (const std::string& text : {name, " " + name, "a" + name + "b", name + name}) {
      const auto ids = encode(*tokenizer, text);
      EXPECT_EQ(tokenizer->decode(ids, true), text);
      for (const TokenId one : ids) EXPECT_EQ(tokenizer->kind(one), TokenKind::Normal) << text;
    }
  }
  EXPECT_GE(n_controls, 1);
}

// For a run by hand: see tools/reference/make_byte_level_fixtures.py --large.
TEST(ByteLevelReference, AgreesOnALargeCorpusWhereOneIsGiven) {
  const char* folder = std::getenv("PENSIEVE_BYTE_LEVEL_CORPUS");
  if (folder == nullptr) GTEST_SKIP() << "PENSIEVE_BYTE_LEVEL_CORPUS is not set";
  for (const char* name : {"gpt2", "qwen2", "llama3", "digits"}) {
    const auto cases = parse_json(read_file(std::string(folder) + "/" + name + ".json"));
    ASSERT_TRUE(cases);
    const auto tokenizer = read_byte_level_fixture(name).tokenizer();
    std::size_t n_bytes = 0, n_equal = 0;
    std::chrono::duration<double> seconds{};
    for (const Json& c : *cases) {
      const auto& text = c.at("text").get_ref<const std::string&>();
      n_bytes += text.size();
      const auto start = std::chrono::steady_clock::now();
      const auto ids = encode(*tokenizer, text);
      seconds += std::chrono::steady_clock::now() - start;
      n_equal += ids == c.at("ids").get<std::vector<TokenId>>();
    }
    std::printf("%s: %zu texts, %zu bytes: %zu equal; %.1f MB/s\n",
                name,
                cases->size(),
                n_bytes,
                n_equal,
                static_cast<double>(n_bytes) / 1e6 / seconds.count());
    EXPECT_EQ(n_equal, cases->size()) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Variants,
                         ByteLevel,
                         testing::Values(Variant{"gpt2", "gpt-2"},
                                         Variant{"qwen2", "qwen2"},
                                         Variant{"llama3", "llama-bpe"},
                                         Variant{"digits", "smollm"}),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

}  // namespace
}  // namespace pensieve::tokenizer
