// config.json and its neighbours in a Hugging Face directory -> hyper-parameters, quantisation, end
// tokens, chat template.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "foundation/result.h"

#include "domain/compute/weights.h"

namespace pensieve::model {

struct MlxQuantization {
  int bits = 0;        // 2, 3, 4, 5, 6 or 8
  int group_size = 0;  // 32, 64 or 128
};

struct MlxConfig {
  compute::HyperParameters hyper;
  bool tied = false;  // the embedding is the output matrix too
  std::optional<MlxQuantization> quantization;
  // By layer name, without ".weight"; nothing: the layer is not quantised.
  std::map<std::string, std::optional<MlxQuantization>> overrides;
  std::int32_t bos = -1;
  std::vector<std::int32_t> eos_ids;
  std::vector<std::pair<std::string, std::string>> metadata;  // fields, printed
};

// `generation` is generation_config.json or null. Errors: BadFile naming the file and key. Refused
// beside numbers out of bounds: another model_type, biases that the architecture lacks, an
// activation other than SiLU, unknown rope scaling, quantisation other than MLX's
// affine one of 2, 3, 4, 5, 6 or 8 bits.
Result<MlxConfig> parse_mlx_config(const std::string& config, const std::string* generation);

struct TokenizerConfig {
  bool add_bos = true;
  std::string chat_template;
};
// tokenizer_config.json. The template named "default" counts where there are several.
Result<TokenizerConfig> parse_tokenizer_config(const std::string& text);

// The weight_map of model.safetensors.index.json: the files it names, each once, in order of their
// names. A name must be a plain file name with the ending ".safetensors": no path leads out of the
// directory. Errors: BadFile.
Result<std::vector<std::string>> parse_shard_names(const std::string& index);

}  // namespace pensieve::model
