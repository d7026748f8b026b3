// The table of all routes, and the handlers behind it. A handler translates between HTTP and one
// call into the domain; what it must not do is decide anything about messages or models.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "application/http/handler.h"
#include "application/server/internal/context.h"
#include "application/server/internal/request_record.h"

namespace pensieve::server {

struct Call {
  Context& context;
  http::Request& request;
  std::shared_ptr<RequestRecord> record;
  std::string request_id;
  std::string_view rest;  // of the path, behind a route that ends with '/'

  std::string_view origin() const { return request.head.header("origin"); }
  std::string group() const;  // the client's session, printable; empty if it names none
};

struct Route {
  std::string_view method;  // GET also answers HEAD
  std::string_view path;    // one that ends with '/' (and is more than that) takes a name behind it
  bool open;                // answers without a token
  http::Reply (*run)(Call&);
  bool is_use = true;       // asking keeps a server alive that ends when nobody uses it
  bool asks_model = false;  // its requests are what the rolling numbers are about
};

std::span<const Route> routes();

// The path as the table knows it: some clients append "/v1/messages" to a base that already ends
// with "/v1".
std::string_view canonical_path(std::string_view path);

// Whose errors a canonical path answers with: OpenAI's below /v1/chat/ and at /v1/completions.
Surface surface_of(std::string_view path);

// The route for a canonical path and method, or null.
const Route* find_route(std::string_view path, std::string_view method);
// What `Allow` says for a canonical path: "GET, HEAD"; empty when the path is unknown.
std::string allowed_methods(std::string_view path);
bool is_known_method(std::string_view method);

http::Reply post_messages(Call& call);
http::Reply post_count_tokens(Call& call);
http::Reply post_chat_completions(Call& call);
http::Reply post_completions(Call& call);
http::Reply get_models(Call& call);
http::Reply get_model(Call& call);
http::Reply get_health(Call& call);
http::Reply get_status(Call& call);
http::Reply get_page(Call& call);
http::Reply get_alive(Call& call);
http::Reply get_metrics(Call& call);
http::Reply post_event_batch(Call& call);

}  // namespace pensieve::server
