// The routes that say something about the server: models, health, and the small ones that clients
// probe. Must not touch the engine before the token was seen.
#include <unistd.h>

#include <algorithm>

#include "foundation/json.h"
#include "foundation/text.h"

#include "domain/api/messages.h"

#include "application/server/internal/routes.h"
#include "application/server/token_proof.h"

namespace pensieve::server {
namespace {

api::ModelInfo model_of(const ServerInfo& info) {
  return {.id = info.model_id,
          .display_name = info.display_name,
          .created_unix_s = info.model_created_unix_s,
          .context_length = info.context_length};
}

// Clients of Anthropic's API always send their version; OpenAI's never do.
bool wants_anthropic_shape(const Call& call) {
  return call.request.head.count("anthropic-version") > 0;
}

http::Response ok(Call& call, std::string body) {
  return make_response(call.context, 200, std::move(body), call.request_id, call.origin());
}

Json memory_json(Context& context) {
  const SystemMemory memory = context.memory.sample();
  Json held = Json::object();
  for (const MemoryUse use : {MemoryUse::Weights,
                              MemoryUse::Kv,
                              MemoryUse::Scratch,
                              MemoryUse::Cache,
                              MemoryUse::Connections}) {
    held[std::string(to_string(use)) + "_bytes"] = context.accountant.held(use);
  }
  return Json{{"level", to_string(level_of(memory))},
              {"available_bytes", memory.available_bytes},
              {"total_bytes", memory.total_bytes},
              {"resident_bytes", resident_bytes()},
              {"limit_bytes", context.accountant.limit()},
              {"held", std::move(held)}};
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
              {"kv_capacity_bytes", stats.memory.kv_capacity_bytes}};
}

// The TEXT of "challenge=TEXT", or empty when the query is anything else.
std::string_view challenge_of(std::string_view query) {
  constexpr std::string_view kName = "challenge=";
  if (!query.starts_with(kName) || !is_challenge(query.substr(kName.size()))) return {};
  return query.substr(kName.size());
}

}  // namespace

http::Reply get_models(Call& call) {
  return ok(call, api::models_json({model_of(call.context.info)}, wants_anthropic_shape(call)));
}

http::Reply get_model(Call& call) {
  const api::ModelInfo model = model_of(call.context.info);
  const std::string id = percent_decoded(call.rest);
  if (id != model.id) {
    return make_error(call.context,
                      {.kind = ErrorKind::NotFound, .message = "model: " + printable(id)},
                      call.request_id,
                      call.origin());
  }
  return ok(call, api::model_json(model, wants_anthropic_shape(call)));
}

// Strangers learn the status word, and whether we hold the token that they hold; the rest is for
// those who send it.
http::Reply get_health(Call& call) {
  Context& context = call.context;
  const bool draining = context.draining.load();
  Json body{{"status", draining ? "draining" : "ok"}};
  if (const auto challenge = challenge_of(call.request.head.query); !challenge.empty()) {
    body["proof"] = token_proof(context.options.token, context.port, challenge);
  }
  if (context.token.accepts(call.request.head)) {
    const auto uptime = std::chrono::steady_clock::now() - context.started;
    body["model"] = context.info.model_id;
    body["version"] = context.info.version;
    body["pid"] = getpid();
    body["backend"] = context.info.backend;
    body["kernels"] = context.info.kernels;
    body["context_length"] = context.info.context_length;
    if (context.info.parameters > 0) body["parameters"] = context.info.parameters;
    body["uptime_s"] = std::chrono::duration_cast<std::chrono::seconds>(uptime).count();
    body["memory"] = memory_json(context);
    if (context.engine != nullptr) body["engine"] = engine_json(context);
  }
  const std::string text = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  return make_response(context, draining ? 503 : 200, text, call.request_id, call.origin());
}

http::Reply get_alive(Call& call) {
  return ok(call, R"({"status":"ok"})");
}

// What is counted, for Prometheus. Nothing of what a request or an answer said is in it.
http::Reply get_metrics(Call& call) {
  Context& context = call.context;
  const ServerInfo& info = context.info;
  Readings readings{.version = info.version,
                    .model = info.model_id,
                    .backend = info.backend,
                    .kernels = info.kernels,
                    .started_unix_s = std::chrono::duration_cast<std::chrono::seconds>(
                                          context.started_at.time_since_epoch())
                                          .count(),
                    .memory = context.memory.sample(),
                    .resident_bytes = resident_bytes(),
                    .memory_limit = context.accountant.limit()};
  for (std::size_t use = 0; use < kMemoryUses; ++use) {
    readings.held[use] = context.accountant.held(static_cast<MemoryUse>(use));
  }
  if (context.engine != nullptr) readings.engine = context.engine->stats();
  if (context.options.read_kv_disk) readings.disk = context.options.read_kv_disk();
  http::Response response = ok(call, context.metrics.text(readings));
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  return response;
}

// The client's telemetry: taken, so that it does not repeat itself, and dropped.
http::Reply post_event_batch(Call& call) {
  return ok(call, "{}");
}

}  // namespace pensieve::server
