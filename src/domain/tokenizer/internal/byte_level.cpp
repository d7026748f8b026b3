#include "domain/tokenizer/internal/byte_level.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

#include "foundation/check.h"

#include "domain/tokenizer/internal/nfc.h"
#include "domain/tokenizer/internal/unicode.h"

namespace pensieve::tokenizer {
namespace {

constexpr char32_t kFirstStandIn = 0x100;

constexpr bool stands_for_itself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct ByteCharacters {
  std::array<std::string, 256> of_byte;
  std::array<int, 0x144> byte_of;  // by code point; -1 where it stands for none

  ByteCharacters() {
    byte_of.fill(-1);
    char32_t next = kFirstStandIn;
    for (int byte = 0; byte < 256; ++byte) {
      const char32_t code = stands_for_itself(byte) ? static_cast<char32_t>(byte) : next++;
      append_character(of_byte[static_cast<std::size_t>(byte)], code);
      byte_of[code] = byte;
    }
    CHECK(next == byte_of.size());
  }
};

const ByteCharacters& byte_characters() {
  static const ByteCharacters made;
  return made;
}

class ByteLevelTokenizer final : public StoredVocabulary {
 public:
  explicit ByteLevelTokenizer(const ByteLevelPieces& source)
      : StoredVocabulary(source), cuts_(source.cuts), nfc_(source.nfc) {
    Mergeable usable = mergeable();
    // A piece with a character that stands for no byte is never text; it stands for itself.
    std::erase_if(usable.pieces, [&](const MergeablePiece& piece) {
      const auto bytes = bytes_of_characters(piece.text);
      if (bytes) set_bytes(piece.id, *bytes);
      if (!bytes) usable.first[static_cast<std::size_t>(piece.id)] = kNoToken;
      return !bytes;
    });
    for (TokenId id = 0; id < size(); ++id) {
      const TokenId same = usable.first[static_cast<std::size_t>(id)];
      if (same != kNoToken && same != id) set_bytes(id, bytes(same));
    }
    for (const auto& piece : usable.pieces) {
      longest_ = std::max(longest_, bytes(piece.id).size());
    }
    merges_.emplace(usable.pieces, size());
    add_rules(source.rules, usable, *merges_);
    if (!source.ignore_merges) return;
    whole_.reserve(usable.pieces.size());
    for (const auto& piece : usable.pieces) whole_.emplace(bytes(piece.id), piece.id);
  }

  void encode(std::string_view text, bool /*at_start*/, std::vector<TokenId>& out) const override {
    if (text.empty()) return;
    CHECK(text.size() < UINT32_MAX / kNfcShrink);
    out.reserve(out.size() + text.size() / 3);
    std::string buffer;
    if (nfc_) text = to_nfc(text, buffer);
    Merges::Run run(*merges_);
    PreTokens pre_tokens(cuts_, text);
    for (auto pre_token = pre_tokens.next(); !pre_token.empty(); pre_token = pre_tokens.next()) {
      if (!whole_.empty() && pre_token.size() <= longest_) {
        if (const auto whole = whole_.find(pre_token); whole != whole_.end()) {
          out.push_back(whole->second);
          continue;
        }
      }
      merge(pre_token, run, out);
    }
  }

  bool add_space_prefix() const override { return false; }
  std::size_t longest_piece() const override { return nfc_ ? longest_ * kNfcShrink : longest_; }

 private:
  static void merge(std::string_view bytes, Merges::Run& run, std::vector<TokenId>& out) {
    // Each byte's character is a token, so every symbol is one.
    const auto emit = [&](Merges::Symbol symbol) { out.push_back(symbol); };
    for (const char byte : bytes) {
      const bool taken = run.push(character_of_byte(static_cast<std::uint8_t>(byte)), emit);
      DCHECK(taken);
      static_cast<void>(taken);
    }
    run.finish_part(emit);
  }

  Cuts cuts_;
  bool nfc_;
  std::optional<Merges> merges_;
  std::unordered_map<std::string_view, TokenId> whole_;  // bytes -> token, for ignore_merges
  std::size_t longest_ = 1;
};

Result<void> check_bytes(const Pieces& pieces) {
  std::array<bool, 256> found{};
  for (std::size_t i = 0; i < pieces.tokens.size(); ++i) {
    if (pieces.kinds[i] == TokenKind::Byte) {
      return bad_vocabulary(token_name(i, pieces.tokens[i]) +
                            " is a byte token, which byte-level BPE does not have");
    }
    if (pieces.kinds[i] != TokenKind::Normal) continue;
    const auto bytes = bytes_of_characters(pieces.tokens[i]);
    if (bytes && bytes->size() == 1) found[static_cast<std::uint8_t>((*bytes)[0])] = true;
  }
  const auto n_found = std::count(found.begin(), found.end(), true);
  if (n_found == 256) return {};
  return bad_vocabulary("only " + std::to_string(n_found) + " of 256 bytes have a token");
}

}  // namespace

std::string_view character_of_byte(std::uint8_t byte) {
  return byte_characters().of_byte[byte];
}

std::optional<std::string> bytes_of_characters(std::string_view piece) {
  std::string bytes;
  while (!piece.empty()) {
    const Character c = first_character(piece);
    const auto& known = byte_characters().byte_of;
    if (c.code >= known.size() || known[c.code] < 0) return std::nullopt;
    const auto byte = static_cast<std::uint8_t>(known[c.code]);
    // An overlong spelling of the character is not the character.
    if (piece.substr(0, c.length) != character_of_byte(byte)) return std::nullopt;
    bytes += static_cast<char>(byte);
    piece.remove_prefix(c.length);
  }
  return bytes;
}

std::optional<PreTokenizerSettings> settings_of(std::string_view pre) {
  struct Known {
    std::string_view pre;
    PreTokenizerSettings settings;
  };
  constexpr PreTokenizerSettings kGpt2{.cuts = {.pattern = Pattern::Gpt2}};
  constexpr PreTokenizerSettings kDigits{.cuts = {.pattern = Pattern::Gpt2, .digits_alone = true}};
  constexpr PreTokenizerSettings kQwen2{.cuts = {.pattern = Pattern::Qwen2}, .nfc = true};
  constexpr PreTokenizerSettings kLlama3{.cuts = {.pattern = Pattern::Llama3},
                                         .ignore_merges = true};
  constexpr PreTokenizerSettings kMergingLlama3{.cuts = {.pattern = Pattern::Llama3}};
  constexpr Known kKnown[] = {
      {"gpt-2", kGpt2},         {"default", kGpt2},     {"phi-2", kGpt2},
      {"mpt", kGpt2},           {"olmo", kGpt2},        {"exaone4", kGpt2},
      {"smollm", kDigits},      {"starcoder", kDigits}, {"refact", kDigits},
      {"codeshell", kDigits},   {"qwen2", kQwen2},      {"deepseek-r1-qwen", kQwen2},
      {"stablelm2", kQwen2},    {"llama-bpe", kLlama3}, {"llama3", kLlama3},
      {"llama-v3", kLlama3},    {"falcon3", kLlama3},   {"smaug-bpe", kMergingLlama3},
      {"dbrx", kMergingLlama3},
  };
  for (const Known& known : kKnown) {
    if (known.pre == pre) return known.settings;
  }
  return std::nullopt;
}

Result<std::unique_ptr<Tokenizer>> make_byte_level_tokenizer(const ByteLevelPieces& pieces) {
  PENSIEVE_TRY(check_pieces(pieces));
  PENSIEVE_TRY(check_bytes(pieces));
  return std::unique_ptr<Tokenizer>(std::make_unique<ByteLevelTokenizer>(pieces));
}

}  // namespace pensieve::tokenizer
