// A Hugging Face directory of safetensors -> model: the tensors of the architectures that can be
// run, plain or in MLX's affine quantisation. Layouts are in docs/formats/weights.md.
#include <algorithm>
#include <array>
#include <set>
#include <unordered_map>
#include <utility>

#include "domain/model/internal/bad_file.h"
#include "domain/model/internal/cursor.h"
#include "domain/model/internal/fingerprint.h"
#include "domain/model/internal/hyper.h"
#include "domain/model/internal/mlx_config.h"
#include "domain/model/internal/readers.h"
#include "domain/model/internal/safetensors.h"

namespace pensieve::model {
namespace {

using compute::WeightType;
using compute::WeightView;

constexpr std::array kFloats = {SafetensorsType::F32, SafetensorsType::F16, SafetensorsType::BF16};
constexpr std::array kWords = {SafetensorsType::U32};

struct Located {
  const SafetensorsTensor* tensor = nullptr;
  const ModelPart* shard = nullptr;
};

std::string where(const Located& at) {
  return at.shard->name + ": " + at_byte("tensor", at.tensor->name, at.tensor->entry_offset);
}

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + "]";
}

class Reader {
 public:
  Reader(const MlxParts& parts, const std::vector<Safetensors>& headers, const MlxConfig& config)
      : parts_(parts), headers_(headers), config_(config) {}

  Result<compute::ModelWeights> read() {
    weights_.hyper = config_.hyper;
    PENSIEVE_TRY(index_tensors());
    PENSIEVE_TRY(read_layers());
    PENSIEVE_TRY(refuse_unused());
    return std::move(weights_);
  }

 private:
  Result<void> index_tensors() {
    for (std::size_t i = 0; i < headers_.size(); ++i) {
      for (const SafetensorsTensor& tensor : headers_[i].tensors) {
        const Located at{&tensor, &parts_.shards[i]};
        const auto [entry, added] = tensors_.emplace(tensor.name, at);
        if (!added) return bad_file(where(at) + " is in " + entry->second.shard->name + " as well");
      }
    }
    return {};
  }

  const Located* find(const std::string& name) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) return nullptr;
    used_.insert(found->first);
    return &found->second;
  }
  Result<Located> required(const std::string& name) {
    const Located* found = find(name);
    if (found == nullptr) return bad_file("tensor " + in_quotes(name) + " is missing");
    return *found;
  }

  // The data of a tensor that must have one of `types` and exactly this shape.
  Result<const std::byte*> data_of(const Located& at,
                                   std::span<const SafetensorsType> types,
                                   const std::vector<std::uint64_t>& shape) const {
    const SafetensorsTensor& tensor = *at.tensor;
    if (std::find(types.begin(), types.end(), tensor.type) == types.end()) {
      return bad_file(where(at) + " has the dtype " + tensor.type_name +
                      ", which cannot be used there");
    }
    if (tensor.shape != shape) {
      return bad_file(where(at) + " has the shape " + shape_text(tensor.shape) + " instead of " +
                      shape_text(shape));
    }
    const std::uint64_t width =
        tensor.type == SafetensorsType::F32 || tensor.type == SafetensorsType::U32 ? 4 : 2;
    if (tensor.begin % width != 0) {
      return bad_file(where(at) + " has its data at byte " + std::to_string(tensor.begin) +
                      ", which is not a multiple of " + std::to_string(width));
    }
    return at.shard->bytes.data() + tensor.begin;
  }

  static WeightType float_type(SafetensorsType type) {
    return type == SafetensorsType::F32   ? WeightType::F32
           : type == SafetensorsType::F16 ? WeightType::F16
                                          : WeightType::BF16;
  }

  // The type of so many bits, one of those that read_quantization() allows.
  static WeightType mlx_type(int bits) {
    for (int i = 0; i <= static_cast<int>(compute::kLastWeightType); ++i) {
      const auto type = static_cast<WeightType>(i);
      if (compute::mlx_bits(type) == bits) return type;
    }
    CHECK(false);
  }

  Result<WeightView> norm(const std::string& name) { return vector(name, weights_.hyper.hidden); }

  Result<WeightView> vector(const std::string& name, int size) {
    PENSIEVE_TRY(const Located at, required(name));
    WeightView view;
    PENSIEVE_TRY(view.data, data_of(at, kFloats, {static_cast<std::uint64_t>(size)}));
    view.type = float_type(at.tensor->type);
    view.rows = 1;
    view.cols = size;
    PENSIEVE_TRY(check_finite(view, where(at)));
    return view;
  }

  // `layer` is the name without ".weight".
  Result<WeightView> matrix(const std::string& layer, int rows, int cols) {
    PENSIEVE_TRY(const Located at, required(layer + ".weight"));
    if (find(layer + ".scales") != nullptr) return quantized(layer, at, rows, cols);
    WeightView view;
    PENSIEVE_TRY(
        view.data,
        data_of(at, kFloats, {static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(cols)}));
    view.type = float_type(at.tensor->type);
    view.rows = rows;
    view.cols = cols;
    return view;
  }

  Result<WeightView> quantized(const std::string& layer, const Located& at, int rows, int cols) {
    if (!config_.quantization) {
      return bad_file(where(at) + " is quantised, but config.json has no key \"quantization\"");
    }
    const auto special = config_.overrides.find(layer);
    if (special != config_.overrides.end() && !special->second) {
      return bad_file(where(at) + " is quantised, but config.json says that it is not");
    }
    const MlxQuantization q =
        special == config_.overrides.end() ? *config_.quantization : *special->second;
    if (cols % q.group_size != 0) {
      return bad_file(where(at) + " has rows of " + std::to_string(cols) +
                      " elements, which are no whole groups of " + std::to_string(q.group_size));
    }
    const auto n_rows = static_cast<std::uint64_t>(rows);
    const auto n_words = static_cast<std::uint64_t>(cols / 32 * q.bits);
    const auto n_groups = static_cast<std::uint64_t>(cols / q.group_size);
    WeightView view;
    view.type = mlx_type(q.bits);
    view.rows = rows;
    view.cols = cols;
    view.group_size = q.group_size;
    PENSIEVE_TRY(view.data, data_of(at, kWords, {n_rows, n_words}));
    PENSIEVE_TRY(const Located scales, required(layer + ".scales"));
    PENSIEVE_TRY(view.scales, data_of(scales, kFloats, {n_rows, n_groups}));
    PENSIEVE_TRY(const Located biases, required(layer + ".biases"));
    PENSIEVE_TRY(view.biases, data_of(biases, kFloats, {n_rows, n_groups}));
    if (biases.tensor->type != scales.tensor->type) {
      return bad_file(where(biases) + " is " + biases.tensor->type_name + ", but its scales are " +
                      scales.tensor->type_name);
    }
    view.scale_type = float_type(scales.tensor->type);
    return view;
  }

  Result<void> read_layers() {
    const compute::HyperParameters& hyper = weights_.hyper;
    PENSIEVE_TRY(weights_.token_embedding, matrix("model.embed_tokens", hyper.vocab, hyper.hidden));
    for (int i = 0; i < hyper.n_layers; ++i) {
      const std::string prefix = "model.layers." + std::to_string(i) + ".";
      compute::LayerWeights layer;
      PENSIEVE_TRY(layer.attention_norm, norm(prefix + "input_layernorm.weight"));
      PENSIEVE_TRY(read_attention(prefix + "self_attn.", layer));
      PENSIEVE_TRY(layer.ffn_norm, norm(prefix + "post_attention_layernorm.weight"));
      if (hyper.architecture == compute::Architecture::Phi3) {
        PENSIEVE_TRY(layer.gate_up,
                     matrix(prefix + "mlp.gate_up_proj", 2 * hyper.ffn, hyper.hidden));
      } else {
        PENSIEVE_TRY(const auto gate, matrix(prefix + "mlp.gate_proj", hyper.ffn, hyper.hidden));
        PENSIEVE_TRY(const auto up, matrix(prefix + "mlp.up_proj", hyper.ffn, hyper.hidden));
        layer.gate_up = {gate, up};
      }
      PENSIEVE_TRY(layer.down, matrix(prefix + "mlp.down_proj", hyper.hidden, hyper.ffn));
      weights_.layers.push_back(layer);
    }
    PENSIEVE_TRY(weights_.output_norm, norm("model.norm.weight"));
    if (config_.tied) {
      weights_.output = weights_.token_embedding;
    } else {
      PENSIEVE_TRY(weights_.output, matrix("lm_head", hyper.vocab, hyper.hidden));
    }
    return {};
  }

  Result<void> read_attention(const std::string& prefix, compute::LayerWeights& layer) {
    const compute::HyperParameters& hyper = weights_.hyper;
    const int q_rows = hyper.n_heads * hyper.head_dim, kv_rows = hyper.n_kv_heads * hyper.head_dim;
    PENSIEVE_TRY(layer.attention_out, matrix(prefix + "o_proj", hyper.hidden, q_rows));
    if (hyper.architecture == compute::Architecture::Phi3) {
      PENSIEVE_TRY(layer.qkv, matrix(prefix + "qkv_proj", q_rows + 2 * kv_rows, hyper.hidden));
      return {};
    }
    PENSIEVE_TRY(const auto q, matrix(prefix + "q_proj", q_rows, hyper.hidden));
    PENSIEVE_TRY(const auto k, matrix(prefix + "k_proj", kv_rows, hyper.hidden));
    PENSIEVE_TRY(const auto v, matrix(prefix + "v_proj", kv_rows, hyper.hidden));
    layer.qkv = {q, k, v};
    if (hyper.architecture == compute::Architecture::Qwen2) {
      PENSIEVE_TRY(const auto q_bias, vector(prefix + "q_proj.bias", q_rows));
      PENSIEVE_TRY(const auto k_bias, vector(prefix + "k_proj.bias", kv_rows));
      PENSIEVE_TRY(const auto v_bias, vector(prefix + "v_proj.bias", kv_rows));
      layer.qkv_bias = {q_bias, k_bias, v_bias};
    }
    if (hyper.architecture == compute::Architecture::Qwen3) {
      PENSIEVE_TRY(layer.q_norm, vector(prefix + "q_norm.weight", hyper.head_dim));
      PENSIEVE_TRY(layer.k_norm, vector(prefix + "k_norm.weight", hyper.head_dim));
    }
    return {};
  }

  // As for GGUF: a tensor that nothing reads means another model than the one we would run. Left
  // aside are tables that can be computed, and the copy of a tied embedding.
  Result<void> refuse_unused() const {
    for (const auto& [name, at] : tensors_) {
      const bool harmless =
          name.ends_with(".rotary_emb.inv_freq") || (config_.tied && name.starts_with("lm_head."));
      if (used_.count(name) == 0 && !harmless) {
        return bad_file(where(at) + " is not part of a " +
                        std::string(compute::to_string(weights_.hyper.architecture)) +
                        " model of " + std::to_string(weights_.hyper.n_layers) + " layers");
      }
    }
    return {};
  }

  const MlxParts& parts_;
  const std::vector<Safetensors>& headers_;
  const MlxConfig& config_;
  compute::ModelWeights weights_;
  std::unordered_map<std::string_view, Located> tensors_;
  std::set<std::string_view> used_;
};

void describe(const MlxParts& parts, const std::vector<Safetensors>& headers, OpenedModel& model) {
  for (std::size_t i = 0; i < headers.size(); ++i) {
    for (const SafetensorsTensor& tensor : headers[i].tensors) {
      TensorInfo info{.name = tensor.name,
                      .type = tensor.type_name,
                      .shape = {},
                      .offset = tensor.begin,
                      .bytes = tensor.bytes,
                      .file = headers.size() > 1 ? parts.shards[i].name : std::string()};
      for (const std::uint64_t length : tensor.shape) {
        info.shape.push_back(static_cast<std::int64_t>(length));
      }
      model.tensors_.push_back(std::move(info));
    }
    for (const auto& [key, value] : headers[i].metadata) {
      model.metadata_.emplace_back(parts.shards[i].name + ": " + printable(key),
                                   printable(value, 200));
    }
    model.file_bytes_ += parts.shards[i].bytes.size();
    model.ranges_.push_back(parts.shards[i].bytes);
    if (parts.shards.size() > 1) model.file_names_.push_back(printable(parts.shards[i].name, 255));
  }
}

std::string fingerprint_of(const MlxParts& parts,
                           const std::vector<Safetensors>& headers,
                           const compute::ModelWeights& weights) {
  Fingerprint fingerprint;
  fingerprint.add("config.json", as_bytes(parts.config));
  const auto add_text = [&](std::string_view name, const std::optional<std::string>& text) {
    if (text) fingerprint.add(name, as_bytes(*text));
  };
  add_text("generation_config.json", parts.generation_config);
  add_text("tokenizer.json", parts.tokenizer);
  add_text("tokenizer_config.json", parts.tokenizer_config);
  add_text("chat_template.jinja", parts.chat_template);
  for (std::size_t i = 0; i < headers.size(); ++i) {
    fingerprint.add("safetensors header", parts.shards[i].bytes.first(headers[i].data_begin));
    fingerprint.add("file size", std::uint64_t{parts.shards[i].bytes.size()});
  }
  fingerprint.add_samples(weights);
  return fingerprint.hex();
}

}  // namespace

Result<std::unique_ptr<OpenedModel>> read_mlx_model(MlxParts parts) {
  PENSIEVE_TRY(MlxConfig config,
               parse_mlx_config(parts.config,
                                parts.generation_config ? &*parts.generation_config : nullptr));
  std::vector<Safetensors> headers;
  for (const ModelPart& shard : parts.shards) {
    auto header = parse_safetensors(shard.bytes);
    if (!header) return bad_file(shard.name + ": " + header.error().message);
    headers.push_back(*std::move(header));
  }
  auto model = std::make_unique<OpenedModel>();
  PENSIEVE_TRY(model->weights_, Reader(parts, headers, config).read());
  if (parts.tokenizer_config) {
    PENSIEVE_TRY(TokenizerConfig tokenizer, parse_tokenizer_config(*parts.tokenizer_config));
    model->tokenizer_.add_bos = tokenizer.add_bos;
    model->chat_template_ = std::move(tokenizer.chat_template);
  }
  if (parts.chat_template) model->chat_template_ = *parts.chat_template;
  model->weights_.fingerprint = fingerprint_of(parts, headers, model->weights_);
  model->metadata_ = std::move(config.metadata);
  describe(parts, headers, *model);
  summarize(*model);
  model->tokenizer_json_ = std::move(parts.tokenizer).value_or("");
  model->tokenizer_.tokenizer_json = model->tokenizer_json_;
  model->tokenizer_.bos = config.bos;
  model->tokenizer_.eos_ids = std::move(config.eos_ids);
  if (!model->tokenizer_.eos_ids.empty()) model->tokenizer_.eos = model->tokenizer_.eos_ids.front();
  model->name_ = std::move(parts.name);
  model->format_ = config.quantization ? "MLX safetensors" : "safetensors";
  return model;
}

}  // namespace pensieve::model
