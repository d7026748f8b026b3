#include "domain/model/inspect.h"

#include <algorithm>
#include <cstdio>
#include <utility>
#include <vector>

#include "foundation/json.h"
#include "foundation/text.h"

namespace pensieve::model {
namespace {

std::string real(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.7g", value);
  return text;
}

std::string size_text(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1000 && unit + 1 < std::size(kUnits); ++unit) value /= 1000;
  char text[40];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.2f %s", value, kUnits[unit]);
  return text;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + "]";
}

// Hyper-parameters in the order in which both renderings show them.
Json hyper_json(const compute::HyperParameters& hyper) {
  return {{"architecture", std::string(compute::to_string(hyper.architecture))},
          {"layers", hyper.n_layers},
          {"hidden", hyper.hidden},
          {"heads", hyper.n_heads},
          {"kv_heads", hyper.n_kv_heads},
          {"head_dim", hyper.head_dim},
          {"ffn", hyper.ffn},
          {"vocabulary", hyper.vocab},
          {"context_length", hyper.context_length},
          {"original_context_length", hyper.original_context_length},
          {"sliding_window", hyper.sliding_window},
          {"rms_eps", std::stod(real(hyper.rms_eps))},
          {"rope_theta", std::stod(real(hyper.rope_theta))},
          {"rope_dims", hyper.rope_dims},
          {"longrope", !hyper.rope_long.empty()},
          {"rope_attention_scale", std::stod(real(hyper.rope_attention_scale))}};
}

Json tokenizer_json(const TokenizerSource& source) {
  Json json;
  if (!source.tokens.empty()) {
    json = {{"source", "GGUF"},
            {"kind", printable(source.kind)},
            {"tokens", source.tokens.size()},
            {"merges", source.merges.size()}};
  } else if (!source.tokenizer_json.empty()) {
    json = {{"source", "tokenizer.json"}, {"bytes", source.tokenizer_json.size()}};
  } else {
    json = {{"source", "none"}};
  }
  json["bos"] = source.bos;
  json["add_bos"] = source.add_bos;
  json["end_tokens"] = source.eos_ids;
  return json;
}

std::string dumped(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

constexpr std::size_t kNameColumn = 26;

void add_line(std::string& text,
              const std::string& name,
              const std::string& value,
              std::size_t column = kNameColumn) {
  const std::size_t padding = name.size() < column ? column - name.size() : 1;
  text += "  " + name + std::string(padding, ' ') + value + "\n";
}

void add_object(std::string& text, const Json& object) {
  for (const auto& [key, value] : object.items()) {
    add_line(text, key, value.is_string() ? value.get<std::string>() : dumped(value, -1));
  }
}

// The last column is there where the weights are in several files.
void add_tensors(std::string& text, const ModelFile& model) {
  std::vector<std::vector<std::string>> rows{{"name", "type", "shape", "offset", "bytes", "file"}};
  for (const TensorInfo& tensor : model.tensors()) {
    rows.push_back({printable(tensor.name),
                    printable(tensor.type),
                    shape_text(tensor.shape),
                    std::to_string(tensor.offset),
                    std::to_string(tensor.bytes),
                    printable(tensor.file, 255)});
  }
  const std::size_t n_columns = model.files().empty() ? 5 : 6;
  std::size_t widths[6] = {};
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < n_columns; ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    text += " ";
    for (std::size_t i = 0; i < n_columns; ++i) {
      const std::string padding(widths[i] - row[i].size(), ' ');
      const bool number = i == 3 || i == 4;
      text += " " + (number ? padding + row[i] : row[i] + padding);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    text += "\n";
  }
}

}  // namespace

std::string inspect_text(const ModelFile& model) {
  const compute::ModelWeights& weights = model.weights();
  std::string text = printable(model.name(), 255) + "\n";
  add_line(text, "format", std::string(model.format()));
  add_line(text, "quantization", std::string(model.quantization()));
  add_line(text, "parameters", std::to_string(model.parameters()));
  add_line(text, "file size", size_text(model.file_bytes()));
  add_line(text, "weights", size_text(weights.total_bytes));
  add_line(text, "fingerprint", weights.fingerprint);
  const auto files = model.files();
  const auto mapped = model.mapped();
  if (!files.empty()) text += "\nFiles (" + std::to_string(files.size()) + ")\n";
  for (std::size_t i = 0; i < files.size(); ++i) {
    add_line(text, printable(files[i], 255), size_text(mapped[i].size()), 2 * kNameColumn);
  }
  text += "\nHyper-parameters\n";
  add_object(text, hyper_json(weights.hyper));
  text += "\nTokenizer\n";
  add_object(text, tokenizer_json(model.tokenizer()));
  text += "\nMetadata\n";
  std::size_t column = kNameColumn;
  for (const auto& [key, value] : model.metadata()) {
    column = std::max(column, std::min<std::size_t>(key.size() + 2, 2 * kNameColumn));
  }
  for (const auto& [key, value] : model.metadata()) add_line(text, printable(key), value, column);
  text += "\nTensors (" + std::to_string(model.tensors().size()) + ")\n";
  add_tensors(text, model);
  return text;
}

std::string inspect_json(const ModelFile& model) {
  const compute::ModelWeights& weights = model.weights();
  Json json = {{"name", std::string(model.name())},
               {"format", std::string(model.format())},
               {"quantization", std::string(model.quantization())},
               {"fingerprint", weights.fingerprint},
               {"file_bytes", model.file_bytes()},
               {"weight_bytes", weights.total_bytes},
               {"parameters", model.parameters()},
               {"hyper_parameters", hyper_json(weights.hyper)},
               {"tokenizer", tokenizer_json(model.tokenizer())}};
  if (!model.files().empty()) json["files"] = model.files();
  // Past ordered_json's own insertion, which compares with every key before: the keys differ.
  Json metadata = Json::object();
  auto& pairs = static_cast<Json::object_t::Container&>(metadata.get_ref<Json::object_t&>());
  for (const auto& [key, value] : model.metadata()) pairs.emplace_back(key, value);
  json["metadata"] = std::move(metadata);
  Json tensors = Json::array();
  for (const TensorInfo& tensor : model.tensors()) {
    tensors.push_back({{"name", tensor.name},
                       {"type", tensor.type},
                       {"shape", tensor.shape},
                       {"offset", tensor.offset},
                       {"bytes", tensor.bytes}});
    if (!tensor.file.empty()) tensors.back()["file"] = tensor.file;
  }
  json["tensors"] = std::move(tensors);
  return dumped(json, 2);
}

}  // namespace pensieve::model
