// What every handler of the server shares, and the answers they all give in the same way: headers
// each response carries, errors in the shape of the API that was spoken.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "foundation/accountant.h"
#include "foundation/memory_monitor.h"
#include "foundation/result.h"

#include "domain/claude/service.h"
#include "domain/engine/engine.h"

#include "application/http/handler.h"
#include "application/server/internal/access.h"
#include "application/server/internal/alerts.h"
#include "application/server/internal/in_use.h"
#include "application/server/internal/metrics.h"
#include "application/server/internal/performance.h"
#include "application/server/internal/running_requests.h"
#include "application/server/server.h"

namespace pensieve::server {

// Whose shapes an answer has.
enum class Surface { Anthropic, OpenAi };

struct Context {
  const ServerOptions options;
  const ServerInfo info;
  claude::Service& service;
  engine::Engine* engine;  // null: answers come from elsewhere
  Accountant& accountant;
  const std::function<MemoryState()> memory;
  const TokenCheck token;
  // Set once the port is known, before the first request.
  HostPolicy hosts;
  OriginPolicy origins;
  int port = 0;
  const std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  const std::chrono::system_clock::time_point started_at = std::chrono::system_clock::now();
  std::atomic<bool> draining{false};
  UseClock use{};
  Metrics metrics{};
  RunningRequests running{};
  PerformanceMonitor performance{started};
  Alerts alerts{};
};

// Judges how things are now; what has changed since the last time is a line in the log each. Done
// when a request of the model ends and whenever somebody looks.
void look_after_alerts(Context& context);

// A response with the headers that all of them carry: request-id, memory, and for a page of an
// allowed origin the permission to read it. `origin` is the request's, or empty.
http::Response make_response(Context& context,
                             int status,
                             std::string body,
                             std::string_view request_id,
                             std::string_view origin);

// The same for an error: status, body, and whether and when to try again.
http::Response make_error(Context& context,
                          const Error& error,
                          std::string_view request_id,
                          std::string_view origin,
                          Surface surface = Surface::Anthropic);

// With so little memory left new work would only hurt what is running: Unavailable, with the
// numbers.
std::optional<Error> refused_for_memory(Context& context);

// What a client is told in the middle of an answer when the process has to end at once: of a
// stream, and as an answer.
Error out_of_memory();
http::Response emergency_response(Context& context, std::string_view origin, Surface surface);

std::string new_request_id();

}  // namespace pensieve::server
