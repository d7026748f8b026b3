// The command line as one value. Knows flags, defaults and help texts. Must not act on any of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "foundation/log.h"

#include "domain/compute/backend.h"
#include "domain/compute/cpu/cpu_backend.h"
#include "domain/engine/engine.h"
#include "domain/model/model_file.h"

#include "application/cli/bench.h"

namespace pensieve::cli {

enum class Command {
  Serve,
  Ask,
  Trace,
  ModelInspect,
  ModelList,
  ModelPull,
  ModelVerify,
  ModelRemove,
  ModelImport,
  ModelPath,
  MemoryList,
  MemoryStats,
  MemoryClear,
  Bench,
  Status,
  Stop,
  Doctor,
  Service,
  Claude,
  Version,
};
enum class ModelMode {
  Auto,   // a model in the home directory, else the default one is fetched, else the embedded one
  Skip,   // a model in the home directory, else an error that names the way out; no network
  Force,  // the default model is fetched again, and takes the old one's place when it is verified
};

struct Options {
  Command command = Command::Serve;
  ModelMode mode = ModelMode::Auto;

  // Which model and how it runs: serve, ask, trace.
  std::string model;  // as store::parse_reference(), "tiny", or empty: looked up as `mode` says
  int threads = 0;    // 0: one per physical core
  int context = 0;    // tokens; 0: fitted to memory
  std::optional<compute::KvTypes> kv;  // nothing: chosen by the model's bytes per token
  std::string kernel;                  // empty: the fastest this CPU has
  // Computed prompts on the disk: bytes kept in all (nothing: by the disk's size; 0: none), and
  // written a day.
  std::optional<std::uint64_t> kv_disk_bytes;
  std::uint64_t kv_disk_daily_bytes = std::uint64_t{32} << 30;
  compute::cpu::Activations activations = compute::cpu::Activations::Auto;
  model::PlainWeights plain_weights = model::PlainWeights::Auto;
  engine::Speculation speculation = engine::Speculation::Auto;
  // Where answers come from instead of a model here: serve, ask, claude. Empty: nowhere else.
  std::string upstream;               // an address; its key is in PENSIEVE_UPSTREAM_KEY
  std::string upstream_model;         // empty: the first that it lists
  std::optional<LogLevel> log_level;  // nothing: Info when serving, Warning otherwise
  LogFormat log_format = LogFormat::Text;
  bool log_prompt_text = false;  // where a line about the cache may show two tokens of prompts
  LogFileOptions log_file;       // serve; an empty path: standard error

  // serve
  std::string host = "127.0.0.1";
  int port = 7777;
  bool allow_remote = false;
  std::string unix_socket;                   // a path beside the port; empty: none
  bool tcp = true;                           // false: the unix socket alone
  std::vector<std::string> allowed_hosts;    // names beyond localhost that a Host header may hold
  std::vector<std::string> allowed_origins;  // pages that may call from a browser

  double exit_when_idle_minutes = 0;  // 0: never
  std::string state_file;             // where address and process id are told; empty: nowhere

  // claude, status, stop, doctor
  bool port_given = false;

  // claude, service install
  std::vector<std::string> server_arguments;  // Pensieve's options as given; claude: no --port

  // claude
  std::vector<std::string> client_arguments;  // everything for the client, as given

  BenchPlan bench;

  // ask
  std::string prompt;  // "-": standard input
  std::string system;
  int max_tokens = 1024;
  double temperature = 0;
  std::uint64_t seed = 0;

  // trace
  std::string until = "report";
  std::string request_path;  // "-": standard input

  // model inspect
  std::string inspect_path;
  bool json = false;  // every `model` and `memory` command, bench, status, doctor

  // stop
  bool all = false;  // every server of this home directory

  // doctor
  bool deep = false;         // the digest of the model's files is computed
  bool ask_network = false;  // whether the model hub answers

  // service
  std::string
      service_action;  // "install", "uninstall", "start", "stop", "restart", "status", "logs"
  bool follow = true;  // logs

  // model pull, verify, remove, import, path
  std::string reference;     // as store::parse_reference(); a path for import; empty: all, verify
  std::string name;          // in the store; empty: from the reference
  std::string sha256;        // pull from a URL
  bool again = false;        // pull: although it is here
  int stall_timeout_s = 30;  // pull: without a byte, then the connection is tried anew
};

// What the arguments ask for: options, or a text to print and a status to leave with (help goes to
// standard output with status 0, a complaint of one sentence to standard error with status 2).
struct ParsedCommandLine {
  std::optional<Options> options;
  std::string text;
  int status = 0;
};

// `arguments` without the program's name.
ParsedCommandLine parse_command_line(std::vector<std::string> arguments);

// The steps `trace --until` knows, in the order of the flow.
const std::vector<std::string>& trace_steps();

}  // namespace pensieve::cli
