#include "domain/tokenizer/tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "foundation/text.h"

#include "domain/tokenizer/internal/byte_level.h"
#include "domain/tokenizer/internal/piece_tokenizer.h"

namespace pensieve::tokenizer {

namespace {

// "left right" for each merge: three ids. The first token of a text stands for all with that text.
Result<std::vector<MergeRule>> rules_of(const ByteLevelVocabulary& vocabulary) {
  std::unordered_map<std::string_view, TokenId> ids;
  ids.reserve(vocabulary.tokens.size());
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    ids.emplace(vocabulary.tokens[i], static_cast<TokenId>(i));
  }
  std::vector<MergeRule> rules;
  rules.reserve(vocabulary.merges.size());
  std::string joined;
  for (const std::string_view merge : vocabulary.merges) {
    const std::size_t space = std::min(merge.find(' '), merge.size());
    const std::string_view left = merge.substr(0, space);
    const std::string_view right = merge.substr(std::min(space + 1, merge.size()));
    joined.assign(left);
    joined += right;
    const auto a = ids.find(left), b = ids.find(right), c = ids.find(joined);
    if (left.empty() || right.empty() || a == ids.end() || b == ids.end() || c == ids.end()) {
      return bad_vocabulary("merge " + std::to_string(rules.size()) + " (\"" +
                            printable(merge, 40) +
                            "\") is not two pieces of the vocabulary that make a third");
    }
    rules.push_back({.left = a->second, .right = b->second, .result = c->second});
  }
  return rules;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::create(const Vocabulary& vocabulary) {
  SentencePieces pieces;
  pieces.tokens = vocabulary.tokens;
  pieces.kinds = vocabulary.kinds;
  pieces.scores = vocabulary.scores;
  pieces.bos = vocabulary.bos;
  pieces.unknown = vocabulary.unknown;
  pieces.eos = vocabulary.eos;
  pieces.add_bos = vocabulary.add_bos;
  pieces.add_space_prefix = vocabulary.add_space_prefix;
  return make_piece_tokenizer(pieces);
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::create(const ByteLevelVocabulary& vocabulary) {
  const auto settings = settings_of(vocabulary.pre);
  if (!settings) {
    return bad_vocabulary("the pre-tokenizer \"" + printable(vocabulary.pre) +
                          "\" (tokenizer.ggml.pre) is not known");
  }
  ByteLevelPieces pieces;
  pieces.tokens = vocabulary.tokens;
  pieces.kinds = vocabulary.kinds;
  pieces.bos = vocabulary.bos;
  pieces.eos = vocabulary.eos;
  pieces.add_bos = vocabulary.add_bos;
  pieces.cuts = settings->cuts;
  pieces.nfc = settings->nfc;
  pieces.ignore_merges = settings->ignore_merges;
  PENSIEVE_TRY(check_pieces(pieces));
  make_control(pieces, pieces.bos);
  for (const TokenId id : pieces.eos) make_control(pieces, id);
  PENSIEVE_TRY(pieces.rules, rules_of(vocabulary));
  return make_byte_level_tokenizer(pieces);
}

std::string Tokenizer::decode(std::span<const TokenId> tokens, bool at_start) const {
  std::string bytes_of_all;
  for (const TokenId token : tokens) bytes_of_all += bytes(token);
  std::string_view text = bytes_of_all;
  if (at_start && add_space_prefix() && text.starts_with(' ')) text.remove_prefix(1);
  return replace_invalid_utf8(text);
}

std::string StreamDecoder::push(TokenId token) {
  std::string_view bytes = tokenizer_->bytes(token);
  if (strip_space_ && !bytes.empty()) {
    if (bytes.starts_with(' ')) bytes.remove_prefix(1);
    strip_space_ = false;
  }
  pending_ += bytes;
  const std::size_t complete = complete_utf8_prefix(pending_);
  std::string text = replace_invalid_utf8(std::string_view(pending_).substr(0, complete));
  pending_.erase(0, complete);
  return text;
}

std::string StreamDecoder::flush() {
  std::string text = replace_invalid_utf8(pending_);
  pending_.clear();
  strip_space_ = false;
  return text;
}

}  // namespace pensieve::tokenizer
