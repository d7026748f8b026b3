#include "domain/tokenizer/internal/pre_tokens.h"

#include <cstddef>

#include "domain/tokenizer/internal/unicode.h"

namespace pensieve::tokenizer {
namespace {

// A text that is read from the front.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) { look(); }

  bool at_end() const { return at_ == text_.size(); }
  std::size_t at() const { return at_; }
  char32_t code() const { return next_.code; }  // kNoCharacter at the end, too
  CharClass kind() const { return kind_; }
  bool is(CharClass kind) const { return !at_end() && kind_ == kind; }
  bool at_line_break() const { return next_.code == '\r' || next_.code == '\n'; }

  void step() {
    at_ += next_.length;
    look();
  }
  void skip(CharClass kind) {
    while (is(kind)) step();
  }
  // The class of the character behind the next one; Space at the end of the text.
  CharClass kind_behind() const {
    const std::string_view behind = text_.substr(at_ + next_.length);
    return behind.empty() ? CharClass::Space : char_class(first_character(behind).code);
  }

 private:
  void look() {
    next_ = at_end() ? Character{} : first_character(text_.substr(at_));
    kind_ = char_class(next_.code);
  }

  std::string_view text_;
  std::size_t at_ = 0;
  Character next_;
  CharClass kind_ = CharClass::Other;
};

// The length of an English contraction ('s 't 're 've 'm 'll 'd) at the front, or 0. Without case,
// U+017F is an s (CaseFolding.txt).
std::size_t contraction(std::string_view text, bool any_case) {
  if (text.size() < 2 || text[0] != '\'') return 0;
  const auto letter = [&](std::size_t at) {
    const char c = at < text.size() ? text[at] : '\0';
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  switch (letter(1)) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return 2;
    case 'r':
    case 'v':
      return letter(2) == 'e' ? 3 : 0;
    case 'l':
      return letter(2) == 'l' ? 3 : 0;
    default:
      return any_case && text.substr(1).starts_with("\u017F") ? 3 : 0;
  }
}

// \s+(?!\S)|\s+ with the run of white space ahead: all of it at the end of the text; otherwise its
// last character is left for what follows, unless it is the only one. `line_breaks`: \s*[\r\n]+
// comes first, so the cut is behind the last line break if there is one.
std::size_t white_space(Scanner scan, bool line_breaks) {
  std::size_t last = 0, behind_line_break = 0;
  while (scan.is(CharClass::Space)) {
    last = scan.at();
    const bool breaks = scan.at_line_break();
    scan.step();
    if (breaks) behind_line_break = scan.at();
  }
  if (line_breaks && behind_line_break != 0) return behind_line_break;
  return scan.at_end() || last == 0 ? scan.at() : last;
}

std::size_t gpt2_length(std::string_view text) {
  if (const std::size_t n = contraction(text, false)) return n;
  Scanner scan(text);
  if (scan.code() == ' ' && scan.kind_behind() != CharClass::Space) scan.step();
  const CharClass kind = scan.kind();
  if (kind == CharClass::Space) return white_space(scan, false);
  scan.skip(kind);
  return scan.at();
}

// The family of OpenAI's cl100k_base: Qwen2 and Llama 3 differ in how many digits stay together.
std::size_t cl100k_length(std::string_view text, int max_digits) {
  if (const std::size_t n = contraction(text, true)) return n;
  Scanner scan(text);
  const CharClass kind = scan.kind();
  if (kind == CharClass::Letter || (kind != CharClass::Number && !scan.at_line_break() &&
                                    scan.kind_behind() == CharClass::Letter)) {
    scan.step();
    scan.skip(CharClass::Letter);
    return scan.at();
  }
  if (kind == CharClass::Number) {
    for (int n = 0; n < max_digits && scan.is(CharClass::Number); ++n) scan.step();
    return scan.at();
  }
  if (scan.code() == ' ' && scan.kind_behind() == CharClass::Other) scan.step();
  if (scan.is(CharClass::Other)) {
    scan.skip(CharClass::Other);
    while (scan.at_line_break()) scan.step();
    return scan.at();
  }
  return white_space(scan, true);
}

std::size_t length(Pattern pattern, std::string_view text) {
  switch (pattern) {
    case Pattern::Gpt2:
      return gpt2_length(text);
    case Pattern::Qwen2:
      return cl100k_length(text, 1);
    case Pattern::Llama3:
      return cl100k_length(text, 3);
  }
  return text.size();
}

}  // namespace

std::optional<Pattern> pattern_of(std::string_view regex) {
  // Spelled as the models' own files spell them.
  constexpr std::string_view kGpt2 =
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  constexpr std::string_view kGpt2Grouped =
      R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  constexpr std::string_view kContractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
  constexpr std::string_view kWords = R"(|[^\r\n\p{L}\p{N}]?\p{L}+|)";
  constexpr std::string_view kRest = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  if (regex == kGpt2 || regex == kGpt2Grouped) return Pattern::Gpt2;
  for (const std::string_view front : {kContractions, kWords}) {
    if (!regex.starts_with(front)) return std::nullopt;
    regex.remove_prefix(front.size());
  }
  if (!regex.ends_with(kRest)) return std::nullopt;
  regex.remove_suffix(kRest.size());
  if (regex == R"(\p{N})") return Pattern::Qwen2;
  if (regex == R"(\p{N}{1,3})") return Pattern::Llama3;
  return std::nullopt;
}

std::string_view PreTokens::next() {
  if (rest_.empty()) return {};
  std::size_t n = 0;
  if (!cuts_.digits_alone) {
    n = length(cuts_.pattern, rest_);
  } else {
    if (fragment_.empty()) {
      Scanner scan(rest_);
      while (!scan.at_end() && !scan.is(CharClass::Number)) scan.step();
      fragment_ = rest_.substr(0, scan.at());
    }
    n = fragment_.empty() ? first_character(rest_).length : length(cuts_.pattern, fragment_);
    fragment_.remove_prefix(fragment_.empty() ? 0 : n);
  }
  const std::string_view pre_token = rest_.substr(0, n);
  rest_.remove_prefix(n);
  return pre_token;
}

}  // namespace pensieve::tokenizer
