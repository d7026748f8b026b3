// Writes small model files for the tests: valid ones, and ones with a single thing wrong.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pensieve::model {

template <typename T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

inline std::string gguf_string(const std::string& text) {
  return raw<std::uint64_t>(text.size()) + text;
}

// A value with its type in front, as it follows a key.
inline std::string u8(std::uint8_t v) {
  return raw<std::uint32_t>(0) + raw(v);
}
inline std::string u32(std::uint32_t v) {
  return raw<std::uint32_t>(4) + raw(v);
}
inline std::string i32(std::int32_t v) {
  return raw<std::uint32_t>(5) + raw(v);
}
inline std::string f32(float v) {
  return raw<std::uint32_t>(6) + raw(v);
}
inline std::string boolean(std::uint8_t v) {
  return raw<std::uint32_t>(7) + raw(v);
}
inline std::string text(const std::string& v) {
  return raw<std::uint32_t>(8) + gguf_string(v);
}
inline std::string u64(std::uint64_t v) {
  return raw<std::uint32_t>(10) + raw(v);
}
inline std::string i64(std::int64_t v) {
  return raw<std::uint32_t>(11) + raw(v);
}
inline std::string array(std::uint32_t element, std::uint64_t count, const std::string& elements) {
  return raw<std::uint32_t>(9) + raw(element) + raw(count) + elements;
}
inline std::string texts(const std::vector<std::string>& all) {
  std::string elements;
  for (const std::string& one : all) elements += gguf_string(one);
  return array(8, all.size(), elements);
}
template <typename T>
std::string numbers(std::uint32_t element, const std::vector<T>& all) {
  std::string elements;
  for (const T one : all) elements += raw(one);
  return array(element, all.size(), elements);
}

struct GgufBuilder {
  struct Tensor {
    std::string name;
    std::vector<std::uint64_t> dims{};  // the file's order
    std::uint32_t type = 0;
    std::string data{};
    std::optional<std::uint64_t> offset{};     // instead of the next free one
    std::optional<std::uint32_t> n_dims{};     // instead of dims.size()
    std::optional<std::uint64_t> name_size{};  // instead of name.size()
  };

  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::optional<std::uint64_t> n_tensors, n_keys;         // instead of the true counts
  std::uint64_t alignment = 32;                           // of what is written
  std::vector<std::pair<std::string, std::string>> keys;  // name, value with its type
  std::vector<Tensor> tensors;

  void set(const std::string& key, const std::string& value) {
    for (auto& [name, old] : keys) {
      if (name == key) {
        old = value;
        return;
      }
    }
    keys.emplace_back(key, value);
  }
  void erase(const std::string& key) {
    std::erase_if(keys, [&](const auto& pair) { return pair.first == key; });
  }
  Tensor& tensor(const std::string& name) {
    for (Tensor& t : tensors) {
      if (t.name == name) return t;
    }
    tensors.push_back({.name = name});
    return tensors.back();
  }
  void erase_tensor(const std::string& name) {
    std::erase_if(tensors, [&](const Tensor& t) { return t.name == name; });
  }
  void f32_tensor(const std::string& name,
                  const std::vector<std::uint64_t>& dims,
                  float value = 1) {
    std::uint64_t count = 1;
    for (const auto d : dims) count *= d;
    Tensor& t = tensor(name);
    t = {.name = name, .dims = dims};
    for (std::uint64_t i = 0; i < count; ++i) t.data += raw(value);
  }

  std::string header() const {
    std::string out = magic + raw(version) + raw(n_tensors.value_or(tensors.size())) +
                      raw(n_keys.value_or(keys.size()));
    for (const auto& [key, value] : keys) out += gguf_string(key) + value;
    std::uint64_t offset = 0;
    for (const Tensor& t : tensors) {
      out += raw(t.name_size.value_or(t.name.size())) + t.name;
      out += raw(t.n_dims.value_or(static_cast<std::uint32_t>(t.dims.size())));
      for (const auto d : t.dims) out += raw(d);
      out += raw(t.type) + raw(t.offset.value_or(offset));
      offset += padded(t.data.size());
    }
    return out;
  }
  std::string build() const {
    std::string out = header();
    out.resize(padded(out.size()), '\0');
    for (const Tensor& t : tensors) {
      out += t.data;
      out.resize(out.size() + padded(t.data.size()) - t.data.size(), '\0');
    }
    return out;
  }
  std::uint64_t padded(std::uint64_t size) const {
    return (size + alignment - 1) / alignment * alignment;
  }

  // One layer, hidden 32, two heads of 16, ffn 32, four tokens, all F32.
  static GgufBuilder phi3() {
    GgufBuilder b;
    b.set("general.architecture", text("phi3"));
    b.set("general.name", text("Small"));
    b.set("phi3.block_count", u32(1));
    b.set("phi3.context_length", u32(256));
    b.set("phi3.embedding_length", u32(32));
    b.set("phi3.feed_forward_length", u32(32));
    b.set("phi3.attention.head_count", u32(2));
    b.set("phi3.attention.head_count_kv", u32(2));
    b.set("phi3.attention.layer_norm_rms_epsilon", f32(1e-5f));
    b.set("phi3.rope.dimension_count", u32(16));
    b.set("tokenizer.ggml.model", text("llama"));
    b.set("tokenizer.ggml.tokens", texts({"<unk>", "<s>", "</s>", "a"}));
    b.set("tokenizer.ggml.scores", numbers<float>(6, {0, 0, 0, -1}));
    b.set("tokenizer.ggml.token_type", numbers<std::int32_t>(5, {2, 3, 3, 1}));
    b.set("tokenizer.ggml.bos_token_id", u32(1));
    b.set("tokenizer.ggml.eos_token_id", u32(2));
    b.f32_tensor("token_embd.weight", {32, 4});
    b.f32_tensor("blk.0.attn_norm.weight", {32});
    b.f32_tensor("blk.0.attn_qkv.weight", {32, 96});
    b.f32_tensor("blk.0.attn_output.weight", {32, 32});
    b.f32_tensor("blk.0.ffn_norm.weight", {32});
    b.f32_tensor("blk.0.ffn_up.weight", {32, 64});
    b.f32_tensor("blk.0.ffn_down.weight", {32, 32});
    b.f32_tensor("output_norm.weight", {32});
    b.f32_tensor("output.weight", {32, 4});
    return b;
  }
};

// The header text and data of a safetensors file, put together.
inline std::string safetensors(const std::string& header, const std::string& data) {
  return raw<std::uint64_t>(header.size()) + header + data;
}

// Tensors of a safetensors file by name, laid out one after another.
struct SafetensorsBuilder {
  struct Tensor {
    std::string dtype;
    std::vector<std::uint64_t> shape;
    std::string data;
  };
  std::vector<std::pair<std::string, Tensor>> tensors;

  void set(const std::string& name, Tensor tensor) {
    for (auto& [known, old] : tensors) {
      if (known == name) {
        old = std::move(tensor);
        return;
      }
    }
    tensors.emplace_back(name, std::move(tensor));
  }
  void zeros(const std::string& name, const std::string& dtype, std::vector<std::uint64_t> shape) {
    std::uint64_t bytes = dtype == "F32" || dtype == "U32" ? 4 : 2;
    for (const auto d : shape) bytes *= d;
    set(name, {dtype, std::move(shape), std::string(bytes, '\0')});
  }
  std::string build() const {
    std::string header = "{", data;
    for (const auto& [name, t] : tensors) {
      header += (header.size() == 1 ? "\"" : ",\"") + name + "\":{\"dtype\":\"" + t.dtype +
                "\",\"shape\":[";
      for (std::size_t i = 0; i < t.shape.size(); ++i) {
        header += (i == 0 ? "" : ",") + std::to_string(t.shape[i]);
      }
      header += "],\"data_offsets\":[" + std::to_string(data.size()) + "," +
                std::to_string(data.size() + t.data.size()) + "]}";
      data += t.data;
    }
    header += "}";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    return safetensors(header, data);
  }

  // One layer, hidden 64, two heads of 32, ffn 64, four tokens; F16, or MLX 4-bit in groups of 32.
  static SafetensorsBuilder phi3(bool quantized) {
    SafetensorsBuilder b;
    const auto matrix = [&](const std::string& name, std::uint64_t rows) {
      if (!quantized) return b.zeros(name + ".weight", "F16", {rows, 64});
      b.zeros(name + ".weight", "U32", {rows, 8});
      b.zeros(name + ".scales", "F16", {rows, 2});
      b.zeros(name + ".biases", "F16", {rows, 2});
    };
    matrix("model.embed_tokens", 4);
    b.zeros("model.layers.0.input_layernorm.weight", "F16", {64});
    matrix("model.layers.0.self_attn.qkv_proj", 192);
    matrix("model.layers.0.self_attn.o_proj", 64);
    b.zeros("model.layers.0.post_attention_layernorm.weight", "F16", {64});
    matrix("model.layers.0.mlp.gate_up_proj", 128);
    matrix("model.layers.0.mlp.down_proj", 64);
    b.zeros("model.norm.weight", "F16", {64});
    matrix("lm_head", 4);
    return b;
  }
};

}  // namespace pensieve::model
