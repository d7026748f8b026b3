// What speculation brings: decode speed with and without it, in turn, on answers that are scripted,
// so that a model of random weights (right for speed, useless for text) can be asked to write a
// file again with small changes. Every token is computed and sampled as ever; only then the
// script's takes its place. So wrong guesses cost what they cost.
//   speculation_bench MODEL FILE OTHER_FILE [N_ANSWER [ROUNDS [THREADS [N_PROMPT]]]]
// edit    FILE in the prompt, FILE with small changes as the answer
// new     FILE in the prompt, OTHER_FILE as the answer: what a text of its own repeats of itself
// random  FILE in the prompt, tokens at random as the answer: nothing repeats
// Writes what rows cost, and one Markdown table row a task.
#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "foundation/accountant.h"
#include "foundation/check.h"

#include "domain/compute/cpu/cpu_backend.h"
#include "domain/engine/engine.h"
#include "domain/model/model_file.h"

namespace {

using namespace pensieve;
using Tokens = std::vector<TokenId>;

// The CPU backend, but for the tokens: after n of them comes script[n].
class ScriptedBackend final : public compute::Backend {
 public:
  ScriptedBackend(std::unique_ptr<compute::Backend> inner, const Tokens& script)
      : inner_(std::move(inner)), script_(script) {}

  compute::Capabilities capabilities() const override { return inner_->capabilities(); }
  Result<compute::SequenceId> open(compute::RopeVariant rope, compute::KvTypes kv) override {
    return inner_->open(rope, kv);
  }
  Result<compute::SequenceId> fork(compute::SequenceId source, int n) override {
    return inner_->fork(source, n);
  }
  Result<void> truncate(compute::SequenceId sequence, int n) override {
    return inner_->truncate(sequence, n);
  }
  std::span<const TokenId> tokens(compute::SequenceId sequence) const override {
    return inner_->tokens(sequence);
  }
  Result<void> save(compute::SequenceId sequence,
                    compute::TokenRange range,
                    compute::ByteSink& sink) override {
    return inner_->save(sequence, range, sink);
  }
  Result<void> restore(compute::SequenceId sequence, compute::ByteSource& source) override {
    return inner_->restore(sequence, source);
  }
  void close(compute::SequenceId sequence) override { inner_->close(sequence); }
  int free_pages() const override { return inner_->free_pages(); }
  Result<compute::Ticket> submit(std::span<const compute::Step> steps) override {
    steps_.assign(steps.begin(), steps.end());
    return inner_->submit(steps);
  }
  Result<std::span<const compute::Sampled>> collect(compute::Ticket ticket) override {
    PENSIEVE_TRY(const auto sampled, inner_->collect(ticket));
    sampled_.assign(sampled.begin(), sampled.end());
    std::size_t at = 0;
    for (const auto& step : steps_) {
      const std::size_t length = inner_->tokens(step.sequence).size();
      const auto n = static_cast<std::size_t>(step.n_samples);
      for (std::size_t i = 0; i < n; ++i, ++at) {
        if (step.sample != nullptr) sampled_[at].token = script_[length - n + i + 1];
      }
    }
    return std::span<const compute::Sampled>(sampled_);
  }
  compute::BackendMemory memory() const override { return inner_->memory(); }
  void trim() override { inner_->trim(); }

 private:
  const std::unique_ptr<compute::Backend> inner_;
  const Tokens& script_;
  std::vector<compute::Step> steps_;
  std::vector<compute::Sampled> sampled_;
};

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line + "\n");
  CHECK(!lines.empty());
  return lines;
}

// Pieces of about the length that tokenizers make: up to six letters or digits with the space
// before them, runs of spaces, and single marks. Each different one is a token.
struct Pieces {
  int vocab = 0;
  std::map<std::string, TokenId> ids{};

  Tokens encode(const std::vector<std::string>& lines) {
    Tokens tokens;
    for (const std::string& line : lines) {
      for (std::size_t i = 0; i < line.size();) {
        std::size_t end = i;
        while (end < line.size() && line[end] == ' ') ++end;
        const std::size_t word = end;
        while (end < line.size() && end < word + 6 &&
               std::isalnum(static_cast<unsigned char>(line[end])) != 0)
          ++end;
        if (end == i) ++end;
        const int next = 100 + static_cast<int>(ids.size());
        tokens.push_back(ids.try_emplace(line.substr(i, end - i), next % vocab).first->second);
        i = end;
      }
    }
    return tokens;
  }
};

// The file with a name changed wherever it occurs, and about every twentieth line changed, left out
// or preceded by a new one.
std::vector<std::string> edited(const std::vector<std::string>& lines) {
  std::mt19937 random(1);
  std::vector<std::string> out;
  for (std::string line : lines) {
    for (std::size_t at = line.find("entry"); at != std::string::npos;
         at = line.find("entry", at + 1)) {
      if (line.compare(at, 9, "entry.job") == 0) line.replace(at, 9, "item.task");
    }
    const auto kind = random() % 60;
    if (kind == 0) continue;
    if (kind == 1)
      out.push_back("  log_debug(\"line " + std::to_string(random() % 1000) + "\");\n");
    if (kind == 2) line.insert(line.size() - 1, "  // checked " + std::to_string(random() % 1000));
    out.push_back(std::move(line));
  }
  return out;
}

struct Measured {
  double tokens_per_s = 0;
  double drafted = 0, accepted = 0;
};

class Bench {
 public:
  Bench(const model::ModelFile& file,
        Accountant& accountant,
        engine::Speculation speculation,
        int threads) {
    engine::EngineOptions options;
    options.speculation = speculation;
    auto made = engine::Engine::create(
        [&]() -> Result<std::unique_ptr<compute::Backend>> {
          PENSIEVE_TRY(
              auto cpu,
              compute::cpu::create_backend(
                  file.weights(), {.n_threads = threads, .max_context = 4096}, accountant));
          return std::unique_ptr<compute::Backend>(
              std::make_unique<ScriptedBackend>(std::move(cpu), script_));
        },
        options);
    CHECK(made.has_value());
    engine_ = std::move(*made);
  }

  // From the first token to the last.
  Measured answer(const Tokens& prompt, const Tokens& answer) {
    script_ = prompt;  // nothing runs now
    script_.insert(script_.end(), answer.begin(), answer.end());
    const auto before = engine_->stats();
    engine::Request request;
    request.prompt = prompt;
    request.max_tokens = static_cast<int>(answer.size());
    request.sampling.temperature = 0;
    auto generation = engine_->submit(std::move(request));
    CHECK(generation.has_value());
    std::chrono::steady_clock::time_point first, last;
    std::size_t n = 0;
    while (const auto event = (*generation)->next()) {
      if (event->kind != engine::TokenEvent::Kind::Token) continue;
      CHECK(event->token == answer[n]);
      last = std::chrono::steady_clock::now();
      if (n++ == 0) first = last;
    }
    CHECK(n == answer.size());
    const auto after = engine_->stats();
    return {static_cast<double>(n - 1) / std::chrono::duration<double>(last - first).count(),
            static_cast<double>(after.drafted_tokens - before.drafted_tokens),
            static_cast<double>(after.accepted_tokens - before.accepted_tokens)};
  }

 private:
  Tokens script_;
  std::unique_ptr<engine::Engine> engine_;
};

double median(std::vector<double> values);

// What steps of 1 to 16 rows cost, all sampled, as multiples of the step of one row.
void print_row_costs(const model::ModelFile& file,
                     Accountant& accountant,
                     int threads,
                     const Tokens& prompt) {
  auto made = compute::cpu::create_backend(
      file.weights(), {.n_threads = threads, .max_context = 4096}, accountant);
  CHECK(made.has_value());
  compute::Backend& backend = **made;
  const auto sequence =
      backend.open(compute::RopeVariant::Short, backend.capabilities().default_kv);
  CHECK(sequence.has_value());
  const auto run = [&](std::span<const TokenId> tokens, int n_samples) {
    const compute::SamplingParameters greedy{.temperature = 0};
    const compute::Step step{.sequence = *sequence,
                             .tokens = tokens,
                             .sample = n_samples > 0 ? &greedy : nullptr,
                             .allowed = {},
                             .n_samples = std::max(n_samples, 1)};
    CHECK(backend.collect(*backend.submit({&step, 1})).has_value());
  };
  const auto depth = std::min<std::size_t>(prompt.size() - 16, 500);
  run(std::span(prompt).first(depth), 0);
  std::vector<std::vector<double>> times(16);
  for (int round = 0; round < 7; ++round) {
    for (std::size_t n = 1; n <= 16; ++n) {
      const auto begin = std::chrono::steady_clock::now();
      run(std::span(prompt).subspan(depth, n), static_cast<int>(n));
      const std::chrono::duration<double, std::milli> took =
          std::chrono::steady_clock::now() - begin;
      times[n - 1].push_back(took.count());
      CHECK(backend.truncate(*sequence, static_cast<int>(depth)).has_value());
    }
  }
  const double one = median(times[0]);
  std::printf("A step of one row takes %.2f ms; of 1 to 16 rows so many times that:", one);
  for (const auto& of_n : times) std::printf(" %.2f", median(of_n) / one);
  std::printf("\n\n");
  backend.close(*sequence);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace

int main(int n_arguments, char** arguments) {
  if (n_arguments < 4) return 2;
  const auto number = [&](int i, int otherwise) {
    return n_arguments > i ? std::atoi(arguments[i]) : otherwise;
  };
  const auto n_answer = static_cast<std::size_t>(number(4, 400));
  const int rounds = number(5, 5), threads = number(6, 2);
  const auto n_prompt = static_cast<std::size_t>(number(7, 1000));
  Accountant accountant;
  const auto file = model::ModelFile::open(arguments[1], accountant);
  if (!file) {
    std::fprintf(stderr, "%s\n", file.error().message.c_str());
    return 1;
  }
  Pieces pieces{.vocab = (*file)->weights().hyper.vocab};
  const auto lines = lines_of(arguments[2]);
  Tokens prompt = pieces.encode(lines);
  Tokens edit = pieces.encode(edited(lines)), fresh = pieces.encode(lines_of(arguments[3]));
  prompt.resize(std::min(prompt.size(), n_prompt));
  std::mt19937 random(1);
  Tokens noise(n_answer);
  for (TokenId& token : noise)
    token = static_cast<TokenId>(random() % static_cast<std::uint64_t>(pieces.vocab));

  print_row_costs(**file, accountant, threads, prompt);
  Bench off(**file, accountant, engine::Speculation::Off, threads);
  Bench on(**file, accountant, engine::Speculation::Auto, threads);
  std::printf(
      "| task | off | on | ratio (each round) | drafted | accepted |\n|---|---|---|---|---|---|\n");
  for (auto& [name, answer] :
       {std::pair<const char*, Tokens&>{"edit", edit}, {"new", fresh}, {"random", noise}}) {
    answer.resize(std::min(answer.size(), n_answer));
    off.answer(prompt, {answer[0], answer[1]});  // the prompt is computed once
    on.answer(prompt, {answer[0], answer[1]});
    std::vector<double> slow, fast, ratios;
    Measured last;
    for (int round = 0; round < rounds; ++round) {
      const bool on_first = round % 2 == 1;
      if (on_first) last = on.answer(prompt, answer);
      slow.push_back(off.answer(prompt, answer).tokens_per_s);
      if (!on_first) last = on.answer(prompt, answer);
      fast.push_back(last.tokens_per_s);
      ratios.push_back(fast.back() / slow.back());
    }
    std::printf("| %s, %zu tokens | %.1f | %.1f | **%.2f** (",
                name,
                answer.size(),
                median(slow),
                median(fast),
                median(ratios));
    for (const double ratio : ratios) std::printf(" %.2f", ratio);
    std::printf(" ) | %.0f | %.0f |\n", last.drafted, last.accepted);
    std::fflush(stdout);
  }
  return 0;
}
