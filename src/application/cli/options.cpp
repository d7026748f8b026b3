#include "application/cli/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <utility>

#include "foundation/text.h"

#include "application/cli/exit_status.h"
#include "application/http/message.h"

namespace pensieve::cli {
namespace {

constexpr const char* kFooter = R"(
Examples:
  pensieve                                 serve the default model; fetch it first if it is not here
  pensieve skip                            the same without the network
  pensieve model list                      what can be fetched, and what fits this machine
  pensieve --model qwen2.5-coder-7b-instruct-4bit
  pensieve --model ~/models/phi-3-mini-q4.gguf --port 8080
  pensieve claude                          Claude Code on that model, in the current directory
  pensieve --upstream http://10.0.0.7:8000 both APIs over a server that speaks OpenAI's
  pensieve ask "show all files including hidden ones"
  pensieve trace --until=encode request.json
  pensieve model inspect ~/models/phi-3-mini-q4.gguf
  pensieve bench                           how fast a model runs on this machine
  pensieve memory list                     the computed prompts that are kept on the disk
  pensieve status                          the servers that run; `pensieve stop` ends one
  pensieve service install                 run in the background, from login on
  pensieve doctor                          check this machine, and say what to do

Environment:
  PENSIEVE_HOME   the home directory instead of ~/.pensieve-local-llm-server
                  (models/NAME in it are the fetched models; models/default, a GGUF file, an MLX
                  directory or a link to one, is served instead of the default model)
  PENSIEVE_TOKEN  the access token instead of the one in the home directory
  PENSIEVE_HUB_URL, HF_ENDPOINT  the model hub instead of the public one; HF_TOKEN is for it alone
  PENSIEVE_UPSTREAM_KEY  what --upstream asks for as an API key
  PENSIEVE_MEMORY_ROOT   a directory that stands before /proc and /sys where memory is read, to try
                         out what happens when it gets short

Exit status:
  0    done, or ended by one SIGINT or SIGTERM after the running answers
  1    could not start or go on: the port is taken, not enough memory, the engine failed
  2    the command line, a request file or a model file cannot be used
  3    a model's file is not what it was promised to be: its digest differs; `pensieve status`: no
       server runs
  70   the model file was cut short while it was in use
  127  `pensieve claude` found no Claude Code; else it passes the client's own status on
  130  ended at once by SIGINT (143: SIGTERM): a question, or a server that was told twice
)";

constexpr std::uint64_t kMinLogFileBytes = 4096;  // a line with all of its fields fits

// Options as the parser fills them: words that become types once all of it is known to be right.
struct Words {
  std::string mode = "auto", kv = "auto", activations = "auto", weights = "auto",
              speculation = "auto", log_level, log_format = "text";
  std::string kv_disk, kv_disk_daily, log_file_size;
  bool no_tcp = false, no_follow = false;
  std::vector<std::string> prompt;
  bool version = false;
};

// Checks whose own descriptions stay out of the help: the type name says it already.
template <typename T>
CLI::Validator range(T low, T high) {
  return CLI::Range(low, high).description("");
}
CLI::Validator one_of(const std::vector<std::string>& words) {
  return CLI::IsMember(words).description("");
}

void add_model_options(CLI::App* app, Options& options, Words& words) {
  app->add_option(
         "--model",
         options.model,
         "A name that `pensieve model list` shows, hub:OWNER/NAME[@REVISION][:FILE.gguf],\n"
         "the URL of a GGUF file, the path of one (of any, where a model is in several) or of\n"
         "a directory of safetensors, or 'tiny': the embedded model. What is not here is\n"
         "fetched first")
      ->type_name("MODEL")
      ->group("Model");
  app->add_option("--threads", options.threads, "Compute threads (default: one per physical core)")
      ->type_name("N")
      ->check(range(1, 1024))
      ->group("Model");
  app->add_option(
         "--context", options.context, "Context window in tokens (default: fitted to memory)")
      ->type_name("N")
      ->check(range(64, 10'000'000))
      ->group("Model");
  app->add_option("--kv",
                  words.kv,
                  "How keys and values are kept: f32, f16, q8 (8 bits), q4 (4 bits, for 1.7\n"
                  "times the window of q8 in the same memory), or a type for each, as in q8/q4;\n"
                  "auto: q8 where f16 costs over 64 KiB per token, else f16")
      ->type_name("auto|TYPE|KEYS/VALUES")
      ->check(CLI::Validator(
          [](const std::string& text) {
            return text == "auto" || compute::parse_kv_types(text)
                       ? std::string()
                       : text +
                             " is not auto, f32, f16, q8, q4, or "
                             "two of these types, as in q8/q4";
          },
          ""))
      ->group("Model");
  app->add_option("--kv-disk",
                  words.kv_disk,
                  "Disk for computed prompts, which so outlive the server: 8GiB, off\n"
                  "(default: 16GiB, at most a quarter of what is free)")
      ->type_name("SIZE|off")
      ->group("Model");
  app->add_option("--kv-disk-daily",
                  words.kv_disk_daily,
                  "The most that is written there in a day (default 32GiB)")
      ->type_name("SIZE")
      ->group("Model");
  app->add_option("--kernel",
                  options.kernel,
                  "CPU kernels, as `pensieve version` lists them (default: the best)")
      ->type_name("NAME")
      ->group("Model");
  app->add_option("--activations",
                  words.activations,
                  "How activations meet quantised weights; auto: f32 for small models, int8 above")
      ->type_name("auto|int8|f32")
      ->check(one_of({"auto", "int8", "f32"}))
      ->group("Model");
  app->add_option("--weights",
                  words.weights,
                  "What F32, F16 and BF16 matrices become in memory; auto: 8-bit blocks (Q8_0) in\n"
                  "models of 512 MiB and more, as they are in smaller ones. Quantised ones stay")
      ->type_name("auto|as-is|q8")
      ->check(one_of({"auto", "as-is", "q8"}))
      ->group("Model");
  app->add_option("--speculation",
                  words.speculation,
                  "Guess tokens from what the text says already and check several at once: the\n"
                  "same answers, faster where they repeat; auto: as far as that measurably helps")
      ->type_name("auto|off")
      ->check(one_of({"auto", "off"}))
      ->group("Model");
  app->add_option(
         "--log-level", words.log_level, "Least severe lines to log (default: info when serving)")
      ->type_name("LEVEL")
      ->check(one_of({"debug", "info", "warning", "error"}))
      ->group("Log");
  app->add_flag("--log-prompt-text",
                options.log_prompt_text,
                "Lines about prompts that were not found in the cache show the words that differ")
      ->group("Log");
  app->add_option("--log-format", words.log_format, "Log lines for people or for machines")
      ->type_name("text|json")
      ->check(one_of({"text", "json"}))
      ->group("Log");
}

void add_upstream_options(CLI::App* app, Options& options) {
  app->add_option("--upstream",
                  options.upstream,
                  "Answer from a server that speaks OpenAI's chat API (vLLM, SGLang, …)\n"
                  "instead of a model here; its key is read from PENSIEVE_UPSTREAM_KEY")
      ->type_name("URL")
      ->group("Upstream");
  app->add_option("--upstream-model",
                  options.upstream_model,
                  "Which of its models (default: the first it lists)")
      ->type_name("NAME")
      ->group("Upstream");
}

void add_serve_options(CLI::App* app, Options& options, Words& words) {
  app->add_option("mode",
                  words.mode,
                  "auto: the model in the home directory; without one the default model is\n"
                  "fetched, and without a network the embedded one answers\n"
                  "skip: the model in the home directory or nothing; never the network\n"
                  "force: fetch the model again; the old one stays until the new one is whole")
      ->type_name("[auto|skip|force]")
      ->check(one_of({"auto", "skip", "force"}));
  app->add_option("--host", options.host, "Address to listen on (default 127.0.0.1)")
      ->type_name("ADDRESS")
      ->group("Server");
  app->add_option("--port", options.port, "Port to listen on (default 7777; 0: any free one)")
      ->type_name("PORT")
      ->check(range(0, 65535))
      ->group("Server");
  app->add_option("--unix-socket",
                  options.unix_socket,
                  "Listen on a unix socket as well: a path in a directory of mode 0700, such as\n"
                  "~/.pensieve-local-llm-server/socket")
      ->type_name("PATH")
      ->group("Server");
  app->add_flag("--no-tcp", words.no_tcp, "Listen on the unix socket alone")->group("Server");
  app->add_flag("--allow-remote",
                options.allow_remote,
                "Let --host be an address other machines can reach")
      ->group("Server");
  app->add_option(
         "--allow-host",
         options.allowed_hosts,
         "A name clients may call this server by, beside localhost and --host (repeatable)")
      ->type_name("NAME")
      ->allow_extra_args(false)
      ->group("Server");
  app->add_option("--allow-origin",
                  options.allowed_origins,
                  "A page that may call from a browser: https://name:port (repeatable)")
      ->type_name("ORIGIN")
      ->allow_extra_args(false)
      ->group("Server");
  app->add_option("--exit-when-idle",
                  options.exit_when_idle_minutes,
                  "End after so many minutes without a request (default: never)")
      ->type_name("MINUTES")
      ->check(range(0.0, 525'600.0))
      ->group("Server");
  app->add_option(
         "--state-file", options.state_file, "Write address and process id there while serving")
      ->type_name("PATH")
      ->group("Server");
  app->add_option("--log-file",
                  options.log_file.path,
                  "Log to this file instead of standard error; readable by you alone. When it is\n"
                  "full it becomes PATH.1, that PATH.2, and so on")
      ->type_name("PATH")
      ->group("Log");
  app->add_option("--log-file-size", words.log_file_size, "How long one may get (default 10MiB)")
      ->type_name("SIZE")
      ->group("Log");
  app->add_option("--log-files", options.log_file.max_files, "How many are kept (default 5)")
      ->type_name("N")
      ->check(range(1, 1000))
      ->group("Log");
}

constexpr const char* kClaudeFooter = R"(
  pensieve claude [OPTIONS] [--] [ARGUMENTS OF CLAUDE CODE]

Which arguments are whose: Pensieve takes its own options from the front. The first argument that is
none of them, and all behind it, go to Claude Code as they are; `--` ends Pensieve's part by itself.

Examples:
  pensieve claude                          an interactive session
  pensieve claude -p "list the files here" --allowedTools Bash
  pensieve claude --continue
  pensieve claude --model ~/models/phi-3-mini-q4.gguf -- --tools Bash,Read,Write,Edit
  pensieve claude -- --help                Claude Code's own help

The server: one that runs on the port is used, else one is started in the background (server.log and
server.json in the home directory). It serves every session of this user and ends 30 minutes after
its last use. Options for the model and the log count when a server is started.

The client is the `claude` in PATH. Its variables (address, token, model, window) are set for that
process alone; --permission-mode default and --settings are added unless given. Nothing under
~/.claude is written by Pensieve, and sessions started without it are as they were.

Exit status: the client's own, 128 plus the number when a signal ended it, 127 when there is no
`claude`, 1 or 2 when there is no server.)";

void add_claude(CLI::App& app, Options& options, Words& words) {
  CLI::App* claude = app.add_subcommand("claude", "Run Claude Code on the local model");
  claude->add_option("--port", options.port, "Port of the server to use or to start (default 7777)")
      ->type_name("PORT")
      ->check(range(0, 65535))
      ->group("Server");
  add_model_options(claude, options, words);
  add_upstream_options(claude, options);
  claude->footer(kClaudeFooter);
}

void add_ask(CLI::App& app, Options& options, Words& words) {
  CLI::App* ask = app.add_subcommand("ask", "Answer one question on the terminal");
  ask->add_option("prompt", words.prompt, "The question; '-' reads it from standard input")
      ->required();
  ask->add_option("--system", options.system, "System prompt")->type_name("TEXT");
  ask->add_option("--max-tokens", options.max_tokens, "Longest answer (default 1024)")
      ->type_name("N")
      ->check(range(1, 10'000'000));
  ask->add_option("--temperature",
                  options.temperature,
                  "0: the most likely answer, the same each time (default)")
      ->type_name("T")
      ->check(range(0.0, 2.0));
  ask->add_option("--seed", options.seed, "Seed of the draw when the temperature is above 0")
      ->type_name("N");
  add_model_options(ask, options, words);
  add_upstream_options(ask, options);
  ask->footer(
      "\nExamples:\n  pensieve ask \"count the lines of main.cpp\"\n"
      "  git diff | pensieve ask --model ~/models/phi-3-mini-q4.gguf -");
}

void add_trace(CLI::App& app, Options& options, Words& words) {
  CLI::App* trace =
      app.add_subcommand("trace", "Walk one request through the steps and print a step's value");
  trace->add_option("--until", options.until, "The step whose value is printed (default report)")
      ->type_name("STEP")
      ->check(one_of(trace_steps()));
  trace
      ->add_option(
          "request", options.request_path, "Body of POST /v1/messages; '-' is standard input")
      ->required();
  add_model_options(trace, options, words);
  trace->footer(
      "\nSteps:\n"
      "  understand   the request as it was understood\n"
      "  render       the prompt: pieces of text and control tokens\n"
      "  encode       the token ids, one JSON array\n"
      "  prefill      how much of the prompt was computed\n"
      "  decode       the token ids of the answer, one JSON array\n"
      "  interpret    the answer's content blocks\n"
      "  report       the events a client would receive\n"
      "\nExample:\n  pensieve trace --until=encode --model tiny request.json");
}

// Tokens, or sequences: lists of numbers with commas between them.
void add_list(CLI::App* app,
              const char* name,
              std::vector<int>& values,
              int least,
              int most,
              const char* what) {
  app->add_option(name, values, what)
      ->delimiter(',')
      ->type_name("N[,N...]")
      ->allow_extra_args(false)
      ->check(range(least, most));
}

void add_bench(CLI::App& app, Options& options, Words& words) {
  CLI::App* bench = app.add_subcommand("bench", "Measure how fast a model runs on this machine");
  BenchPlan& plan = options.bench;
  add_list(bench,
           "--prompt",
           plan.prompts,
           1,
           10'000'000,
           "Tokens of a prompt whose computing is measured (default 512)");
  bench
      ->add_option("--generate", plan.generate, "Tokens of an answer that is measured (default 64)")
      ->type_name("N")
      ->check(range(1, 1'000'000));
  add_list(bench,
           "--depth",
           plan.depths,
           0,
           10'000'000,
           "Tokens that are computed before, for each of the measurements (default 0)");
  add_list(bench, "--batch", plan.batches, 1, 32, "Answers that are made together (default 1)");
  bench->add_option("--repeat", plan.repeat, "How often each is measured (default 5)")
      ->type_name("N")
      ->check(range(1, 1000));
  bench->add_flag("--json", options.json, "A line of JSON for each measurement");
  add_model_options(bench, options, words);
  bench->footer(
      "\nExamples:\n"
      "  pensieve bench\n"
      "  pensieve bench --model ~/models/phi-3-mini-q4.gguf --depth 0,2048 --batch 1,4\n"
      "\nSpeeds are medians, in tokens a second of all answers together. The roof of a prefill is "
      "the\narithmetic of the cores, that of a decode the speed of memory; both are measured "
      "first, "
      "which\ntakes 512 MiB for a moment. Other programs that run at the same time slow it down.");
}

constexpr const char* kModelFooter = R"(
Examples:
  pensieve model list                                what is here, and what fits this machine
  pensieve model pull qwen3-4b-4bit                  fetch it, or go on where that was interrupted
  pensieve --model qwen3-4b-4bit                     serve it
  pensieve model import ~/Downloads/my-model.gguf    take in a file that is on this machine
  pensieve model remove qwen3-4b-4bit

Exit status:
  0    done
  1    the network, the hub or the disk failed
  2    no such model, an argument or a file that cannot be used
  3    a file is not what it was promised to be: its digest differs
  130  stopped by Ctrl-C (143: SIGTERM); what has come of a download is kept
)";

void add_store_commands(CLI::App& model, Options& options) {
  const auto command = [&](const char* name, const char* what, const char* footer) {
    CLI::App* app = model.add_subcommand(name, what);
    app->add_flag("--json", options.json, "JSON instead of text");
    app->footer(footer);
    return app;
  };
  command("list",
          "What is here, what can be fetched, and what fits this machine",
          "\nA terminal of 110 columns also shows how much memory each model needs.");

  CLI::App* pull = command("pull",
                           "Fetch a model, or go on where that was interrupted",
                           "\nExamples:\n"
                           "  pensieve model pull\n"
                           "  pensieve model pull hub:mlx-community/Qwen3-4B-4bit\n"
                           "  pensieve model pull https://models.example/m.gguf --sha256 4f2a…\n"
                           "\nThe hub is PENSIEVE_HUB_URL, else HF_ENDPOINT, else the public one; "
                           "HF_TOKEN is sent to it\n"
                           "and to nobody else. https_proxy, http_proxy, all_proxy and no_proxy "
                           "count.");
  pull->add_option(
          "model",
          options.reference,
          "A name of `pensieve model list`, hub:OWNER/NAME[@REVISION][:FILE.gguf], or the\n"
          "URL of a GGUF file (default: the default model)")
      ->type_name("MODEL");
  pull->add_option("--name", options.name, "Its name in the store")->type_name("NAME");
  pull->add_option("--sha256", options.sha256, "The digest that the file at a URL must have")
      ->type_name("HEX");
  pull->add_flag("--force", options.again, "Although it is here; the old one stays until then");
  pull->add_option("--stall-timeout",
                   options.stall_timeout_s,
                   "Try anew after so long without a byte (default 30)")
      ->type_name("SECONDS")
      ->check(range(1, 3600));

  CLI::App* verify = command("verify", "Compute the digests of a model's files again", "");
  verify->add_option("model", options.reference, "Its name (default: every model here)")
      ->type_name("NAME");
  CLI::App* remove = command("remove", "Remove a model, or what was fetched of it so far", "");
  remove->add_option("model", options.reference, "Its name")->type_name("NAME")->required();
  CLI::App* import = command("import",
                             "Copy a model that lies elsewhere into the store",
                             "\nExamples:\n"
                             "  pensieve model import ~/Downloads/my-model.gguf\n"
                             "  pensieve model import ~/models/my-mlx-directory --name mine\n"
                             "\nNothing needs to be copied to be served: `pensieve --model PATH` "
                             "takes it where it is.");
  import->add_option("path", options.reference, "A GGUF file or an MLX directory")
      ->type_name("PATH")
      ->required();
  import
      ->add_option("--name", options.name, "Its name in the store (default: the path's last part)")
      ->type_name("NAME");
  CLI::App* path = command("path",
                           "Print where a model lies",
                           "\nExample:\n  du -sh \"$(pensieve model path qwen3-4b-4bit)\"");
  path->add_option("model", options.reference, "Its name")->type_name("NAME")->required();
}

void add_model_command(CLI::App& app, Options& options) {
  CLI::App* model = app.add_subcommand("model", "Fetch, look at and remove models");
  model->require_subcommand(1);
  model->footer(kModelFooter);
  add_store_commands(*model, options);
  CLI::App* inspect = model->add_subcommand("inspect", "Print what a model's file holds");
  inspect
      ->add_option("model",
                   options.inspect_path,
                   "A model's name, a GGUF file, a directory of one model, or 'tiny'")
      ->type_name("MODEL")
      ->required();
  inspect->add_flag("--json", options.json, "One JSON object instead of text");
  inspect->footer("\nExample:\n  pensieve model inspect tiny");
}

void add_memory_command(CLI::App& app, Options& options) {
  CLI::App* memory =
      app.add_subcommand("memory", "Look at the computed prompts on the disk, or remove them");
  memory->require_subcommand(1);
  const auto command = [&](const char* name, const char* what) {
    memory->add_subcommand(name, what)->add_flag("--json", options.json, "JSON instead of text");
  };
  command("list", "What is remembered: for each conversation its model, length and last use");
  command("stats", "What it takes, what was written, and how much computing it saved");
  command("clear", "Remove all of it; a server that runs goes on with what is in its memory");
}

constexpr const char* kServiceFooter = R"(
A user unit of systemd on Linux, a launch agent on macOS. Whatever `pensieve` takes for serving may
stand behind `install` and is kept: the model, the port, the window. Installing again replaces it.
Environment at install time that is kept: PENSIEVE_HOME, PENSIEVE_HUB_URL, HF_ENDPOINT. Secrets, such
as PENSIEVE_UPSTREAM_KEY=…, go into service.env in the home directory (mode 0600).

Examples:
  pensieve service install --model ~/models/phi-3-mini-q4.gguf --port 8080
  pensieve service logs
  pensieve service uninstall
)";

void add_server_commands(CLI::App& app, Options& options, Words& words) {
  const auto add_port = [&](CLI::App* command, const char* what) {
    command->add_option("--port", options.port, what)->type_name("PORT")->check(range(1, 65535));
  };
  CLI::App* status = app.add_subcommand("status", "Show the servers of this home directory");
  add_port(status, "Only the one on this port");
  status->add_flag("--json", options.json, "JSON instead of text");
  status->footer("\nExit status: 0 when one runs, 3 when none does.");

  CLI::App* stop = app.add_subcommand("stop", "End a server in order, and wait until it has ended");
  add_port(stop, "The one on this port");
  stop->add_flag("--all", options.all, "Every server of this home directory");
  stop->footer(
      "\nRunning answers go on for up to 30 s. Exit status: 0 ended in order, or none ran; 1 it "
      "did\n"
      "not end, or not in order; 2 several run and nobody said which.");

  CLI::App* doctor =
      app.add_subcommand("doctor", "Check this machine and this installation, and say what to do");
  add_port(doctor, "The port the server is to have (default 7777)");
  doctor->add_option("--model", options.model, "The model to look at, as for serving")
      ->type_name("MODEL");
  doctor->add_flag("--deep", options.deep, "Compute the digests of the model's files");
  doctor->add_flag("--network", options.ask_network, "Ask the model hub whether it answers");
  doctor->add_flag("--json", options.json, "JSON instead of text");
  doctor->footer(
      "\nExit status: 0 when nothing fails (warnings may stand), 1 when something does.");

  CLI::App* service =
      app.add_subcommand("service", "Run the server in the background, from login on");
  service->require_subcommand(1);
  service->footer(kServiceFooter);
  service->add_subcommand("install", "Install it with the options given, and start it")
      ->footer(kServiceFooter);
  service->add_subcommand("uninstall", "Stop it and remove it");
  service->add_subcommand("start", "Start it");
  service->add_subcommand("stop", "Stop it; it starts again at the next login");
  service->add_subcommand("restart", "Stop and start it");
  service->add_subcommand("status", "Show whether it runs");
  service->add_subcommand("logs", "Show what it says, and go on showing it")
      ->add_flag("--no-follow", words.no_follow, "Only what it has said so far");
}

// How many of `arguments` from `begin` on are options of `app`, with their values.
std::size_t count_own(const CLI::App& app,
                      const std::vector<std::string>& arguments,
                      std::size_t begin) {
  std::size_t at = begin;
  while (at < arguments.size()) {
    const std::string& argument = arguments[at];
    if (!argument.starts_with('-') || argument == "-" || argument == "--") break;
    const std::size_t equals = argument.find('=');
    const CLI::Option* option = app.get_option_no_throw(argument.substr(0, equals));
    if (option == nullptr) break;
    const bool value_follows = equals == std::string::npos && option->get_items_expected_max() > 0;
    at += value_follows ? 2 : 1;
  }
  return std::min(at, arguments.size()) - begin;
}

// Takes what belongs to the client out of `pensieve [OPTIONS] claude [OPTIONS] [--] ARGS…` and
// leaves the rest to be parsed; gives true. Anything else stays as it is.
bool split_client_arguments(CLI::App& app, std::vector<std::string>& arguments, Options& options) {
  const CLI::App& claude = *app.get_subcommand("claude");
  const std::size_t command = count_own(claude, arguments, 0);
  if (command >= arguments.size() || arguments[command] != "claude") return false;
  const std::size_t end = command + 1 + count_own(claude, arguments, command + 1);
  std::size_t rest = end;
  if (rest < arguments.size() && arguments[rest] == "--") ++rest;
  const auto at = [&](std::size_t i) { return arguments.begin() + static_cast<std::ptrdiff_t>(i); };
  options.client_arguments.assign(at(rest), arguments.end());
  arguments.erase(at(end), arguments.end());
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (i == command) continue;
    if (arguments[i].starts_with("--port=")) continue;
    if (arguments[i] == "--port") {
      ++i;
      continue;
    }
    options.server_arguments.push_back(arguments[i]);
  }
  return true;
}

// Takes what stands behind `pensieve service install` out of `arguments`: the server's own options,
// which are checked as such. Nothing for any other command line, and for one that asks for help.
std::optional<std::vector<std::string>> split_service_arguments(
    std::vector<std::string>& arguments) {
  if (arguments.size() < 3 || arguments[0] != "service" || arguments[1] != "install")
    return std::nullopt;
  std::vector<std::string> rest(arguments.begin() + 2, arguments.end());
  for (const std::string& word : rest) {
    if (word == "--help" || word == "-h") return std::nullopt;
  }
  arguments.resize(2);
  return rest;
}

// Words that passed their checks -> types.
void settle(const Words& words, Options& options) {
  static const std::map<std::string, ModelMode> kModes = {
      {"auto", ModelMode::Auto}, {"skip", ModelMode::Skip}, {"force", ModelMode::Force}};
  static const std::map<std::string, compute::cpu::Activations> kActivations = {
      {"auto", compute::cpu::Activations::Auto},
      {"int8", compute::cpu::Activations::Int8},
      {"f32", compute::cpu::Activations::F32}};
  static const std::map<std::string, model::PlainWeights> kWeights = {
      {"auto", model::PlainWeights::Auto},
      {"as-is", model::PlainWeights::AsIs},
      {"q8", model::PlainWeights::Q8}};
  static const std::map<std::string, LogLevel> kLevels = {{"debug", LogLevel::Debug},
                                                          {"info", LogLevel::Info},
                                                          {"warning", LogLevel::Warning},
                                                          {"error", LogLevel::Error}};
  options.mode = kModes.at(words.mode);
  options.tcp = !words.no_tcp;
  options.follow = !words.no_follow;
  options.kv = compute::parse_kv_types(words.kv);  // nothing for "auto"
  options.activations = kActivations.at(words.activations);
  options.plain_weights = kWeights.at(words.weights);
  if (words.speculation == "off") options.speculation = engine::Speculation::Off;
  if (!words.log_level.empty()) options.log_level = kLevels.at(words.log_level);
  options.log_format = words.log_format == "json" ? LogFormat::JsonLines : LogFormat::Text;
  for (const std::string& word : words.prompt) {
    if (!options.prompt.empty()) options.prompt += ' ';
    options.prompt += word;
  }
}

Command model_command(const CLI::App& model) {
  if (model.got_subcommand("list")) return Command::ModelList;
  if (model.got_subcommand("pull")) return Command::ModelPull;
  if (model.got_subcommand("verify")) return Command::ModelVerify;
  if (model.got_subcommand("remove")) return Command::ModelRemove;
  if (model.got_subcommand("import")) return Command::ModelImport;
  if (model.got_subcommand("path")) return Command::ModelPath;
  return Command::ModelInspect;
}

Command memory_command(const CLI::App& memory) {
  if (memory.got_subcommand("list")) return Command::MemoryList;
  if (memory.got_subcommand("clear")) return Command::MemoryClear;
  return Command::MemoryStats;
}

// "8GiB", "500MB", "1.5 GB", "off": bytes, units of 1,024 whatever they are called. Nothing for
// anything else.
std::optional<std::uint64_t> bytes_of(const std::string& text) {
  if (text == "off" || text == "0") return 0;
  std::size_t digits = 0;
  double number = 0;
  try {
    number = std::stod(text, &digits);
  } catch (const std::exception&) {
    return std::nullopt;
  }
  static const std::map<std::string, int> kUnits = {
      {"", 0}, {"b", 0}, {"k", 10}, {"m", 20}, {"g", 30}, {"t", 40}};
  std::string unit = lower_ascii(trimmed(std::string_view(text).substr(digits)));
  for (const std::string_view ending : {"ib", "b"}) {
    if (unit.size() > 1 && unit.ends_with(ending)) {
      unit.resize(unit.size() - ending.size());
      break;
    }
  }
  const auto shift = kUnits.find(unit);
  if (shift == kUnits.end() || !(number >= 0) || number > 1e6) return std::nullopt;
  return static_cast<std::uint64_t>(number *
                                    static_cast<double>(std::uint64_t{1} << shift->second));
}

ParsedCommandLine complaint(std::string sentence, const std::string& command = "pensieve") {
  std::replace(sentence.begin(), sentence.end(), '\n', ' ');
  return {.options = std::nullopt,
          .text = "pensieve: " + sentence + " (`" + command + " --help` shows what there is)",
          .status = kExitBadInput};
}

// The parser's sentence, with the help of the command that it is about. Of `model` alone it only
// says that something is missing; which word was no command helps more.
ParsedCommandLine complaint(const CLI::App& app,
                            const std::vector<std::string>& arguments,
                            std::string sentence) {
  std::string command = "pensieve";
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) {
    at = at->get_subcommands().front();
    command += " " + at->get_name();
  }
  if (at->get_name() != "model") return complaint(std::move(sentence), command);
  std::string known;
  for (const CLI::App* one : at->get_subcommands([](const CLI::App*) { return true; })) {
    known += (known.empty() ? "" : ", ") + one->get_name();
  }
  const auto word = std::find(arguments.begin(), arguments.end(), "model") + 1;
  const bool given = word != arguments.end() && !word->starts_with('-');
  return complaint((given ? "`pensieve model` has no command '" + printable(*word, 40) + "'"
                          : "`pensieve model` needs a command") +
                       ": " + known,
                   command);
}

}  // namespace

const std::vector<std::string>& trace_steps() {
  static const std::vector<std::string> kSteps = {
      "understand", "render", "encode", "prefill", "decode", "interpret", "report"};
  return kSteps;
}

ParsedCommandLine parse_command_line(std::vector<std::string> arguments) {
  if (const auto kept = split_service_arguments(arguments)) {
    ParsedCommandLine parsed = parse_command_line(*kept);
    if (!parsed.options) return parsed;
    if (parsed.options->command != Command::Serve) {
      return complaint("only the options of a server may stand behind `service install`",
                       "pensieve service install");
    }
    parsed.options->command = Command::Service;
    parsed.options->service_action = "install";
    parsed.options->server_arguments = *kept;
    return parsed;
  }
  Options options;
  Words words;
  CLI::App app(
      "Pensieve: a local server for large language models that speaks the Claude Messages API.\n"
      "Without a command it serves.",
      "pensieve");
  app.set_help_flag("-h,--help", "This text");
  app.add_flag("--version", words.version, "What `pensieve version` prints");
  app.footer(kFooter);
  add_serve_options(&app, options, words);
  add_model_options(&app, options, words);
  add_upstream_options(&app, options);
  add_claude(app, options, words);
  add_ask(app, options, words);
  add_bench(app, options, words);
  add_trace(app, options, words);
  add_model_command(app, options);
  add_memory_command(app, options);
  add_server_commands(app, options, words);
  app.add_subcommand("version", "Print the version and what this machine can run");
  app.require_subcommand(0, 1);

  const bool launching = split_client_arguments(app, arguments, options);
  try {
    app.parse(std::vector(arguments.rbegin(), arguments.rend()));  // as CLI11 wants them
  } catch (const CLI::CallForHelp&) {
    return {.options = std::nullopt, .text = app.help(), .status = kExitDone};
  } catch (const CLI::ParseError& error) {
    return complaint(app, arguments, error.what());
  }

  if (app.got_subcommand("claude")) {
    if (!launching) {
      return complaint("only the options of `pensieve claude` may stand before `claude`");
    }
    options.command = Command::Claude;
    options.port_given = app.count("--port") + app.get_subcommand("claude")->count("--port") > 0;
  }
  if (app.got_subcommand("ask")) options.command = Command::Ask;
  if (app.got_subcommand("bench")) options.command = Command::Bench;
  if (app.got_subcommand("trace")) options.command = Command::Trace;
  if (app.got_subcommand("model")) options.command = model_command(*app.get_subcommand("model"));
  if (app.got_subcommand("memory")) {
    options.command = memory_command(*app.get_subcommand("memory"));
  }
  for (const auto& [name, command] : {std::pair{"status", Command::Status},
                                      std::pair{"stop", Command::Stop},
                                      std::pair{"doctor", Command::Doctor}}) {
    if (!app.got_subcommand(name)) continue;
    options.command = command;
    options.port_given = app.get_subcommand(name)->count("--port") > 0;
  }
  if (app.got_subcommand("service")) {
    options.command = Command::Service;
    options.service_action = app.get_subcommand("service")->get_subcommands().front()->get_name();
  }
  if (words.version || app.got_subcommand("version")) options.command = Command::Version;
  settle(words, options);
  for (const auto& [name, text] : {std::pair{"--kv-disk", &words.kv_disk},
                                   std::pair{"--kv-disk-daily", &words.kv_disk_daily},
                                   std::pair{"--log-file-size", &words.log_file_size}}) {
    if (text->empty()) continue;
    const auto bytes = bytes_of(*text);
    if (!bytes) return complaint(std::string(name) + " " + *text + " is no size like 8GiB");
    if (text == &words.log_file_size) {
      if (*bytes < kMinLogFileBytes) return complaint("--log-file-size must be 4KiB or more");
      options.log_file.max_bytes = *bytes;
    } else if (text == &words.kv_disk) {
      options.kv_disk_bytes = *bytes;
    } else {
      options.kv_disk_daily_bytes = *bytes;
    }
  }
  if (options.command == Command::Serve && !options.allow_remote &&
      !http::is_loopback_host(options.host)) {
    return complaint("--host " + options.host +
                     " can be reached from other machines, which needs --allow-remote");
  }
  if (!options.tcp && options.unix_socket.empty()) {
    return complaint("--no-tcp needs --unix-socket PATH: nobody could reach the server");
  }
  if (options.upstream.empty() && !options.upstream_model.empty()) {
    return complaint("--upstream-model needs --upstream URL");
  }
  if (!options.upstream.empty() && !options.model.empty()) {
    return complaint("--upstream answers instead of a model here: leave --model out");
  }
  return {.options = std::move(options), .text = {}, .status = kExitDone};
}

}  // namespace pensieve::cli
