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

// Reads a GGUF image. `fallback_name` is the model's name when the file has none. The bytes outlive
// the model. Errors: BadFile.
Result<std::unique_ptr<OpenedModel>> read_gguf_model(std::span<const std::byte> file,
                                                     const std::string& fallback_name);

// The files of a directory in Hugging Face's layout. Texts are whole; an absent one is nothing.
struct MlxParts {
  struct Shard {
    std::string name;
    std::span<const std::byte> bytes;
  };
  std::string name;
  std::string config;                            // config.json
  std::optional<std::string> generation_config;  // generation_config.json
  std::optional<std::string> tokenizer;          // tokenizer.json
  std::optional<std::string> tokenizer_config;   // tokenizer_config.json
  std::optional<std::string> chat_template;      // chat_template.jinja
  std::vector<Shard> shards;                     // their bytes outlive the model
};

// Reads MLX's affine 4- and 8-bit weights and plain F32, F16 and BF16 ones, whichever each layer
// has. Errors: BadFile.
Result<std::unique_ptr<OpenedModel>> read_mlx_model(MlxParts parts);

}  // namespace pensieve::model
