#include "application/cli/window.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace pensieve::cli {
namespace {

constexpr int kSmallestSensible = 4096;
constexpr std::size_t kAutoQ8AboveBytes = 64 * 1024;

std::size_t size(int n) {
  return static_cast<std::size_t>(n);
}

std::size_t pages(int tokens) {
  return (size(tokens) + compute::kPageTokens - 1) / compute::kPageTokens;
}

// Rows of activations for one step (residual, normed, attention, qkv, gate and up, their product),
// logits of a full batch, and what threads and the tokenizer take.
std::size_t scratch_estimate(const compute::HyperParameters& hyper, int step_tokens) {
  const std::size_t qkv = size(hyper.n_heads + 2 * hyper.n_kv_heads) * size(hyper.head_dim);
  const std::size_t row = 4 * size(hyper.hidden) + qkv + 3 * size(hyper.ffn);
  constexpr std::size_t kBatch = 64;
  return (size(step_tokens) * row + kBatch * size(hyper.vocab)) * sizeof(float) +
         (std::size_t{32} << 20);
}

}  // namespace

std::size_t kv_bytes_per_token(const compute::HyperParameters& hyper, compute::KvTypes kv) {
  const std::size_t elements = size(hyper.n_layers) * size(hyper.n_kv_heads) * size(hyper.head_dim);
  const auto bytes = [&](compute::KvType type) {
    switch (type) {
      case compute::KvType::F32:
        return elements * 4;
      case compute::KvType::F16:
        return elements * 2;
      case compute::KvType::Q8:
        return elements + elements / 32 * 2;
      case compute::KvType::Q4:
        return elements / 2 + elements / 32 * 4;
    }
    return elements * 4;
  };
  return bytes(kv.keys) + bytes(kv.values);
}

compute::KvTypes default_kv(const compute::HyperParameters& hyper) {
  return kv_bytes_per_token(hyper, compute::KvType::F16) > kAutoQ8AboveBytes ? compute::KvType::Q8
                                                                             : compute::KvType::F16;
}

Result<Window> fit_window(const compute::HyperParameters& hyper, const WindowQuestion& question) {
  const std::size_t page_bytes = kv_bytes_per_token(hyper, question.kv) * compute::kPageTokens;
  Window window;
  window.scratch_bytes = scratch_estimate(hyper, question.step_tokens);
  const std::uint64_t fixed = question.weights_bytes + window.scratch_bytes;
  const std::uint64_t available = question.memory.known ? question.memory.available_bytes : 0;
  const auto room_above = [&](std::uint64_t line) {
    return available > fixed + line ? available - fixed - line : 0;
  };
  const std::uint64_t safe_room = room_above(kSafeAboveBytes);
  const auto tokens_in = [&](std::uint64_t bytes) {
    return static_cast<int>(
        std::min<std::uint64_t>(bytes / page_bytes * compute::kPageTokens, 1 << 30));
  };

  if (question.asked > 0) {
    if (question.asked > hyper.context_length) {
      return Error{.kind = ErrorKind::InvalidRequest,
                   .message = "--context " + std::to_string(question.asked) +
                              " is more than this model's " + grouped(size(hyper.context_length)) +
                              " tokens"};
    }
    window.tokens = question.asked;
    const std::uint64_t need = pages(question.asked) * page_bytes;
    if (question.memory.known && need > room_above(0)) {
      return Error{.kind = ErrorKind::InvalidRequest,
                   .message = "--context " + std::to_string(question.asked) + " needs " +
                              human_bytes(need) + " for keys and values beside " +
                              human_bytes(fixed) + " for the model, and " + human_bytes(available) +
                              " are available: at most " + grouped(size(tokens_in(room_above(0)))) +
                              " tokens fit"};
    }
    if (need > safe_room) {
      window.warning = "a window of " + grouped(size(question.asked)) +
                       " tokens leaves less than 3 GiB of " + human_bytes(available) +
                       " available to other programs";
    }
  } else {
    const int ceiling = question.at_most > 0 ? std::min(question.at_most, hyper.context_length)
                                             : hyper.context_length;
    const int smallest = std::min(ceiling, kSmallestSensible);
    window.tokens = std::min(ceiling, tokens_in(safe_room));
    if (window.tokens < smallest) {
      window.tokens = smallest;
      window.warning =
          question.memory.known
              ? "only " + human_bytes(available) +
                    " of memory are available, and this model leaves less than 3 GiB of it "
                    "to other programs even with the smallest window"
              : "the system does not say how much memory is available, so the window is "
                "the smallest one";
    }
  }

  const std::uint64_t one = pages(window.tokens) * page_bytes;
  const std::uint64_t wanted =
      one * static_cast<std::uint64_t>(std::max(1, question.conversations));
  window.kv_budget_bytes = std::clamp(safe_room / page_bytes * page_bytes, one, wanted);
  return window;
}

std::string human_bytes(std::uint64_t bytes) {
  static constexpr std::array<const char*, 5> kUnits = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(),
                text.size(),
                unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s",
                value,
                kUnits[unit]);
  return text.data();
}

std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3;) {
    at -= 3;
    text.insert(at, ",");
  }
  return text;
}

}  // namespace pensieve::cli
