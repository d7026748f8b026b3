#include "application/server/internal/status.h"

#include <unistd.h>

#include <string>

namespace pensieve::server {
namespace {

template <typename Number>
Json or_null(const std::optional<Number>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json window_json(const Performance& seen) {
  return Json{{"requests", seen.requests},
              {"answered", seen.count(Outcome::Answered)},
              {"refused", seen.count(Outcome::Refused)},
              {"failed", seen.count(Outcome::Failed)},
              {"left", seen.count(Outcome::Left)},
              {"requests_per_s", seen.requests_per_s},
              {"output_tokens_per_s", seen.output_tokens_per_s},
              {"prefill_tokens_per_s", or_null(seen.prefill_tokens_per_s)},
              {"decode_tokens_per_s", or_null(seen.decode_tokens_per_s)},
              {"latency_mean_s", or_null(seen.latency_mean_s)},
              {"latency_p95_s", or_null(seen.latency_p95_s)},
              {"first_token_mean_s", or_null(seen.first_token_mean_s)},
              {"first_token_p95_s", or_null(seen.first_token_p95_s)},
              {"error_rate", or_null(seen.error_rate)},
              {"peak_resident_bytes", seen.peak_resident_bytes}};
}

double seconds_since(std::chrono::steady_clock::time_point then) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - then).count();
}

std::string_view phase_of(const RunningRequest& request) {
  if (request.progress.output_tokens > 0) return "decode";
  return request.begun || request.progress.prefilled_tokens > 0 ? "prefill" : "waiting";
}

}  // namespace

Json memory_json(Context& context) {
  const MemoryState now = context.memory();
  const SystemMemory& memory = now.memory;
  Json held = Json::object(), touched = Json::object(), changes = Json::object();
  for (std::size_t i = 0; i < kMemoryLevels; ++i) {
    changes[std::string(to_string(static_cast<MemoryLevel>(i)))] = now.changes_to[i];
  }
  for (const MemoryUse use : {MemoryUse::Weights,
                              MemoryUse::Kv,
                              MemoryUse::Scratch,
                              MemoryUse::Cache,
                              MemoryUse::Connections}) {
    const std::string name = std::string(to_string(use)) + "_bytes";
    held[name] = context.accountant.held(use);
    touched[name] = context.accountant.touched(use);
  }
  return Json{{"level", to_string(now.level)},
              {"available_bytes", memory.available_bytes},
              {"room_bytes", memory.room_bytes()},
              {"total_bytes", memory.total_bytes},
              {"source", to_string(memory.source)},
              {"stalled_percent", memory.stalled / 100.0},
              {"level_changes", std::move(changes)},
              {"resident_bytes", resident_bytes()},
              {"anonymous_bytes", anonymous_bytes()},
              {"heap_bytes", heap_bytes()},
              {"limit_bytes", context.accountant.limit()},
              {"held", std::move(held)},
              {"touched", std::move(touched)}};
}

Json engine_json(Context& context) {
  const engine::EngineStats stats = context.engine->stats();
  return Json{{"running", stats.running},
              {"waiting", stats.waiting},
              {"idle_sequences", stats.idle_sequences},
              {"requests", stats.requests},
              {"prompt_tokens", stats.prompt_tokens},
              {"cached_tokens", stats.cached_tokens},
              {"restored_tokens", stats.restored_tokens},
              {"output_tokens", stats.output_tokens},
              {"drafted_tokens", stats.drafted_tokens},
              {"accepted_tokens", stats.accepted_tokens},
              {"kv_bytes", stats.memory.kv_bytes},
              {"kv_touched_bytes", stats.memory.kv_touched_bytes},
              {"kv_reserved_bytes", stats.reserved_kv_bytes},
              {"kv_capacity_bytes", stats.memory.kv_capacity_bytes}};
}

Json performance_json(Context& context) {
  const auto now = std::chrono::steady_clock::now();
  Json windows = Json::object();
  for (const std::chrono::seconds window : {kShortWindow, kLongWindow}) {
    windows["last_" + std::to_string(window.count()) + "_s"] =
        window_json(context.performance.over(window, now));
  }
  return windows;
}

Json alerts_json(Context& context) {
  look_after_alerts(context);
  Json alerts = Json::array();
  for (const Alert& alert : context.alerts.raised()) {
    alerts.push_back(Json{{"name", to_string(alert.kind)},
                          {"level", to_string(alert.level)},
                          {"message", alert.message},
                          {"since_s", seconds_since(alert.since)}});
  }
  return alerts;
}

Json requests_json(Context& context) {
  Json requests = Json::array();
  for (const RunningRequest& request : context.running.list()) {
    requests.push_back(Json{{"id", request.id},
                            {"route", request.route},
                            {"phase", phase_of(request)},
                            {"age_s", seconds_since(request.begin)},
                            {"prompt_tokens", request.progress.prompt_tokens},
                            {"cached_tokens", request.cached_tokens},
                            {"prefilled_tokens", request.progress.prefilled_tokens},
                            {"output_tokens", request.progress.output_tokens}});
  }
  return requests;
}

Json remembered_json(Context& context) {
  const engine::EngineStats stats = context.engine->stats();
  Json remembered{{"hit_tokens", stats.hit_tokens},
                  {"restored_tokens", stats.restored_tokens},
                  {"missed_tokens", stats.missed_tokens},
                  {"kv_bytes", stats.memory.kv_bytes},
                  {"kv_capacity_bytes", stats.memory.kv_capacity_bytes},
                  {"idle_sequences", stats.idle_sequences},
                  {"disk", nullptr}};
  if (context.options.read_kv_disk) {
    const kv_store::Usage disk = context.options.read_kv_disk();
    remembered["disk"] = Json{{"pages", disk.pages},
                              {"tokens", disk.pages * compute::kPageTokens},
                              {"bytes", disk.bytes},
                              {"written_today_bytes", disk.bytes_today},
                              {"restored_tokens_ever", disk.tokens_restored}};
  }
  return remembered;
}

void add_identity(Context& context, Json& object) {
  const auto uptime = std::chrono::steady_clock::now() - context.started;
  object["model"] = context.info.model_id;
  object["version"] = context.info.version;
  object["pid"] = getpid();
  object["backend"] = context.info.backend;
  object["kernels"] = context.info.kernels;
  object["context_length"] = context.info.context_length;
  if (context.info.parameters > 0) object["parameters"] = context.info.parameters;
  object["uptime_s"] = std::chrono::duration_cast<std::chrono::seconds>(uptime).count();
}

}  // namespace pensieve::server
