// `pensieve status` and `pensieve stop`: for every server of this home directory, whoever started
// it.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "foundation/json.h"
#include "foundation/text.h"

#include "application/cli/commands.h"
#include "application/cli/exit_status.h"
#include "application/cli/home.h"
#include "application/cli/other_process.h"
#include "application/cli/print_json.h"
#include "application/cli/server_health.h"
#include "application/cli/server_records.h"
#include "application/cli/window.h"
#include "application/http/message.h"

namespace pensieve::cli {
namespace {

using Clock = std::chrono::steady_clock;

// The grace of running answers, their cut-off, and writing back what is remembered.
constexpr std::chrono::seconds kStopLimit{60};
constexpr std::chrono::milliseconds kLook{100};
// Between removing the record and the process's end.
constexpr std::chrono::seconds kLastMoments{15};

std::string url_of(const ServerRecord& server) {
  if (server.port == 0) return "unix:" + server.unix_socket;
  const bool v6 = server.host.find(':') != std::string::npos;
  return "http://" + (v6 ? "[" + server.host + "]" : server.host) + ":" +
         std::to_string(server.port);
}

// The servers that live, all of them or those on --port.
std::vector<ServerRecord> chosen(const std::string& home, const Options& options) {
  std::vector<ServerRecord> servers;
  for (auto& server : running_servers(home)) {
    if (!options.port_given || server.port == options.port) servers.push_back(std::move(server));
  }
  return servers;
}

// What it says about itself; an error where it does not answer as itself. Its own process id is in
// the answer, so that a server is never taken for another one.
Result<Json> health_of(const ServerRecord& server, const std::string& token) {
  const bool over_tcp =
      server.port != 0 && (http::is_loopback_host(server.host) || server.host == "0.0.0.0");
  if (server.unix_socket.empty() && !over_tcp) {
    return Error{.kind = ErrorKind::Unavailable,
                 .message = "it listens on " + server.host + " alone, which is not asked"};
  }
  PENSIEVE_TRY(Json health,
               ask_health({.port = server.port, .unix_socket = server.unix_socket}, token));
  if (health.value("pid", 0) != server.pid) {
    return Error{.kind = ErrorKind::Unavailable, .message = "another server has its address"};
  }
  return health;
}

std::string duration_text(std::uint64_t seconds) {
  const std::uint64_t minutes = seconds / 60;
  const std::uint64_t hours = minutes / 60;
  const auto two = [](std::uint64_t high, const char* big, std::uint64_t low, const char* small) {
    return std::to_string(high) + big + std::to_string(low) + small;
  };
  if (hours >= 24) return two(hours / 24, " d ", hours % 24, " h");
  if (hours > 0) return two(hours, " h ", minutes % 60, " min");
  if (minutes > 0) return two(minutes, " min ", seconds % 60, " s");
  return std::to_string(seconds) + " s";
}

std::uint64_t number(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

std::string word(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? printable(found->get<std::string>())
                                                     : std::string("unknown");
}

Json object(const Json& parent, const char* name) {
  const auto found = parent.find(name);
  return found != parent.end() && found->is_object() ? *found : Json::object();
}

void print_server(const ServerRecord& server, const Result<Json>& health) {
  std::printf("Pensieve runs at %s (process %d).\n", url_of(server).c_str(), server.pid);
  if (server.port != 0 && !server.unix_socket.empty())
    std::printf("  %-9s %s\n", "socket", server.unix_socket.c_str());
  if (!health) {
    std::printf("  It does not say how it is: %s. It may be about to end.\n",
                printable(health.error().message, 300).c_str());
    return;
  }
  const Json memory = object(*health, "memory");
  const Json engine = object(*health, "engine");
  std::printf("  %-9s %s\n", "model", word(*health, "model").c_str());
  std::printf("  %-9s %s tokens\n", "window", grouped(number(*health, "context_length")).c_str());
  std::printf("  %-9s %s, %s available; the server holds %s\n",
              "memory",
              word(memory, "level").c_str(),
              human_bytes(number(memory, "available_bytes")).c_str(),
              human_bytes(number(memory, "resident_bytes")).c_str());
  if (!engine.empty()) {
    std::printf("  %-9s %s running, %s waiting, %s since the start\n",
                "requests",
                grouped(number(engine, "running")).c_str(),
                grouped(number(engine, "waiting")).c_str(),
                grouped(number(engine, "requests")).c_str());
  }
  std::printf("  %-9s %s\n", "uptime", duration_text(number(*health, "uptime_s")).c_str());
}

Json json_of(const ServerRecord& server, const Result<Json>& health) {
  Json json{{"pid", server.pid}, {"url", url_of(server)}};
  if (!server.unix_socket.empty()) json["unix_socket"] = server.unix_socket;
  json["answers"] = health.has_value();
  if (!health) {
    json["why"] = health.error().message;
    return json;
  }
  json["health"] = *health;
  return json;
}

Result<int> print_status(const Options& options) {
  PENSIEVE_TRY(const std::string home, home_directory());
  const auto servers = chosen(home, options);
  if (servers.empty()) {
    if (options.json) {
      print_json(Json{{"servers", Json::array()}});
    } else {
      std::printf("No Pensieve server of this home directory runs%s.\n",
                  options.port_given ? (" on port " + std::to_string(options.port)).c_str() : "");
    }
    return kExitNotRunning;
  }
  PENSIEVE_TRY(const Token token, access_token(home));
  Json list = Json::array();
  for (const ServerRecord& server : servers) {
    const auto health = health_of(server, token.value);
    if (options.json) {
      list.push_back(json_of(server, health));
    } else {
      print_server(server, health);
    }
  }
  if (options.json) print_json(Json{{"servers", std::move(list)}});
  return kExitDone;
}

// How long it has been waited, on one line of a terminal; nothing elsewhere.
class StopProgress {
 public:
  StopProgress() : terminal_(isatty(STDERR_FILENO) == 1) {}
  StopProgress(const StopProgress&) = delete;
  StopProgress& operator=(const StopProgress&) = delete;
  ~StopProgress() {
    if (told_) std::fprintf(stderr, "\r\033[K");
  }
  void tell(Clock::duration since) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since).count();
    if (!terminal_ || seconds < 1) return;
    told_ = true;
    std::fprintf(stderr,
                 "\rStopping … %ld s (running answers go on for up to 30 s)",
                 static_cast<long>(seconds));
  }

 private:
  bool terminal_;
  bool told_ = false;
};

Result<int> stop_one(const std::string& home, const ServerRecord& server) {
  const auto begin = Clock::now();
  // The handle is taken while the server's lock shows that the number is still its own.
  const auto process = OtherProcess::find(server.pid);
  if (!process || fate_of(home, server.pid) != ServerFate::Lives) {
    std::printf("The server at %s had already ended.\n", url_of(server).c_str());
    return kExitDone;
  }
  if (!process->signal(SIGTERM)) {
    return Error{.kind = ErrorKind::Permission,
                 .message = "process " + std::to_string(server.pid) +
                            " belongs to another user, who has to stop it"};
  }
  StopProgress progress;
  ServerFate fate = ServerFate::Lives;
  while (!process->ends_within(kLook)) {
    fate = fate_of(home, server.pid);
    if (fate != ServerFate::Lives) {
      if (process->ends_within(kLastMoments)) break;
    }
    if (Clock::now() - begin > kStopLimit) {
      return Error{.kind = ErrorKind::Unavailable,
                   .message = "the server (process " + std::to_string(server.pid) +
                              ") has not ended within a minute; `kill -9 " +
                              std::to_string(server.pid) + "` ends it without order"};
    }
    progress.tell(Clock::now() - begin);
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  if (fate_of(home, server.pid) == ServerFate::Gone) {
    std::printf(
        "The server at %s is gone after %.1f s, but did not end in order: it was killed, or "
        "failed on its way.\n",
        url_of(server).c_str(),
        seconds);
    (void)running_servers(home);  // removes its record
    return kExitFailed;
  }
  std::printf("The server at %s ended in order after %.1f s.\n", url_of(server).c_str(), seconds);
  return kExitDone;
}

Result<int> stop(const Options& options) {
  PENSIEVE_TRY(const std::string home, home_directory());
  const auto servers = chosen(home, options);
  if (servers.empty()) {
    std::printf("No Pensieve server of this home directory runs%s.\n",
                options.port_given ? (" on port " + std::to_string(options.port)).c_str() : "");
    return kExitDone;
  }
  if (servers.size() > 1 && !options.all) {
    std::string list;
    for (const ServerRecord& server : servers) {
      list += (list.empty() ? "" : ", ") + url_of(server) + " (process " +
              std::to_string(server.pid) + ")";
    }
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message = "several servers run: " + list + "; say which with --port N, or --all"};
  }
  int status = kExitDone;
  for (const ServerRecord& server : servers) {
    PENSIEVE_TRY(const int ended, stop_one(home, server));
    if (ended != kExitDone) status = ended;
  }
  return status;
}

}  // namespace

int print_server_status(const Options& options) {
  return finish(print_status(options));
}
int stop_server(const Options& options) {
  return finish(stop(options));
}

}  // namespace pensieve::cli
