// For tests: small byte-level tokenizers, texts, and the ids that another implementation gives
// them. Made by tools/reference/make_byte_level_fixtures.py; run it again to refresh
// testdata/byte-level/.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "domain/tokenizer/tokenizer.h"

namespace pensieve::tokenizer {

// "gpt2", "qwen2", "llama3", and "digits": GPT-2's with each digit cut off first.
struct ByteLevelFixture {
  std::string tokenizer_json;
  std::vector<std::vector<TokenId>> ids;  // of ByteLevelTexts::texts
  std::vector<std::uint32_t> hashes;      // hash_of() the ids of ByteLevelTexts::random(i)

  std::unique_ptr<Tokenizer> tokenizer() const;  // from tokenizer_json
};
ByteLevelFixture read_byte_level_fixture(const std::string& name);

// What the GGUF file of the same model would hold.
struct ByteLevelTwin {
  std::vector<std::string> tokens, merges;
  std::vector<TokenKind> kinds;
  std::string pre;
  ByteLevelVocabulary vocabulary() const;  // views into this object
};
ByteLevelTwin twin_of(const ByteLevelFixture& fixture, const std::string& pre);

class ByteLevelTexts {
 public:
  ByteLevelTexts();
  const std::vector<std::string>& texts() const { return texts_; }
  std::size_t n_random() const { return n_random_; }
  // The same text as random_text() of the script makes.
  std::string random(std::size_t index) const;

 private:
  std::uint64_t seed_ = 0;
  std::size_t n_random_ = 0;
  std::vector<std::string> texts_, parts_, runs_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> ranges_;
  std::vector<std::uint32_t> excluded_;  // sorted
};

// FNV-1a, 32 bits, over the ids as four little-endian bytes each.
std::uint32_t hash_of(const std::vector<TokenId>& ids);

}  // namespace pensieve::tokenizer
