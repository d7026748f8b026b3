#include "domain/model/internal/mlx_config.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>

#include "foundation/json.h"

#include "domain/model/internal/bad_file.h"
#include "domain/model/internal/hyper.h"

namespace pensieve::model {
namespace {

constexpr JsonLimits kLimits{.max_depth = 32, .max_keys_per_object = 300'000};
constexpr std::size_t kMaxShards = 1'000;
constexpr std::size_t kMaxEndTokens = 1'000;

Result<Json> parse_object(const std::string& file, const std::string& text) {
  auto parsed = parse_json(text, kLimits);
  if (!parsed) return bad_file(file + ": " + parsed.error().message);
  if (!parsed->is_object()) return bad_file(file + " is not a JSON object");
  return parsed;
}

// One JSON object of a file. Absent keys and null mean the same: the model's writers use both.
class Fields {
 public:
  Fields(const Json& object, std::string file, std::string path = "")
      : object_(object), file_(std::move(file)), path_(std::move(path)) {}

  const Json* find(const std::string& key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  std::string where(const std::string& key) const {
    return file_ + ": key " + in_quotes(path_ + key);
  }
  const std::string& file() const { return file_; }

  Result<std::optional<int>> integer(const std::string& key, IntegerBounds bounds) const {
    const Json* value = find(key);
    if (value == nullptr) return std::optional<int>();
    if (!value->is_number_integer() ||
        (value->is_number_unsigned() &&
         value->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX))) {
      return bad_file(where(key) + " is not a whole number within 63 bits");
    }
    PENSIEVE_TRY(const int checked, bounded(value->get<std::int64_t>(), bounds, where(key)));
    return std::optional<int>(checked);
  }
  Result<int> required(const std::string& key, IntegerBounds bounds) const {
    PENSIEVE_TRY(const auto number, integer(key, bounds));
    if (!number) return bad_file(where(key) + " is missing");
    return *number;
  }
  Result<std::optional<double>> real(const std::string& key, double low, double high) const {
    const Json* value = find(key);
    if (value == nullptr) return std::optional<double>();
    if (!value->is_number()) return bad_file(where(key) + " is not a number");
    const auto number = value->get<double>();
    PENSIEVE_TRY(bounded_real(number, low, high, where(key)));
    return std::optional<double>(number);
  }
  Result<bool> flag(const std::string& key, bool fallback) const {
    const Json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) return bad_file(where(key) + " is not true or false");
    return value->get<bool>();
  }
  Result<std::string> text(const std::string& key) const {
    const Json* value = find(key);
    if (value == nullptr) return std::string();
    if (!value->is_string()) return bad_file(where(key) + " is not a string");
    return value->get<std::string>();
  }
  Result<std::vector<float>> reals(const std::string& key) const {
    std::vector<float> all;
    const Json* value = find(key);
    if (value == nullptr) return all;
    if (!value->is_array()) return bad_file(where(key) + " is not an array");
    for (const Json& element : *value) {
      if (!element.is_number()) return bad_file(where(key) + " holds something else than numbers");
      all.push_back(static_cast<float>(element.get<double>()));
    }
    return all;
  }

 private:
  const Json& object_;
  std::string file_, path_;
};

Result<void> check_kind(const Fields& fields, compute::HyperParameters& hyper) {
  PENSIEVE_TRY(const std::string type, fields.text("model_type"));
  const auto known = architecture_named(type);
  if (!known) {
    return bad_file(fields.where("model_type") + " is " + in_quotes(type) + "; " +
                    runnable_architectures());
  }
  hyper.architecture = *known;
  PENSIEVE_TRY(const std::string activation, fields.text("hidden_act"));
  if (!activation.empty() && activation != "silu" && activation != "swish") {
    return bad_file(fields.where("hidden_act") + " is " + in_quotes(activation) +
                    "; only silu can be run");
  }
  // Qwen2 has its biases without being asked; those of others go to the output as well.
  for (const std::string key : {"attention_bias", "mlp_bias"}) {
    PENSIEVE_TRY(const bool biases, fields.flag(key, false));
    if (biases) {
      return bad_file(fields.where(key) + " asks for biases, which a " + type +
                      " model usually lacks and which cannot be run");
    }
  }
  return {};
}

Result<void> read_sizes(const Fields& fields, compute::HyperParameters& hyper) {
  PENSIEVE_TRY(hyper.n_layers, fields.required("num_hidden_layers", kLayerBounds));
  PENSIEVE_TRY(hyper.hidden, fields.required("hidden_size", kHiddenBounds));
  PENSIEVE_TRY(hyper.ffn, fields.required("intermediate_size", kFfnBounds));
  PENSIEVE_TRY(hyper.n_heads, fields.required("num_attention_heads", kHeadBounds));
  PENSIEVE_TRY(const auto kv_heads, fields.integer("num_key_value_heads", kHeadBounds));
  hyper.n_kv_heads = kv_heads.value_or(hyper.n_heads);
  PENSIEVE_TRY(hyper.vocab, fields.required("vocab_size", kVocabBounds));
  PENSIEVE_TRY(hyper.context_length, fields.required("max_position_embeddings", kContextBounds));
  PENSIEVE_TRY(const auto eps, fields.real("rms_norm_eps", 1e-12, 1));
  hyper.rms_eps = static_cast<float>(eps.value_or(1e-5));
  PENSIEVE_TRY(const auto head_dim, fields.integer("head_dim", kHeadDimBounds));
  if (!head_dim && hyper.hidden % hyper.n_heads != 0) {
    return bad_file(fields.where("num_attention_heads") + " is " + std::to_string(hyper.n_heads) +
                    ", which does not divide the hidden size " + std::to_string(hyper.hidden));
  }
  PENSIEVE_TRY(hyper.head_dim,
               bounded(head_dim.value_or(hyper.hidden / hyper.n_heads),
                       kHeadDimBounds,
                       "the head size that " + fields.where("num_attention_heads") + " gives"));
  PENSIEVE_TRY(const auto window, fields.integer("sliding_window", kWindowBounds));
  const int effective = effective_window(window.value_or(0), hyper.context_length);
  if (hyper.architecture == compute::Architecture::Phi3) {
    hyper.sliding_window = effective;
    return {};
  }
  // Qwen's configurations name a window and mostly do not use it; those that do use it in some
  // layers only.
  PENSIEVE_TRY(const bool used, fields.flag("use_sliding_window", false));
  if (used && effective > 0) {
    return bad_file(fields.where("use_sliding_window") +
                    " asks for a window in some of the layers, which cannot be run");
  }
  return {};
}

// LongRoPE as transformers reads it: the ratio that gives the scale is max_position_embeddings over
// original_max_position_embeddings, or `factor` where the original length is not said; an explicit
// attention_factor wins.
Result<void> read_longrope(const Fields& fields,
                           const Fields& scaling,
                           std::optional<int> original,
                           compute::HyperParameters& hyper) {
  PENSIEVE_TRY(hyper.rope_short, scaling.reals("short_factor"));
  PENSIEVE_TRY(hyper.rope_long, scaling.reals("long_factor"));
  if (hyper.rope_long.empty()) return bad_file(scaling.where("long_factor") + " is missing");
  PENSIEVE_TRY(const auto scale, scaling.real("attention_factor", 1e-3, 1e3));
  PENSIEVE_TRY(const auto factor, scaling.real("factor", 1e-3, 1e6));
  double length = hyper.context_length;
  if (!original && factor) length *= *factor;
  hyper.rope_attention_scale =
      scale ? static_cast<float>(*scale)
            : longrope_attention_scale(length, hyper.original_context_length);
  return check_consistency(hyper,
                           {.n_kv_heads = fields.where("num_key_value_heads"),
                            .rope_dims = fields.where("partial_rotary_factor"),
                            .rope_short = scaling.where("short_factor"),
                            .rope_long = scaling.where("long_factor")});
}

// Every other type, as transformers reads it.
Result<void> read_scaling(const std::string& type,
                          const Fields& scaling,
                          std::optional<int> original,
                          compute::HyperParameters& hyper) {
  if (type != "linear" && type != "llama3" && type != "yarn") {
    return bad_file(scaling.where("rope_type") + " is " + in_quotes(type) +
                    "; linear, llama3, yarn and longrope can be run");
  }
  PENSIEVE_TRY(const auto factor, scaling.real("factor", 1, 1e6));
  if (!factor) return bad_file(scaling.where("factor") + " is missing");
  // Only longrope chooses by length.
  hyper.original_context_length = hyper.context_length;
  if (type == "linear") {
    scale_rope_linear(hyper, *factor);
  } else if (type == "llama3") {
    Llama3Scaling llama3{.factor = *factor};
    PENSIEVE_TRY(const auto low, scaling.real("low_freq_factor", 1e-3, 1e3));
    PENSIEVE_TRY(const auto high, scaling.real("high_freq_factor", 1e-3, 1e6));
    if (!low || !high || !(*low < *high) || !original) {
      return bad_file(scaling.where("low_freq_factor") +
                      ", high_freq_factor above it and original_max_position_embeddings must be "
                      "there for llama3");
    }
    llama3.low_freq_factor = *low;
    llama3.high_freq_factor = *high;
    llama3.original_context = *original;
    scale_rope_llama3(hyper, llama3);
  } else {
    YarnScaling yarn{
        .factor = *factor,
        .original_context = original ? *original : static_cast<double>(hyper.context_length)};
    PENSIEVE_TRY(yarn.attention_factor, scaling.real("attention_factor", 1e-3, 1e3));
    PENSIEVE_TRY(const auto fast, scaling.real("beta_fast", 1e-3, 1e6));
    PENSIEVE_TRY(const auto slow, scaling.real("beta_slow", 1e-3, 1e6));
    yarn.beta_fast = fast.value_or(yarn.beta_fast);
    yarn.beta_slow = slow.value_or(yarn.beta_slow);
    scale_rope_yarn(hyper, yarn);
  }
  return {};
}

Result<void> read_rope(const Fields& fields, compute::HyperParameters& hyper) {
  // transformers 5 calls the object rope_parameters and moves its neighbours into it.
  const std::string key =
      fields.find("rope_scaling") != nullptr ? "rope_scaling" : "rope_parameters";
  const Json nothing = Json::object();
  const Json* object = fields.find(key);
  if (object != nullptr && !object->is_object()) {
    return bad_file(fields.where(key) + " is not an object");
  }
  const Fields scaling(object == nullptr ? nothing : *object, fields.file(), key + ".");

  const auto from_both =
      [&](const std::string& name, double low, double high) -> Result<std::optional<double>> {
    PENSIEVE_TRY(const auto outer, fields.real(name, low, high));
    if (outer) return outer;
    return scaling.real(name, low, high);
  };
  PENSIEVE_TRY(const auto theta, from_both("rope_theta", 1, 1e12));
  hyper.rope_theta = static_cast<float>(theta.value_or(10000.0));
  PENSIEVE_TRY(const auto partial, from_both("partial_rotary_factor", 1e-3, 1));
  hyper.rope_dims = static_cast<int>(hyper.head_dim * partial.value_or(1.0));

  const std::string original_key = "original_max_position_embeddings";
  PENSIEVE_TRY(auto original, fields.integer(original_key, kContextBounds));
  if (!original) {
    PENSIEVE_TRY(original, scaling.integer(original_key, kContextBounds));
  }
  hyper.original_context_length = original.value_or(hyper.context_length);

  PENSIEVE_TRY(std::string type, scaling.text("rope_type"));
  if (type.empty()) {
    PENSIEVE_TRY(type, scaling.text("type"));
  }
  if (type == "longrope" || type == "su") return read_longrope(fields, scaling, original, hyper);
  if (!type.empty() && type != "default") {
    PENSIEVE_TRY(read_scaling(type, scaling, original, hyper));
  }
  if (type.empty() && key == "rope_scaling" && object != nullptr && !object->empty()) {
    return bad_file(scaling.where("type") + " is missing");
  }
  return check_consistency(hyper,
                           {.n_kv_heads = fields.where("num_key_value_heads"),
                            .rope_dims = fields.where("partial_rotary_factor"),
                            .rope_short = {},
                            .rope_long = {}});
}

Result<MlxQuantization> read_quantization(const Fields& fields) {
  PENSIEVE_TRY(const std::string mode, fields.text("mode"));
  if (!mode.empty() && mode != "affine") {
    return bad_file(fields.where("mode") + " is " + in_quotes(mode) + "; only affine can be run");
  }
  MlxQuantization found;
  PENSIEVE_TRY(found.bits, fields.required("bits", {1, 32}));
  if (found.bits < 2 || found.bits > 8 || found.bits == 7) {
    return bad_file(fields.where("bits") + " is " + std::to_string(found.bits) +
                    "; 2, 3, 4, 5, 6 and 8 can be run");
  }
  PENSIEVE_TRY(found.group_size, fields.required("group_size", {1, 1 << 20}));
  if (found.group_size != 32 && found.group_size != 64 && found.group_size != 128) {
    return bad_file(fields.where("group_size") + " is " + std::to_string(found.group_size) +
                    "; 32, 64 and 128 can be run");
  }
  return found;
}

Result<void> read_quantizations(const Fields& fields, MlxConfig& config) {
  // MLX writes both names, other programs the second one for their own layouts.
  const std::string key =
      fields.find("quantization") != nullptr ? "quantization" : "quantization_config";
  const Json* object = fields.find(key);
  if (object == nullptr) return {};
  if (!object->is_object()) return bad_file(fields.where(key) + " is not an object");
  const Fields inner(*object, fields.file(), key + ".");
  PENSIEVE_TRY(const std::string method, inner.text("quant_method"));
  if (!method.empty()) {
    return bad_file(inner.where("quant_method") + " is " + in_quotes(method) +
                    "; MLX's affine quantisation and GGUF can be run");
  }
  PENSIEVE_TRY(config.quantization, read_quantization(inner));
  for (const auto& [layer, value] : object->items()) {
    if (value.is_object()) {
      PENSIEVE_TRY(config.overrides[layer],
                   read_quantization(Fields(value, fields.file(), key + "." + layer + ".")));
    } else if (value.is_boolean() && !value.get<bool>()) {
      config.overrides[layer] = std::nullopt;
    }
  }
  return {};
}

// eos_token_id is a number or an array of numbers.
Result<void> add_end_tokens(const Fields& fields, int vocab, std::vector<std::int32_t>& all) {
  const Json* value = fields.find("eos_token_id");
  if (value == nullptr) return {};
  Json ids = value->is_array() ? *value : Json::array({*value});
  if (ids.size() > kMaxEndTokens) return bad_file(fields.where("eos_token_id") + " is too long");
  for (const Json& id : ids) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= static_cast<unsigned>(vocab)) {
      return bad_file(fields.where("eos_token_id") + " holds " + printable(id.dump(), 40) +
                      ", which is no token of a vocabulary of " + std::to_string(vocab));
    }
    const auto token = id.get<std::int32_t>();
    if (std::find(all.begin(), all.end(), token) == all.end()) all.push_back(token);
  }
  return {};
}

std::string printed(const Json& value) {
  return printable(value.dump(-1, ' ', false, Json::error_handler_t::replace), 200);
}

}  // namespace

Result<MlxConfig> parse_mlx_config(const std::string& config, const std::string* generation) {
  PENSIEVE_TRY(const Json json, parse_object("config.json", config));
  const Fields fields(json, "config.json");
  MlxConfig found;
  PENSIEVE_TRY(check_kind(fields, found.hyper));
  PENSIEVE_TRY(read_sizes(fields, found.hyper));
  PENSIEVE_TRY(read_rope(fields, found.hyper));
  PENSIEVE_TRY(found.tied, fields.flag("tie_word_embeddings", false));
  PENSIEVE_TRY(read_quantizations(fields, found));
  PENSIEVE_TRY(const auto bos, fields.integer("bos_token_id", {0, found.hyper.vocab - 1}));
  found.bos = bos.value_or(-1);
  PENSIEVE_TRY(add_end_tokens(fields, found.hyper.vocab, found.eos_ids));
  if (generation != nullptr) {
    PENSIEVE_TRY(const Json more, parse_object("generation_config.json", *generation));
    PENSIEVE_TRY(
        add_end_tokens(Fields(more, "generation_config.json"), found.hyper.vocab, found.eos_ids));
  }
  for (const auto& [key, value] : json.items()) {
    found.metadata.emplace_back(printable(key), printed(value));
  }
  return found;
}

Result<TokenizerConfig> parse_tokenizer_config(const std::string& text) {
  PENSIEVE_TRY(const Json json, parse_object("tokenizer_config.json", text));
  const Fields fields(json, "tokenizer_config.json");
  TokenizerConfig found;
  PENSIEVE_TRY(found.add_bos, fields.flag("add_bos_token", true));
  const Json* chat_template = fields.find("chat_template");
  if (chat_template == nullptr) return found;
  if (chat_template->is_string()) {
    found.chat_template = chat_template->get<std::string>();
    return found;
  }
  const auto refused = bad_file(fields.where("chat_template") +
                                " is neither a string nor a list of named templates");
  if (!chat_template->is_array()) return refused;
  for (const Json& entry : *chat_template) {
    if (!entry.is_object() || !entry.contains("name") || !entry.contains("template") ||
        !entry["template"].is_string()) {
      return refused;
    }
    if (entry["name"] == "default") found.chat_template = entry["template"].get<std::string>();
  }
  return found;
}

Result<std::vector<std::string>> parse_shard_names(const std::string& index) {
  const std::string file = "model.safetensors.index.json";
  PENSIEVE_TRY(const Json json, parse_object(file, index));
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object() || map->empty()) {
    return bad_file(file + ": key \"weight_map\" is not an object with tensors");
  }
  std::set<std::string> names;
  for (const auto& [tensor, shard] : map->items()) {
    constexpr std::string_view kEnding = ".safetensors";
    const std::string name = shard.is_string() ? shard.get<std::string>() : std::string();
    const bool plain = name.size() > kEnding.size() && name.size() <= 255 && name[0] != '.' &&
                       name.find_first_of("/\\:") == std::string::npos &&
                       name.find('\0') == std::string::npos && name.ends_with(kEnding);
    if (!plain) {
      return bad_file(file + ": tensor " + in_quotes(tensor) + " is said to be in " +
                      printable(shard.dump(-1, ' ', false, Json::error_handler_t::replace)) +
                      ", which is no plain .safetensors file name");
    }
    names.insert(name);
    if (names.size() > kMaxShards) return bad_file(file + " names too many files");
  }
  return std::vector<std::string>(names.begin(), names.end());
}

}  // namespace pensieve::model
