// Text <-> token ids, in the two ways of the models we serve.
//   SentencePiece-BPE (Llama 2, Phi-3): a space becomes U+2581, text after a control token starts
//   with one (dummy prefix), merges by score, bytes as fallback.
//   Byte-level BPE (Llama 3, Qwen2, Qwen3): text is cut into words by a pattern, and the bytes of a
//   word are merged by rank.
// Text never becomes a control token: control tokens have a call of their own, and only chat/
// uses it. Immutable once made; every call may come from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/ids.h"
#include "foundation/result.h"

namespace pensieve::tokenizer {

enum class TokenKind : std::uint8_t { Normal, Unknown, Control, UserDefined, Unused, Byte };

// A raw vocabulary for SentencePiece-BPE, as GGUF metadata holds it. Copied by create().
struct Vocabulary {
  std::vector<std::string_view> tokens;
  std::vector<float> scores;
  std::vector<TokenKind> kinds;
  TokenId bos = kNoToken, unknown = kNoToken;
  std::vector<TokenId> eos;
  bool add_bos = true;
  bool add_space_prefix = true;
};

// A raw vocabulary for byte-level BPE, as GGUF metadata holds it. Copied by create().
struct ByteLevelVocabulary {
  std::vector<std::string_view> tokens;
  std::vector<TokenKind> kinds;
  std::vector<std::string_view> merges;  // "left right", the first merges first
  std::string_view pre;                  // the name of the pattern that cuts text: "qwen2"
  TokenId bos = kNoToken;
  std::vector<TokenId> eos;
  bool add_bos = false;
};

class Tokenizer {
 public:
  // Errors: BadFile with a sentence (lengths differ, an id out of range, an empty vocabulary, no
  // byte tokens where byte fallback needs them, a kind of tokenizer that is not supported).
  static Result<std::unique_ptr<Tokenizer>> create(const Vocabulary& vocabulary);
  // Errors: the same, a byte without a token, a merge of what the vocabulary lacks, and a pattern
  // that is not known.
  static Result<std::unique_ptr<Tokenizer>> create(const ByteLevelVocabulary& vocabulary);

  // From the bytes of a Hugging Face tokenizer.json: model type BPE, either with byte_fallback and
  // the Llama normaliser, or with a ByteLevel pre-tokenizer and one of the patterns of
  // internal/pre_tokens.h. `eos` comes from the model's config. Errors: BadFile; whatever the file
  // asks for and we would not do exactly is refused.
  static Result<std::unique_ptr<Tokenizer>> from_json(std::string_view tokenizer_json,
                                                      std::span<const TokenId> eos);

  virtual ~Tokenizer() = default;

  // Appends the ids of `text` to `out`. `at_start`: the text stands at the beginning or right
  // behind a control token, so the dummy prefix applies. `text` is valid UTF-8 below 1 GiB; time
  // is O(n log n), stack is constant. Never yields a control, user-defined or unused id, and no
  // unknown id where byte tokens exist. No text, no ids.
  virtual void encode(std::string_view text, bool at_start, std::vector<TokenId>& out) const = 0;

  // The id of a control token by its exact text ("<|end|>"), if the vocabulary has it.
  virtual std::optional<TokenId> control(std::string_view name) const = 0;

  // The bytes a token stands for, which may begin or end inside a character: a piece with U+2581 as
  // space, or the bytes its characters stand for; one byte for byte tokens, nothing for control,
  // unused and unknown tokens. Ids that the vocabulary does not have count as unused
  // and stand for nothing: a model's vocabulary may be padded beyond its tokenizer's.
  virtual std::string_view bytes(TokenId token) const = 0;
  virtual TokenKind kind(TokenId token) const = 0;
  virtual std::string_view piece(TokenId token) const = 0;  // the vocabulary's own text

  virtual int size() const = 0;
  virtual TokenId bos() const = 0;  // kNoToken if none
  virtual bool add_bos() const = 0;
  virtual bool add_space_prefix() const = 0;
  virtual std::span<const TokenId> eos() const = 0;  // every token that ends an answer
  // The most bytes of text that can become one token: n bytes of text are at least
  // n / longest_piece() tokens, so a text that cannot fit is refused before it is encoded.
  virtual std::size_t longest_piece() const = 0;

  // The text of `tokens`, invalid UTF-8 replaced; the dummy prefix's space is taken off if
  // `at_start`. For whole sequences; streams use StreamDecoder.
  std::string decode(std::span<const TokenId> tokens, bool at_start) const;
};

// Token ids of one answer -> text, incrementally. What it gives out is always complete UTF-8; the
// concatenation over all calls equals Tokenizer::decode() of all tokens, whatever the cut.
class StreamDecoder {
 public:
  // `at_start`: the first token follows a control token, so its dummy-prefix space is dropped.
  // The tokenizer outlives the decoder.
  StreamDecoder(const Tokenizer& tokenizer, bool at_start)
      : tokenizer_(&tokenizer), strip_space_(at_start && tokenizer.add_space_prefix()) {}

  // The text that is complete now (possibly none).
  std::string push(TokenId token);
  // What is left at the end: bytes that never became a character come out as U+FFFD.
  std::string flush();

 private:
  const Tokenizer* tokenizer_;
  bool strip_space_;
  std::string pending_;
};

}  // namespace pensieve::tokenizer
