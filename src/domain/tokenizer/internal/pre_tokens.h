// The first step of byte-level BPE: a text is cut into pre-tokens (words with the space before
// them, numbers, runs of signs, runs of white space), and merges never cross a cut. Models name a
// regular expression; the ones in use are few, and each is a scanner here: one pass, no
// backtracking, no stack, and the same classes of characters on every system.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace pensieve::tokenizer {

enum class Pattern : std::uint8_t {
  // 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  Gpt2,
  // (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|
  // \s*[\r\n]+|\s+(?!\S)|\s+
  Qwen2,
  // The same with \p{N}{1,3} for numbers.
  Llama3,
};

struct Cuts {
  Pattern pattern = Pattern::Gpt2;
  // Each number character is a pre-token, and the pattern sees the texts between them.
  bool digits_alone = false;
};

// The pattern that a regular expression of a tokenizer.json spells, or nothing.
std::optional<Pattern> pattern_of(std::string_view regex);

// The pre-tokens of a text, one after another; together they are the text. Time is linear.
class PreTokens {
 public:
  // `text` outlives the object. A byte that is no UTF-8 counts as a sign.
  PreTokens(Cuts cuts, std::string_view text) : cuts_(cuts), rest_(text) {}
  // Empty at the end.
  std::string_view next();

 private:
  Cuts cuts_;
  std::string_view rest_;
  std::string_view fragment_;  // what the pattern sees: rest_, or its front up to a number
};

}  // namespace pensieve::tokenizer
