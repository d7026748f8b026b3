// Everything between a model's path and the service that answers: the rooms put together in order.
// The one place where model, tokenizer, chat format, backend, engine and service meet.
#pragma once

#include <memory>
#include <string>

#include "foundation/accountant.h"
#include "foundation/result.h"
#include "foundation/system_memory.h"

#include "domain/claude/service.h"
#include "domain/engine/engine.h"
#include "domain/kv_store/kv_store.h"
#include "domain/model/model_file.h"

#include "application/cli/options.h"
#include "application/cli/window.h"
#include "application/proxy/upstream.h"

namespace pensieve::cli {

// Of the embedded model, unless --context asks for more. It was made for 131,072 tokens, but sees
// 1,024 back: a larger window would only hold KV that nobody reads.
inline constexpr int kEmbeddedWindow = 32'768;

// A model that was found and opened; nothing of it runs yet.
struct OpenedModel {
  std::unique_ptr<model::ModelFile> file;
  bool embedded = false;
  bool by_default = false;  // nobody asked for the embedded one: there was no other
};

// The file `path` names, as it is; "tiny" is the embedded model. Errors: NotFound, BadFile (also
// where memory for it lacks).
Result<OpenedModel> open_model(const std::string& path, Accountant& accountant);

// The model of --model, or what `options.mode` finds in the home directory, with its plain matrices
// as --weights says; how far that is shows on standard error. Errors: as above, and
// NotFound with the way out when there is none and the mode does not allow the embedded one.
Result<OpenedModel> choose_model(const Options& options, Accountant& accountant);

// Owns the rooms in the order in which they need each other; the last one made goes first.
struct Stack {
  Stack(std::size_t memory_limit_bytes, SystemMemory memory)
      : accountant(memory_limit_bytes), memory_at_start(memory) {}

  Accountant accountant;
  SystemMemory memory_at_start;
  bool embedded = false;
  bool by_default = false;
  compute::KvTypes kv = compute::KvType::Q8;
  Window window;
  claude::LoadedModel model;
  std::unique_ptr<kv_store::KvStore> tier;  // none: computed prompts are not kept on the disk
  std::unique_ptr<engine::Engine> engine;
  std::unique_ptr<claude::Service> service;
  // The service, where answers come from another server: then there is no model and no engine.
  const proxy::Upstream* upstream = nullptr;
};

// Opens the model and starts its engine, or reaches the upstream of --upstream. `conversations`:
// how many windows of KV to hold if memory allows. Errors: of choose_model() and fit_window(),
// InvalidRequest for kernels this CPU does not have, Unavailable for memory; of
// proxy::Upstream::create().
Result<std::unique_ptr<Stack>> build_stack(const Options& options, int conversations);

// Where computed prompts are kept, and how many bytes of them where nobody said: 16 GiB, at most a
// quarter of what is free.
std::string memory_directory(const std::string& home);
std::uint64_t default_kv_disk_bytes(const std::string& home);

// The two lines that say that the embedded model answers because there is no other.
std::string embedded_model_notice();

}  // namespace pensieve::cli
