// What a model says with other types of keys and values, for kv_quality.py. Token ids in and out, a
// line each, in text; prompts that begin alike are computed once.
//   kv_quality greedy MODEL KV LIMIT STOP,STOP  < prompts   -> the tokens that follow each prompt
//   kv_quality divergence MODEL KV FIRST        < contexts  -> how far the distributions of the
//   next
//       token are from f16's, at the positions from FIRST on of every context: one line each,
//       "KL in nats, 1 if the best token is the same"
//   kv_quality speed MODEL KV DEPTH COUNT                   -> seconds of a prefill of DEPTH
//   tokens,
//       and of COUNT decode steps behind them; one thread
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "domain/compute/cpu/cpu_backend.h"
#include "domain/model/model_file.h"

namespace pensieve {
namespace {

using compute::KvTypes;
using compute::SequenceId;
using Tokens = std::vector<TokenId>;

constexpr int kBatch = 32;       // sequences that decode together
constexpr int kMaxTokens = 512;  // of one step
const compute::SamplingParameters kGreedy{.temperature = 0};

template <typename T>
T checked(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "kv_quality: %s\n", result.error().message.c_str());
    std::exit(1);
  }
  return std::move(*result);
}

Tokens parse_ids(std::string text) {
  std::replace(text.begin(), text.end(), ',', ' ');
  std::istringstream words(text);
  Tokens ids;
  for (TokenId id; words >> id;) ids.push_back(id);
  return ids;
}

std::vector<Tokens> read_lines() {
  std::vector<Tokens> lines;
  for (std::string line; std::getline(std::cin, line);) lines.push_back(parse_ids(line));
  return lines;
}

class Model {
 public:
  // Pages are made for f16, so that sequences of every smaller type can stand beside each other.
  explicit Model(const std::string& path)
      : file_(checked(model::ModelFile::open(path, accountant_))),
        backend_(checked(compute::cpu::create_backend(file_->weights(),
                                                      {.n_threads = 1,
                                                       .kv = compute::KvType::F16,
                                                       .max_context = 16'384,
                                                       .kv_budget_bytes = std::size_t{1} << 30,
                                                       .max_tokens = kMaxTokens},
                                                      accountant_))) {}

  SequenceId open(KvTypes kv) { return checked(backend_->open(compute::RopeVariant::Short, kv)); }
  SequenceId fork(SequenceId from, int n_tokens) { return checked(backend_->fork(from, n_tokens)); }
  void close(SequenceId sequence) { backend_->close(sequence); }

  // One step for all; the spans' scores live until the next step.
  std::span<const compute::Sampled> step(std::span<const compute::Step> steps) {
    return checked(backend_->collect(checked(backend_->submit(steps))));
  }

  // Appends all tokens and returns the greedy one behind the last.
  TokenId feed(SequenceId sequence, std::span<const TokenId> tokens) {
    TokenId next = kNoToken;
    while (!tokens.empty()) {
      const auto part = tokens.first(std::min<std::size_t>(tokens.size(), kMaxTokens));
      tokens = tokens.subspan(part.size());
      const compute::Step one{.sequence = sequence,
                              .tokens = part,
                              .sample = tokens.empty() ? &kGreedy : nullptr,
                              .allowed = {}};
      next = step({&one, 1})[0].token;
    }
    return next;
  }

 private:
  Accountant accountant_;
  std::unique_ptr<model::ModelFile> file_;
  std::unique_ptr<compute::Backend> backend_;
};

void greedy(Model& model, KvTypes kv, int limit, const Tokens& stops) {
  const auto prompts = read_lines();
  struct Running {
    SequenceId sequence{};
    std::size_t prompt = 0;
    Tokens out;
  };
  std::vector<Tokens> answers(prompts.size());
  std::vector<std::size_t> order(prompts.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return prompts[a] < prompts[b]; });

  std::vector<Running> running;
  std::size_t started = 0;
  SequenceId last = model.open(kv);  // the prompt that was computed last, and nothing behind it
  Tokens last_ids;
  while (started < order.size() || !running.empty()) {
    while (started < order.size() && running.size() < kBatch) {
      const std::size_t i = order[started++];
      const Tokens& ids = prompts[i];
      const auto differ =
          std::mismatch(ids.begin(), ids.end(), last_ids.begin(), last_ids.end()).first;
      const auto shared =
          std::min(differ - ids.begin(), static_cast<std::ptrdiff_t>(ids.size()) - 1);
      const SequenceId prompt = model.fork(last, static_cast<int>(shared));
      const TokenId first =
          model.feed(prompt, std::span(ids).subspan(static_cast<std::size_t>(shared)));
      model.close(last);
      last = prompt;
      last_ids = ids;
      running.push_back({model.fork(prompt, static_cast<int>(ids.size())), i, {first}});
    }
    std::vector<compute::Step> steps;
    for (std::size_t r = 0; r < running.size();) {
      Running& one = running[r];
      const bool ended = std::find(stops.begin(), stops.end(), one.out.back()) != stops.end();
      if (ended || static_cast<int>(one.out.size()) >= limit) {
        model.close(one.sequence);
        answers[one.prompt] = std::move(one.out);
        if (&one != &running.back()) one = std::move(running.back());
        running.pop_back();
        continue;
      }
      ++r;
    }
    for (const Running& one : running) {
      steps.push_back({.sequence = one.sequence,
                       .tokens = std::span(one.out).last(1),
                       .sample = &kGreedy,
                       .allowed = {}});
    }
    if (steps.empty()) continue;
    const auto sampled = model.step(steps);
    for (std::size_t r = 0; r < running.size(); ++r) running[r].out.push_back(sampled[r].token);
  }
  for (const Tokens& answer : answers) {
    for (std::size_t i = 0; i < answer.size(); ++i) std::printf(i == 0 ? "%d" : " %d", answer[i]);
    std::printf("\n");
  }
}

std::vector<double> log_softmax(std::span<const float> logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const float v : logits) total += std::exp(v - max);
  std::vector<double> out(logits.begin(), logits.end());
  for (double& v : out) v -= max + std::log(total);
  return out;
}

void divergence(Model& model, KvTypes kv, int first) {
  for (const Tokens& ids : read_lines()) {
    const SequenceId sequences[] = {model.open(compute::KvType::F16), model.open(kv)};
    for (const SequenceId sequence : sequences)
      model.feed(sequence, std::span(ids).first(static_cast<std::size_t>(first)));
    for (std::size_t at = static_cast<std::size_t>(first); at < ids.size(); ++at) {
      std::vector<compute::Step> steps;
      for (const SequenceId sequence : sequences) {
        steps.push_back({.sequence = sequence,
                         .tokens = std::span(ids).subspan(at, 1),
                         .sample = &kGreedy,
                         .allowed = {},
                         .return_logits = true});
      }
      const auto sampled = model.step(steps);
      const auto exact = log_softmax(sampled[0].logits), other = log_softmax(sampled[1].logits);
      double kl = 0;
      for (std::size_t i = 0; i < exact.size(); ++i)
        kl += std::exp(exact[i]) * (exact[i] - other[i]);
      std::printf("%.9f %d\n", kl, sampled[0].token == sampled[1].token ? 1 : 0);
    }
    for (const SequenceId sequence : sequences) model.close(sequence);
  }
}

void speed(Model& model, KvTypes kv, int depth, int count) {
  using Clock = std::chrono::steady_clock;
  Tokens ids(static_cast<std::size_t>(depth));
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>(300 + i * 37 % 2000);
  const SequenceId sequence = model.open(kv);
  const auto begin = Clock::now();
  TokenId next = model.feed(sequence, ids);
  const auto middle = Clock::now();
  for (int i = 0; i < count; ++i) next = model.feed(sequence, {&next, 1});
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  std::printf("%.4f %.4f\n", seconds(middle - begin), seconds(Clock::now() - middle));
}

int run(const std::vector<std::string>& words) {
  const auto number = [&](std::size_t i) { return std::stoi(words.at(i)); };
  if (words.size() < 4) {
    std::fprintf(stderr, "usage: see the head of bench/kv_quality.cpp\n");
    return 2;
  }
  const auto kv = compute::parse_kv_types(words[2]);
  if (!kv) {
    std::fprintf(stderr, "kv_quality: %s is no type of keys and values\n", words[2].c_str());
    return 2;
  }
  Model model(words[1]);
  if (words[0] == "greedy") {
    greedy(model, *kv, number(3), parse_ids(words.at(4)));
  } else if (words[0] == "divergence") {
    divergence(model, *kv, number(3));
  } else if (words[0] == "speed") {
    speed(model, *kv, number(3), number(4));
  } else {
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace pensieve

int main(int argc, char** argv) {
  return pensieve::run({argv + 1, argv + argc});
}
