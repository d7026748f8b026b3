// What Claude Code must be told so that it talks to this server and to nothing else: environment
// variables, a settings text and command line arguments. Pure functions on strings: nothing is read
// from this process and nothing set in it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pensieve::cli {

// The server that the client will use, as /health describes it.
struct ClientServer {
  std::string url;  // "http://127.0.0.1:7777"
  std::string token;
  std::string model;             // the loaded model's id
  int context_length = 0;        // tokens
  std::uint64_t parameters = 0;  // weights; 0: unknown
};

struct Variable {
  std::string name;
  std::string value;
};

// The variables the client gets, the token among them. The model's name is the loaded model's,
// since the client believes a window that it is told only for models it does not know.
std::vector<Variable> client_variables(const ClientServer& server);

// Whether a variable of the caller's environment must not reach the client, because it names
// another provider, address, credential or model.
bool leads_elsewhere(const std::string& name);

// The client's whole environment as "NAME=value": `inherited` without what leads elsewhere, then
// client_variables(). Proxies stay for the tools it runs, with NO_PROXY widened by this machine.
std::vector<std::string> client_environment(const std::vector<std::string>& inherited,
                                            const ClientServer& server);

// The same as the client's settings (JSON): what stands under "env" in the user's or the project's
// settings files beats the environment, and only settings named on the command line beat those.
std::string client_settings(const ClientServer& server);

// `arguments` with what the client needs in front: `--permission-mode default` and `--settings
// settings_path`, each unless the caller chose.
std::vector<std::string> client_arguments(const std::vector<std::string>& arguments,
                                          const std::string& settings_path);

// Whether to advise fewer tools: a model of less than 8 billion weights, or a window that the
// default tools (about 11,000 tokens) and the room for compaction nearly fill; unless the arguments
// name tools already or start no session.
bool needs_fewer_tools(const ClientServer& server, const std::vector<std::string>& arguments);

}  // namespace pensieve::cli
