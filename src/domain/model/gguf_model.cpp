// GGUF -> model: the keys and tensors of the architectures that can be run. Names and meaning
// follow the GGUF specification; layouts are in docs/formats/weights.md.
#include <cmath>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
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
std::string shape_text(std::span<const std::uint64_t> dims) {  // as numpy prints it
  std::string text = "[";
  for (std::size_t i = dims.size(); i-- > 0;) {
    text += std::to_string(dims[i]) + (i == 0 ? "]" : ", ");
  }
  return text;
}

// A tensor and the number of the part that holds it.
struct Located {
  const GgufTensor* tensor = nullptr;
  std::size_t part = 0;
};

// Keys are read from the first part, tensors from all of them.
class Reader {
 public:
  Reader(const std::vector<ModelPart>& parts, const std::vector<Gguf>& headers)
      : parts_(parts), headers_(headers), gguf_(headers.front()) {}

  Result<compute::ModelWeights> read() {
    PENSIEVE_TRY(check_parts());
    PENSIEVE_TRY(index_tensors());
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
    return {};
  }

  // What `key` of part `i` says must be `expected`.
  Result<void> check_number(std::size_t i, std::string_view key, std::uint64_t expected) const {
    const GgufValue* found = headers_[i].value(key);
    const std::string name = parts_[i].name + ": ";
    if (found == nullptr) return bad_file(name + "key " + in_quotes(key) + " is missing");
    const auto number = found->integer();
    if (!number || *number < 0 || static_cast<std::uint64_t>(*number) != expected) {
      return bad_file(name + where(*found) + " is " + found->printed() + " instead of " +
                      std::to_string(expected) + ": these files are not one model");
    }
    return {};
  }

  // As gguf-split writes them: every part knows its number, their count, and the tensors of all.
  Result<void> check_parts() const {
    if (parts_.size() == 1) {
      const GgufValue* count = gguf_.value("split.count");
      if (count == nullptr || count->integer().value_or(2) == 1) return {};
      return bad_file(where(*count) + " says that the model is split over " + count->printed() +
                      " files, which have to lie together under names that end in "
                      "-00001-of-0000N.gguf");
    }
    std::uint64_t n_tensors = 0;
    for (const Gguf& header : headers_) n_tensors += header.tensors.size();
    const GgufValue* architecture = gguf_.value("general.architecture");
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      PENSIEVE_TRY(check_number(i, "split.count", parts_.size()));
      PENSIEVE_TRY(check_number(i, "split.no", i));
      PENSIEVE_TRY(check_number(i, "split.tensors.count", n_tensors));
      const GgufValue* other = headers_[i].value("general.architecture");
      if (other != nullptr && architecture != nullptr && other->text() != architecture->text()) {
        return bad_file(parts_[i].name + ": " + where(*other) + " is " +
                        in_quotes(other->printed()) + " instead of " +
                        in_quotes(architecture->printed()) + ": these files are not one model");
      }
    }
    return {};
  }

  Result<void> index_tensors() {
    for (std::size_t i = 0; i < headers_.size(); ++i) {
      for (const GgufTensor& tensor : headers_[i].tensors) {
        const auto [entry, added] = tensors_.emplace(tensor.name, Located{&tensor, i});
        if (!added) {
          return bad_file(where({&tensor, i}) + " is in " + parts_[entry->second.part].name +
                          " as well");
        }
      }
    }
    return {};
  }

  const Located* find(const std::string& name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second;
  }
  std::string where(const Located& at) const {
    return (parts_.size() > 1 ? parts_[at.part].name + ": " : "") +
           at_byte("tensor", at.tensor->name, at.tensor->info_offset);
  }
  static std::string where(const GgufValue& value) { return pensieve::model::where(value); }

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
    const Located* found = find(name + ".weight");
    if (found == nullptr) found = find(name);
    if (found == nullptr) return all;
    const GgufTensor& tensor = *found->tensor;
    used_.insert(tensor.name);
    if (tensor.type != WeightType::F32 || tensor.n_dims != 1 ||
        tensor.dims[0] > static_cast<std::uint64_t>(kHeadDimBounds.high)) {
      return bad_file(where(*found) + " must be one row of F32 factors");
    }
    all.resize(tensor.dims[0]);
    compute::dequantize_row(view_of(*found), 0, all.data());
    return all;
  }

  WeightView view_of(const Located& at) const {
    WeightView view;
    view.type = at.tensor->type;
    view.cols = static_cast<int>(at.tensor->dims[0]);
    view.rows = static_cast<int>(at.tensor->dims[1]);
    view.data = parts_[at.part].bytes.data() + at.tensor->begin;
    return view;
  }

  Result<WeightView> matrix(const std::string& name, int rows, int cols) {
    const Located* found = find(name);
    if (found == nullptr) return bad_file("tensor " + in_quotes(name) + " is missing");
    const GgufTensor& tensor = *found->tensor;
    used_.insert(tensor.name);
    const auto [n_cols, n_rows, n_planes, n_cubes] = tensor.dims;
    if (n_cols != static_cast<std::uint64_t>(cols) || n_rows != static_cast<std::uint64_t>(rows) ||
        n_planes != 1 || n_cubes != 1) {
      return bad_file(where(*found) + " has the shape " +
                      shape_text({tensor.dims.data(), static_cast<std::size_t>(tensor.n_dims)}) +
                      " instead of " + (rows == 1 ? "[" : "[" + std::to_string(rows) + ", ") +
                      std::to_string(cols) + "]");
    }
    return view_of(*found);
  }

  Result<WeightView> norm(const std::string& name) { return vector(name, weights_.hyper.hidden); }

  Result<WeightView> vector(const std::string& name, int size) {
    PENSIEVE_TRY(const WeightView view, matrix(name, 1, size));
    const Located* found = find(name);
    if (!compute::is_plain(view.type)) {
      return bad_file(where(*found) + " is a vector and must be F32, F16 or BF16");
    }
    PENSIEVE_TRY(check_finite(view, where(*found)));
    return view;
  }

  Result<void> read_layers() {
    HyperParameters& hyper = weights_.hyper;
    const Located* embedding = find("token_embd.weight");
    if (embedding == nullptr) return bad_file("tensor \"token_embd.weight\" is missing");
    const std::uint64_t n_tokens = embedding->tensor->dims[1];
    if (n_tokens > static_cast<std::uint64_t>(kVocabBounds.high)) {
      return bad_file(where(*embedding) + " has " + std::to_string(n_tokens) + " rows");
    }
    hyper.vocab = static_cast<int>(n_tokens);
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
      if (find(prefix + "ffn_gate.weight") != nullptr) {
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
    if (find("output.weight") != nullptr) {
      PENSIEVE_TRY(weights_.output, matrix("output.weight", hyper.vocab, hyper.hidden));
    }
    return {};
  }

  Result<void> read_attention(const std::string& prefix, compute::LayerWeights& layer) {
    const HyperParameters& hyper = weights_.hyper;
    const int q_rows = hyper.n_heads * hyper.head_dim, kv_rows = hyper.n_kv_heads * hyper.head_dim;
    PENSIEVE_TRY(layer.attention_out, matrix(prefix + "attn_output.weight", hyper.hidden, q_rows));
    if (find(prefix + "attn_q.weight") == nullptr) {
      PENSIEVE_TRY(layer.qkv,
                   matrix(prefix + "attn_qkv.weight", q_rows + 2 * kv_rows, hyper.hidden));
    } else {
      PENSIEVE_TRY(const auto q, matrix(prefix + "attn_q.weight", q_rows, hyper.hidden));
      PENSIEVE_TRY(const auto k, matrix(prefix + "attn_k.weight", kv_rows, hyper.hidden));
      PENSIEVE_TRY(const auto v, matrix(prefix + "attn_v.weight", kv_rows, hyper.hidden));
      layer.qkv = {q, k, v};
    }
    if (find(prefix + "attn_q.bias") != nullptr) {
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
    for (std::size_t i = 0; i < headers_.size(); ++i) {
      for (const GgufTensor& tensor : headers_[i].tensors) {
        if (used_.count(tensor.name) != 0) continue;
        return bad_file(where({&tensor, i}) + " is not part of a " +
                        std::string(compute::to_string(weights_.hyper.architecture)) +
                        " model of " + std::to_string(weights_.hyper.n_layers) + " layers");
      }
    }
    return {};
  }

  const std::vector<ModelPart>& parts_;
  const std::vector<Gguf>& headers_;
  const Gguf& gguf_;
  compute::ModelWeights weights_;
  std::unordered_map<std::string_view, Located> tensors_;
  std::set<std::string_view> used_;
};

void describe(const std::vector<ModelPart>& parts,
              const std::vector<Gguf>& headers,
              OpenedModel& model) {
  for (std::size_t i = 0; i < parts.size(); ++i) {
    for (const GgufTensor& tensor : headers[i].tensors) {
      TensorInfo info{.name = std::string(tensor.name),
                      .type = std::string(compute::to_string(tensor.type)),
                      .shape = {},
                      .offset = tensor.begin,
                      .bytes = tensor.bytes,
                      .file = parts.size() > 1 ? parts[i].name : std::string()};
      for (int d = tensor.n_dims; d-- > 0;) {
        info.shape.push_back(static_cast<std::int64_t>(tensor.dims[static_cast<std::size_t>(d)]));
      }
      model.tensors_.push_back(std::move(info));
    }
    for (const GgufValue& value : headers[i].values) {
      model.metadata_.emplace_back((i == 0 ? "" : parts[i].name + ": ") + std::string(value.key),
                                   value.printed());
    }
    model.file_bytes_ += parts[i].bytes.size();
    model.ranges_.push_back(parts[i].bytes);
    if (parts.size() > 1) model.file_names_.push_back(printable(parts[i].name, 255));
  }
}

std::string text_of(const Gguf& gguf, std::string_view key) {
  const GgufValue* value = gguf.value(key);
  return value == nullptr ? std::string() : std::string(value->text().value_or(""));
}

}  // namespace

Result<std::unique_ptr<OpenedModel>> read_gguf_model(const std::vector<ModelPart>& parts,
                                                     const std::string& fallback_name) {
  std::vector<Gguf> headers;
  for (const ModelPart& part : parts) {
    auto header = parse_gguf(part.bytes);
    if (!header && parts.size() > 1) return bad_file(part.name + ": " + header.error().message);
    if (!header) return std::move(header).error();
    headers.push_back(*std::move(header));
  }
  const Gguf& gguf = headers.front();
  auto model = std::make_unique<OpenedModel>();
  PENSIEVE_TRY(model->weights_, Reader(parts, headers).read());
  PENSIEVE_TRY(model->tokenizer_, read_gguf_tokenizer(gguf, model->weights_.hyper.vocab));
  model->chat_template_ = text_of(gguf, "tokenizer.chat_template");
  model->name_ = printable(text_of(gguf, "general.name"));
  if (model->name_.empty()) model->name_ = fallback_name;
  model->format_ = "GGUF v" + std::to_string(gguf.version);
  describe(parts, headers, *model);
  summarize(*model);

  Fingerprint fingerprint;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    fingerprint.add("gguf header", parts[i].bytes.first(headers[i].data_begin));
    fingerprint.add("file size", std::uint64_t{parts[i].bytes.size()});
  }
  fingerprint.add_samples(model->weights_);
  model->weights_.fingerprint = fingerprint.hex();
  return model;
}

}  // namespace pensieve::model
