// GGUF -> model: the keys and tensors of the architectures that can be run. Names and meaning
// follow the GGUF specification; layouts are in docs/formats/weights.md.
#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include "domain/model/internal/bad_file.h"
#include "domain/model/internal/fingerprint.h"
#include "domain/model/internal/gguf.h"
#include "domain/model/internal/gguf_tokenizer.h"
#include "domain/model/internal/hyper.h"
#include "domain/model/internal/readers.h"

namespace pensieve::model {
namespace {

using compute::HyperParameters;
using compute::WeightType;
using compute::WeightView;

std::string where(const GgufValue& value) {
  return at_byte("key", value.key, value.offset);
}
std::string where(const GgufTensor& tensor) {
  return at_byte("tensor", tensor.name, tensor.info_offset);
}
std::string shape_text(std::span<const std::uint64_t> dims) {  // as numpy prints it
  std::string text = "[";
  for (std::size_t i = dims.size(); i-- > 0;) {
    text += std::to_string(dims[i]) + (i == 0 ? "]" : ", ");
  }
  return text;
}

class Reader {
 public:
  explicit Reader(std::span<const std::byte> file, const Gguf& gguf) : file_(file), gguf_(gguf) {}

  Result<compute::ModelWeights> read() {
    PENSIEVE_TRY(check_kind());
    PENSIEVE_TRY(read_sizes());
    PENSIEVE_TRY(read_rope());
    PENSIEVE_TRY(read_layers());
    PENSIEVE_TRY(refuse_unused());
    return std::move(weights_);
  }

 private:
  // The full name of a key of the architecture: "phi3.block_count".
  std::string full(const std::string& key) const {
    return std::string(compute::to_string(weights_.hyper.architecture)) + '.' + key;
  }
  const GgufValue* value(const std::string& key) const { return gguf_.value(full(key)); }

  // The sentence's subject for a key of the architecture, present or not.
  std::string subject(const std::string& key) const {
    const GgufValue* found = value(key);
    return found != nullptr ? where(*found) : "key " + in_quotes(full(key));
  }

  Result<std::optional<int>> integer(const std::string& key, IntegerBounds bounds) const {
    const GgufValue* found = value(key);
    if (found == nullptr) return std::optional<int>();
    const auto number = found->integer();
    if (!number) return bad_file(where(*found) + " is not a whole number within 63 bits");
    PENSIEVE_TRY(const int checked, bounded(*number, bounds, where(*found)));
    return std::optional<int>(checked);
  }
  Result<int> required(const std::string& key, IntegerBounds bounds) const {
    PENSIEVE_TRY(const auto number, integer(key, bounds));
    if (!number) return bad_file("key " + in_quotes(full(key)) + " is missing");
    return *number;
  }
  Result<std::optional<float>> real(const std::string& key, double low, double high) const {
    const GgufValue* found = value(key);
    if (found == nullptr) return std::optional<float>();
    const auto number = found->real();
    if (!number) return bad_file(where(*found) + " is not a floating point number");
    PENSIEVE_TRY(const float checked, bounded_real(*number, low, high, where(*found)));
    return std::optional<float>(checked);
  }

  Result<void> check_kind() {
    const GgufValue* architecture = gguf_.value("general.architecture");
    if (architecture == nullptr) return bad_file("key \"general.architecture\" is missing");
    const auto known = architecture_named(architecture->text().value_or(""));
    if (!known) {
      return bad_file(where(*architecture) + " is " + in_quotes(architecture->printed()) + "; " +
                      runnable_architectures());
    }
    weights_.hyper.architecture = *known;
    // Writers put the rows of Llama's q and k in the order of neighbouring pairs.
    weights_.hyper.rope_interleaved = *known == compute::Architecture::Llama;
    const GgufValue* parts = gguf_.value("split.count");
    if (parts != nullptr && parts->integer().value_or(2) > 1) {
      return bad_file(where(*parts) + " says that the model is split over " + parts->printed() +
                      " files; join them first");
    }
    return {};
  }

  Result<void> read_sizes() {
    HyperParameters& hyper = weights_.hyper;
    PENSIEVE_TRY(hyper.n_layers, required("block_count", kLayerBounds));
    PENSIEVE_TRY(hyper.hidden, required("embedding_length", kHiddenBounds));
    PENSIEVE_TRY(hyper.ffn, required("feed_forward_length", kFfnBounds));
    PENSIEVE_TRY(hyper.n_heads, required("attention.head_count", kHeadBounds));
    PENSIEVE_TRY(const auto kv_heads, integer("attention.head_count_kv", kHeadBounds));
    hyper.n_kv_heads = kv_heads.value_or(hyper.n_heads);
    PENSIEVE_TRY(hyper.context_length, required("context_length", kContextBounds));
    PENSIEVE_TRY(const auto eps, real("attention.layer_norm_rms_epsilon", 1e-12, 1));
    if (!eps) {
      return bad_file("key " + in_quotes(full("attention.layer_norm_rms_epsilon")) + " is missing");
    }
    hyper.rms_eps = *eps;

    PENSIEVE_TRY(const auto key_length, integer("attention.key_length", kHeadDimBounds));
    PENSIEVE_TRY(const auto value_length, integer("attention.value_length", kHeadDimBounds));
    if (!key_length && hyper.hidden % hyper.n_heads != 0) {
      return bad_file(subject("attention.head_count") + " is " + std::to_string(hyper.n_heads) +
                      ", which does not divide the embedding length " +
                      std::to_string(hyper.hidden));
    }
    const int head_dim = key_length.value_or(hyper.hidden / hyper.n_heads);
    PENSIEVE_TRY(hyper.head_dim,
                 bounded(head_dim,
                         kHeadDimBounds,
                         "the head size that " + subject("attention.head_count") + " gives"));
    if (value_length && *value_length != hyper.head_dim) {
      return bad_file(subject("attention.value_length") + " is " + std::to_string(*value_length) +
                      ", but keys have " + std::to_string(hyper.head_dim) + " elements");
    }
    PENSIEVE_TRY(const auto window, integer("attention.sliding_window", kWindowBounds));
    hyper.sliding_window = effective_window(window.value_or(0), hyper.context_length);
    return {};
  }

  Result<void> read_rope() {
    HyperParameters& hyper = weights_.hyper;
    PENSIEVE_TRY(const auto dims, integer("rope.dimension_count", kHeadDimBounds));
    hyper.rope_dims = dims.value_or(hyper.head_dim);
    PENSIEVE_TRY(const auto theta, real("rope.freq_base", 1, 1e12));
    hyper.rope_theta = theta.value_or(10000.0f);
    PENSIEVE_TRY(const auto original,
                 integer("rope.scaling.original_context_length", kContextBounds));
    hyper.original_context_length = original.value_or(hyper.context_length);

    PENSIEVE_TRY(hyper.rope_short, factors("rope_factors_short"));
    PENSIEVE_TRY(hyper.rope_long, factors("rope_factors_long"));
    // Llama 3.1 and later: one set for every length, computed when the file was written.
    if (hyper.rope_short.empty() && hyper.rope_long.empty()) {
      PENSIEVE_TRY(hyper.rope_short, factors("rope_freqs"));
      hyper.rope_long = hyper.rope_short;
    }
    PENSIEVE_TRY(read_rope_scaling());
    return check_consistency(hyper,
                             {.n_kv_heads = subject("attention.head_count_kv"),
                              .rope_dims = subject("rope.dimension_count"),
                              .rope_short = "tensor \"rope_factors_short.weight\"",
                              .rope_long = "tensor \"rope_factors_long.weight\""});
  }

  Result<void> read_rope_scaling() {
    HyperParameters& hyper = weights_.hyper;
    const bool has_factors = !hyper.rope_short.empty() || !hyper.rope_long.empty();
    PENSIEVE_TRY(const auto attention, real("rope.scaling.attn_factor", 1e-3, 1e3));
    const GgufValue* type = value("rope.scaling.type");
    const std::string_view name = type == nullptr ? "none" : type->text().value_or("?");
    if (name == "longrope" || name == "su" ||
        (has_factors && hyper.architecture == compute::Architecture::Phi3)) {
      if (!has_factors) {
        return bad_file(where(*type) +
                        " is longrope, but tensor \"rope_factors_long.weight\" is missing");
      }
      hyper.rope_attention_scale = attention.value_or(
          longrope_attention_scale(hyper.context_length, hyper.original_context_length));
      return {};
    }
    if (name == "none") return {};
    PENSIEVE_TRY(const auto factor, real("rope.scaling.factor", 1, 1e6));
    if (!factor && (name == "linear" || name == "yarn")) {
      return bad_file("key " + in_quotes(full("rope.scaling.factor")) + " is missing");
    }
    if (name == "linear") {
      scale_rope_linear(hyper, *factor);
    } else if (name == "yarn") {
      YarnScaling yarn{.factor = *factor,
                       .original_context = static_cast<double>(hyper.original_context_length)};
      scale_rope_yarn(hyper, yarn);
      hyper.rope_attention_scale *= attention.value_or(1.0f);
    } else {
      return bad_file(where(*type) + " is " + in_quotes(type->printed()) +
                      "; linear, yarn and longrope can be run");
    }
    return {};
  }

  // A one-dimensional tensor of factors, with or without the ".weight" that most writers add.
  Result<std::vector<float>> factors(const std::string& name) {
    std::vector<float> all;
    const GgufTensor* tensor = gguf_.tensor(name + ".weight");
    if (tensor == nullptr) tensor = gguf_.tensor(name);
    if (tensor == nullptr) return all;
    used_.insert(tensor->name);
    if (tensor->type != WeightType::F32 || tensor->n_dims != 1 ||
        tensor->dims[0] > static_cast<std::uint64_t>(kHeadDimBounds.high)) {
      return bad_file(where(*tensor) + " must be one row of F32 factors");
    }
    all.resize(tensor->dims[0]);
    compute::dequantize_row(view_of(*tensor), 0, all.data());
    return all;
  }

  WeightView view_of(const GgufTensor& tensor) const {
    WeightView view;
    view.type = tensor.type;
    view.cols = static_cast<int>(tensor.dims[0]);
    view.rows = static_cast<int>(tensor.dims[1]);
    view.data = file_.data() + tensor.begin;
    return view;
  }

  Result<WeightView> matrix(const std::string& name, int rows, int cols) {
    const GgufTensor* tensor = gguf_.tensor(name);
    if (tensor == nullptr) return bad_file("tensor " + in_quotes(name) + " is missing");
    used_.insert(tensor->name);
    const auto [n_cols, n_rows, n_planes, n_cubes] = tensor->dims;
    if (n_cols != static_cast<std::uint64_t>(cols) || n_rows != static_cast<std::uint64_t>(rows) ||
        n_planes != 1 || n_cubes != 1) {
      return bad_file(where(*tensor) + " has the shape " +
                      shape_text({tensor->dims.data(), static_cast<std::size_t>(tensor->n_dims)}) +
                      " instead of " + (rows == 1 ? "[" : "[" + std::to_string(rows) + ", ") +
                      std::to_string(cols) + "]");
    }
    return view_of(*tensor);
  }

  Result<WeightView> norm(const std::string& name) { return vector(name, weights_.hyper.hidden); }

  Result<WeightView> vector(const std::string& name, int size) {
    PENSIEVE_TRY(const WeightView view, matrix(name, 1, size));
    const GgufTensor* tensor = gguf_.tensor(name);
    if (compute::block_shape(view.type).elements != 1) {
      return bad_file(where(*tensor) + " is a vector and must be F32, F16 or BF16");
    }
    PENSIEVE_TRY(check_finite(view, where(*tensor)));
    return view;
  }

  Result<void> read_layers() {
    HyperParameters& hyper = weights_.hyper;
    const GgufTensor* embedding = gguf_.tensor("token_embd.weight");
    if (embedding == nullptr) return bad_file("tensor \"token_embd.weight\" is missing");
    if (embedding->dims[1] > static_cast<std::uint64_t>(kVocabBounds.high)) {
      return bad_file(where(*embedding) + " has " + std::to_string(embedding->dims[1]) + " rows");
    }
    hyper.vocab = static_cast<int>(embedding->dims[1]);
    PENSIEVE_TRY(const auto vocab, integer("vocab_size", kVocabBounds));
    if (vocab && *vocab != hyper.vocab) {
      return bad_file(subject("vocab_size") + " is " + std::to_string(*vocab) +
                      ", but tensor \"token_embd.weight\" has " + std::to_string(hyper.vocab) +
                      " rows");
    }
    PENSIEVE_TRY(weights_.token_embedding, matrix("token_embd.weight", hyper.vocab, hyper.hidden));
    for (int i = 0; i < hyper.n_layers; ++i) {
      const std::string prefix = "blk." + std::to_string(i) + ".";
      compute::LayerWeights layer;
      PENSIEVE_TRY(layer.attention_norm, norm(prefix + "attn_norm.weight"));
      PENSIEVE_TRY(read_attention(prefix, layer));
      PENSIEVE_TRY(layer.ffn_norm, norm(prefix + "ffn_norm.weight"));
      if (gguf_.tensor(prefix + "ffn_gate.weight") != nullptr) {
        PENSIEVE_TRY(const auto gate, matrix(prefix + "ffn_gate.weight", hyper.ffn, hyper.hidden));
        PENSIEVE_TRY(const auto up, matrix(prefix + "ffn_up.weight", hyper.ffn, hyper.hidden));
        layer.gate_up = {gate, up};
      } else {
        PENSIEVE_TRY(layer.gate_up, matrix(prefix + "ffn_up.weight", 2 * hyper.ffn, hyper.hidden));
      }
      PENSIEVE_TRY(layer.down, matrix(prefix + "ffn_down.weight", hyper.hidden, hyper.ffn));
      weights_.layers.push_back(layer);
    }
    PENSIEVE_TRY(weights_.output_norm, norm("output_norm.weight"));
    weights_.output = weights_.token_embedding;
    if (gguf_.tensor("output.weight") != nullptr) {
      PENSIEVE_TRY(weights_.output, matrix("output.weight", hyper.vocab, hyper.hidden));
    }
    return {};
  }

  Result<void> read_attention(const std::string& prefix, compute::LayerWeights& layer) {
    const HyperParameters& hyper = weights_.hyper;
    const int q_rows = hyper.n_heads * hyper.head_dim, kv_rows = hyper.n_kv_heads * hyper.head_dim;
    PENSIEVE_TRY(layer.attention_out, matrix(prefix + "attn_output.weight", hyper.hidden, q_rows));
    if (gguf_.tensor(prefix + "attn_q.weight") == nullptr) {
      PENSIEVE_TRY(layer.qkv,
                   matrix(prefix + "attn_qkv.weight", q_rows + 2 * kv_rows, hyper.hidden));
    } else {
      PENSIEVE_TRY(const auto q, matrix(prefix + "attn_q.weight", q_rows, hyper.hidden));
      PENSIEVE_TRY(const auto k, matrix(prefix + "attn_k.weight", kv_rows, hyper.hidden));
      PENSIEVE_TRY(const auto v, matrix(prefix + "attn_v.weight", kv_rows, hyper.hidden));
      layer.qkv = {q, k, v};
    }
    if (gguf_.tensor(prefix + "attn_q.bias") != nullptr) {
      PENSIEVE_TRY(const auto q, vector(prefix + "attn_q.bias", q_rows));
      PENSIEVE_TRY(const auto k, vector(prefix + "attn_k.bias", kv_rows));
      PENSIEVE_TRY(const auto v, vector(prefix + "attn_v.bias", kv_rows));
      layer.qkv_bias = {q, k, v};
    } else if (hyper.architecture == compute::Architecture::Qwen2) {
      return bad_file("tensor " + in_quotes(prefix + "attn_q.bias") + " is missing");
    }
    if (!weights_.layers.empty() &&
        weights_.layers[0].qkv_bias.parts().empty() != layer.qkv_bias.parts().empty()) {
      return bad_file("tensor " + in_quotes(prefix + "attn_q.bias") +
                      " is there in some layers and missing in others");
    }
    if (hyper.architecture == compute::Architecture::Qwen3) {
      PENSIEVE_TRY(layer.q_norm, vector(prefix + "attn_q_norm.weight", hyper.head_dim));
      PENSIEVE_TRY(layer.k_norm, vector(prefix + "attn_k_norm.weight", hyper.head_dim));
    }
    return {};
  }

  // A tensor that nothing reads would change the answers of whoever does read it (a bias, a layer
  // beyond the count): better no model than another one.
  Result<void> refuse_unused() const {
    for (const GgufTensor& tensor : gguf_.tensors) {
      if (used_.count(tensor.name) == 0) {
        return bad_file(where(tensor) + " is not part of a " +
                        std::string(compute::to_string(weights_.hyper.architecture)) +
                        " model of " + std::to_string(weights_.hyper.n_layers) + " layers");
      }
    }
    return {};
  }

  std::span<const std::byte> file_;
  const Gguf& gguf_;
  compute::ModelWeights weights_;
  std::set<std::string_view> used_;
};

void describe(const Gguf& gguf, OpenedModel& model) {
  for (const GgufTensor& tensor : gguf.tensors) {
    TensorInfo info{.name = std::string(tensor.name),
                    .type = std::string(compute::to_string(tensor.type)),
                    .shape = {},
                    .offset = tensor.begin,
                    .bytes = tensor.bytes};
    for (int i = tensor.n_dims; i-- > 0;) {
      info.shape.push_back(static_cast<std::int64_t>(tensor.dims[static_cast<std::size_t>(i)]));
    }
    model.tensors_.push_back(std::move(info));
  }
  for (const GgufValue& value : gguf.values) {
    model.metadata_.emplace_back(value.key, value.printed());
  }
}

std::string text_of(const Gguf& gguf, std::string_view key) {
  const GgufValue* value = gguf.value(key);
  return value == nullptr ? std::string() : std::string(value->text().value_or(""));
}

}  // namespace

Result<std::unique_ptr<OpenedModel>> read_gguf_model(std::span<const std::byte> file,
                                                     const std::string& fallback_name) {
  PENSIEVE_TRY(const Gguf gguf, parse_gguf(file));
  auto model = std::make_unique<OpenedModel>();
  PENSIEVE_TRY(model->weights_, Reader(file, gguf).read());
  PENSIEVE_TRY(model->tokenizer_, read_gguf_tokenizer(gguf, model->weights_.hyper.vocab));
  model->chat_template_ = text_of(gguf, "tokenizer.chat_template");
  model->name_ = printable(text_of(gguf, "general.name"));
  if (model->name_.empty()) model->name_ = fallback_name;
  model->format_ = "GGUF v" + std::to_string(gguf.version);
  model->file_bytes_ = file.size();
  model->ranges_ = {file};
  describe(gguf, *model);
  summarize(*model);

  Fingerprint fingerprint;
  fingerprint.add("gguf header", file.first(gguf.data_begin));
  fingerprint.add("file size", std::uint64_t{file.size()});
  fingerprint.add_samples(model->weights_);
  model->weights_.fingerprint = fingerprint.hex();
  return model;
}

}  // namespace pensieve::model
