// For tests: vocabularies and texts with the ids that other implementations give them. Made by
// tools/reference/make_tokenizer_fixtures.py; run it again to refresh testdata/.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "domain/tokenizer/tokenizer.h"

namespace pensieve::tokenizer {

struct ReferenceCase {
  std::string text;
  std::vector<TokenId> ids;
};

struct ReferenceFixture {
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<TokenKind> kinds;
  TokenId bos = kNoToken, unknown = kNoToken;
  std::vector<TokenId> eos;
  bool add_space_prefix = true;
  std::vector<ReferenceCase> cases;

  Vocabulary vocabulary() const;  // views into this object
  std::unique_ptr<Tokenizer> tokenizer() const;
};

std::string read_file(const std::string& path);
// `name`: a file in testdata/, or a path that begins with "/".
ReferenceFixture read_fixture(const std::string& name);
std::vector<TokenId> encode(const Tokenizer& tokenizer,
                            std::string_view text,
                            bool at_start = true);
// The tokenizer.json that ships beside the embedded model.
std::string tiny_tokenizer_json();

}  // namespace pensieve::tokenizer
