#include "domain/model/internal/opened_model.h"

#include <map>
#include <tuple>

namespace pensieve::model {

std::vector<const compute::WeightView*> all_weights(const compute::ModelWeights& weights) {
  std::vector<const compute::WeightView*> all{&weights.token_embedding};
  for (const compute::LayerWeights& layer : weights.layers) {
    const auto add = [&](const compute::StackedView& stack) {
      for (const compute::WeightView& part : stack.parts()) all.push_back(&part);
    };
    all.push_back(&layer.attention_norm);
    add(layer.qkv);
    add(layer.qkv_bias);
    if (!layer.q_norm.empty()) all.push_back(&layer.q_norm);
    if (!layer.k_norm.empty()) all.push_back(&layer.k_norm);
    all.insert(all.end(), {&layer.attention_out, &layer.ffn_norm});
    add(layer.gate_up);
    all.push_back(&layer.down);
  }
  all.push_back(&weights.output_norm);
  if (weights.output.data != weights.token_embedding.data) all.push_back(&weights.output);
  return all;
}

void summarize(OpenedModel& model) {
  std::map<std::pair<compute::WeightType, int>, std::size_t> bytes_by_type;
  model.weights_.total_bytes = 0;
  model.parameters_ = 0;
  for (const compute::WeightView* view : all_weights(model.weights_)) {
    model.weights_.total_bytes += view->total_bytes();
    model.parameters_ +=
        static_cast<std::uint64_t>(view->rows) * static_cast<std::uint64_t>(view->cols);
    bytes_by_type[{view->type, view->group_size}] += view->total_bytes();
  }
  std::size_t most = 0;
  for (const auto& [type, bytes] : bytes_by_type) {
    if (bytes <= most) continue;
    most = bytes;
    model.quantization_ = compute::to_string(type.first);
    if (type.second != 0) model.quantization_ += " g" + std::to_string(type.second);
  }
}

}  // namespace pensieve::model
