// The contract of Tokenizer on small vocabularies made here, against a slow and obvious model of
// byte-pair merging.

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "domain/tokenizer/internal/reference_fixture.h"

namespace pensieve::tokenizer {
namespace {

// A vocabulary of <unk>, <s>, </s>, 256 byte tokens and then `pieces` with falling scores.
class Small {
 public:
  explicit Small(std::vector<std::string> pieces) {
    add("<unk>", TokenKind::Unknown);
    add("<s>", TokenKind::Control);
    add("</s>", TokenKind::Control);
    for (int byte = 0; byte < 256; ++byte) {
      static constexpr char kHex[] = "0123456789ABCDEF";
      add(std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">", TokenKind::Byte);
    }
    for (auto& piece : pieces) add(std::move(piece), TokenKind::Normal);
    v.bos = 1;
    v.unknown = 0;
    v.eos = {2};
  }
  void add(std::string text, TokenKind kind) {
    texts_.push_back(std::make_unique<std::string>(std::move(text)));
    v.tokens.push_back(*texts_.back());
    v.scores.push_back(-static_cast<float>(v.tokens.size()));
    v.kinds.push_back(kind);
  }
  std::unique_ptr<Tokenizer> make() const {
    auto made = Tokenizer::create(v);
    CHECK(made);
    return *std::move(made);
  }
  std::string why() const {
    auto made = Tokenizer::create(v);
    if (made) return "";
    EXPECT_EQ(made.error().kind, ErrorKind::BadFile);
    return made.error().message;
  }

  Vocabulary v;

 private:
  std::vector<std::unique_ptr<std::string>> texts_;
};

std::vector<std::string> pieces_of(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::string> out;
  for (const TokenId id : encode(tokenizer, text)) out.emplace_back(tokenizer.piece(id));
  return out;
}

TEST(Tokenizer, MergesTheBestPairFirstAndTheLeftmostOfEqualOnes) {
  using Pieces = std::vector<std::string>;
  Small small({"▁", "a", "b", "c", "bc", "ab", "aa"});
  small.v.add_space_prefix = false;
  const auto tokenizer = small.make();
  EXPECT_EQ(pieces_of(*tokenizer, "abc"), (Pieces{"a", "bc"}));
  EXPECT_EQ(pieces_of(*tokenizer, "aaaaa"), (Pieces{"aa", "aa", "a"}));
  EXPECT_EQ(pieces_of(*tokenizer, "aab"), (Pieces{"a", "ab"}));
  EXPECT_EQ(pieces_of(*tokenizer, "a b"), (Pieces{"a", "▁", "b"}));
}

TEST(Tokenizer, ACharacterThatIsNoPieceStillMergesOrBecomesItsBytes) {
  using Pieces = std::vector<std::string>;
  Small small({"▁", "ä", "äö", "b"});
  small.v.add_space_prefix = false;
  const auto tokenizer = small.make();
  EXPECT_EQ(pieces_of(*tokenizer, "äö"), (Pieces{"äö"}));
  EXPECT_EQ(pieces_of(*tokenizer, "öäb"), (Pieces{"<0xC3>", "<0xB6>", "ä", "b"}));
  EXPECT_EQ(pieces_of(*tokenizer, "x"), (Pieces{"<0x78>"}));
  EXPECT_EQ(tokenizer->decode(encode(*tokenizer, "öäb x"), true), "öäb x");
}

TEST(Tokenizer, PutsTheDummyPrefixOnlyAtTheStart) {
  using Pieces = std::vector<std::string>;
  const auto tokenizer = Small({"▁", "a", "▁a"}).make();
  EXPECT_EQ(pieces_of(*tokenizer, "a"), (Pieces{"▁a"}));
  EXPECT_EQ(pieces_of(*tokenizer, " a"), (Pieces{"▁", "▁a"}));
  EXPECT_EQ(encode(*tokenizer, "a", false), (std::vector<TokenId>{260}));
  EXPECT_EQ(encode(*tokenizer, ""), std::vector<TokenId>{});
}

// Takes the best pair of the whole text again and again, reading the scores of the vocabulary.
std::vector<std::string> merge_slowly(const Vocabulary& v, std::vector<std::string> symbols) {
  const auto score = [&](const std::string& text) {
    for (std::size_t i = 0; i < v.tokens.size(); ++i) {
      if (v.kinds[i] == TokenKind::Normal && v.tokens[i] == text) return v.scores[i];
    }
    return -INFINITY;
  };
  for (;;) {
    std::size_t best = 0;
    float best_score = -INFINITY;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const float s = score(symbols[i] + symbols[i + 1]);
      if (s > best_score) {
        best = i;
        best_score = s;
      }
    }
    if (best_score == -INFINITY) return symbols;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(Tokenizer, EqualsTheSlowModelOnRandomVocabularies) {
  for (unsigned seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const std::string alphabet[] = {"a", "b", "c", "é", "中"};
    const auto random_letters = [&](std::size_t n) {
      std::string out;
      for (std::size_t i = 0; i < n; ++i) out += alphabet[random() % 5];
      return out;
    };
    Small small({"a", "b", "c", "é", "中"});
    small.v.add_space_prefix = false;
    for (int i = 0; i < 40; ++i) small.add(random_letters(2 + random() % 4), TokenKind::Normal);
    for (float& score : small.v.scores) score = -static_cast<float>(random() % 20);  // many ties
    const auto tokenizer = small.make();
    // Equal texts twice: only the first counts, for both.
    for (std::size_t i = 0; i < small.v.tokens.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (small.v.tokens[i] == small.v.tokens[j]) small.v.kinds[i] = TokenKind::Unused;
      }
    }
    for (int round = 0; round < 20; ++round) {
      std::vector<std::string> letters;
      std::string text;
      for (std::size_t n = random() % 30; n-- > 0;) {
        letters.push_back(random_letters(1));
        text += letters.back();
      }
      EXPECT_EQ(pieces_of(*tokenizer, text), merge_slowly(small.v, letters)) << text;
    }
  }
}

TEST(Tokenizer, TextNeverBecomesAControlUserDefinedUnusedOrUnknownToken) {
  auto fixture = read_fixture("tiny.json");
  fixture.kinds[4098] = TokenKind::UserDefined;  // as older files have them
  const auto tokenizer = fixture.tokenizer();
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < fixture.tokens.size(); ++i) {
    if (fixture.kinds[i] == TokenKind::Normal) continue;
    for (const char* around : {"", " ", "x", "\n", "<", ">"}) {
      texts.push_back(around + fixture.tokens[i] + around);
    }
  }
  ASSERT_GT(texts.size(), 1500u);
  for (const auto& text : texts) {
    for (const bool at_start : {true, false}) {
      const auto ids = encode(*tokenizer, text, at_start);
      for (const TokenId id : ids) {
        const TokenKind kind = tokenizer->kind(id);
        EXPECT_TRUE(kind == TokenKind::Normal || kind == TokenKind::Byte) << text;
      }
      EXPECT_EQ(tokenizer->decode(ids, at_start), text);
    }
  }
}

TEST(Tokenizer, ControlTokensComeByTheirExactName) {
  auto fixture = read_fixture("tiny.json");
  fixture.kinds[4098] = TokenKind::UserDefined;
  const auto tokenizer = fixture.tokenizer();
  EXPECT_EQ(tokenizer->control("<|end|>"), 4103);
  EXPECT_EQ(tokenizer->control("<|placeholder1|>"), 4098);
  EXPECT_EQ(tokenizer->control("<s>"), 1);
  for (const char* name : {"<|END|>", "<|end|> ", "end", "", "▁the", "<0x0A>", "[PAD4107]"}) {
    EXPECT_EQ(tokenizer->control(name), std::nullopt) << name;
  }
}

TEST(Tokenizer, TokensStandForTheirBytes) {
  const auto tokenizer = read_fixture("tiny.json").tokenizer();
  EXPECT_EQ(tokenizer->bytes(*tokenizer->control("<|end|>")), "");
  EXPECT_EQ(tokenizer->bytes(4110), "");  // padding
  EXPECT_EQ(tokenizer->bytes(0), "");     // unknown
  EXPECT_EQ(tokenizer->bytes(13), "\n");  // <0x0A>
  EXPECT_EQ(tokenizer->bytes(3), std::string_view("\0", 1));
  const TokenId hello = encode(*tokenizer, "hello").at(0);
  EXPECT_EQ(tokenizer->piece(hello), "▁hello");
  EXPECT_EQ(tokenizer->bytes(hello), " hello");
  // A model's padded vocabulary may be larger than the tokenizer's.
  for (const TokenId id : {-1, 4160, 1 << 30}) {
    EXPECT_EQ(tokenizer->bytes(id), "");
    EXPECT_EQ(tokenizer->kind(id), TokenKind::Unused);
  }
}

TEST(Tokenizer, BytesThatAreNoUtf8BecomeByteTokens) {
  const auto tokenizer = Small({"▁", "a"}).make();
  for (const std::string_view text :
       {"\xFF", "a\xC3", "\xE2\x28\xA1", "\xED\xA0\x80", "\x80\x80"}) {
    std::string bytes;
    for (const TokenId id : encode(*tokenizer, text, false)) bytes += tokenizer->bytes(id);
    EXPECT_EQ(bytes, text);
  }
}

TEST(Tokenizer, LongestPieceBoundsTheNumberOfTokens) {
  const auto fixture = read_fixture("tiny.json");
  const auto tokenizer = fixture.tokenizer();
  std::size_t longest = 0;
  for (std::size_t i = 0; i < fixture.tokens.size(); ++i) {
    if (fixture.kinds[i] == TokenKind::Normal)
      longest = std::max(longest, fixture.tokens[i].size());
  }
  EXPECT_EQ(tokenizer->longest_piece(), longest);
  for (const auto& c : fixture.cases) {
    EXPECT_GE(c.ids.size() * tokenizer->longest_piece(), c.text.size());
  }
}

TEST(Vocabulary, IsRefusedWithOneSentenceThatSaysWhy) {
  const auto why = [](const std::function<void(Vocabulary&)>& spoil) {
    Small small({"▁", "a"});
    EXPECT_EQ(small.why(), "");
    spoil(small.v);
    return small.why();
  };
  const auto contains = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos ? "" : "\"" + text + "\" lacks " + part;
  };
  EXPECT_EQ(contains(why([](Vocabulary& v) { v = {}; }), "empty"), "");
  EXPECT_EQ(contains(why([](Vocabulary& v) { v.scores.pop_back(); }), "260 scores"), "");
  EXPECT_EQ(contains(why([](Vocabulary& v) { v.kinds.push_back(TokenKind::Normal); }), "262 kinds"),
            "");
  EXPECT_EQ(contains(why([](Vocabulary& v) { v.bos = 261; }), "bos is token 261"), "");
  EXPECT_EQ(contains(why([](Vocabulary& v) { v.bos = -2; }), "bos is token -2"), "");
  EXPECT_EQ(contains(why([](Vocabulary& v) { v.unknown = 9999; }), "unknown is token 9999"), "");
  EXPECT_EQ(contains(why([](Vocabulary& v) {
                       v.eos = {2, 1 << 30};
                     }),
                     "eos is token 1073741824"),
            "");
  EXPECT_EQ(contains(why([](Vocabulary& v) { v.scores[260] = NAN; }), "score of token 260"), "");
  EXPECT_EQ(contains(why([](Vocabulary& v) { v.kinds[50] = TokenKind::Unused; }), "255 of 256"),
            "");
  EXPECT_EQ(contains(why([](Vocabulary& v) { v.tokens[50] = "<0xfg>"; }), "token 50"), "");
  EXPECT_EQ(contains(why([](Vocabulary& v) {
                       for (auto& kind : v.kinds) {
                         if (kind == TokenKind::Byte) kind = TokenKind::Unused;
                       }
                       v.unknown = 1;  // a control token
                     }),
                     "neither byte tokens"),
            "");
  const std::string long_piece(5000, 'a');
  EXPECT_EQ(contains(why([&](Vocabulary& v) { v.tokens[260] = long_piece; }), "5000 bytes long"),
            "");
  EXPECT_EQ(contains(why([](Vocabulary& v) {
                       for (auto& kind : v.kinds) {
                         if (kind == TokenKind::Byte) kind = TokenKind::Unused;
                       }
                       v.unknown = kNoToken;
                     }),
                     "neither byte tokens"),
            "");
}

}  // namespace
}  // namespace pensieve::tokenizer
