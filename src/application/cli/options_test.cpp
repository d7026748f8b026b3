// The command line, argument by argument.
#include "application/cli/options.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pensieve::cli {
namespace {

Options taken(std::vector<std::string> arguments) {
  const auto parsed = parse_command_line(std::move(arguments));
  EXPECT_TRUE(parsed.options) << parsed.text;
  return parsed.options.value_or(Options{});
}

TEST(CommandLine, AloneServesWithTheDefaults) {
  const Options options = taken({});
  EXPECT_EQ(options.command, Command::Serve);
  EXPECT_EQ(options.mode, ModelMode::Auto);
  EXPECT_EQ(options.host, "127.0.0.1");
  EXPECT_EQ(options.port, 7777);
  EXPECT_EQ(options.model, "");
  EXPECT_EQ(options.context, 0);
  EXPECT_EQ(options.threads, 0);
  EXPECT_FALSE(options.kv);
  EXPECT_FALSE(options.log_level);
  EXPECT_EQ(options.log_format, LogFormat::Text);
  EXPECT_FALSE(options.log_prompt_text);
  EXPECT_EQ(options.activations, compute::cpu::Activations::Auto);
  EXPECT_EQ(options.plain_weights, model::PlainWeights::Auto);
}

TEST(CommandLine, KnowsTheThreeModes) {
  EXPECT_EQ(taken({"auto"}).mode, ModelMode::Auto);
  EXPECT_EQ(taken({"skip"}).mode, ModelMode::Skip);
  EXPECT_EQ(taken({"force"}).mode, ModelMode::Force);
  EXPECT_EQ(taken({"skip", "--port", "8080"}).port, 8080);
  EXPECT_EQ(taken({"--port=8080", "skip"}).mode, ModelMode::Skip);
}

TEST(CommandLine, TakesEveryOptionOfTheServer) {
  const Options options =
      taken({"--model", "m.gguf",      "--host",   "localhost",    "--port",
             "0",       "--threads",   "3",        "--context",    "4096",
             "--kv",    "q8",          "--kernel", "scalar",       "--activations",
             "int8",    "--log-level", "debug",    "--log-format", "json"});
  EXPECT_EQ(options.model, "m.gguf");
  EXPECT_EQ(options.host, "localhost");
  EXPECT_EQ(options.port, 0);
  EXPECT_EQ(options.threads, 3);
  EXPECT_EQ(options.context, 4096);
  EXPECT_EQ(options.kv, compute::KvType::Q8);
  EXPECT_EQ(options.kernel, "scalar");
  EXPECT_EQ(options.activations, compute::cpu::Activations::Int8);
  EXPECT_EQ(options.log_level, LogLevel::Debug);
  EXPECT_EQ(options.log_format, LogFormat::JsonLines);
  EXPECT_TRUE(taken({"--log-prompt-text"}).log_prompt_text);
  EXPECT_EQ(taken({"--kv", "f16"}).kv, compute::KvType::F16);
  EXPECT_EQ(taken({"--kv", "f32"}).kv, compute::KvType::F32);
  EXPECT_EQ(taken({"--kv", "q4"}).kv, compute::KvType::Q4);
  EXPECT_EQ(taken({"--kv", "q8/q4"}).kv,
            compute::KvTypes(compute::KvType::Q8, compute::KvType::Q4));
  EXPECT_EQ(taken({"--kv", "q4/f16"}).kv,
            compute::KvTypes(compute::KvType::Q4, compute::KvType::F16));
  EXPECT_FALSE(taken({"--kv", "auto"}).kv);
  EXPECT_EQ(taken({"--activations", "f32"}).activations, compute::cpu::Activations::F32);
  EXPECT_EQ(options.speculation, engine::Speculation::Auto);
  EXPECT_EQ(taken({"--speculation", "off"}).speculation, engine::Speculation::Off);
  EXPECT_EQ(taken({"--weights", "as-is"}).plain_weights, model::PlainWeights::AsIs);
  EXPECT_EQ(taken({"ask", "hi", "--weights", "q8"}).plain_weights, model::PlainWeights::Q8);
}

TEST(CommandLine, TakesALogFile) {
  EXPECT_EQ(taken({}).log_file.path, "");
  const Options options = taken({"--log-file", "p.log", "--log-file-size", "2MB", "--log-files=3"});
  EXPECT_EQ(options.log_file.path, "p.log");
  EXPECT_EQ(options.log_file.max_bytes, std::uint64_t{2} << 20);
  EXPECT_EQ(options.log_file.max_files, 3);
}

TEST(CommandLine, TakesSeveralNamesAndOriginsOneByOne) {
  const Options options = taken({"--allow-host",
                                 "a.lan",
                                 "skip",
                                 "--allow-host=b.lan:8443",
                                 "--allow-origin",
                                 "https://x.lan"});
  EXPECT_EQ(options.allowed_hosts, (std::vector<std::string>{"a.lan", "b.lan:8443"}));
  EXPECT_EQ(options.allowed_origins, std::vector<std::string>{"https://x.lan"});
  EXPECT_EQ(options.mode, ModelMode::Skip);
}

TEST(CommandLine, TakesTheSubcommands) {
  const Options ask = taken({"ask", "show all files", "--model", "tiny", "--max-tokens", "7"});
  EXPECT_EQ(ask.command, Command::Ask);
  EXPECT_EQ(ask.prompt, "show all files");
  EXPECT_EQ(ask.model, "tiny");
  EXPECT_EQ(ask.max_tokens, 7);
  EXPECT_EQ(taken({"ask", "show", "all", "files"}).prompt, "show all files");
  EXPECT_EQ(taken({"ask", "-"}).prompt, "-");
  EXPECT_EQ(taken({"--model", "tiny", "ask", "x"}).model, "tiny");

  const Options trace = taken({"trace", "--until=encode", "--model", "tiny", "r.json"});
  EXPECT_EQ(trace.command, Command::Trace);
  EXPECT_EQ(trace.until, "encode");
  EXPECT_EQ(trace.request_path, "r.json");
  EXPECT_EQ(taken({"trace", "-"}).until, "report");

  const Options inspect = taken({"model", "inspect", "m.gguf", "--json"});
  EXPECT_EQ(inspect.command, Command::ModelInspect);
  EXPECT_EQ(inspect.inspect_path, "m.gguf");
  EXPECT_TRUE(inspect.json);
  EXPECT_EQ(taken({"version"}).command, Command::Version);

  const Options pull = taken({"model", "pull", "hub:a/b", "--name", "n", "--force", "--json"});
  EXPECT_EQ(pull.command, Command::ModelPull);
  EXPECT_EQ(pull.reference, "hub:a/b");
  EXPECT_EQ(pull.name, "n");
  EXPECT_TRUE(pull.again && pull.json);
  EXPECT_EQ(taken({"model", "list"}).command, Command::ModelList);
  EXPECT_EQ(taken({"model", "verify"}).command, Command::ModelVerify);
  EXPECT_EQ(taken({"model", "remove", "x"}).command, Command::ModelRemove);
  EXPECT_EQ(taken({"model", "import", "/m.gguf"}).command, Command::ModelImport);
  EXPECT_EQ(taken({"model", "path", "x"}).command, Command::ModelPath);
}

using Arguments = std::vector<std::string>;

TEST(CommandLine, ClaudeTakesItsOptionsFromTheFrontAndGivesTheRestToTheClient) {
  struct Case {
    Arguments given, server, client;
    int port = 7777;
  };
  const std::vector<Case> cases = {
      {.given = {"claude"}, .server = {}, .client = {}},
      {.given = {"claude", "-p", "hi", "--model", "opus"},
       .server = {},
       .client = {"-p", "hi", "--model", "opus"}},
      {.given = {"claude", "--model", "tiny", "-p", "hi"},
       .server = {"--model", "tiny"},
       .client = {"-p", "hi"}},
      {.given = {"claude", "--model=tiny", "--port", "8080", "--threads=2", "fix", "it"},
       .server = {"--model=tiny", "--threads=2"},
       .client = {"fix", "it"},
       .port = 8080},
      {.given = {"--model", "tiny", "claude", "--port=8080", "mcp", "list"},
       .server = {"--model", "tiny"},
       .client = {"mcp", "list"},
       .port = 8080},
      {.given = {"--port", "1", "claude", "-c"}, .server = {}, .client = {"-c"}, .port = 1},
      {.given = {"claude", "--", "--help"}, .server = {}, .client = {"--help"}},
      {.given = {"claude", "--context", "8192", "--", "--model", "opus", "--", "x"},
       .server = {"--context", "8192"},
       .client = {"--model", "opus", "--", "x"}},
      {.given = {"claude", "-p", "--", "--port", "1"},
       .server = {},
       .client = {"-p", "--", "--port", "1"}},
      {.given = {"claude", "-p", "--help"}, .server = {}, .client = {"-p", "--help"}},
      {.given = {"claude", "skip"}, .server = {}, .client = {"skip"}},
      {.given = {"claude", ""}, .server = {}, .client = {""}},
      {.given = {"claude", "--tools", "Bash", "--port", "1"},
       .server = {},
       .client = {"--tools", "Bash", "--port", "1"}},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(testing::PrintToString(one.given));
    const Options options = taken(one.given);
    EXPECT_EQ(options.command, Command::Claude);
    EXPECT_EQ(options.server_arguments, one.server);
    EXPECT_EQ(options.client_arguments, one.client);
    EXPECT_EQ(options.port, one.port);
    EXPECT_EQ(options.port_given, one.port != 7777);
  }
  EXPECT_EQ(taken({"claude", "--model", "tiny"}).model, "tiny");
}

TEST(CommandLine, ClaudeChecksItsOwnOptionsOnly) {
  for (const Arguments& arguments : std::vector<Arguments>{{"claude", "--port", "x", "-p"},
                                                           {"claude", "--port"},
                                                           {"claude", "--kv=q3"},
                                                           {"skip", "claude"},
                                                           {"--host", "::1", "claude", "-p", "x"},
                                                           {"--host", "::1", "claude"}}) {
    const auto parsed = parse_command_line(arguments);
    EXPECT_FALSE(parsed.options) << testing::PrintToString(arguments);
    EXPECT_EQ(parsed.status, 2);
  }
}

TEST(CommandLine, TheServerCanEndByItselfAndSayWhereItIs) {
  EXPECT_EQ(taken({}).exit_when_idle_minutes, 0);
  EXPECT_EQ(taken({}).state_file, "");
  const Options options = taken({"skip", "--exit-when-idle", "30", "--state-file", "/x/s.json"});
  EXPECT_EQ(options.exit_when_idle_minutes, 30);
  EXPECT_EQ(options.state_file, "/x/s.json");
  EXPECT_FALSE(parse_command_line({"--exit-when-idle", "-1"}).options);
}

TEST(CommandLine, AnUpstreamStandsInForAModel) {
  const Options serve = taken({"--upstream", "http://h:8000", "--upstream-model", "m"});
  EXPECT_EQ(serve.upstream, "http://h:8000");
  EXPECT_EQ(serve.upstream_model, "m");
  EXPECT_EQ(taken({"ask", "--upstream", "http://h", "hi"}).upstream, "http://h");
  const Options claude = taken({"claude", "--upstream", "http://h", "-p", "hi"});
  EXPECT_EQ(claude.upstream, "http://h");
  EXPECT_EQ(claude.server_arguments, (std::vector<std::string>{"--upstream", "http://h"}));
  EXPECT_EQ(claude.client_arguments, (std::vector<std::string>{"-p", "hi"}));
  for (const std::vector<std::string>& wrong :
       std::vector<std::vector<std::string>>{{"--upstream-model", "m"},
                                             {"--upstream", "http://h", "--model", "tiny"},
                                             {"trace", "--upstream", "http://h", "r.json"}}) {
    const auto parsed = parse_command_line(wrong);
    EXPECT_FALSE(parsed.options.has_value());
    EXPECT_EQ(parsed.status, 2);
  }
}

TEST(CommandLine, TheVersionIsACommandAndAFlag) {
  EXPECT_EQ(taken({"version"}).command, Command::Version);
  EXPECT_EQ(taken({"--version"}).command, Command::Version);
}

TEST(CommandLine, BenchTakesListsAndMeasuresTheUsualWithout) {
  const Options usual = taken({"bench"});
  EXPECT_EQ(usual.command, Command::Bench);
  EXPECT_EQ(usual.bench.prompts, (std::vector{512}));
  EXPECT_EQ(usual.bench.generate, 64);
  EXPECT_EQ(usual.bench.depths, (std::vector{0}));
  EXPECT_EQ(usual.bench.batches, (std::vector{1}));
  EXPECT_EQ(usual.bench.repeat, 5);
  const Options options = taken({"bench",
                                 "--model",
                                 "m.gguf",
                                 "--prompt",
                                 "128,512",
                                 "--depth",
                                 "0,2048",
                                 "--batch",
                                 "1,4",
                                 "--generate",
                                 "16",
                                 "--kv",
                                 "q8/q4",
                                 "--threads",
                                 "2",
                                 "--repeat",
                                 "3",
                                 "--json"});
  EXPECT_EQ(options.model, "m.gguf");
  EXPECT_EQ(options.bench.prompts, (std::vector{128, 512}));
  EXPECT_EQ(options.bench.depths, (std::vector{0, 2048}));
  EXPECT_EQ(options.bench.batches, (std::vector{1, 4}));
  EXPECT_EQ(options.bench.generate, 16);
  EXPECT_EQ(options.bench.repeat, 3);
  EXPECT_EQ(options.threads, 2);
  EXPECT_TRUE(options.json);
}

TEST(CommandLine, AnythingElseIsOneSentenceAndStatusTwo) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"serve-me"},
           {"--prot", "80"},
           {"--port", "65536"},
           {"--port", "-1"},
           {"--port", "80x"},
           {"--port"},
           {"--port", "1.5"},
           {"--threads", "0"},
           {"--context", "63"},
           {"bench", "--depth", "-1"},
           {"bench", "--batch", "0"},
           {"bench", "--prompt", "1,x"},
           {"--context", "many"},
           {"--context", "99999999999999999999"},
           {"--kv", "q3"},
           {"--kv", "q8/"},
           {"--kv", "/q4"},
           {"--kv", "q8/q4/q4"},
           {"--kv", "q8/auto"},
           {"--speculation", "always"},
           {"--activations", "f16"},
           {"--weights", "q4"},
           {"--log-level", "loud"},
           {"--log-file-size", "4095"},
           {"--log-file-size", "off"},
           {"--log-files", "0"},
           {"--log-format", "xml"},
           {"auto", "skip"},
           {"ask"},
           {"ask", "x", "--temperature", "3"},
           {"ask", "x", "--max-tokens", "0"},
           {"ask", "x", "--port", "80"},
           {"trace"},
           {"trace", "--until=think", "r.json"},
           {"trace", "a.json", "b.json"},
           {"model"},
           {"model", "inspect"},
           {"model", "forget", "x"},
           {"version", "--json"},
       }) {
    std::string line;
    for (const auto& argument : arguments) line += argument + ' ';
    SCOPED_TRACE(line);
    const auto parsed = parse_command_line(arguments);
    EXPECT_FALSE(parsed.options);
    EXPECT_EQ(parsed.status, 2);
    EXPECT_TRUE(parsed.text.starts_with("pensieve: ")) << parsed.text;
    EXPECT_EQ(parsed.text.find('\n'), std::string::npos) << parsed.text;
    EXPECT_LT(parsed.text.size(), 200u) << parsed.text;
  }
}

TEST(CommandLine, AWrongModelCommandIsToldWhichOnesThereAre) {
  const std::string forget = parse_command_line({"model", "forget", "x"}).text;
  EXPECT_NE(forget.find("'forget'"), std::string::npos) << forget;
  for (const std::string& text : {forget, parse_command_line({"model"}).text}) {
    for (const char* word : {"list", "pull", "verify", "remove", "import", "path", "inspect"}) {
      EXPECT_NE(text.find(word), std::string::npos) << text;
    }
    EXPECT_NE(text.find("`pensieve model --help`"), std::string::npos) << text;
  }
  const std::string pull = parse_command_line({"model", "pull", "--forse"}).text;
  EXPECT_NE(pull.find("--forse"), std::string::npos) << pull;
  EXPECT_NE(pull.find("`pensieve model pull --help`"), std::string::npos) << pull;
}

TEST(CommandLine, TheHelpOfAModelCommandIsAboutItAlone) {
  for (const char* command : {"list", "pull", "verify", "remove", "import", "path"}) {
    const auto parsed = parse_command_line({"model", command, "--help"});
    EXPECT_EQ(parsed.status, 0);
    EXPECT_NE(parsed.text.find("--json"), std::string::npos) << parsed.text;
    EXPECT_EQ(parsed.text.find("pensieve claude"), std::string::npos) << parsed.text;
  }
}

TEST(CommandLine, HelpIsThereForEveryCommandWithExamples) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"--help"},
                                             {"-h"},
                                             {"ask", "--help"},
                                             {"trace", "--help"},
                                             {"bench", "--help"},
                                             {"claude", "--help"},
                                             {"claude", "--port", "1", "-h"},
                                             {"model", "--help"},
                                             {"model", "pull", "--help"},
                                             {"model", "import", "--help"},
                                             {"model", "path", "--help"},
                                             {"model", "inspect", "--help"}}) {
    const auto parsed = parse_command_line(arguments);
    EXPECT_FALSE(parsed.options);
    EXPECT_EQ(parsed.status, 0);
    EXPECT_NE(parsed.text.find("Example"), std::string::npos) << parsed.text;
  }
  const std::string main_help = parse_command_line({"--help"}).text;
  for (const char* word : {"--model",          "--port",
                           "--host",           "--threads",
                           "--context",        "--kv",
                           "--kernel",         "--activations",
                           "--weights",        "--log-level",
                           "--log-format",     "--allow-remote",
                           "--exit-when-idle", "--state-file",
                           "--speculation",    "ask",
                           "claude",           "trace",
                           "version",          "Exit status",
                           "PENSIEVE_HOME",    "PENSIEVE_TOKEN",
                           "--unix-socket",    "--no-tcp",
                           "status",           "stop",
                           "doctor",           "service",
                           "--log-file",       "--log-file-size",
                           "--log-files"}) {
    EXPECT_NE(main_help.find(word), std::string::npos) << word;
  }
  EXPECT_NE(parse_command_line({"ask", "--help"}).text.find("--max-tokens"), std::string::npos);
}

TEST(CommandLine, TakesAUnixSocketBesideThePortOrAlone) {
  EXPECT_TRUE(taken({}).tcp);
  const Options beside = taken({"--unix-socket", "/run/user/1000/pensieve"});
  EXPECT_TRUE(beside.tcp);
  EXPECT_EQ(beside.unix_socket, "/run/user/1000/pensieve");
  EXPECT_FALSE(taken({"--unix-socket", "/s", "--no-tcp"}).tcp);
  EXPECT_EQ(parse_command_line({"--no-tcp"}).status, 2);
}

TEST(CommandLine, TakesTheCommandsAboutServersThatRun) {
  EXPECT_EQ(taken({"status"}).command, Command::Status);
  EXPECT_FALSE(taken({"status"}).port_given);
  EXPECT_TRUE(taken({"status", "--port", "8080", "--json"}).json);
  EXPECT_EQ(taken({"stop", "--port", "8080"}).port, 8080);
  EXPECT_TRUE(taken({"stop", "--port", "8080"}).port_given);
  EXPECT_TRUE(taken({"stop", "--all"}).all);
  const Options doctor = taken({"doctor", "--deep", "--network", "--model", "m"});
  EXPECT_EQ(doctor.command, Command::Doctor);
  EXPECT_TRUE(doctor.deep && doctor.ask_network);
  EXPECT_EQ(doctor.model, "m");
  EXPECT_FALSE(taken({"doctor"}).ask_network);
  for (const std::vector<std::string>& wrong :
       {std::vector<std::string>{"status", "--port", "0"}, {"stop", "now"}, {"doctor", "--fix"}}) {
    EXPECT_EQ(parse_command_line(wrong).status, 2) << wrong.back();
  }
}

// What stands behind `install` is the server's own command line, checked as such and kept.
TEST(CommandLine, AServiceKeepsTheOptionsOfAServer) {
  const Options install =
      taken({"service", "install", "skip", "--model", "tiny", "--port", "8080", "--context=2048"});
  EXPECT_EQ(install.command, Command::Service);
  EXPECT_EQ(install.service_action, "install");
  EXPECT_EQ(install.mode, ModelMode::Skip);
  EXPECT_EQ(install.model, "tiny");
  EXPECT_EQ(
      install.server_arguments,
      (std::vector<std::string>{"skip", "--model", "tiny", "--port", "8080", "--context=2048"}));
  EXPECT_TRUE(taken({"service", "install"}).server_arguments.empty());
  for (const char* action : {"uninstall", "start", "stop", "restart", "status", "logs"}) {
    EXPECT_EQ(taken({"service", action}).service_action, action);
    EXPECT_TRUE(taken({"service", action}).follow);
  }
  EXPECT_FALSE(taken({"service", "logs", "--no-follow"}).follow);
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{"service"},
                                                {"service", "reinstall"},
                                                {"service", "start", "--port", "1"},
                                                {"service", "install", "--prot", "1"},
                                                {"service", "install", "claude"},
                                                {"service", "install", "service", "install"},
                                                {"service", "install", "--host", "0.0.0.0"}}) {
    const auto refused = parse_command_line(wrong);
    EXPECT_FALSE(refused.options.has_value()) << wrong.back();
    EXPECT_EQ(refused.status, 2) << wrong.back();
    EXPECT_EQ(refused.text.find('\n'), std::string::npos) << refused.text;
  }
  EXPECT_EQ(parse_command_line({"service", "install", "--help"}).status, 0);
}

TEST(CommandLine, AnAddressOthersCanReachNeedsItsFlag) {
  for (const char* host : {"0.0.0.0", "192.168.1.5", "::", "example.com", "128.0.0.1"}) {
    const auto parsed = parse_command_line({"--host", host});
    EXPECT_FALSE(parsed.options) << host;
    EXPECT_EQ(parsed.status, 2);
    EXPECT_NE(parsed.text.find("--allow-remote"), std::string::npos) << parsed.text;
    EXPECT_EQ(taken({"--host", host, "--allow-remote"}).host, host);
  }
  for (const char* host : {"127.0.0.1", "127.1.2.3", "localhost", "::1"}) {
    EXPECT_EQ(taken({"--host", host}).host, host);
  }
}

}  // namespace
}  // namespace pensieve::cli
