// A model on disk (or inside the binary), opened: hyper-parameters, views of the weights, and what
// the file says about its tokenizer and chat template. Formats: GGUF v2/v3 in one file or several,
// and a directory of safetensors, plain or MLX's, with config.json. Every number is checked before
// it is used.
// Knows files and layouts. Must not know tokens' meaning, prompts or kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "foundation/accountant.h"
#include "foundation/result.h"

#include "domain/compute/weights.h"

namespace pensieve::model {

// What the file says about its vocabulary, unchecked beyond lengths and ranges; tokenizer/ makes
// sense of it. Either the GGUF fields or the bytes of tokenizer.json are filled.
struct TokenizerSource {
  // GGUF: tokenizer.ggml.*; the views live as long as the ModelFile.
  std::string kind;  // "llama", "gpt2"
  std::string pre;   // tokenizer.ggml.pre
  std::vector<std::string_view> tokens;
  std::vector<float> scores;        // same length as tokens, or empty
  std::vector<std::int32_t> types;  // 1 normal 2 unknown 3 control 4 user 5 unused 6 byte
  std::vector<std::string_view> merges;
  std::int32_t bos = -1, eos = -1, unknown = -1;
  bool add_bos = true;
  bool add_space_prefix = true;
  // safetensors directory: tokenizer.json, and eos ids of config.json / generation_config.json.
  std::string_view tokenizer_json;
  std::vector<std::int32_t> eos_ids;  // every end token the file names; both formats
};

// A row of `pensieve model inspect`.
struct TensorInfo {
  std::string name;
  std::string type;
  std::vector<std::int64_t> shape;  // as numpy prints it: [rows, cols]
  std::uint64_t offset = 0;         // from the start of its file
  std::uint64_t bytes = 0;
  std::string file{};  // its name, where the weights are in several files
};

// What becomes of plain matrices (F32, F16, BF16) when a model is opened. Auto: Q8 for models of
// 512 MiB of weights and more, AsIs for others.
enum class PlainWeights : std::uint8_t { Auto, AsIs, Q8 };

struct OpenOptions {
  PlainWeights plain = PlainWeights::AsIs;
  int n_threads = 1;  // that quantise, the calling one among them
  // Told by the calling thread how many bytes of plain matrices are done, matrix by matrix.
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress{};
};

class ModelFile {
 public:
  // Opens a GGUF file (any one of several that hold one model: the others are looked for beside it)
  // or a directory, of safetensors with config.json, or of the GGUF files of one model. What
  // weights() views is reserved with the accountant as Weights: the whole files, or, where plain
  // matrices were quantised, those and what of the files is still in use. Errors: NotFound, BadFile
  // with one sentence that names key or tensor and byte offset; Unavailable when the accountant
  // or the system refuses memory.
  static Result<std::unique_ptr<ModelFile>> open(const std::string& path,
                                                 Accountant& accountant,
                                                 const OpenOptions& options = {});

  // A GGUF image that already lies in memory (the embedded model). `bytes` outlives the object and
  // starts at a multiple of 8.
  static Result<std::unique_ptr<ModelFile>> from_memory(std::span<const std::byte> bytes,
                                                        const std::string& name,
                                                        Accountant& accountant);

  virtual ~ModelFile() = default;
  virtual const compute::ModelWeights& weights() const = 0;
  virtual const TokenizerSource& tokenizer() const = 0;
  virtual std::string_view chat_template() const = 0;  // Jinja text, or empty
  virtual std::string_view name() const = 0;           // general.name or the directory's name
  virtual std::string_view format() const = 0;         // "GGUF v3", "MLX safetensors"
  virtual std::string_view quantization()
      const = 0;  // "Q4_0", "MLX 4-bit g64": what most bytes are
  // The type that most plain matrices had which are Q8_0 in weights(): "BF16". Empty: none are.
  virtual std::string_view made_from() const { return {}; }
  virtual std::uint64_t file_bytes() const = 0;
  virtual std::uint64_t parameters() const = 0;  // number of weights
  virtual const std::vector<TensorInfo>& tensors() const = 0;
  // Key and printed value of every metadata field (long arrays shortened), for `model inspect`.
  virtual const std::vector<std::pair<std::string, std::string>>& metadata() const = 0;

  // The names of its files in the order of mapped(), where there are several; else nothing.
  virtual std::vector<std::string> files() const { return {}; }

  // The memory that weights() views: one range per file. Reading behind the end of a file that was
  // truncated after it was opened raises SIGBUS with an address in one of these.
  virtual std::vector<std::span<const std::byte>> mapped() const = 0;
  // Asks the system to read the files ahead; may wait for the disk where they are not cached.
  virtual void prefetch() const = 0;
};

}  // namespace pensieve::model
