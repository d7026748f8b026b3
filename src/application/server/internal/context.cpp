#include "application/server/internal/context.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "foundation/log.h"

#include "domain/api/messages.h"

#include "application/proxy/openai_reply.h"

namespace pensieve::server {
namespace {

// A client sleeps for exactly what it is told, so it is never told more (RELIABILITY: 1 to 10 s).
constexpr int kMaxRetryAfterS = 10;

std::string gigabytes(std::uint64_t bytes) {
  std::array<char, 32> text{};
  std::snprintf(
      text.data(), text.size(), "%.2f", static_cast<double>(bytes) / static_cast<double>(kGiB));
  return text.data();
}

// Clients repeat 429 and everything from 500 on by themselves; this says which of those can help.
void add_retry_advice(http::Response& response, const Error& error) {
  int wait_s = error.retry_after_s;
  if (error.kind == ErrorKind::Overloaded || error.kind == ErrorKind::RateLimited) {
    wait_s = std::max(wait_s, 1);
  }
  const bool may_pass = response.status == 429 || response.status == 503 || response.status == 529;
  if (may_pass && wait_s > 0) {
    response.headers.push_back(
        {.name = "Retry-After", .value = std::to_string(std::min(wait_s, kMaxRetryAfterS))});
    return;
  }
  const bool permanent = response.status == 401 || response.status == 501 || may_pass ||
                         error.kind == ErrorKind::BadFile;
  if (permanent) response.headers.push_back({.name = "x-should-retry", .value = "false"});
}

http::Response error_response(Context& context,
                              const Error& error,
                              std::string_view request_id,
                              std::string_view origin,
                              Surface surface) {
  const bool openai = surface == Surface::OpenAi;
  const int status = openai ? proxy::http_status(error.kind) : api::http_status(error.kind);
  http::Response response =
      make_response(context,
                    status,
                    openai ? proxy::error_json(error) : api::error_json(error, request_id),
                    request_id,
                    origin);
  add_retry_advice(response, error);
  if (status == 401) response.headers.push_back({.name = "WWW-Authenticate", .value = "Bearer"});
  return response;
}

}  // namespace

std::string new_request_id() {
  return api::make_id("req_");
}

http::Response make_response(Context& context,
                             int status,
                             std::string body,
                             std::string_view request_id,
                             std::string_view origin) {
  const MemoryState now = context.memory();
  http::Response response{
      .status = status,
      .headers = {{.name = "request-id", .value = std::string(request_id)},
                  {.name = "X-Memory-Status", .value = std::string(to_string(now.level))},
                  {.name = "X-Available-Memory-GB", .value = gigabytes(now.memory.room_bytes())},
                  {.name = "Vary", .value = "Origin"}},
      .content_type = "application/json",
      .body = std::move(body)};
  if (!origin.empty() && context.origins.allows(origin)) {
    response.headers.push_back(
        {.name = "Access-Control-Allow-Origin", .value = std::string(origin)});
    response.headers.push_back({.name = "Access-Control-Expose-Headers",
                                .value = "request-id, retry-after, x-pensieve-cache"});
  }
  return response;
}

http::Response make_error(Context& context,
                          const Error& error,
                          std::string_view request_id,
                          std::string_view origin,
                          Surface surface) {
  http::Response response = error_response(context, error, request_id, origin, surface);
  if (log_enabled(LogLevel::Debug)) {
    log_debug("answered " + std::to_string(response.status) + ": " + error.message, request_id);
  }
  return response;
}

void look_after_alerts(Context& context) {
  const auto now = std::chrono::steady_clock::now();
  const MemoryState memory = context.memory();
  const auto changes = context.alerts.update(
      context.performance.over(kLongWindow, now), memory.memory, memory.level, now);
  for (const auto& [before, alert] : changes) {
    const LogField fields[] = {{"alert", to_string(alert.kind)},
                               {"level", to_string(alert.level)},
                               {"before", to_string(before)}};
    const bool worse = alert.level > before && alert.level > AlertLevel::Info;
    log(worse ? LogLevel::Warning : LogLevel::Info,
        alert.level == AlertLevel::None ? std::string("an alert is over") : alert.message,
        {},
        fields);
  }
}

http::Response emergency_response(Context& context, std::string_view origin, Surface surface) {
  return error_response(context, out_of_memory(), new_request_id(), origin, surface);
}

// With so little memory left new work would only hurt what is running.
std::optional<Error> refused_for_memory(Context& context) {
  const MemoryState now = context.memory();
  if (now.level < MemoryLevel::Critical) return std::nullopt;
  const auto mib = [](std::uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; };
  const SystemMemory& memory = now.memory;
  std::string message = "memory is short: " + mib(memory.room_bytes()) + " of " +
                        mib(memory.total_bytes) + " are available";
  if (memory.weights_bytes > 0) message += " beside the model's weights";
  message += ", and new requests wait until more than " + mib(kWarningAboveBytes) + " are";
  return Error{.kind = ErrorKind::Unavailable, .message = std::move(message), .retry_after_s = 5};
}

Error out_of_memory() {
  return {.kind = ErrorKind::Overloaded,
          .message = "the machine has run out of memory, and the server has to end",
          .retry_after_s = 10};
}

}  // namespace pensieve::server
