#include "application/cli/client_environment.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "foundation/json.h"

namespace pensieve::cli {
namespace {

constexpr int kMostOutputTokens = 32'000;  // what the client asks for by itself
constexpr int kLeastOutputTokens = 1'024;
constexpr const char* kTimeoutMs = "3600000";  // a long prefill on a laptop, with room to spare
constexpr std::uint64_t kSmallModelParameters = 8'000'000'000;
constexpr int kSmallWindow = 49'152;

// Switches that send the client to another provider.
constexpr std::array<std::string_view, 8> kProviders{"CLAUDE_CODE_USE_BEDROCK",
                                                     "CLAUDE_CODE_USE_VERTEX",
                                                     "CLAUDE_CODE_USE_FOUNDRY",
                                                     "CLAUDE_CODE_USE_MANTLE",
                                                     "CLAUDE_CODE_USE_GATEWAY",
                                                     "CLAUDE_CODE_USE_ANTHROPIC_AWS",
                                                     "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD",
                                                     "CLAUDE_CODE_API_BASE_URL"};

std::string_view name_of(std::string_view variable) {
  return variable.substr(0, variable.find('='));
}

// The answer's share of the window. The client keeps it and a fixed room free before it compacts:
// with the 32,000 it takes by itself nothing would be left of a small window.
int output_tokens(const ClientServer& server) {
  return std::clamp(server.context_length / 8, kLeastOutputTokens, kMostOutputTokens);
}

// Of names that begin with "claude-" the client believes that it knows the window.
std::string model_name(const std::string& id) {
  return id.starts_with("claude") ? "local-" + id : id;
}

bool is_option(const std::string& argument, std::string_view option) {
  return argument == option || (argument.starts_with(option) && argument[option.size()] == '=');
}

bool has_option(const std::vector<std::string>& arguments, std::string_view option) {
  return std::any_of(arguments.begin(), arguments.end(), [&](const std::string& argument) {
    return is_option(argument, option);
  });
}

}  // namespace

std::vector<Variable> client_variables(const ClientServer& server) {
  const std::string model = model_name(server.model);
  return {
      {.name = "ANTHROPIC_BASE_URL", .value = server.url},
      {.name = "ANTHROPIC_AUTH_TOKEN", .value = server.token},
      {.name = "ANTHROPIC_MODEL", .value = model},
      {.name = "ANTHROPIC_DEFAULT_OPUS_MODEL", .value = model},
      {.name = "ANTHROPIC_DEFAULT_SONNET_MODEL", .value = model},
      {.name = "ANTHROPIC_DEFAULT_HAIKU_MODEL", .value = model},
      {.name = "ANTHROPIC_DEFAULT_FABLE_MODEL", .value = model},
      {.name = "CLAUDE_CODE_SUBAGENT_MODEL", .value = model},
      {.name = "CLAUDE_CODE_MAX_CONTEXT_TOKENS", .value = std::to_string(server.context_length)},
      {.name = "CLAUDE_CODE_MAX_OUTPUT_TOKENS", .value = std::to_string(output_tokens(server))},
      {.name = "CLAUDE_CODE_ATTRIBUTION_HEADER", .value = "0"},
      {.name = "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", .value = "1"},
      {.name = "CLAUDE_STREAM_IDLE_TIMEOUT_MS", .value = kTimeoutMs},
      {.name = "API_TIMEOUT_MS", .value = kTimeoutMs}};
}

bool leads_elsewhere(const std::string& name) {
  // Everything under this prefix says where requests go, as whom, or for which model.
  return name.starts_with("ANTHROPIC_") || name.starts_with("CLAUDE_CODE_OAUTH_") ||
         std::find(kProviders.begin(), kProviders.end(), name) != kProviders.end();
}

std::vector<std::string> client_environment(const std::vector<std::string>& inherited,
                                            const ClientServer& server) {
  const std::vector<Variable> ours = client_variables(server);
  const auto is_ours = [&](std::string_view name) {
    return std::any_of(
        ours.begin(), ours.end(), [&](const Variable& variable) { return variable.name == name; });
  };
  std::vector<std::string> environment;
  std::array<std::pair<std::string_view, std::string>, 2> exceptions{
      {{"NO_PROXY", "127.0.0.1,localhost"}, {"no_proxy", "127.0.0.1,localhost"}}};
  for (const std::string& variable : inherited) {
    const std::string name(name_of(variable));
    // The key of another server is for ours alone, not for the client and every tool it runs.
    if (leads_elsewhere(name) || is_ours(name) || name == "PENSIEVE_UPSTREAM_KEY") continue;
    bool kept_apart = false;
    for (auto& [exception, value] : exceptions) {
      if (name != exception) continue;
      kept_apart = true;
      if (variable.size() > name.size() + 1) value += "," + variable.substr(name.size() + 1);
    }
    if (!kept_apart) environment.push_back(variable);
  }
  for (const auto& [name, value] : exceptions)
    environment.push_back(std::string(name) + "=" + value);
  for (const Variable& variable : ours) environment.push_back(variable.name + "=" + variable.value);
  return environment;
}

std::string client_settings(const ClientServer& server) {
  Json env = Json::object();
  // Empty is "not set" to the client; there is no way to take a variable out of another file.
  for (const std::string_view name : kProviders) env[std::string(name)] = "";
  env["ANTHROPIC_API_KEY"] = "";
  env["ANTHROPIC_CUSTOM_HEADERS"] = "";
  env["ANTHROPIC_UNIX_SOCKET"] = "";
  for (const Variable& variable : client_variables(server)) env[variable.name] = variable.value;
  return Json{{"env", std::move(env)}}.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::vector<std::string> client_arguments(const std::vector<std::string>& arguments,
                                          const std::string& settings_path) {
  std::vector<std::string> all;
  if (!has_option(arguments, "--permission-mode") &&
      !has_option(arguments, "--dangerously-skip-permissions")) {
    all = {"--permission-mode", "default"};
  }
  if (!settings_path.empty() && !has_option(arguments, "--settings")) {
    all.emplace_back("--settings");
    all.push_back(settings_path);
  }
  all.insert(all.end(), arguments.begin(), arguments.end());
  return all;
}

bool needs_fewer_tools(const ClientServer& server, const std::vector<std::string>& arguments) {
  const bool small = (server.parameters > 0 && server.parameters < kSmallModelParameters) ||
                     server.context_length < kSmallWindow;
  const std::array<std::string_view, 4> moot{"--tools", "--bare", "--version", "--help"};
  return small && std::none_of(moot.begin(), moot.end(), [&](std::string_view option) {
           return has_option(arguments, option);
         });
}

}  // namespace pensieve::cli
