#include "application/cli/server_state.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <limits>
#include <system_error>

#include "foundation/json.h"

namespace pensieve::cli {
namespace {

constexpr std::size_t kLongestState = 4096;  // bytes

Error refused(const std::string& path) {
  return {.kind = ErrorKind::Internal,
          .message = path + " cannot be written: " + std::generic_category().message(errno)};
}

// The number under `name`, or 0 when there is none in 1 to `highest`.
int number(const Json& object, const char* name, int highest) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_number_integer()) return 0;
  const auto value = found->get<std::int64_t>();
  return value >= 1 && value <= highest ? static_cast<int>(value) : 0;
}

}  // namespace

std::string server_state_path(const std::string& home) {
  return home + "/server.json";
}

Result<void> write_server_state(const std::string& path, const ServerState& state) {
  const Json json{{"url", "http://127.0.0.1:" + std::to_string(state.port)},
                  {"port", state.port},
                  {"pid", state.pid}};
  const std::string text = json.dump() + "\n";
  const std::string temporary = path + "." + std::to_string(getpid());
  unlink(temporary.c_str());  // of a process that had this number and was killed
  const int file =
      open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (file < 0) return refused(path);
  const bool written = write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const bool closed = close(file) == 0;
  if (written && closed && rename(temporary.c_str(), path.c_str()) == 0) return {};
  const Error error = refused(path);
  unlink(temporary.c_str());
  return error;
}

std::optional<ServerState> read_server_state(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return std::nullopt;
  std::array<char, kLongestState> text{};
  const auto n = read(file, text.data(), text.size());
  close(file);
  if (n <= 0 || n == static_cast<ssize_t>(text.size())) return std::nullopt;
  const auto json = parse_json({text.data(), static_cast<std::size_t>(n)});
  if (!json || !json->is_object()) return std::nullopt;
  const ServerState state{.port = number(*json, "port", 65535),
                          .pid = number(*json, "pid", std::numeric_limits<int>::max())};
  if (state.port == 0 || state.pid == 0) return std::nullopt;
  return state;
}

void remove_server_state(const std::string& path, int pid) {
  const auto state = read_server_state(path);
  if (state && state->pid == pid) unlink(path.c_str());
}

}  // namespace pensieve::cli
