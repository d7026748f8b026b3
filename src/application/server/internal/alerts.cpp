#include "application/server/internal/alerts.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "application/server/internal/alert_limits.h"

namespace pensieve::server {
namespace {

// How many of the limits `value` is beyond; `more_is_worse` says which side that is.
AlertLevel beyond(const Limits& limits, double value, bool more_is_worse) {
  int n = 0;
  for (const double limit : limits) n += more_is_worse ? value > limit : value < limit;
  return static_cast<AlertLevel>(n);
}

// The limits that an alert has to get to the good side of before it goes.
Limits eased(Limits limits, bool more_is_worse) {
  for (double& limit : limits) limit = more_is_worse ? limit * kBetterBy : limit / kBetterBy;
  return limits;
}

AlertLevel alert_level(MemoryLevel level) {
  switch (level) {
    case MemoryLevel::Safe:
      return AlertLevel::None;
    case MemoryLevel::Caution:
      return AlertLevel::Info;
    case MemoryLevel::Warning:
      return AlertLevel::Warning;
    case MemoryLevel::Critical:
    case MemoryLevel::Emergency:
      return AlertLevel::Critical;
  }
  return AlertLevel::None;
}

template <typename... Values>
std::string sentence(const char* format, Values... values) {
  std::array<char, 256> text{};
  std::snprintf(text.data(), text.size(), format, values...);
  return text.data();
}

}  // namespace

std::string_view to_string(AlertKind kind) {
  constexpr std::array<std::string_view, kAlertKinds> kWords{
      "high_latency", "low_throughput", "high_memory", "high_error_rate"};
  return kWords[static_cast<std::size_t>(kind)];
}

std::string_view to_string(AlertLevel level) {
  constexpr std::array<std::string_view, 4> kWords{"none", "info", "warning", "critical"};
  return kWords[static_cast<std::size_t>(level)];
}

Alerts::Judgement Alerts::judge(AlertKind kind,
                                const Performance& performance,
                                const SystemMemory& memory,
                                MemoryLevel memory_level) {
  const auto minutes = static_cast<int>(performance.window.count() / 60);
  const auto by = [](const Limits& limits, double value, bool more_is_worse, std::string message) {
    return Judgement{.level = beyond(limits, value, more_is_worse),
                     .held = beyond(eased(limits, more_is_worse), value, more_is_worse),
                     .message = std::move(message)};
  };
  switch (kind) {
    case AlertKind::HighLatency: {
      if (performance.first_tokens < kLeastFirstTokens) return {};
      const double value = *performance.first_token_p95_s;
      return by(kFirstTokenS,
                value,
                true,
                sentence("The first token takes up to %.1f s (95 %% of the last %d minutes' "
                         "requests).",
                         value,
                         minutes));
    }
    case AlertKind::LowThroughput: {
      if (!performance.decode_tokens_per_s || performance.decoded_tokens < kLeastDecodedTokens) {
        return {};
      }
      const double value = *performance.decode_tokens_per_s;
      return by(
          kDecodeTokensPerS, value, false, sentence("Answers come at %.1f tokens/s each.", value));
    }
    case AlertKind::HighMemory: {
      const AlertLevel level = alert_level(memory_level);
      const double gib = static_cast<double>(memory.room_bytes()) / static_cast<double>(kGiB);
      return {.level = level,
              .held = level,  // the levels have a hysteresis of their own
              .message = memory.known
                             ? sentence("%.2f GiB of memory are available to all programs.", gib)
                             : std::string("The system does not say how much memory is left.")};
    }
    case AlertKind::HighErrorRate: {
      const int failed = performance.count(Outcome::Failed);
      if (!performance.error_rate || failed < kLeastFailed) return {};
      return by(kErrorRate,
                *performance.error_rate,
                true,
                sentence("%d of %d requests of the last %d minutes failed.",
                         failed,
                         failed + performance.count(Outcome::Answered),
                         minutes));
    }
  }
  return {};
}

// Up at once; down to the worst that was seen while it was better, once that has lasted.
std::optional<AlertChange> Alerts::step(State& state, Judgement judgement, Clock::time_point now) {
  const AlertLevel before = state.alert.level;
  AlertLevel next = before;
  if (judgement.level > before) {
    next = judgement.level;
  } else if (judgement.held >= before) {
    state.better_since.reset();
  } else {
    if (!state.better_since) {
      state.better_since = now;
      state.worst_since = AlertLevel::None;
    }
    state.worst_since = std::max(state.worst_since, judgement.held);
    if (now - *state.better_since >= kBetterFor) next = state.worst_since;
  }
  if (!judgement.message.empty()) state.alert.message = std::move(judgement.message);
  if (next == before) return std::nullopt;
  state.better_since.reset();
  state.alert.level = next;
  state.alert.since = now;
  return AlertChange{.before = before, .now = state.alert};
}

std::vector<AlertChange> Alerts::update(const Performance& performance,
                                        const SystemMemory& memory,
                                        MemoryLevel memory_level,
                                        Clock::time_point now) {
  std::vector<AlertChange> changes;
  const std::lock_guard lock(mutex_);
  for (int i = 0; i < kAlertKinds; ++i) {
    const auto kind = static_cast<AlertKind>(i);
    State& state = states_[static_cast<std::size_t>(i)];
    state.alert.kind = kind;
    auto change = step(state, judge(kind, performance, memory, memory_level), now);
    if (change) changes.push_back(*std::move(change));
  }
  return changes;
}

std::vector<Alert> Alerts::raised() const {
  std::vector<Alert> raised;
  const std::lock_guard lock(mutex_);
  for (const State& state : states_) {
    if (state.alert.level != AlertLevel::None) raised.push_back(state.alert);
  }
  std::stable_sort(raised.begin(), raised.end(), [](const Alert& a, const Alert& b) {
    return a.level > b.level;
  });
  return raised;
}

AlertLevel Alerts::level(AlertKind kind) const {
  const std::lock_guard lock(mutex_);
  return states_[static_cast<std::size_t>(kind)].alert.level;
}

}  // namespace pensieve::server
