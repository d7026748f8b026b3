#include "application/cli/server_health.h"

#include "application/cli/home.h"
#include "application/cli/local_http.h"
#include "application/server/token_proof.h"

namespace pensieve::cli {
namespace {

std::string name_of(const ServerAddress& address) {
  return address.unix_socket.empty() ? "port " + std::to_string(address.port) : address.unix_socket;
}

Result<Json> health(const ServerAddress& address,
                    const std::string& target,
                    const std::string& token) {
  PENSIEVE_TRY(const LocalResponse response,
               get_local({.port = address.port,
                          .target = target,
                          .token = token,
                          .unix_socket = address.unix_socket}));
  auto json = parse_json(response.body);
  if (response.status != 200 || !json || !json->is_object()) {
    return Error{.kind = ErrorKind::Unavailable,
                 .message = name_of(address) + " belongs to another program"};
  }
  return json;
}

}  // namespace

Result<Json> ask_health(const ServerAddress& address, const std::string& token) {
  PENSIEVE_TRY(const std::string challenge, random_hex());
  PENSIEVE_TRY(const Json stranger, health(address, "/health?challenge=" + challenge, {}));
  const auto proof = stranger.find("proof");
  if (proof == stranger.end() || !proof->is_string() ||
      proof->get<std::string>() != server::token_proof(token, address.port, challenge)) {
    return Error{.kind = ErrorKind::Unavailable,
                 .message = "what listens on " + name_of(address) +
                            " is not a Pensieve with this home directory's token"};
  }
  return health(address, "/health", token);
}

}  // namespace pensieve::cli
