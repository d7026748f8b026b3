#include "domain/model/internal/gguf_tokenizer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "domain/model/internal/bad_file.h"
#include "domain/model/internal/cursor.h"

namespace pensieve::model {
namespace {

std::string where(const GgufValue& value) {
  return at_byte("key", value.key, value.offset);
}

Result<std::string> text_or_empty(const Gguf& gguf, std::string_view key) {
  const GgufValue* value = gguf.value(key);
  if (value == nullptr) return std::string();
  const auto text = value->text();
  if (!text) return bad_file(where(*value) + " is not a string");
  return std::string(*text);
}

Result<bool> flag_or(const Gguf& gguf, std::string_view key, bool fallback) {
  const GgufValue* value = gguf.value(key);
  if (value == nullptr) return fallback;
  const auto flag = value->boolean();
  if (!flag) return bad_file(where(*value) + " is not a bool");
  return *flag;
}

Result<std::int32_t> id_or_none(const Gguf& gguf, std::string_view key, int vocab) {
  const GgufValue* value = gguf.value(key);
  if (value == nullptr) return std::int32_t{-1};
  const auto id = value->integer();
  if (!id) return bad_file(where(*value) + " is not a whole number");
  // Some writers say "none" as -1, or as the same bits in an unsigned field.
  if (*id == -1 || *id == 0xFFFFFFFF) return std::int32_t{-1};
  if (*id < 0 || *id >= vocab) {
    return bad_file(where(*value) + " is " + std::to_string(*id) + ", but the vocabulary has " +
                    std::to_string(vocab) + " tokens");
  }
  return static_cast<std::int32_t>(*id);
}

// An array of numbers as long as the vocabulary, or empty when the key is absent.
template <typename T>
Result<std::vector<T>> numbers(const Gguf& gguf, std::string_view key, GgufType type, int vocab) {
  std::vector<T> all;
  const GgufValue* value = gguf.value(key);
  if (value == nullptr) return all;
  if (!value->is_array_of(type)) {
    return bad_file(where(*value) + " is not an array of " + std::string(to_string(type)));
  }
  if (value->count != static_cast<std::uint64_t>(vocab)) {
    return bad_file(where(*value) + " has " + std::to_string(value->count) +
                    " elements for a vocabulary of " + std::to_string(vocab));
  }
  all.resize(value->count);
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i] = load_number<T>(value->bytes.data() + i * sizeof(T));
  }
  return all;
}

Result<void> check_numbers(const Gguf& gguf, const TokenizerSource& source) {
  for (std::size_t i = 0; i < source.scores.size(); ++i) {
    if (std::isnan(source.scores[i])) {
      return bad_file(where(*gguf.value("tokenizer.ggml.scores")) + " holds NaN at index " +
                      std::to_string(i));
    }
  }
  for (std::size_t i = 0; i < source.types.size(); ++i) {
    if (source.types[i] < 1 || source.types[i] > 6) {
      return bad_file(where(*gguf.value("tokenizer.ggml.token_type")) + " holds " +
                      std::to_string(source.types[i]) + " at index " + std::to_string(i) +
                      "; 1 to 6 are possible");
    }
  }
  return {};
}

}  // namespace

Result<TokenizerSource> read_gguf_tokenizer(const Gguf& gguf, int vocab) {
  TokenizerSource source;
  const GgufValue* tokens = gguf.value("tokenizer.ggml.tokens");
  if (tokens == nullptr) return source;
  if (!tokens->is_array_of(GgufType::String)) {
    return bad_file(where(*tokens) + " is not an array of strings");
  }
  if (tokens->count != static_cast<std::uint64_t>(vocab)) {
    return bad_file(where(*tokens) + " has " + std::to_string(tokens->count) +
                    " tokens, but the embedding has " + std::to_string(vocab) + " rows");
  }
  source.tokens = tokens->texts();
  PENSIEVE_TRY(source.kind, text_or_empty(gguf, "tokenizer.ggml.model"));
  PENSIEVE_TRY(source.pre, text_or_empty(gguf, "tokenizer.ggml.pre"));
  PENSIEVE_TRY(source.scores, numbers<float>(gguf, "tokenizer.ggml.scores", GgufType::F32, vocab));
  PENSIEVE_TRY(source.types,
               numbers<std::int32_t>(gguf, "tokenizer.ggml.token_type", GgufType::I32, vocab));
  PENSIEVE_TRY(check_numbers(gguf, source));
  if (const GgufValue* merges = gguf.value("tokenizer.ggml.merges"); merges != nullptr) {
    if (!merges->is_array_of(GgufType::String)) {
      return bad_file(where(*merges) + " is not an array of strings");
    }
    source.merges = merges->texts();
  }
  PENSIEVE_TRY(source.bos, id_or_none(gguf, "tokenizer.ggml.bos_token_id", vocab));
  PENSIEVE_TRY(source.eos, id_or_none(gguf, "tokenizer.ggml.eos_token_id", vocab));
  PENSIEVE_TRY(source.unknown, id_or_none(gguf, "tokenizer.ggml.unknown_token_id", vocab));
  // Byte-level vocabularies start without a token and without a space unless they say so. Llama 3's
  // start with a token, which its files leave to the reader (llama.cpp: the names of its pattern).
  const bool sentencepiece = source.kind == "llama";
  const bool llama3 = source.pre == "llama-bpe" || source.pre == "llama3" ||
                      source.pre == "llama-v3" || source.pre == "falcon3";
  PENSIEVE_TRY(source.add_bos,
               flag_or(gguf, "tokenizer.ggml.add_bos_token", sentencepiece || llama3));
  PENSIEVE_TRY(source.add_space_prefix,
               flag_or(gguf, "tokenizer.ggml.add_space_prefix", sentencepiece));
  for (const std::string_view key : {"tokenizer.ggml.eos_token_id",
                                     "tokenizer.ggml.eot_token_id",
                                     "tokenizer.ggml.eom_token_id"}) {
    PENSIEVE_TRY(const std::int32_t id, id_or_none(gguf, key, vocab));
    const auto known = std::find(source.eos_ids.begin(), source.eos_ids.end(), id);
    if (id >= 0 && known == source.eos_ids.end()) source.eos_ids.push_back(id);
  }
  return source;
}

}  // namespace pensieve::model
