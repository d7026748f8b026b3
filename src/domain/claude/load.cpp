// One opened model file -> tokenizer and chat format that fit it and each other. What a vocabulary
// claims is checked by tokenizer/; here: that it is a kind we speak, that its ids are rows of the
// model, and that it has the control tokens the chat format writes.
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "foundation/text.h"

#include "domain/claude/service.h"

namespace pensieve::claude {
namespace {

Error bad_file(std::string sentence) {
  return {.kind = ErrorKind::BadFile, .message = std::move(sentence)};
}

// tokenizer.ggml.token_type: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
Result<std::vector<tokenizer::TokenKind>> token_kinds(const model::TokenizerSource& source) {
  using tokenizer::TokenKind;
  constexpr TokenKind kByNumber[] = {TokenKind::Normal,
                                     TokenKind::Unknown,
                                     TokenKind::Control,
                                     TokenKind::UserDefined,
                                     TokenKind::Unused,
                                     TokenKind::Byte};
  std::vector<TokenKind> kinds;
  kinds.reserve(source.types.size());
  for (const std::int32_t type : source.types) {
    if (type < 1 || type > 6) {
      return bad_file("tokenizer.ggml.token_type: element " + std::to_string(kinds.size()) +
                      " is " + std::to_string(type) + ", and only 1 to 6 have a meaning.");
    }
    kinds.push_back(kByNumber[type - 1]);
  }
  return kinds;
}

std::vector<TokenId> end_tokens(const model::TokenizerSource& source) {
  if (source.eos_ids.empty() && source.eos >= 0) return {source.eos};
  return source.eos_ids;
}

Result<std::unique_ptr<tokenizer::Tokenizer>> make_byte_level(
    const model::TokenizerSource& source) {
  if (source.pre.empty()) {
    return bad_file(
        "tokenizer.ggml.pre is missing, which names how the model cuts text; "
        "converting the model again adds it.");
  }
  tokenizer::ByteLevelVocabulary vocabulary;
  vocabulary.tokens = source.tokens;
  PENSIEVE_TRY(vocabulary.kinds, token_kinds(source));
  vocabulary.merges = source.merges;
  vocabulary.pre = source.pre;
  vocabulary.bos = source.bos;
  vocabulary.eos = end_tokens(source);
  vocabulary.add_bos = source.add_bos;
  return tokenizer::Tokenizer::create(vocabulary);
}

Result<std::unique_ptr<tokenizer::Tokenizer>> make_tokenizer(const model::TokenizerSource& source) {
  if (!source.tokenizer_json.empty()) {
    return tokenizer::Tokenizer::from_json(source.tokenizer_json, source.eos_ids);
  }
  if (source.kind.empty()) {
    return bad_file("The model has no tokenizer: tokenizer.ggml.model is missing.");
  }
  if (source.kind == "gpt2") return make_byte_level(source);
  if (source.kind != "llama") {
    return bad_file("tokenizer.ggml.model: \"" + printable(source.kind) +
                    "\" is not supported, only \"llama\" (SentencePiece BPE) and \"gpt2\" "
                    "(byte-level BPE) are.");
  }
  tokenizer::Vocabulary vocabulary;
  vocabulary.tokens = source.tokens;
  vocabulary.scores = source.scores;
  PENSIEVE_TRY(vocabulary.kinds, token_kinds(source));
  vocabulary.bos = source.bos;
  vocabulary.unknown = source.unknown;
  vocabulary.eos = end_tokens(source);
  vocabulary.add_bos = source.add_bos;
  vocabulary.add_space_prefix = source.add_space_prefix;
  return tokenizer::Tokenizer::create(vocabulary);
}

// A short conversation with a turn of every role: what the format writes around it is what it
// writes around any other.
api::MessagesRequest probe_conversation() {
  api::ContentBlock text;
  text.text = "x";
  api::MessagesRequest request;
  request.model = "probe";
  request.max_tokens = 1;
  request.system = {text};
  for (const api::Role role : {api::Role::User, api::Role::Assistant, api::Role::User}) {
    request.messages.push_back({.role = role, .content = {text}});
  }
  return request;
}

Result<void> check_control_tokens(const chat::ChatFormat& format,
                                  const tokenizer::Tokenizer& tokenizer) {
  const auto missing = [&](std::string_view name) {
    std::string sentence = "The vocabulary has no control token \"" + printable(name);
    sentence += "\", which the chat format \"";
    sentence += format.name();
    sentence += "\" needs.";
    return bad_file(std::move(sentence));
  };
  PENSIEVE_TRY(const chat::Prompt prompt, format.render(probe_conversation()));
  for (const chat::Piece& piece : prompt.pieces) {
    if (piece.control && !piece.optional && !tokenizer.control(piece.text)) {
      return missing(piece.text);
    }
  }
  const auto stops = format.stop_tokens();
  for (const std::string& name : stops) {
    if (tokenizer.control(name)) return {};
  }
  return missing(stops.empty() ? "end of turn" : stops.front());
}

}  // namespace

Result<LoadedModel> load(std::unique_ptr<model::ModelFile> file) try {
  LoadedModel loaded;
  PENSIEVE_TRY(loaded.tokenizer, make_tokenizer(file->tokenizer()));
  const int rows = file->weights().hyper.vocab;
  if (loaded.tokenizer->size() > rows) {
    return bad_file("The tokenizer has " + std::to_string(loaded.tokenizer->size()) +
                    " tokens and the model only " + std::to_string(rows) + " rows for them.");
  }
  PENSIEVE_TRY(loaded.format, chat::format_for(file->chat_template(), [&](std::string_view name) {
                 return loaded.tokenizer->control(name).has_value();
               }));
  PENSIEVE_TRY(check_control_tokens(*loaded.format, *loaded.tokenizer));
  loaded.file = std::move(file);
  return loaded;
} catch (const std::bad_alloc&) {
  return Error{.kind = ErrorKind::Unavailable,
               .message = "out of memory"};  // kept without the heap
}

}  // namespace pensieve::claude
