// What a fuzzer does with a model that was accepted: everything its user may do without more
// checks.
#pragma once

#include <vector>

#include "foundation/check.h"

#include "domain/model/inspect.h"
#include "domain/model/internal/opened_model.h"

namespace pensieve::model {

inline void use(const ModelFile& model) {
  CHECK(!inspect_text(model).empty());
  CHECK(!inspect_json(model).empty());
  for (const compute::WeightView* view : all_weights(model.weights())) {
    std::vector<float> row(static_cast<std::size_t>(view->cols));
    compute::dequantize_row(*view, 0, row.data());
    compute::dequantize_row(*view, view->rows - 1, row.data());
  }
  std::size_t bytes = model.chat_template().size() + model.tokenizer().tokenizer_json.size();
  for (const auto token : model.tokenizer().tokens) bytes += token.size();
  for (const auto merge : model.tokenizer().merges) bytes += merge.size();
  CHECK(bytes <= model.file_bytes() + (1 << 20));
}

}  // namespace pensieve::model
