#include "domain/tokenizer/internal/reference_fixture.h"

#include <fstream>
#include <sstream>

#include "foundation/check.h"
#include "foundation/json.h"

namespace pensieve::tokenizer {

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  CHECK(in.good());
  std::ostringstream all;
  all << in.rdbuf();
  return std::move(all).str();
}

ReferenceFixture read_fixture(const std::string& name) {
  const std::string path =
      name.starts_with('/')
          ? name
          : std::string(PENSIEVE_SOURCE_DIR "/src/domain/tokenizer/testdata/") + name;
  const auto json = parse_json(read_file(path));
  CHECK(json);
  const Json& v = json->at("vocabulary");
  ReferenceFixture out;
  out.tokens = v.at("tokens").get<std::vector<std::string>>();
  out.scores = v.at("scores").get<std::vector<float>>();
  for (const int kind : v.at("kinds").get<std::vector<int>>()) {
    out.kinds.push_back(static_cast<TokenKind>(kind - 1));  // GGUF counts from 1
  }
  out.bos = v.at("bos").get<TokenId>();
  out.unknown = v.at("unknown").get<TokenId>();
  out.eos = v.at("eos").get<std::vector<TokenId>>();
  out.add_space_prefix = v.at("add_space_prefix").get<bool>();
  for (const Json& c : json->at("cases")) {
    out.cases.push_back(
        {.text = c.at("text").get<std::string>(), .ids = c.at("ids").get<std::vector<TokenId>>()});
  }
  return out;
}

Vocabulary ReferenceFixture::vocabulary() const {
  Vocabulary v;
  v.tokens.assign(tokens.begin(), tokens.end());
  v.scores = scores;
  v.kinds = kinds;
  v.bos = bos;
  v.unknown = unknown;
  v.eos = eos;
  v.add_space_prefix = add_space_prefix;
  return v;
}

std::unique_ptr<Tokenizer> ReferenceFixture::tokenizer() const {
  auto made = Tokenizer::create(vocabulary());
  CHECK(made);
  return *std::move(made);
}

std::vector<TokenId> encode(const Tokenizer& tokenizer, std::string_view text, bool at_start) {
  std::vector<TokenId> ids;
  tokenizer.encode(text, at_start, ids);
  return ids;
}

std::string tiny_tokenizer_json() {
  return read_file(PENSIEVE_SOURCE_DIR "/tools/tiny-model/artefacts/mlx/tokenizer.json");
}

}  // namespace pensieve::tokenizer
