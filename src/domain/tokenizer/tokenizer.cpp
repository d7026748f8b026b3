#include "domain/tokenizer/tokenizer.h"

#include "foundation/text.h"

#include "domain/tokenizer/internal/piece_tokenizer.h"

namespace pensieve::tokenizer {

Result<std::unique_ptr<Tokenizer>> Tokenizer::create(const Vocabulary& vocabulary) {
  Pieces pieces;
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
