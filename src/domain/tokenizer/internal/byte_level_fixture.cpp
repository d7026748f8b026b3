#include "domain/tokenizer/internal/byte_level_fixture.h"

#include <algorithm>

#include "foundation/check.h"
#include "foundation/json.h"

#include "domain/tokenizer/internal/reference_fixture.h"
#include "domain/tokenizer/internal/unicode.h"

namespace pensieve::tokenizer {
namespace {

std::string path_of(const std::string& name) {
  return PENSIEVE_SOURCE_DIR "/src/domain/tokenizer/testdata/byte-level/" + name;
}

Json read_json(const std::string& text) {
  auto json = parse_json(text);
  CHECK(json);
  return *std::move(json);
}

// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
class SplitMix {
 public:
  explicit SplitMix(std::uint64_t seed) : state_(seed) {}
  std::size_t below(std::size_t n) {
    state_ += 0x9E3779B97F4A7C15;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return (z ^ (z >> 31)) % n;
  }

 private:
  std::uint64_t state_;
};

}  // namespace

std::unique_ptr<Tokenizer> ByteLevelFixture::tokenizer() const {
  auto made = Tokenizer::from_json(tokenizer_json, {});
  CHECK(made);
  return *std::move(made);
}

ByteLevelFixture read_byte_level_fixture(const std::string& name) {
  ByteLevelFixture fixture;
  fixture.tokenizer_json = read_file(path_of((name == "digits" ? "gpt2" : name) + ".json"));
  if (name == "digits") {
    Json json = read_json(fixture.tokenizer_json);
    Json digits = {{"type", "Digits"}, {"individual_digits", true}};
    Json steps = Json::array({digits, json["pre_tokenizer"]});
    json["pre_tokenizer"] = Json{{"type", "Sequence"}, {"pretokenizers", steps}};
    fixture.tokenizer_json = json.dump();
  }
  const Json ids = read_json(read_file(path_of(name + ".ids.json")));
  fixture.ids = ids.at("ids").get<std::vector<std::vector<TokenId>>>();
  const auto& hashes = ids.at("hashes").get_ref<const std::string&>();
  for (std::size_t at = 0; at < hashes.size(); at += 8) {
    fixture.hashes.push_back(
        static_cast<std::uint32_t>(std::stoul(hashes.substr(at, 8), nullptr, 16)));
  }
  return fixture;
}

ByteLevelTwin twin_of(const ByteLevelFixture& fixture, const std::string& pre) {
  const Json json = read_json(fixture.tokenizer_json);
  const Json& model = json.at("model");
  ByteLevelTwin twin;
  twin.pre = pre;
  const auto set = [&](std::size_t id, const std::string& text, TokenKind kind) {
    if (twin.tokens.size() <= id) {
      twin.tokens.resize(id + 1);
      twin.kinds.resize(id + 1, TokenKind::Unused);
    }
    twin.tokens[id] = text;
    twin.kinds[id] = kind;
  };
  for (const auto& [piece, id] : model.at("vocab").items()) {
    set(id.get<std::size_t>(), piece, TokenKind::Normal);
  }
  for (const Json& token : json.at("added_tokens")) {
    const bool special = token.at("special").get<bool>();
    set(token.at("id").get<std::size_t>(),
        token.at("content").get<std::string>(),
        special ? TokenKind::Control : TokenKind::UserDefined);
  }
  for (const Json& merge : model.at("merges")) {
    twin.merges.push_back(merge.is_string()
                              ? merge.get<std::string>()
                              : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  return twin;
}

ByteLevelVocabulary ByteLevelTwin::vocabulary() const {
  ByteLevelVocabulary v;
  v.tokens.assign(tokens.begin(), tokens.end());
  v.kinds = kinds;
  v.merges.assign(merges.begin(), merges.end());
  v.pre = pre;
  return v;
}

ByteLevelTexts::ByteLevelTexts() {
  const Json json = read_json(read_file(path_of("texts.json")));
  seed_ = json.at("seed").get<std::uint64_t>();
  n_random_ = json.at("n_random").get<std::size_t>();
  texts_ = json.at("texts").get<std::vector<std::string>>();
  parts_ = json.at("parts").get<std::vector<std::string>>();
  runs_ = json.at("runs").get<std::vector<std::string>>();
  for (const Json& range : json.at("ranges")) {
    ranges_.emplace_back(range[0].get<std::uint32_t>(), range[1].get<std::uint32_t>());
  }
  excluded_ = json.at("excluded").get<std::vector<std::uint32_t>>();
}

std::string ByteLevelTexts::random(std::size_t index) const {
  SplitMix random(seed_ + index);
  std::string out;
  const auto character = [&](std::uint32_t low, std::uint32_t high) {
    const auto code = static_cast<std::uint32_t>(low + random.below(high - low + 1));
    const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    if (surrogate || std::binary_search(excluded_.begin(), excluded_.end(), code)) return;
    append_character(out, code);
  };
  for (std::size_t parts = 1 + random.below(12); parts > 0; --parts) {
    const std::size_t kind = random.below(8);
    if (kind < 4) {
      out += parts_[random.below(parts_.size())];
    } else if (kind < 6) {
      const auto [low, high] = ranges_[random.below(ranges_.size())];
      for (std::size_t n = 1 + random.below(8); n > 0; --n) character(low, high);
    } else if (kind == 6) {
      const std::string& one = runs_[random.below(runs_.size())];
      for (std::size_t n = 1 + random.below(20); n > 0; --n) out += one;
    } else {
      for (std::size_t n = 1 + random.below(4); n > 0; --n) character(0, 0x10FFFF);
    }
  }
  return out;
}

std::uint32_t hash_of(const std::vector<TokenId>& ids) {
  std::uint32_t hash = 0x811C9DC5;
  for (const TokenId id : ids) {
    for (int shift = 0; shift < 32; shift += 8) {
      hash = (hash ^ ((static_cast<std::uint32_t>(id) >> shift) & 0xFF)) * 0x01000193;
    }
  }
  return hash;
}

}  // namespace pensieve::tokenizer
