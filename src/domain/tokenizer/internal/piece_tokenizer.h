// The tokenizer that both file formats end in: pieces with kinds, merge rules, and what spaces and
// unknown characters become. Built by sentencepiece.cpp and tokenizer_json.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "foundation/result.h"

#include "domain/tokenizer/internal/merges.h"
#include "domain/tokenizer/tokenizer.h"

namespace pensieve::tokenizer {

inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581
// The longest piece that is accepted. Real vocabularies stop at 16 characters, 48 bytes; finding
// the ways to cut a piece in two costs the square of its length.
inline constexpr std::size_t kMaxPieceBytes = 1024;
inline constexpr std::size_t kMaxTokens = std::size_t{1} << 22;

// left + right -> result, ids of pieces.
struct MergeRule {
  TokenId left, right, result;
};

struct Pieces {
  std::vector<std::string_view> tokens;
  std::vector<TokenKind> kinds;
  TokenId bos = kNoToken, unknown = kNoToken;
  std::vector<TokenId> eos;
  bool add_bos = true;
  bool add_space_prefix = true;
  bool escape_spaces = true;  // a space in text is U+2581 in pieces

  // One of the two. Scores: a higher score merges first. Rules: an earlier rule merges first.
  std::vector<float> scores;
  std::vector<MergeRule> rules;
  bool by_score = true;
};

// Copies everything it needs. Errors: BadFile, one sentence, where Tokenizer::create() says so.
Result<std::unique_ptr<Tokenizer>> make_piece_tokenizer(const Pieces& pieces);

// The value of a byte token's text, "<0x0A>" -> 10; nothing if it is not of that form.
std::optional<std::uint8_t> byte_of_piece(std::string_view piece);

}  // namespace pensieve::tokenizer
