// The two formats, each as bytes in memory -> model. model_file.cpp brings the bytes.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "foundation/result.h"

#include "domain/model/internal/opened_model.h"

namespace pensieve::model {

// One file of a model, named in sentences about it. The bytes outlive the model.
struct ModelPart {
  std::string name;
  std::span<const std::byte> bytes;
};

// Reads a GGUF image, or the images that one model was split over, in their order: `parts` is not
// empty. `fallback_name` is the model's name when the file has none. Errors: BadFile; also for
// parts that do not belong together, by their numbers and counts or by what they hold.
Result<std::unique_ptr<OpenedModel>> read_gguf_model(const std::vector<ModelPart>& parts,
                                                     const std::string& fallback_name);

// The files of a directory in Hugging Face's layout. Texts are whole; an absent one is nothing.
struct MlxParts {
  std::string name;
  std::string config;                            // config.json
  std::optional<std::string> generation_config;  // generation_config.json
  std::optional<std::string> tokenizer;          // tokenizer.json
  std::optional<std::string> tokenizer_config;   // tokenizer_config.json
  std::optional<std::string> chat_template;      // chat_template.jinja
  std::vector<ModelPart> shards;
};

// Reads MLX's affine weights of 2 to 8 bits and plain F32, F16 and BF16 ones, whichever each layer
// has. Errors: BadFile.
Result<std::unique_ptr<OpenedModel>> read_mlx_model(MlxParts parts);

}  // namespace pensieve::model
