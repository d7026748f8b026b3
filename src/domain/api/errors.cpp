// Error kinds -> statuses, Claude error types, and the one shape every error has. Source: the API
// reference's page "Errors"; it gives invalid_request_error to every 4xx that has no type of its
// own.
#include <string>
#include <string_view>

#include "foundation/json.h"
#include "foundation/result.h"

#include "domain/api/fields.h"
#include "domain/api/messages.h"

namespace pensieve::api {

std::string_view error_type(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::Authentication:
      return "authentication_error";
    case ErrorKind::Permission:
      return "permission_error";
    case ErrorKind::NotFound:
      return "not_found_error";
    case ErrorKind::TooLarge:
      return "request_too_large";
    case ErrorKind::RateLimited:
      return "rate_limit_error";
    case ErrorKind::Overloaded:
    case ErrorKind::Unavailable:
    case ErrorKind::Cancelled:
      return "overloaded_error";
    case ErrorKind::BadFile:
    case ErrorKind::DigestMismatch:
    case ErrorKind::Internal:
      return "api_error";
    case ErrorKind::InvalidRequest:
    case ErrorKind::MethodNotAllowed:
    case ErrorKind::Timeout:
    case ErrorKind::UriTooLong:
    case ErrorKind::UnsupportedMedia:
    case ErrorKind::HeadersTooLarge:
    case ErrorKind::NotImplemented:
      return "invalid_request_error";
  }
  return "api_error";
}

int http_status(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::InvalidRequest:
      return 400;
    case ErrorKind::Authentication:
      return 401;
    case ErrorKind::Permission:
      return 403;
    case ErrorKind::NotFound:
      return 404;
    case ErrorKind::MethodNotAllowed:
      return 405;
    case ErrorKind::Timeout:
      return 408;
    case ErrorKind::TooLarge:
      return 413;
    case ErrorKind::UriTooLong:
      return 414;
    case ErrorKind::UnsupportedMedia:
      return 415;
    case ErrorKind::RateLimited:
      return 429;
    case ErrorKind::HeadersTooLarge:
      return 431;
    case ErrorKind::BadFile:
    case ErrorKind::DigestMismatch:
    case ErrorKind::Internal:
      return 500;
    case ErrorKind::NotImplemented:
      return 501;
    case ErrorKind::Unavailable:
    case ErrorKind::Cancelled:  // seen by a client only when it is we who leave
      return 503;
    case ErrorKind::Overloaded:
      return 529;
  }
  return 500;
}

std::string error_json(const Error& error, std::string_view request_id) {
  return compact(Json{{"type", "error"},
                      {"error", Json{{"type", error_type(error.kind)}, {"message", error.message}}},
                      {"request_id", request_id.empty() ? Json(nullptr) : Json(request_id)}});
}

Event error_event(const Error& error, std::string_view request_id) {
  return {.name = "error", .json = error_json(error, request_id)};
}

}  // namespace pensieve::api
