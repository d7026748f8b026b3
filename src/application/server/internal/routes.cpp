#include "application/server/internal/routes.h"

#include <algorithm>
#include <array>

#include "foundation/text.h"

namespace pensieve::server {
namespace {

// What is open says no more than that a server is alive.
constexpr std::array kRoutes{
    Route{.method = "POST",
          .path = "/v1/messages",
          .open = false,
          .run = post_messages,
          .asks_model = true},
    Route{.method = "POST",
          .path = "/v1/messages/count_tokens",
          .open = false,
          .run = post_count_tokens},
    Route{.method = "POST",
          .path = "/v1/chat/completions",
          .open = false,
          .run = post_chat_completions,
          .asks_model = true},
    Route{.method = "POST",
          .path = "/v1/completions",
          .open = false,
          .run = post_completions,
          .asks_model = true},
    Route{.method = "GET", .path = "/v1/models", .open = false, .run = get_models},
    Route{.method = "GET", .path = "/v1/models/", .open = false, .run = get_model},
    Route{.method = "GET", .path = "/health", .open = true, .run = get_health},
    Route{.method = "GET", .path = "/metrics", .open = false, .run = get_metrics, .is_use = false},
    Route{.method = "GET",
          .path = "/v1/pensieve/status",
          .open = false,
          .run = get_status,
          .is_use = false},
    Route{.method = "GET", .path = "/", .open = true, .run = get_page},
    Route{.method = "GET", .path = "/api/hello", .open = true, .run = get_alive},
    Route{.method = "POST",
          .path = "/api/event_logging/batch",
          .open = false,
          .run = post_event_batch},
};

bool matches(const Route& route, std::string_view path) {
  if (route.path.size() > 1 && route.path.back() == '/') {
    return path.size() > route.path.size() && path.starts_with(route.path);
  }
  return path == route.path;
}

}  // namespace

std::span<const Route> routes() {
  return kRoutes;
}

std::string_view canonical_path(std::string_view path) {
  return path.starts_with("/v1/v1/") ? path.substr(3) : path;
}

Surface surface_of(std::string_view path) {
  const bool openai = path.starts_with("/v1/chat/") || path == "/v1/completions" ||
                      path.starts_with("/v1/completions/");
  return openai ? Surface::OpenAi : Surface::Anthropic;
}

std::string Call::group() const {
  constexpr std::size_t kMaxGroupBytes = 128;
  return printable(request.head.header("x-claude-code-session-id"), kMaxGroupBytes);
}

const Route* find_route(std::string_view path, std::string_view method) {
  if (method == "HEAD") method = "GET";
  const auto found = std::find_if(kRoutes.begin(), kRoutes.end(), [&](const Route& route) {
    return route.method == method && matches(route, path);
  });
  return found == kRoutes.end() ? nullptr : &*found;
}

std::string allowed_methods(std::string_view path) {
  std::string allowed;
  for (const Route& route : kRoutes) {
    if (!matches(route, path)) continue;
    if (!allowed.empty()) allowed += ", ";
    allowed += route.method;
    if (route.method == "GET") allowed += ", HEAD";
  }
  return allowed;
}

bool is_known_method(std::string_view method) {
  static constexpr std::array<std::string_view, 9> kMethods{
      "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"};
  return std::find(kMethods.begin(), kMethods.end(), method) != kMethods.end();
}

}  // namespace pensieve::server
