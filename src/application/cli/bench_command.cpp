// `pensieve bench`: what run_bench() measures, as a table for people or a line of JSON each.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "foundation/json.h"
#include "foundation/system_memory.h"

#include "domain/compute/cpu/thread_pool.h"

#include "application/cli/bench.h"
#include "application/cli/commands.h"
#include "application/cli/download_progress.h"
#include "application/cli/exit_status.h"
#include "application/cli/models.h"
#include "application/cli/print_json.h"
#include "application/cli/stack.h"

namespace pensieve::cli {
namespace {

std::string number(double value, int digits) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

// What is being measured, on the terminal, in a line that the next one takes the place of.
class Doing {
 public:
  ~Doing() { clear(); }
  void tell(const std::string& what) {
    if (!terminal_) return;
    std::fprintf(stderr, "\r\033[K%s", what.c_str());
    std::fflush(stderr);
    shown_ = true;
  }
  void clear() {
    if (!std::exchange(shown_, false)) return;
    std::fputs("\r\033[K", stderr);
    std::fflush(stderr);
  }

 private:
  const bool terminal_ = stderr_is_terminal();
  bool shown_ = false;
};

class Report {
 public:
  Report(
      bool json, int n_threads, std::string kv, const Cost& cost, const compute::cpu::Roofs& roofs)
      : json_(json), n_threads_(n_threads), kv_(std::move(kv)), cost_(cost), roofs_(roofs) {}

  void begin(const model::ModelFile& file, const compute::Capabilities& backend) const {
    if (json_) return;
    std::printf("%s, %s, %s\n%s; KV %s\n",
                std::string(file.name()).c_str(),
                std::string(file.quantization()).c_str(),
                human_bytes(file.weights().total_bytes).c_str(),
                backend.kernels.c_str(),
                kv_.c_str());
    std::printf("roofs of this machine: memory %s GB/s",
                number(roofs_.bytes_per_s / 1e9, 1).c_str());
    if (roofs_.macs_per_s > 0)
      std::printf(", arithmetic %s GMAC/s", number(roofs_.macs_per_s / 1e9, 0).c_str());
    std::printf("\n\n%-8s %7s %7s %6s %10s %17s %12s  %s\n",
                "test",
                "tokens",
                "depth",
                "batch",
                "tokens/s",
                "least - most",
                "first token",
                "of the roof");
  }

  void add(const BenchResult& result) const {
    if (json_) {
      Json samples = Json::array();
      for (const double sample : result.samples) samples.push_back(std::round(sample * 1e3) / 1e3);
      print_json({{"test", result.decode ? "decode" : "prefill"},
                  {"tokens", result.tokens},
                  {"depth", result.depth},
                  {"batch", result.batch},
                  {"threads", n_threads_},
                  {"kv", kv_},
                  {"tokens_per_second", std::round(result.median() * 1e3) / 1e3},
                  {"samples", std::move(samples)}},
                 -1);
      std::fflush(stdout);
      return;
    }
    const auto [least, most] = std::minmax_element(result.samples.begin(), result.samples.end());
    const double share = share_of_roof(result, cost_, roofs_);
    const std::string of_roof =
        share > 0 ? number(100 * share, 0) + (result.decode ? " % of memory" : " % of arithmetic")
                  : "-";
    const std::string first_token =
        result.decode ? "" : number(result.tokens / result.median(), 2) + " s";
    std::printf("%-8s %7d %7d %6d %10s %17s %12s  %s\n",
                result.decode ? "decode" : "prefill",
                result.tokens,
                result.depth,
                result.batch,
                number(result.median(), 2).c_str(),
                (number(*least, 2) + " - " + number(*most, 2)).c_str(),
                first_token.c_str(),
                of_roof.c_str());
    std::fflush(stdout);
  }

 private:
  const bool json_;
  const int n_threads_;
  const std::string kv_;
  const Cost cost_;
  const compute::cpu::Roofs roofs_;
};

Result<int> measure(const Options& options) {
  const SystemMemory memory = read_system_memory();
  Accountant accountant(memory.known ? memory.available_bytes : 0);
  PENSIEVE_TRY(ensure_model(options));
  PENSIEVE_TRY(const OpenedModel model, choose_model(options, accountant));
  const compute::ModelWeights& weights = model.file->weights();
  const compute::KvTypes kv = options.kv.value_or(default_kv(weights.hyper));
  const BenchPlan& plan = options.bench;

  compute::cpu::CpuOptions cpu{
      .n_threads = options.threads,
      .kernel = options.kernel,
      .activations = options.activations,
      .kv = kv,
      .kv_budget_bytes = kv_tokens(plan) * kv_bytes_per_token(weights.hyper, kv)};
  PENSIEVE_TRY(const auto backend, compute::cpu::create_backend(weights, cpu, accountant));
  const compute::Capabilities capabilities = backend->capabilities();
  const int longest =
      *std::max_element(plan.depths.begin(), plan.depths.end()) +
      std::max(*std::max_element(plan.prompts.begin(), plan.prompts.end()), plan.generate);
  if (longest > capabilities.max_context) {
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message = "the longest depth and prompt together are " +
                            grouped(static_cast<std::uint64_t>(longest)) +
                            " tokens, and the model takes " +
                            grouped(static_cast<std::uint64_t>(capabilities.max_context))};
  }
  Doing doing;
  doing.tell("measuring the machine");
  const int n_threads = options.threads > 0 ? options.threads : compute::cpu::physical_cores();
  const std::string kernel =
      options.kernel.empty() ? compute::cpu::runnable_kernel_names().front() : options.kernel;
  const bool int8 = capabilities.kernels.find("int8") != std::string::npos;
  PENSIEVE_TRY(const auto roofs, compute::cpu::measure_roofs(kernel, int8, n_threads, accountant));
  doing.clear();
  const Report report(options.json, n_threads, to_string(kv), cost_of(weights, kv), roofs);
  report.begin(*model.file, capabilities);
  PENSIEVE_TRY(run_bench(
      *backend,
      plan,
      [&](const std::string& what) { doing.tell(what); },
      [&](const BenchResult& result) {
        doing.clear();
        report.add(result);
      }));
  return kExitDone;
}

}  // namespace

int bench(const Options& options) {
  return finish(measure(options));
}

}  // namespace pensieve::cli
