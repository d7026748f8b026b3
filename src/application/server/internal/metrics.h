// What the server counts of its requests, and all of it in Prometheus' text format with what the
// engine, the accountant and the disk say when asked (prometheus-cpp behind it; docs/metrics.md has
// the list). Knows names, numbers and units. Must not know routes' meaning, prompts or models.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "foundation/accountant.h"
#include "foundation/memory_monitor.h"

#include "domain/engine/engine.h"
#include "domain/kv_store/kv_store.h"

#include "application/server/internal/alerts.h"
#include "application/server/internal/request_record.h"

namespace pensieve::server {

// What others know at the moment.
struct Readings {
  std::string version, model, backend, kernels;
  std::int64_t started_unix_s = 0;
  MemoryState memory;
  std::uint64_t resident_bytes = 0;
  std::uint64_t anonymous_bytes = 0;
  std::uint64_t heap_bytes = 0;
  std::array<std::size_t, kMemoryUses> held{};     // by MemoryUse
  std::array<std::size_t, kMemoryUses> touched{};  // of that, what takes memory
  std::size_t memory_limit = 0;                    // 0: none
  std::optional<engine::EngineStats> engine = std::nullopt;
  std::optional<kv_store::Usage> disk = std::nullopt;
  std::array<AlertLevel, kAlertKinds> alerts{};  // by AlertKind
};

// Any thread.
class Metrics {
 public:
  using Duration = std::chrono::steady_clock::duration;

  Metrics();
  ~Metrics();

  // A request has its answer, all of it. `route`: a path of the table, or "other".
  void answered(std::string_view route, int status, Duration taken);
  // Its client left before anything was answered.
  void abandoned(std::string_view route);

  // Of one answer of the model: the engine has begun with the prompt after `waited`; the first
  // token came `since_request`, or `taken` after that begin; the others took `each`.
  void begun(Duration waited);
  void first_token(Duration since_request);
  void prefilled(Duration taken);
  void decoded(Duration each);

  // A request to the model is over.
  void ended(Outcome outcome);

  // Text format 0.0.4.
  std::string text(const Readings& readings) const;

 private:
  struct Counted;
  const std::unique_ptr<Counted> counted_;
};

}  // namespace pensieve::server
