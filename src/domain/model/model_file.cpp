#include "domain/model/model_file.h"

#include <fcntl.h>

#include <filesystem>

#include "domain/model/internal/bad_file.h"
#include "domain/model/internal/mapped_file.h"
#include "domain/model/internal/mlx_config.h"
#include "domain/model/internal/opened_model.h"
#include "domain/model/internal/readers.h"

namespace pensieve::model {
namespace {

constexpr std::size_t kMaxConfigBytes = 16 << 20;
constexpr std::size_t kMaxTokenizerBytes = 128 << 20;
constexpr std::size_t kMaxTemplateBytes = 4 << 20;

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
  if (!index) {
    return bad_file("neither model.safetensors nor model.safetensors.index.json is there");
  }
  return parse_shard_names(*index);
}

Result<std::unique_ptr<OpenedModel>> open_directory(const std::string& path,
                                                    Accountant& accountant) {
  PENSIEVE_TRY(const Directory directory, Directory::open(path));
  MlxParts parts;
  parts.name = last_name(path);
  PENSIEVE_TRY(auto config, directory.read("config.json", kMaxConfigBytes));
  if (!config) return bad_file("config.json is missing");
  parts.config = *std::move(config);
  PENSIEVE_TRY(parts.generation_config, directory.read("generation_config.json", kMaxConfigBytes));
  PENSIEVE_TRY(parts.tokenizer, directory.read("tokenizer.json", kMaxTokenizerBytes));
  PENSIEVE_TRY(parts.tokenizer_config, directory.read("tokenizer_config.json", kMaxConfigBytes));
  PENSIEVE_TRY(parts.chat_template, directory.read("chat_template.jinja", kMaxTemplateBytes));
  PENSIEVE_TRY(const auto names, shard_names(directory));
  std::vector<MappedFile> files;
  for (const std::string& name : names) {
    PENSIEVE_TRY(auto file, MappedFile::open(directory.fd(), name, name, accountant));
    parts.shards.push_back({.name = name, .bytes = file.bytes()});
    files.push_back(std::move(file));
  }
  PENSIEVE_TRY(auto model, read_mlx_model(std::move(parts)));
  model->files_ = std::move(files);
  return model;
}

Result<std::unique_ptr<OpenedModel>> open_file(const std::string& path, Accountant& accountant) {
  PENSIEVE_TRY(auto file, MappedFile::open(AT_FDCWD, path, path, accountant));
  if (path.ends_with(".safetensors")) {
    return bad_file("a safetensors model is opened by its directory, which holds config.json");
  }
  PENSIEVE_TRY(auto model, read_gguf_model(file.bytes(), last_name(path)));
  model->files_.push_back(std::move(file));
  return model;
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

}  // namespace

Result<std::unique_ptr<ModelFile>> ModelFile::open(const std::string& path,
                                                   Accountant& accountant) {
  std::error_code ignored;
  const bool directory = std::filesystem::is_directory(path, ignored);
  return named(directory ? open_directory(path, accountant) : open_file(path, accountant), path);
}

Result<std::unique_ptr<ModelFile>> ModelFile::from_memory(std::span<const std::byte> bytes,
                                                          const std::string& name,
                                                          Accountant& accountant) {
  PENSIEVE_TRY(auto reservation, accountant.reserve(MemoryUse::Weights, bytes.size()));
  auto model = read_gguf_model(bytes, name);
  if (model) (*model)->reservation_ = std::move(reservation);
  return named(std::move(model), name);
}

}  // namespace pensieve::model
