#include "application/server/server.h"

#include <array>
#include <memory>
#include <utility>

#include "foundation/log.h"
#include "foundation/text.h"

#include "domain/api/messages.h"

#include "application/http/listener.h"
#include "application/server/internal/context.h"
#include "application/server/internal/routes.h"
#include "application/server/internal/watched_reply.h"

namespace pensieve::server {
namespace {

// Media types are compared without their parameters (RFC 9110, 8.3.1).
bool is_json(std::string_view content_type) {
  content_type = content_type.substr(0, content_type.find(';'));
  while (!content_type.empty() && (content_type.back() == ' ' || content_type.back() == '\t')) {
    content_type.remove_suffix(1);
  }
  return http::equal_ignoring_case(content_type, "application/json");
}

class ServerImpl final : public Server, private http::Handler {
 public:
  ServerImpl(ServerOptions options,
             ServerInfo info,
             claude::Service& service,
             engine::Engine* engine,
             Accountant& accountant)
      : context_{.options = options,
                 .info = std::move(info),
                 .service = service,
                 .engine = engine,
                 .accountant = accountant,
                 .memory = options.read_memory
                               ? options.read_memory
                               : [] { return MemoryState::of(read_system_memory()); },
                 .token = TokenCheck(options.token),
                 .hosts = HostPolicy(options.host, options.port, options.allowed_hosts),
                 .origins = OriginPolicy(options.port, options.allowed_origins)} {}

  Result<void> listen() {
    const ServerOptions& options = context_.options;
    PENSIEVE_TRY(listener_,
                 http::Listener::create({.host = options.host,
                                         .port = options.port,
                                         .tcp = options.tcp,
                                         .unix_socket = options.unix_socket,
                                         .threads = options.io_threads,
                                         .limits = options.limits,
                                         .accountant = &context_.accountant},
                                        *this));
    if (!listener_->is_loopback() && options.token.empty()) {
      return Error{.kind = ErrorKind::InvalidRequest,
                   .message = "listening on " + printable(options.host) +
                              " lets other machines in and needs a token: set PENSIEVE_TOKEN, or "
                              "use --host 127.0.0.1"};
    }
    context_.hosts = HostPolicy(options.host, port(), options.allowed_hosts);
    context_.origins = OriginPolicy(port(), options.allowed_origins);
    context_.port = port();
    return {};
  }

  int port() const override { return listener_->port(); }
  std::string url() const override {
    if (!context_.options.tcp) return "unix:" + context_.options.unix_socket;
    const std::string& host = context_.options.host;
    const bool v6 = host.find(':') != std::string::npos;
    return "http://" + (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port());
  }
  void start() override { listener_->start(); }
  void drain(std::chrono::milliseconds grace) override {
    context_.draining = true;
    listener_->drain(grace);
  }
  int end_at_once(std::chrono::milliseconds limit) override {
    context_.draining = true;
    return listener_->end_at_once(limit);
  }
  bool wait_for(std::chrono::milliseconds limit) override { return listener_->wait_for(limit); }
  void wait() override {
    while (!listener_->wait_for(std::chrono::hours(1))) {
    }
  }
  bool responds_within(std::chrono::milliseconds limit) override {
    return listener_->responds_within(limit);
  }
  std::size_t connections() const override { return listener_->connections(); }
  std::size_t answering() const override { return listener_->answering(); }
  std::chrono::milliseconds idle() const override { return context_.use.idle(); }

 private:
  // The order of checks is the order of what a stranger may learn: framing came before; then the
  // name, the origin, the route, the token, the content type. The size comes behind.
  std::optional<http::Response> admit(const http::RequestHead& head) override {
    auto refusal = refusal_of(head);
    if (refusal) count_refusal(&head, *refusal);
    return refusal;
  }

  void count_refusal(const http::RequestHead* head, const http::Response& response) {
    RequestRecord record;
    record.method = "other";
    if (head != nullptr && is_known_method(head->method)) record.method = head->method;
    record.route = label_of(head);
    record.begin = record.end = RequestRecord::Clock::now();
    record.status = response.status;
    record.outcome = outcome_of(record);
    for (const http::Header& field : response.headers) {
      if (field.name == "request-id") record.id = field.value;
    }
    context_.metrics.answered(record.route, record.status, {});
    log_request(record);
  }

  // The route as the metrics name it.
  static std::string_view label_of(const http::RequestHead* head) {
    const Route* route =
        head == nullptr ? nullptr : find_route(canonical_path(head->path), head->method);
    return route == nullptr ? std::string_view("other") : route->path;
  }

  std::optional<http::Response> refusal_of(const http::RequestHead& head) {
    const std::string_view origin = head.header("origin");
    // A name that points here by somebody else's doing is a danger of TCP alone.
    const bool named = !head.over_unix_socket;
    if (named && (!context_.hosts.allows(head.host) ||
                  (!head.authority.empty() && !context_.hosts.allows(head.authority)))) {
      return refuse_stranger(
          {.kind = ErrorKind::Permission,
           .message = "this server does not answer to the host \"" +
                      printable(head.authority.empty() ? head.host : head.authority) + "\""},
          head);
    }
    const auto n_origins = head.count("origin");
    if (n_origins > 1 || (n_origins == 1 && !context_.origins.allows(origin))) {
      return refuse_stranger(
          {.kind = ErrorKind::Permission,
           .message = "pages of the origin \"" + printable(origin) + "\" may not use this server"},
          head);
    }
    const std::string_view path = canonical_path(head.path);
    const Route* route = find_route(path, head.method);
    if (route == nullptr) return refuse_route(head, path);
    if (!route->open && !context_.token.accepts(head)) {
      return make_refusal(
          {.kind = ErrorKind::Authentication,
           .message = "the token is missing or wrong: send the one in Pensieve's home "
                      "directory as x-api-key or as a bearer token"},
          &head);
    }
    if (route->method == "POST") {
      if (auto refusal = refuse_content(head)) return refusal;
    }
    if (context_.draining.load() && path != "/health") {
      return make_refusal({.kind = ErrorKind::Unavailable,
                           .message = "the server is shutting down",
                           .retry_after_s = 5},
                          &head);
    }
    return std::nullopt;
  }

  http::Response refuse_route(const http::RequestHead& head, std::string_view path) {
    if (!is_known_method(head.method)) {
      return make_refusal(
          {.kind = ErrorKind::NotImplemented,
           .message = "the method " + printable(head.method) + " is not implemented"},
          &head);
    }
    std::string allowed = allowed_methods(path);
    const bool never = head.method == "TRACE" || head.method == "CONNECT";
    if (allowed.empty() && !never) {
      return make_refusal(
          {.kind = ErrorKind::NotFound, .message = "there is nothing at " + printable(head.path)},
          &head);
    }
    if (head.method == "OPTIONS" && head.count("origin") == 1 &&
        head.count("access-control-request-method") > 0) {
      return preflight(head, allowed);
    }
    if (allowed.empty()) allowed = "GET, HEAD, POST";
    http::Response response =
        make_refusal({.kind = ErrorKind::MethodNotAllowed,
                      .message = "the method " + printable(head.method) +
                                 " is not allowed here, but " + allowed + " is"},
                     &head);
    response.headers.push_back({.name = "Allow", .value = std::move(allowed)});
    return response;
  }

  // A page of an allowed origin asks what it may send (Fetch standard, "CORS-preflight request").
  // Pages from the public network that want to reach a private one are not among them.
  http::Response preflight(const http::RequestHead& head, const std::string& allowed) {
    if (head.count("access-control-request-private-network") > 0) {
      return refuse_stranger({.kind = ErrorKind::Permission,
                              .message = "pages of a public network may not use this server"},
                             head);
    }
    http::Response response =
        make_response(context_, 204, {}, new_request_id(), head.header("origin"));
    response.content_type.clear();
    response.headers.push_back({.name = "Access-Control-Allow-Methods", .value = allowed});
    response.headers.push_back(
        {.name = "Access-Control-Allow-Headers",
         .value = "authorization, content-type, x-api-key, anthropic-version, anthropic-beta"});
    response.headers.push_back({.name = "Access-Control-Max-Age", .value = "600"});
    return response;
  }

  // Only JSON: a page can send forms and plain text anywhere without asking, but not this type. And
  // never compressed: what unpacks to a thousand times its size is not worth unpacking.
  std::optional<http::Response> refuse_content(const http::RequestHead& head) {
    const std::string_view encoding = head.header("content-encoding");
    if (head.count("content-encoding") > 0 && !http::equal_ignoring_case(encoding, "identity")) {
      return make_refusal({.kind = ErrorKind::UnsupportedMedia,
                           .message = "the content encoding " + printable(encoding) +
                                      " is not supported: send the body as it is"},
                          &head);
    }
    if (head.count("content-type") != 1 || !is_json(head.header("content-type"))) {
      return make_refusal({.kind = ErrorKind::UnsupportedMedia,
                           .message = "the content type must be application/json"},
                          &head);
    }
    return std::nullopt;
  }

  http::Reply handle(http::Request request) override {
    const std::string_view path = canonical_path(request.head.path);
    const Route* route = find_route(path, request.head.method);
    CHECK(route != nullptr);  // admitted
    auto record = std::make_shared<RequestRecord>();
    record->id = new_request_id();
    record->method = route->method;
    record->route = route->path;
    record->begin = RequestRecord::Clock::now();
    record->asks_model = route->asks_model;
    Call call{.context = context_,
              .request = request,
              .record = record,
              .request_id = record->id,
              .rest = path.substr(route->path.size())};
    const RequestLogScope scope(record->id);
    const bool used = route->is_use && (!route->open || context_.token.accepts(request.head));
    Attendance attendance(context_, std::move(record), used);
    return watched(route->run(call), std::move(attendance));
  }

  // What the connection refuses by itself.
  http::Response refuse(const Error& error, const http::RequestHead* head) override {
    http::Response response = make_refusal(error, head);
    count_refusal(head, response);
    return response;
  }

  http::Response emergency(const http::RequestHead& head) override {
    return emergency_response(
        context_, head.header("origin"), surface_of(canonical_path(head.path)));
  }

  http::Response make_refusal(const Error& error, const http::RequestHead* head) {
    if (head == nullptr) return make_error(context_, error, new_request_id(), {});
    return make_error(context_,
                      error,
                      new_request_id(),
                      head->header("origin"),
                      surface_of(canonical_path(head->path)));
  }

  // As make_refusal(), but no page of another origin may read it.
  http::Response refuse_stranger(const Error& error, const http::RequestHead& head) {
    return make_error(context_, error, new_request_id(), {}, surface_of(canonical_path(head.path)));
  }

  Context context_;
  std::unique_ptr<http::Listener> listener_;  // goes first: its threads use the context
};

}  // namespace

Result<std::unique_ptr<Server>> Server::create(ServerOptions options,
                                               ServerInfo info,
                                               claude::Service& service,
                                               engine::Engine* engine,
                                               Accountant& accountant) {
  auto server = std::make_unique<ServerImpl>(
      std::move(options), std::move(info), service, engine, accountant);
  PENSIEVE_TRY(server->listen());
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace pensieve::server
