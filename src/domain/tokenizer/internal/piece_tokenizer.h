// SentencePiece-BPE from either file format: pieces with kinds, merge rules, and what spaces and
// unknown characters become.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "foundation/result.h"

#include "domain/tokenizer/internal/stored_vocabulary.h"

namespace pensieve::tokenizer {

inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

struct SentencePieces : Pieces {
  bool add_space_prefix = true;
  bool escape_spaces = true;  // a space in text is U+2581 in pieces
  // By score, a higher score merges first; otherwise by the order of `rules`.
  bool by_score = true;
  std::vector<float> scores;
};

// Copies everything it needs. Errors: BadFile, one sentence, where Tokenizer::create() says so.
Result<std::unique_ptr<Tokenizer>> make_piece_tokenizer(const SentencePieces& pieces);

// The value of a byte token's text, "<0x0A>" -> 10; nothing if it is not of that form.
std::optional<std::uint8_t> byte_of_piece(std::string_view piece);

}  // namespace pensieve::tokenizer
