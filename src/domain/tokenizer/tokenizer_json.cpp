// Tokenizer::from_json(): a Hugging Face tokenizer.json of the Llama kind or of byte-level BPE
// becomes pieces and merge rules. What the file asks for and we do not do exactly is refused, not
// approximated. Source: the serialisation of the Hugging Face tokenizers library (models/bpe,
// normalizers, added_vocabulary).

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include "foundation/text.h"

#include "domain/tokenizer/internal/json_byte_level.h"
#include "domain/tokenizer/internal/json_members.h"
#include "domain/tokenizer/internal/piece_tokenizer.h"

namespace pensieve::tokenizer {
namespace {

// Holes between ids are filled with unused tokens, up to this many.
constexpr std::size_t kMaxHoles = 65'536;

class Reader {
 public:
  explicit Reader(const Json& json) : json_(json) {}

  Result<std::unique_ptr<Tokenizer>> read(std::span<const TokenId> eos) {
    const Json* model = member(json_, "model");
    if (model == nullptr) return bad_json("no \"model\"");
    PENSIEVE_TRY(check_model(*model));
    byte_level_ = !true_member(*model, "byte_fallback");
    return byte_level_ ? read_byte_level(*model, eos) : read_sentence_pieces(*model, eos);
  }

 private:
  static Result<void> check_model(const Json& model) {
    if (const auto type = string_member(model, "type"); type != "BPE") {
      return bad_json("a model of type \"" + printable(type) + "\" is not supported, only BPE");
    }
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const Json* value = member(model, key);
      if (value != nullptr && *value != "") return bad_json(std::string(key) + " is not supported");
    }
    if (const Json* dropout = member(model, "dropout"); dropout != nullptr && *dropout != 0) {
      return bad_json("dropout is not supported");
    }
    return {};
  }

  Result<std::unique_ptr<Tokenizer>> read_sentence_pieces(const Json& model,
                                                          std::span<const TokenId> eos) {
    if (true_member(model, "ignore_merges")) {
      return bad_json("ignore_merges is not supported with byte_fallback");
    }
    SentencePieces settings;
    settings.by_score = false;
    PENSIEVE_TRY(read_normalizer(member(json_, "normalizer"), settings));
    PENSIEVE_TRY(read_pre_tokenizer(member(json_, "pre_tokenizer"), settings));
    PENSIEVE_TRY(read_pieces(model, eos));
    static_cast<Pieces&>(settings) = std::move(pieces_);
    return make_piece_tokenizer(settings);
  }

  Result<std::unique_ptr<Tokenizer>> read_byte_level(const Json& model,
                                                     std::span<const TokenId> eos) {
    ByteLevelPieces settings;
    PENSIEVE_TRY(settings.cuts, byte_level_cuts(member(json_, "pre_tokenizer")));
    PENSIEVE_TRY(settings.nfc, byte_level_nfc(member(json_, "normalizer")));
    settings.ignore_merges = true_member(model, "ignore_merges");
    PENSIEVE_TRY(read_pieces(model, eos));
    static_cast<Pieces&>(settings) = std::move(pieces_);
    return make_byte_level_tokenizer(settings);
  }

  Result<void> read_pieces(const Json& model, std::span<const TokenId> eos) {
    PENSIEVE_TRY(read_vocabulary(model));
    PENSIEVE_TRY(read_merges(model));
    read_bos();
    pieces_.eos.assign(eos.begin(), eos.end());
    for (const TokenId id : eos) make_control(pieces_, id);
    return {};
  }

  // The Llama normaliser: Prepend U+2581, Replace " " by U+2581; each may be missing.
  static Result<void> read_normalizer(const Json* normalizer, SentencePieces& settings) {
    settings.add_space_prefix = false;
    settings.escape_spaces = false;
    if (normalizer == nullptr) return {};
    const Json* steps = member(*normalizer, "normalizers");
    if (string_member(*normalizer, "type") != "Sequence") {
      return read_normalizer_step(*normalizer, settings);
    }
    if (steps == nullptr || !steps->is_array())
      return bad_json("normalizer.normalizers is no array");
    for (const Json& step : *steps) PENSIEVE_TRY(read_normalizer_step(step, settings));
    return {};
  }
  static Result<void> read_normalizer_step(const Json& step, SentencePieces& settings) {
    const auto type = string_member(step, "type");
    if (type == "Prepend" && string_member(step, "prepend") == kSpaceMark) {
      settings.add_space_prefix = true;
      return {};
    }
    if (type == "Replace" && string_member(step, "content") == kSpaceMark) {
      const Json* pattern = member(step, "pattern");
      if (pattern != nullptr && string_member(*pattern, "String") == " ") {
        settings.escape_spaces = true;
        return {};
      }
    }
    return bad_json("the normalizer " + printable(type) + " is not supported in this form");
  }

  static Result<void> read_pre_tokenizer(const Json* pre_tokenizer, SentencePieces& settings) {
    if (pre_tokenizer == nullptr) return {};
    const auto type = string_member(*pre_tokenizer, "type");
    const auto scheme = string_member(*pre_tokenizer, "prepend_scheme");
    const Json* split = member(*pre_tokenizer, "split");
    const bool whole = split != nullptr && *split == false;
    if (type == "Metaspace" && string_member(*pre_tokenizer, "replacement") == kSpaceMark &&
        whole && (scheme == "always" || scheme == "never")) {
      settings.escape_spaces = true;
      if (scheme == "always") settings.add_space_prefix = true;
      return {};
    }
    return bad_json("the pre_tokenizer " + printable(type) + " is not supported in this form");
  }

  Result<void> read_vocabulary(const Json& model) {
    const Json* vocab = member(model, "vocab");
    if (vocab == nullptr || !vocab->is_object()) return bad_json("model.vocab is no object");
    const Json* added = member(json_, "added_tokens");
    if (added != nullptr && !added->is_array()) return bad_json("added_tokens is no array");
    const std::size_t count = vocab->size() + (added == nullptr ? 0 : added->size());
    ids_.reserve(count);
    for (auto entry = vocab->begin(); entry != vocab->end(); ++entry) {
      PENSIEVE_TRY(const TokenId id, id_of(entry.value(), count));
      const bool is_byte = !byte_level_ && byte_of_piece(entry.key());
      const auto kind = is_byte ? TokenKind::Byte : TokenKind::Normal;
      if (pieces_.kinds[index(id)] != TokenKind::Unused) {
        return bad_json("model.vocab has two pieces with id " + std::to_string(id));
      }
      set(id, entry.key(), kind);
      ids_.emplace(entry.key(), id);
    }
    if (added != nullptr) {
      for (const Json& token : *added) {
        const Json* id_value = member(token, "id");
        const Json* content = member(token, "content");
        if (id_value == nullptr || content == nullptr || !content->is_string()) {
          return bad_json("an added token without id or content");
        }
        PENSIEVE_TRY(const TokenId id, id_of(*id_value, count));
        set(id,
            content->get_ref<const std::string&>(),
            true_member(token, "special") ? TokenKind::Control : TokenKind::UserDefined);
      }
    }
    if (const auto name = string_member(model, "unk_token"); !name.empty()) {
      const auto at = ids_.find(name);
      if (at == ids_.end()) return bad_json("unk_token is not in model.vocab");
      // Where every byte has a token, nothing is unknown, and this is a token like any other.
      if (byte_level_) return {};
      pieces_.unknown = at->second;
      pieces_.kinds[index(at->second)] = TokenKind::Unknown;
    }
    return {};
  }

  // Makes room for the id, too.
  Result<TokenId> id_of(const Json& value, std::size_t n_entries) {
    const std::size_t limit = std::min(n_entries + kMaxHoles, kMaxTokens);
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= limit) {
      return bad_json("a token id is no number below " + std::to_string(limit));
    }
    const auto id = value.get<std::uint64_t>();
    if (id >= pieces_.tokens.size()) {
      pieces_.tokens.resize(id + 1);
      pieces_.kinds.resize(id + 1, TokenKind::Unused);
    }
    return static_cast<TokenId>(id);
  }
  static std::size_t index(TokenId id) { return static_cast<std::size_t>(id); }
  void set(TokenId id, std::string_view text, TokenKind kind) {
    pieces_.tokens[index(id)] = text;
    pieces_.kinds[index(id)] = kind;
  }

  // ["a b", …] in older files, [["a", "b"], …] in newer ones.
  Result<void> read_merges(const Json& model) {
    const Json* merges = member(model, "merges");
    if (merges == nullptr || !merges->is_array()) return bad_json("model.merges is no array");
    pieces_.rules.reserve(merges->size());
    std::string joined;
    for (std::size_t i = 0; i < merges->size(); ++i) {
      const Json& merge = (*merges)[i];
      std::string_view left, right;
      if (merge.is_string()) {
        const std::string_view both = merge.get_ref<const std::string&>();
        const auto space = both.find(' ');
        if (space != std::string_view::npos) {
          left = both.substr(0, space);
          right = both.substr(space + 1);
        }
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
                 merge[1].is_string()) {
        left = merge[0].get_ref<const std::string&>();
        right = merge[1].get_ref<const std::string&>();
      }
      joined.assign(left);
      joined += right;
      const auto a = ids_.find(left), b = ids_.find(right), c = ids_.find(joined);
      if (left.empty() || right.empty() || a == ids_.end() || b == ids_.end() || c == ids_.end()) {
        return bad_json("merge " + std::to_string(i) +
                        " is not two pieces of the vocabulary that make a third");
      }
      pieces_.rules.push_back({.left = a->second, .right = b->second, .result = c->second});
    }
    return {};
  }

  // The token that the post-processor puts before a text. If it puts none, it is "<s>" for
  // SentencePiece-BPE, which always has one, and none for byte-level BPE.
  void read_bos() {
    pieces_.add_bos = false;
    if (const Json* post = member(json_, "post_processor")) {
      read_template(*post);
      const Json* steps = member(*post, "processors");
      if (string_member(*post, "type") == "Sequence" && steps != nullptr && steps->is_array()) {
        for (const Json& step : *steps) read_template(step);
      }
    }
    if (pieces_.bos == kNoToken && !byte_level_) pieces_.bos = find_token("<s>");
    make_control(pieces_, pieces_.bos);
  }
  void read_template(const Json& processor) {
    const Json* single = member(processor, "single");
    if (string_member(processor, "type") != "TemplateProcessing" || single == nullptr ||
        !single->is_array() || single->empty()) {
      return;
    }
    if (const Json* token = member((*single)[0], "SpecialToken")) {
      pieces_.bos = find_token(string_member(*token, "id"));
      pieces_.add_bos = pieces_.bos != kNoToken;
    }
  }
  TokenId find_token(std::string_view text) const {
    if (text.empty()) return kNoToken;
    const auto at = std::find(pieces_.tokens.begin(), pieces_.tokens.end(), text);
    return at == pieces_.tokens.end() ? kNoToken
                                      : static_cast<TokenId>(at - pieces_.tokens.begin());
  }

  const Json& json_;
  bool byte_level_ = false;
  Pieces pieces_;
  std::unordered_map<std::string_view, TokenId> ids_;  // model.vocab; views into json_
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::from_json(std::string_view tokenizer_json,
                                                        std::span<const TokenId> eos) {
  auto json = parse_json(tokenizer_json, {.max_depth = 32, .max_keys_per_object = kMaxTokens});
  if (!json) return bad_json(json.error().message);
  return Reader(*json).read(eos);
}

}  // namespace pensieve::tokenizer
