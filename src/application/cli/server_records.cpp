#include "application/cli/server_records.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <optional>
#include <span>
#include <utility>

#include "foundation/json.h"

namespace pensieve::cli {
namespace {

constexpr std::size_t kLongestRecord = 8192;  // bytes
constexpr std::string_view kEnding = ".json";

std::string directory_of(const std::string& home) {
  return home + "/servers";
}

std::string name_of(int pid) {
  return std::to_string(pid) + std::string(kEnding);
}

// The number under `name`, or nothing when there is none in `lowest` to `highest`.
std::optional<int> number(const Json& object, const char* name, int lowest, int highest) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_number_integer()) return std::nullopt;
  const auto value = found->get<std::int64_t>();
  if (value < lowest || value > highest) return std::nullopt;
  return static_cast<int>(value);
}

std::string text(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::optional<ServerRecord> parse(std::string_view bytes, int pid) {
  const auto json = parse_json(bytes);
  if (!json || !json->is_object()) return std::nullopt;
  const auto port = number(*json, "port", 0, 65535);
  if (!port || number(*json, "pid", 1, std::numeric_limits<int>::max()) != pid) return std::nullopt;
  ServerRecord record{.pid = pid,
                      .host = text(*json, "host"),
                      .port = *port,
                      .unix_socket = text(*json, "unix_socket")};
  if (record.port == 0 && record.unix_socket.empty()) return std::nullopt;
  return record;
}

// Whether somebody holds the lock. Nobody waits for it: it is taken before the file has its name.
bool is_held(const Handle& file) {
  return flock(file.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

// The process id in a file's name, 0 for any other name.
int pid_of(std::string_view name) {
  if (!name.ends_with(kEnding)) return 0;
  name.remove_suffix(kEnding.size());
  std::int64_t pid = 0;
  for (const char c : name) {
    if (c < '0' || c > '9' || pid > std::numeric_limits<int>::max()) return 0;
    pid = pid * 10 + (c - '0');
  }
  return pid <= std::numeric_limits<int>::max() ? static_cast<int>(pid) : 0;
}

}  // namespace

Result<KeptRecord> KeptRecord::write(const std::string& home, const ServerRecord& record) {
  PENSIEVE_TRY(const Directory directory, Directory::open(directory_of(home), true));
  const std::string name = name_of(record.pid);
  const std::string temporary = "." + name;
  directory.remove(temporary);  // of a process that had this number and was killed
  PENSIEVE_TRY(Handle file, directory.open_to_write(temporary));
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0)
    return system_error(directory.path_of(name), "cannot be locked");
  const Json json{{"pid", record.pid},
                  {"host", record.host},
                  {"port", record.port},
                  {"unix_socket", record.unix_socket}};
  const std::string line = json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  PENSIEVE_TRY(write_all(file, std::as_bytes(std::span(line)), directory.path_of(temporary)));
  PENSIEVE_TRY(directory.rename(temporary, name));
  return KeptRecord(directory.path_of(name), std::move(file));
}

KeptRecord::~KeptRecord() {
  if (file_.open()) unlink(path_.c_str());
}

std::vector<ServerRecord> running_servers(const std::string& home) {
  std::vector<ServerRecord> servers;
  const auto directory = Directory::open(directory_of(home), false);
  if (!directory) return servers;
  const auto names = directory->names();
  if (!names) return servers;
  for (const std::string& name : *names) {
    const int pid = pid_of(name);
    if (pid == 0) continue;
    const auto file = directory->open_to_read(name);
    if (!file) continue;
    if (!is_held(*file)) {
      directory->remove(name);
      continue;
    }
    const auto bytes = directory->read(name, kLongestRecord);
    if (!bytes) continue;
    if (auto record = parse(*bytes, pid)) servers.push_back(*std::move(record));
  }
  std::sort(
      servers.begin(), servers.end(), [](const auto& a, const auto& b) { return a.pid < b.pid; });
  return servers;
}

ServerFate fate_of(const std::string& home, int pid) {
  const auto directory = Directory::open(directory_of(home), false);
  if (!directory) return ServerFate::EndedInOrder;
  const auto file = directory->open_to_read(name_of(pid));
  if (!file) return ServerFate::EndedInOrder;
  return is_held(*file) ? ServerFate::Lives : ServerFate::Gone;
}

}  // namespace pensieve::cli
