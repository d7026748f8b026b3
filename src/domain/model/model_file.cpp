#include "domain/model/model_file.h"

#include <filesystem>
#include <new>
#include <utility>

#include "domain/model/internal/bad_file.h"
#include "domain/model/internal/gguf_shards.h"
#include "domain/model/internal/mapped_file.h"
#include "domain/model/internal/mlx_config.h"
#include "domain/model/internal/opened_model.h"
#include "domain/model/internal/plain_weights.h"
#include "domain/model/internal/readers.h"

namespace pensieve::model {
namespace {

constexpr std::size_t kMaxConfigBytes = 16 << 20;
constexpr std::size_t kMaxTokenizerBytes = 128 << 20;
constexpr std::size_t kMaxTemplateBytes = 4 << 20;
constexpr std::size_t kMaxShards = 1'000;

// The last name of a path: "phi-3" of "models/phi-3/".
std::string last_name(const std::string& path) {
  std::error_code ignored;
  const std::filesystem::path whole = std::filesystem::absolute(path, ignored).lexically_normal();
  const auto name = whole.has_filename() ? whole.filename() : whole.parent_path().filename();
  return printable(name.string(), 255);
}

Result<std::vector<std::string>> shard_names(const Directory& directory) {
  const std::string single = "model.safetensors";
  if (directory.has(single)) return std::vector<std::string>{single};
  PENSIEVE_TRY(const auto index, directory.read("model.safetensors.index.json", kMaxConfigBytes));
  if (index) return parse_shard_names(*index);
  // As mlx-lm reads a directory without an index. What is missing shows when it is looked for.
  auto names = directory.names_ending_in(".safetensors", kMaxShards);
  std::erase_if(names, [](const std::string& name) { return !name.starts_with("model"); });
  if (names.empty()) {
    return bad_file("neither model.safetensors nor model.safetensors.index.json is there");
  }
  return names;
}

// Maps `names` of one directory. What they hold is read later.
Result<std::vector<MappedFile>> map_files(const Directory& directory,
                                          const std::vector<std::string>& names,
                                          std::vector<ModelPart>& parts) {
  std::vector<MappedFile> files;
  for (const std::string& name : names) {
    PENSIEVE_TRY(auto file, MappedFile::open(directory.fd(), name, name));
    parts.push_back({.name = name, .bytes = file.bytes()});
    files.push_back(std::move(file));
  }
  return files;
}

Result<std::unique_ptr<OpenedModel>> open_safetensors(const Directory& directory,
                                                      std::string name,
                                                      std::string config) {
  MlxParts parts;
  parts.name = std::move(name);
  parts.config = std::move(config);
  PENSIEVE_TRY(parts.generation_config, directory.read("generation_config.json", kMaxConfigBytes));
  PENSIEVE_TRY(parts.tokenizer, directory.read("tokenizer.json", kMaxTokenizerBytes));
  PENSIEVE_TRY(parts.tokenizer_config, directory.read("tokenizer_config.json", kMaxConfigBytes));
  PENSIEVE_TRY(parts.chat_template, directory.read("chat_template.jinja", kMaxTemplateBytes));
  PENSIEVE_TRY(const auto names, shard_names(directory));
  PENSIEVE_TRY(auto files, map_files(directory, names, parts.shards));
  PENSIEVE_TRY(auto model, read_mlx_model(std::move(parts)));
  model->files_ = std::move(files);
  return model;
}

// The model of a GGUF file, of which `name` says whether it is one of several. Sentences about it
// call it `shown` where it is the only one.
Result<std::unique_ptr<OpenedModel>> open_gguf(const Directory& directory,
                                               const std::string& name,
                                               const std::string& shown) {
  std::vector<std::string> names{name};
  std::string model_name = printable(name, 255);
  if (const auto shard = parse_gguf_shard_name(name); shard && shard->count > 1) {
    names = gguf_shard_names(*shard);
    model_name = printable(shard->model, 255);
    for (const std::string& other : names) {
      if (directory.has(other)) continue;
      return bad_file(printable(other, 255) + " is missing, and the model is in " +
                      std::to_string(names.size()) + " files");
    }
  }
  std::vector<ModelPart> parts;
  std::vector<MappedFile> files;
  if (names.size() == 1) {
    PENSIEVE_TRY(auto file, MappedFile::open(directory.fd(), name, shown));
    parts.push_back({.name = name, .bytes = file.bytes()});
    files.push_back(std::move(file));
  } else {
    PENSIEVE_TRY(files, map_files(directory, names, parts));
  }
  PENSIEVE_TRY(auto model, read_gguf_model(parts, model_name));
  if (names.size() > 1) model->format_ += " in " + std::to_string(names.size()) + " files";
  model->files_ = std::move(files);
  return model;
}

// The GGUF file that a directory without a configuration means: its only one, or the first of one
// model's.
Result<std::string> only_gguf(const Directory& directory) {
  const auto names = directory.names_ending_in(".gguf", kMaxGgufShards + 1);
  if (names.empty()) return bad_file("config.json is missing, and there is no GGUF file");
  const auto first = parse_gguf_shard_name(names[0]);
  for (const std::string& name : names) {
    const auto shard = parse_gguf_shard_name(name);
    const bool same =
        first && shard && shard->model == first->model && shard->count == first->count;
    if (names.size() == 1 || same) continue;
    return bad_file("there are the GGUF files of several models, " + printable(names[0], 255) +
                    " and " + printable(name == names[0] ? names[1] : name, 255) +
                    " among them; name one file");
  }
  return names[0];
}

Result<std::unique_ptr<OpenedModel>> open_directory(const std::string& path) {
  PENSIEVE_TRY(const Directory directory, Directory::open(path));
  PENSIEVE_TRY(auto config, directory.read("config.json", kMaxConfigBytes));
  const bool safetensors = !directory.names_ending_in(".safetensors", 1).empty() ||
                           directory.names_ending_in(".gguf", 1).empty();
  if (config && safetensors) {
    return open_safetensors(directory, last_name(path), *std::move(config));
  }
  PENSIEVE_TRY(const std::string name, only_gguf(directory));
  return open_gguf(directory, name, name);
}

Result<std::unique_ptr<OpenedModel>> open_file(const std::string& path) {
  if (path.ends_with(".safetensors")) {
    return bad_file("a safetensors model is opened by its directory, which holds config.json");
  }
  // A link may have a name of its own; the files that belong together lie where it leads.
  std::filesystem::path file(path);
  std::error_code error;
  if (!parse_gguf_shard_name(file.filename().string())) {
    const auto real = std::filesystem::canonical(file, error);
    if (!error && parse_gguf_shard_name(real.filename().string())) file = real;
  }
  const std::string parent = file.has_parent_path() ? file.parent_path().string() : ".";
  auto directory = Directory::open(parent);
  if (!directory && directory.error().kind == ErrorKind::NotFound) {
    return Error{.kind = ErrorKind::NotFound, .message = printable(path, 500) + " does not exist"};
  }
  if (!directory) return std::move(directory).error();
  return open_gguf(*directory, file.filename().string(), path);
}

// Reserves what the model holds, after its plain matrices were quantised if that is wanted.
Result<void> settle_memory(OpenedModel& model, const OpenOptions& options, Accountant& accountant) {
  std::size_t quantized_bytes = 0;
  if (wants_quantization(model, options.plain)) {
    PENSIEVE_TRY(quantized_bytes, quantize_plain(model, options, accountant));
  }
  const std::size_t bytes = quantized_bytes == 0 ? static_cast<std::size_t>(model.file_bytes_)
                                                 : model.weights_.total_bytes - quantized_bytes;
  PENSIEVE_TRY(model.reservation_, accountant.reserve(MemoryUse::Weights, bytes));
  return {};
}

// What is wrong with the content of a file gets the file's name in front.
Result<std::unique_ptr<ModelFile>> named(Result<std::unique_ptr<OpenedModel>> opened,
                                         const std::string& path) {
  if (opened) return std::unique_ptr<ModelFile>(*std::move(opened));
  Error error = std::move(opened).error();
  const std::string shown = printable(path, 500);
  if (error.kind == ErrorKind::BadFile && !error.message.starts_with(shown)) {
    error.message = "cannot use " + shown + ": " + error.message;
  }
  return error;
}

// Short enough to be kept without the heap.
Error no_memory() {
  return {.kind = ErrorKind::Unavailable, .message = "out of memory"};
}

}  // namespace

Result<std::unique_ptr<ModelFile>> ModelFile::open(const std::string& path,
                                                   Accountant& accountant,
                                                   const OpenOptions& options) try {
  std::error_code ignored;
  const bool directory = std::filesystem::is_directory(path, ignored);
  auto model = directory ? open_directory(path) : open_file(path);
  if (model) PENSIEVE_TRY(settle_memory(**model, options, accountant));
  return named(std::move(model), path);
} catch (const std::bad_alloc&) {
  return no_memory();
}

Result<std::unique_ptr<ModelFile>> ModelFile::from_memory(std::span<const std::byte> bytes,
                                                          const std::string& name,
                                                          Accountant& accountant) try {
  PENSIEVE_TRY(auto reservation, accountant.reserve(MemoryUse::Weights, bytes.size()));
  auto model = read_gguf_model({{.name = name, .bytes = bytes}}, name);
  if (model) (*model)->reservation_ = std::move(reservation);
  return named(std::move(model), name);
} catch (const std::bad_alloc&) {
  return no_memory();
}

}  // namespace pensieve::model
