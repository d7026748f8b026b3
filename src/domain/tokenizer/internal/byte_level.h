// Byte-level BPE (GPT-2, Llama 3, Qwen2 and Qwen3): the text is cut into pre-tokens, the bytes of
// each become 256 printable characters, and those are merged by rank. Every text has tokens, so
// there is no unknown token and no fallback, and nothing is put in front.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "foundation/result.h"

#include "domain/tokenizer/internal/pre_tokens.h"
#include "domain/tokenizer/internal/stored_vocabulary.h"

namespace pensieve::tokenizer {

struct ByteLevelPieces : Pieces {
  Cuts cuts;
  bool nfc = false;            // text is brought to NFC first
  bool ignore_merges = false;  // a pre-token that is a piece is that one token
};

// Copies everything it needs. Errors: BadFile, one sentence, where Tokenizer::create() says so.
Result<std::unique_ptr<Tokenizer>> make_byte_level_tokenizer(const ByteLevelPieces& pieces);

// What tokenizer.ggml.pre stands for, or nothing if it is not known. The names are llama.cpp's;
// NFC, which GGUF has no field for, is what the tokenizer.json of the same models asks for.
struct PreTokenizerSettings {
  Cuts cuts;
  bool nfc = false;
  bool ignore_merges = false;
};
std::optional<PreTokenizerSettings> settings_of(std::string_view pre);

// The character that stands for a byte in pieces, as UTF-8: the printable characters of Latin-1
// stand for themselves, the others are U+0100 and following. Source: bytes_to_unicode() of GPT-2.
std::string_view character_of_byte(std::uint8_t byte);
// The bytes that a piece's characters stand for, or nothing if one of them stands for none.
std::optional<std::string> bytes_of_characters(std::string_view piece);

}  // namespace pensieve::tokenizer
