// A model file for people and for scripts: what `pensieve model inspect` prints.
#pragma once

#include <string>

#include "domain/model/model_file.h"

namespace pensieve::model {

// Sizes, hyper-parameters, tokenizer, metadata and the table of tensors, for a terminal. Text from
// the file is escaped.
std::string inspect_text(const ModelFile& model);

// The same as one JSON object, indented: name, format, quantization, fingerprint, file_bytes,
// weight_bytes, parameters, hyper_parameters{}, tokenizer{}, metadata{}, tensors[], and files[]
// where there are several.
std::string inspect_json(const ModelFile& model);

}  // namespace pensieve::model
