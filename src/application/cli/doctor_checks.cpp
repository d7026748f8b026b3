#include "application/cli/doctor_checks.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

#include "foundation/accountant.h"
#include "foundation/directory.h"
#include "foundation/system_memory.h"
#include "foundation/text.h"

#include "domain/compute/cpu/cpu_backend.h"
#include "domain/store/catalog.h"
#include "domain/store/store.h"

#include "application/cli/child_process.h"
#include "application/cli/curl_fetch.h"
#include "application/cli/download_progress.h"
#include "application/cli/home.h"
#include "application/cli/models.h"
#include "application/cli/server_health.h"
#include "application/cli/server_records.h"
#include "application/cli/stack.h"
#include "application/cli/window.h"

namespace pensieve::cli {
namespace {

constexpr std::uint64_t kTightDisk = 4 * kGiB;  // what the KV store leaves free, and a model needs
constexpr std::uint64_t kNoDisk = kGiB / 4;     // logs and tokens go on being written
constexpr std::uint64_t kSmallDifference = kGiB / 16;
constexpr std::chrono::seconds kClientLimit{20};  // a first start of Node.js from a slow disk

Finding ok(std::string subject, std::string text) {
  return {.subject = std::move(subject), .verdict = Verdict::Ok, .text = std::move(text)};
}
Finding warn(std::string subject, std::string text, std::string advice) {
  return {.subject = std::move(subject),
          .verdict = Verdict::Warn,
          .text = std::move(text),
          .advice = std::move(advice)};
}
Finding fail(std::string subject, std::string text, std::string advice) {
  return {.subject = std::move(subject),
          .verdict = Verdict::Fail,
          .text = std::move(text),
          .advice = std::move(advice)};
}

std::string octal(mode_t mode) {
  std::string digits;
  for (int shift = 9; shift >= 0; shift -= 3)
    digits += static_cast<char>('0' + ((mode >> shift) & 7));
  return digits;
}

std::optional<struct stat> status_of(const std::string& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) return std::nullopt;
  return status;
}

// What the kernel says of the whole machine, whatever the control groups leave of it.
std::optional<std::uint64_t> machine_available() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  std::uint64_t kilobytes = 0;
  std::string unit;
  while (file >> name >> kilobytes && std::getline(file, unit)) {
    if (name == "MemAvailable:") return kilobytes * 1024;
  }
  return std::nullopt;
}

// A file that nobody else may read, if it is there.
Finding check_private_file(const std::string& subject, const std::string& path, bool secret_made) {
  const auto status = status_of(path);
  if (!status) {
    if (errno == ENOENT)
      return ok(subject,
                secret_made ? "not made yet: the first start does"
                            : "no service.env, and none is needed");
    return fail(subject,
                path + " cannot be looked at: " + std::generic_category().message(errno),
                "give the directories above it back to this user");
  }
  if (S_ISLNK(status->st_mode))
    return fail(subject, path + " is a link, which is not followed", "put the file itself there");
  if (!S_ISREG(status->st_mode)) return fail(subject, path + " is not a regular file", "remove it");
  if (status->st_uid != geteuid())
    return fail(subject,
                path + " belongs to another user",
                "`sudo chown $(id -u) " + path + "`, or remove it");
  if ((status->st_mode & 077) != 0)
    return fail(subject,
                path + " can be read by others (mode " + octal(status->st_mode) + ")",
                "`chmod 600 " + path + "`; if somebody may have read it, make a new one");
  return ok(subject, path + ", mode " + octal(status->st_mode));
}

// The token, as far as looking at it changes nothing: access_token() narrows modes and makes what
// is missing. NotFound where it would.
Result<std::string> token_as_it_is(const std::string& home) {
  const char* given = std::getenv("PENSIEVE_TOKEN");
  const bool by_environment = given != nullptr && *given != '\0';
  const bool as_they_should_be =
      check_home(home).verdict == Verdict::Ok && status_of(home + "/token") &&
      check_private_file("token", home + "/token", true).verdict == Verdict::Ok;
  if (!by_environment && !as_they_should_be)
    return Error{.kind = ErrorKind::NotFound, .message = "the token cannot be looked at"};
  PENSIEVE_TRY(const Token token, access_token(home));
  return token.value;
}

// The process that listens, among ours. Nothing: none of them.
std::optional<ServerRecord> ours_on(const std::string& home, int port) {
  for (auto& server : running_servers(home)) {
    if (server.port == port) return std::move(server);
  }
  return std::nullopt;
}

// 0 when a server could listen there now, else what the system says.
int try_port(int port) {
  const Handle socket(::socket(AF_INET, SOCK_STREAM, 0));
  if (!socket.open()) return errno;
  const int on = 1;
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return errno;
  return listen(socket.get(), 1) == 0 ? 0 : errno;
}

// The name in the store of the model that lies at `path`; nothing for one that lies elsewhere.
std::optional<std::string> name_in_store(const store::Store& store, const std::string& path) {
  for (const store::Manifest& manifest : store.list()) {
    const auto own = store.path(manifest.name);
    if (own && *own == path) return manifest.name;
  }
  return std::nullopt;
}

}  // namespace

Finding check_cpu() {
  const auto kernels = compute::cpu::runnable_kernel_names();
  std::string others;
  for (std::size_t i = 1; i < kernels.size(); ++i) others += (i == 1 ? "" : ", ") + kernels[i];
  if (kernels.empty()) return fail("cpu", "no kernels run here", "report this machine's CPU");
  const unsigned threads = static_cast<unsigned>(sysconf(_SC_NPROCESSORS_ONLN));
  const std::string text = kernels.front() + " kernels on " + std::to_string(threads) +
                           " logical processors" +
                           (others.empty() ? "" : "; could also run " + others);
  if (kernels.front() != "scalar") return ok("cpu", text);
  return warn("cpu",
              text + ": neither AVX2 nor NEON with dot product is there",
              "answers will be right and slow; a virtual machine may hide what its host has");
}

Finding check_memory() {
  const SystemMemory memory = read_system_memory();
  if (!memory.known) {
    return warn("memory",
                "the system does not say how much is available",
                "the server will take little; mount /proc where this is a container");
  }
  const MemoryLevel level = level_of(memory);
  std::string text = std::string(to_string(level)) + ", " + human_bytes(memory.available_bytes) +
                     " of " + human_bytes(memory.total_bytes) + " available";
  const auto machine = machine_available();
  const bool limited = machine && *machine > memory.available_bytes + kSmallDifference;
  if (limited) {
    text += "; the machine has " + human_bytes(*machine) + ", a control group leaves less";
  }
  const std::string advice =
      limited ? "raise the group's memory.max (a container's memory limit), or take a smaller model"
              : "end other programs, or take a smaller model or a smaller --context";
  if (level == MemoryLevel::Critical || level == MemoryLevel::Emergency)
    return fail("memory", text, advice);
  if (level != MemoryLevel::Safe || limited) return warn("memory", text, advice);
  return ok("memory", text);
}

Finding check_home(const std::string& home) {
  struct stat status {};
  if (stat(home.c_str(), &status) != 0) {
    if (errno == ENOENT) return ok("home", home + " is not made yet: the first start does");
    return fail("home",
                home + " cannot be looked at: " + std::generic_category().message(errno),
                "give it back to this user, or set PENSIEVE_HOME");
  }
  if (!S_ISDIR(status.st_mode))
    return fail("home", home + " is no directory", "move it away, or set PENSIEVE_HOME");
  if (status.st_uid != geteuid())
    return fail(
        "home", home + " belongs to another user", "set PENSIEVE_HOME to a directory of your own");
  if ((status.st_mode & 077) != 0)
    return fail("home",
                home + " can be entered by others (mode " + octal(status.st_mode) + ")",
                "`chmod 700 " + home + "`");
  if ((status.st_mode & 0700) != 0700)
    return fail("home",
                home + " cannot be used by its owner (mode " + octal(status.st_mode) + ")",
                "`chmod 700 " + home + "`");
  return ok("home", home + ", mode " + octal(status.st_mode));
}

Finding check_token(const std::string& home) {
  Finding finding = check_private_file("token", home + "/token", true);
  const char* given = std::getenv("PENSIEVE_TOKEN");
  if (given != nullptr && *given != '\0') {
    finding.text = "from PENSIEVE_TOKEN; in the home directory: " + finding.text;
    return finding;
  }
  const auto token = token_as_it_is(home);
  if (token || token.error().kind == ErrorKind::NotFound) return finding;
  return fail("token", token.error().message, "remove the file: the next start makes a new one");
}

Finding check_secrets_file(const std::string& home) {
  return check_private_file("secrets", home + "/service.env", false);
}

Finding check_disk(const std::string& home) {
  // The nearest directory above that is there: the home directory may still have to be made.
  std::filesystem::path place = home;
  std::error_code error;
  while (!std::filesystem::exists(place, error) && place.has_parent_path() &&
         place != place.parent_path()) {
    place = place.parent_path();
  }
  const auto space = std::filesystem::space(place, error);
  if (error) {
    return warn(
        "disk",
        "the system does not say how much is free at " + place.string() + ": " + error.message(),
        "see that there is room for a model (2 GB and more)");
  }
  if (access(place.c_str(), W_OK) != 0) {
    return fail("disk",
                place.string() + " cannot be written: " + std::generic_category().message(errno),
                "make it writable, or set PENSIEVE_HOME to a directory that is");
  }
  const std::string text = human_bytes(space.available) + " free at " + place.string();
  if (space.available < kNoDisk)
    return fail("disk", text, "make room, or set PENSIEVE_HOME to a larger disk");
  if (space.available < kTightDisk) {
    return warn("disk",
                text + ": models take 2 GB and more, and prompts are not kept below " +
                    human_bytes(kTightDisk),
                "make room, or set PENSIEVE_HOME to a larger disk");
  }
  return ok("disk", text);
}

Finding check_port(const std::string& home, int port) {
  const std::string name = "port " + std::to_string(port);
  const int error = try_port(port);
  if (error == 0) return ok("port", name + " is free");
  if (error != EADDRINUSE) {
    return fail("port",
                name + " cannot be listened on: " + std::generic_category().message(error),
                "take another one with --port N, above 1023");
  }
  const auto token = token_as_it_is(home);
  const auto ours = ours_on(home, port);
  if (ours && token && ask_health({.port = port}, *token)) {
    return ok("port",
              name + " is served by this installation (process " + std::to_string(ours->pid) + ")");
  }
  if (ours) {
    return warn("port",
                name + " belongs to this installation's server (process " +
                    std::to_string(ours->pid) + "), which does not answer",
                "`pensieve stop --port " + std::to_string(port) + "`, and start it again");
  }
  if (token && ask_health({.port = port}, *token)) {
    return ok("port",
              name +
                  " is served by a Pensieve with this token, from another machine or "
                  "home directory");
  }
  return fail("port",
              name + " is taken by another program",
              "serve on another one with --port N; `ss -ltnp 'sport = :" + std::to_string(port) +
                  "'` or `lsof -i :" + std::to_string(port) + "` names the program");
}

Finding check_model(const Options& options) {
  const auto home = home_directory();
  if (!home) return fail("model", home.error().message, "set PENSIEVE_HOME");
  const auto path = find_model(options);
  if (!path) {
    const bool absent = path.error().kind == ErrorKind::NotFound;
    return fail("model",
                path.error().message,
                absent ? "`pensieve model list` shows what there is"
                       : "`pensieve model pull --force` fetches it again");
  }
  if (!*path) {
    return warn("model",
                "the default model is not here; the embedded one, a demonstration, would answer "
                "without a network",
                "`pensieve model pull`");
  }
  Accountant accountant;
  const auto opened = open_model(**path, accountant);
  if (!opened) {
    return fail("model",
                opened.error().message,
                "fetch it again (`pensieve model pull --force`), or put the whole file back");
  }
  std::string text = std::string(opened->file->name()) +
                     (opened->embedded ? " (embedded)" : ", " + **path) + ", " +
                     human_bytes(opened->file->file_bytes());
  const store::Store store(*home);
  const auto name = name_in_store(store, **path);
  if (!name) return ok("model", text + (options.deep ? "; its digest is not known" : ""));
  if (!options.deep) return ok("model", text + ", as long as it was fetched (--deep: its digest)");
  const OrderlyWork orderly;
  DownloadProgress progress(*name, isatty(STDERR_FILENO) == 1);
  const auto verified = store.verify(*name, terminal_hooks(progress));
  if (!verified) {
    return fail(
        "model", verified.error().message, "`pensieve model pull --force` fetches it again");
  }
  return ok("model", text + ", every digest right");
}

int compare_versions(const std::string& a, const std::string& b) {
  const auto numbers = [](const std::string& text) {
    std::array<long, 3> parts{};
    std::size_t part = 0;
    for (const char c : text) {
      if (c == '.' && part < 2) {
        ++part;
      } else if (c >= '0' && c <= '9' && parts[part] < 1'000'000) {
        parts[part] = parts[part] * 10 + (c - '0');
      } else {
        break;
      }
    }
    return parts;
  };
  const auto x = numbers(a);
  const auto y = numbers(b);
  return x < y ? -1 : x > y ? 1 : 0;
}

Finding check_client() {
  const char* path = std::getenv("PATH");
  const auto client = find_program("claude", path != nullptr ? path : "");
  if (!client) {
    return warn(
        "claude",
        "Claude Code is not installed (there is no `claude` in PATH)",
        "for `pensieve claude`: `npm install -g @anthropic-ai/claude-code`; other clients do "
        "not need it");
  }
  const auto said = capture(
      {.path = *client, .arguments = {"claude", "--version"}, .environment = own_environment()},
      kClientLimit);
  const std::string version = said ? std::string(trimmed(said->output)) : std::string();
  const bool numbered = !version.empty() && version[0] >= '0' && version[0] <= '9';
  if (!said || said->status != 0 || !numbered) {
    return warn("claude",
                *client + " does not say its version",
                "see what `claude --version` prints, or install it again");
  }
  const std::string number = version.substr(0, version.find(' '));
  const std::string checked =
      std::string(kOldestCheckedClient) + " to " + kNewestCheckedClient + " were checked";
  if (compare_versions(number, kOldestCheckedClient) < 0) {
    return warn("claude",
                "Claude Code " + number + " is older than what was checked: " + checked,
                "`npm install -g @anthropic-ai/claude-code`");
  }
  if (compare_versions(number, kNewestCheckedClient) > 0)
    return ok("claude", "Claude Code " + number + ", newer than what was checked: " + checked);
  return ok("claude", "Claude Code " + number + "; " + checked);
}

Finding check_hub() {
  const auto hub = model_hub();
  if (!hub) return fail("hub", hub.error().message, "set PENSIEVE_HUB_URL to a URL, or to nothing");
  const store::Fetch fetch =
      curl_fetch({.connect = std::chrono::milliseconds(5000), .stall = std::chrono::seconds(5)});
  int status = 0;
  const auto outcome = fetch({.url = hub->url + "/"},
                             {.head =
                                  [&](const store::FetchHead& head) {
                                    status = head.status;
                                    return false;  // it answers: that is all
                                  },
                              .body = [](std::span<const std::byte>) { return false; },
                              .stopped = [] { return false; }});
  if (status != 0 && status < 500) return ok("hub", hub->url + " answers");
  return fail("hub",
              hub->url + (status != 0 ? " answers with status " + std::to_string(status)
                                      : " does not answer: " + outcome.what),
              "look at the network and at https_proxy; models that are here work without it");
}

}  // namespace pensieve::cli
