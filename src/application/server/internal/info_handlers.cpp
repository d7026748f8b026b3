// The routes that say something about the server: models, health, and the small ones that clients
// probe. Must not touch the engine before the token was seen.
#include <string>
#include <string_view>
#include <utility>

#include "foundation/json.h"
#include "foundation/text.h"

#include "domain/api/messages.h"

#include "application/server/internal/page.h"
#include "application/server/internal/routes.h"
#include "application/server/internal/status.h"
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

std::string text_of(const Json& body) {
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
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
    add_identity(context, body);
    body["memory"] = memory_json(context);
    if (context.engine != nullptr) body["engine"] = engine_json(context);
    body["performance"] = performance_json(context);
    body["alerts"] = alerts_json(context);
  }
  return make_response(
      context, draining ? 503 : 200, text_of(body), call.request_id, call.origin());
}

// All that the page shows, and no use of the server: looking at it does not keep it alive.
http::Reply get_status(Call& call) {
  Context& context = call.context;
  Json body{{"status", "ok"}};  // while it drains there is no answer here
  add_identity(context, body);
  body["memory"] = memory_json(context);
  if (context.engine != nullptr) {
    body["engine"] = engine_json(context);
    body["remembered"] = remembered_json(context);
  }
  body["requests"] = requests_json(context);
  body["performance"] = performance_json(context);
  body["alerts"] = alerts_json(context);
  http::Response response = ok(call, text_of(body));
  response.headers.push_back({.name = "Cache-Control", .value = "no-store"});
  return response;
}

// Without a token: there is nothing secret in it.
http::Reply get_page(Call& call) {
  http::Response response = ok(call, std::string(page_html()));
  response.content_type = "text/html; charset=utf-8";
  for (const auto& [name, value] :
       {std::pair<const char*, std::string_view>{"Content-Security-Policy", page_policy()},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Opener-Policy", "same-origin"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Cache-Control", "no-cache"}}) {
    response.headers.push_back({.name = name, .value = std::string(value)});
  }
  return response;
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
                    .memory = context.memory(),
                    .resident_bytes = resident_bytes(),
                    .anonymous_bytes = anonymous_bytes(),
                    .heap_bytes = heap_bytes(),
                    .memory_limit = context.accountant.limit()};
  for (std::size_t use = 0; use < kMemoryUses; ++use) {
    readings.held[use] = context.accountant.held(static_cast<MemoryUse>(use));
    readings.touched[use] = context.accountant.touched(static_cast<MemoryUse>(use));
  }
  look_after_alerts(context);
  for (int i = 0; i < kAlertKinds; ++i) {
    readings.alerts[static_cast<std::size_t>(i)] = context.alerts.level(static_cast<AlertKind>(i));
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
