#include "application/cli/stack.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "foundation/directory.h"
#include "foundation/log.h"

#include "domain/compute/cpu/cpu_backend.h"
#include "domain/compute/cpu/thread_pool.h"

#include "application/cli/download_progress.h"
#include "application/cli/embedded_model.h"
#include "application/cli/home.h"
#include "application/cli/models.h"
#include "application/cli/signals.h"

namespace pensieve::cli {
namespace {

constexpr int kStepTokens = 512;

bool has_two_rope_variants(const compute::HyperParameters& hyper) {
  return !hyper.rope_long.empty() && hyper.rope_long != hyper.rope_short;
}

// Of computed prompts: 75,000 tokens of Phi-3-mini at q8.
constexpr std::uint64_t kMostOnDisk = std::uint64_t{16} << 30;
constexpr std::uint64_t kLeftOnDisk = std::uint64_t{4} << 30;

// A window for clients that ask for one, where the upstream says nothing about its own.
constexpr int kUnknownWindow = 32'768;

Result<void> reach_upstream(const Options& options, Stack& stack) {
  const char* key = std::getenv("PENSIEVE_UPSTREAM_KEY");
  PENSIEVE_TRY(auto upstream,
               proxy::Upstream::create({.url = options.upstream,
                                        .key = key == nullptr ? "" : key,
                                        .model = options.upstream_model,
                                        .context_length = options.context}));
  stack.window.tokens = upstream->context_length();
  if (stack.window.tokens == 0) {
    stack.window.tokens = kUnknownWindow;
    log_warning("the upstream does not say how long its context window is: " +
                grouped(kUnknownWindow) + " tokens are assumed, --context N says it");
  }
  stack.upstream = upstream.get();
  stack.service = std::move(upstream);
  return {};
}

// The tier of the KV cache on the disk, if there is to be one.
Result<std::unique_ptr<kv_store::KvStore>> open_tier(const Options& options, Stack& stack) {
  if (options.command == Command::Trace || options.kv_disk_bytes == std::uint64_t{0})
    return std::unique_ptr<kv_store::KvStore>();
  PENSIEVE_TRY(const std::string home, home_directory());
  PENSIEVE_TRY(make_home(home));
  return kv_store::KvStore::create(
      {.directory = memory_directory(home),
       .model = std::string(stack.model.file->name()),
       .budget = {.max_bytes = options.kv_disk_bytes.value_or(default_kv_disk_bytes(home)),
                  .max_bytes_per_day = options.kv_disk_daily_bytes,
                  .min_free_bytes = kLeftOnDisk}},
      stack.accountant);
}

Result<std::unique_ptr<model::ModelFile>> open_file(const std::string& path,
                                                    const model::OpenOptions& options,
                                                    Accountant& accountant) {
  if (path == "tiny")
    return model::ModelFile::from_memory(embedded_model(), "Pensieve Tiny", accountant);
  return model::ModelFile::open(path, accountant, options);
}

Result<OpenedModel> open_with(const std::string& path,
                              const model::OpenOptions& options,
                              Accountant& accountant) {
  auto file = open_file(path, options, accountant);
  if (!file) {
    Error error = std::move(file).error();
    // A model that cannot be loaded is one, whether it is the file or the memory that lacks.
    if (error.kind == ErrorKind::Unavailable) error.kind = ErrorKind::BadFile;
    return error;
  }
  OpenedModel opened;
  opened.file = *std::move(file);
  opened.embedded = path == "tiny";
  return opened;
}

// Opens a model to run it.
Result<OpenedModel> open_to_run(const std::string& path,
                                const Options& options,
                                Accountant& accountant) {
  DownloadProgress progress("weights to Q8_0", stderr_is_terminal());
  const model::OpenOptions open{
      .plain = options.plain_weights,
      .n_threads = options.threads > 0 ? options.threads : compute::cpu::physical_cores(),
      .progress = [&](std::uint64_t done, std::uint64_t total) { progress.tell(done, total); }};
  const auto begin = std::chrono::steady_clock::now();
  PENSIEVE_TRY(OpenedModel opened, open_with(path, open, accountant));
  const model::ModelFile& file = *opened.file;
  if (!file.made_from().empty()) {
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    std::array<char, 32> seconds{};
    std::snprintf(seconds.data(), seconds.size(), "%.1f s", taken.count());
    log_info(std::string(file.made_from()) + " matrices became Q8_0 in " + seconds.data() +
             ", the weights take " + human_bytes(file.weights().total_bytes) + " instead of " +
             human_bytes(file.file_bytes()) + "; --weights as-is keeps them");
  }
  return opened;
}

}  // namespace

std::string memory_directory(const std::string& home) {
  return home + "/kv";
}

std::uint64_t default_kv_disk_bytes(const std::string& home) {
  const auto directory = Directory::open(home, false);
  const auto free = directory ? directory->free_bytes() : std::nullopt;
  return free ? std::min(kMostOnDisk, *free / 4) : kMostOnDisk;
}

Result<OpenedModel> open_model(const std::string& path, Accountant& accountant) {
  return open_with(path, {}, accountant);
}

Result<OpenedModel> choose_model(const Options& options, Accountant& accountant) {
  PENSIEVE_TRY(const auto path, find_model(options));
  if (path) return open_to_run(*path, options, accountant);
  PENSIEVE_TRY(const std::string home, home_directory());
  if (options.mode == ModelMode::Skip) {
    return Error{
        .kind = ErrorKind::NotFound,
        .message = "there is no model at " + home +
                   "/models/default: put a GGUF file or an MLX directory (or a link to one) "
                   "there, fetch the default one with `pensieve model pull`, name one with "
                   "--model PATH, or take the embedded one with --model tiny"};
  }
  PENSIEVE_TRY(OpenedModel opened, open_model("tiny", accountant));
  opened.by_default = true;
  return opened;
}

Result<std::unique_ptr<Stack>> build_stack(const Options& options, int conversations) {
  const SystemMemory memory = read_system_memory(memory_root());
  auto stack = std::make_unique<Stack>(memory.known ? memory.available_bytes : 0, memory);
  if (!options.upstream.empty()) {
    PENSIEVE_TRY(reach_upstream(options, *stack));
    return stack;
  }
  PENSIEVE_TRY(OpenedModel opened, choose_model(options, stack->accountant));
  if (!opened.embedded) guard_mapped_files(opened.file->mapped());
  stack->embedded = opened.embedded;
  stack->by_default = opened.by_default;
  PENSIEVE_TRY(stack->model, claude::load(std::move(opened.file)));

  const compute::ModelWeights& weights = stack->model.file->weights();
  stack->kv = options.kv.value_or(default_kv(weights.hyper));
  PENSIEVE_TRY(stack->window,
               fit_window(weights.hyper,
                          {.memory = memory,
                           .weights_bytes = weights.total_bytes,
                           .kv = stack->kv,
                           .asked = options.context,
                           .at_most = stack->embedded ? kEmbeddedWindow : 0,
                           .conversations = conversations,
                           .step_tokens = kStepTokens}));
  if (!stack->window.warning.empty()) log_warning(stack->window.warning);

  const compute::cpu::CpuOptions cpu{.n_threads = options.threads,
                                     .kernel = options.kernel,
                                     .activations = options.activations,
                                     .kv = stack->kv,
                                     .max_context = stack->window.tokens,
                                     .kv_budget_bytes = stack->window.kv_budget_bytes,
                                     .max_tokens = kStepTokens};
  engine::EngineOptions engine;
  engine.context_length = stack->window.tokens;
  engine.speculation = options.speculation;
  if (has_two_rope_variants(weights.hyper)) {
    engine.original_context_length = weights.hyper.original_context_length;
  }
  PENSIEVE_TRY(stack->tier, open_tier(options, *stack));
  engine.tier = stack->tier.get();
  PENSIEVE_TRY(
      stack->engine,
      engine::Engine::create(
          [&] { return compute::cpu::create_backend(weights, cpu, stack->accountant); }, engine));
  stack->window.tokens = stack->engine->context_length();
  stack->service = claude::Service::create(stack->model, *stack->engine);
  return stack;
}

std::string embedded_model_notice() {
  return "No model is installed, so the embedded one answers: Pensieve Tiny, a small demonstration "
         "model.\nFor real work give it a real one: `pensieve model pull`, or --model PATH to a "
         "GGUF "
         "file or an MLX directory.";
}

}  // namespace pensieve::cli
