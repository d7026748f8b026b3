// The one ModelFile there is: what a format's reader filled in, with the memory it views.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "foundation/accountant.h"
#include "foundation/buffer.h"

#include "domain/model/internal/mapped_file.h"
#include "domain/model/model_file.h"

namespace pensieve::model {

struct OpenedModel final : ModelFile {
  const compute::ModelWeights& weights() const override { return weights_; }
  const TokenizerSource& tokenizer() const override { return tokenizer_; }
  std::string_view chat_template() const override { return chat_template_; }
  std::string_view name() const override { return name_; }
  std::string_view format() const override { return format_; }
  std::string_view quantization() const override { return quantization_; }
  std::string_view made_from() const override { return made_from_; }
  std::uint64_t file_bytes() const override { return file_bytes_; }
  std::uint64_t parameters() const override { return parameters_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const std::vector<std::pair<std::string, std::string>>& metadata() const override {
    return metadata_;
  }
  std::vector<std::string> files() const override { return file_names_; }
  std::vector<std::span<const std::byte>> mapped() const override { return ranges_; }
  void prefetch() const override {
    for (const MappedFile& file : files_) file.prefetch();
  }

  std::vector<MappedFile> files_;        // empty for an image in memory
  std::vector<std::string> file_names_;  // where there are several
  std::vector<std::span<const std::byte>> ranges_;
  Reservation reservation_;  // of what weights_ views there, or in an image in memory
  Buffer quantized_;         // matrices that were plain in the files
  compute::ModelWeights weights_;
  TokenizerSource tokenizer_;
  std::string tokenizer_json_;  // tokenizer_ views it
  std::string chat_template_, name_, format_, quantization_, made_from_;
  std::uint64_t file_bytes_ = 0;
  std::uint64_t parameters_ = 0;
  std::vector<TensorInfo> tensors_;
  std::vector<std::pair<std::string, std::string>> metadata_;
};

// Every weight of the model, each once (a tied output is left out), in the order of the layers.
std::vector<const compute::WeightView*> all_weights(const compute::ModelWeights& weights);

// Fills weights_.total_bytes, parameters_ and quantization_ from the views.
void summarize(OpenedModel& model);

}  // namespace pensieve::model
