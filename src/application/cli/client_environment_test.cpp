// What the client is told. The variables are those that Claude Code 2.1.197 and 2.1.329 were seen
// to need; tests/e2e/test_launcher.py shows that they work.
#include "application/cli/client_environment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "foundation/json.h"

namespace pensieve::cli {
namespace {

ClientServer a_server() {
  return {.url = "http://127.0.0.1:7777",
          .token = "secret-token",
          .model = "phi-3-mini",
          .context_length = 65'536,
          .parameters = 3'800'000'000};
}

std::map<std::string, std::string> as_map(const std::vector<std::string>& environment) {
  std::map<std::string, std::string> variables;
  for (const std::string& variable : environment) {
    const auto equals = variable.find('=');
    EXPECT_TRUE(variables.emplace(variable.substr(0, equals), variable.substr(equals + 1)).second)
        << variable << " stands there twice";
  }
  return variables;
}

TEST(ClientEnvironment, HoldsAddressTokenModelAndWindow) {
  const auto variables = as_map(client_environment({"PATH=/bin", "HOME=/home/x"}, a_server()));
  EXPECT_EQ(variables.at("PATH"), "/bin");
  EXPECT_EQ(variables.at("HOME"), "/home/x");
  EXPECT_EQ(variables.at("ANTHROPIC_BASE_URL"), "http://127.0.0.1:7777");
  EXPECT_EQ(variables.at("ANTHROPIC_AUTH_TOKEN"), "secret-token");
  EXPECT_EQ(variables.at("CLAUDE_CODE_MAX_CONTEXT_TOKENS"), "65536");
  EXPECT_EQ(variables.at("CLAUDE_CODE_MAX_OUTPUT_TOKENS"), "8192");
  EXPECT_EQ(variables.at("CLAUDE_CODE_ATTRIBUTION_HEADER"), "0");
  EXPECT_EQ(variables.at("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"), "1");
  for (const char* name : {"ANTHROPIC_MODEL",
                           "ANTHROPIC_DEFAULT_OPUS_MODEL",
                           "ANTHROPIC_DEFAULT_SONNET_MODEL",
                           "ANTHROPIC_DEFAULT_HAIKU_MODEL",
                           "ANTHROPIC_DEFAULT_FABLE_MODEL",
                           "CLAUDE_CODE_SUBAGENT_MODEL"}) {
    EXPECT_EQ(variables.at(name), "phi-3-mini") << name;
  }
  // The client's own limits are 300 s without a byte and 600 s for a request.
  EXPECT_GT(std::stol(variables.at("CLAUDE_STREAM_IDLE_TIMEOUT_MS")), 600'000);
  EXPECT_GT(std::stol(variables.at("API_TIMEOUT_MS")), 600'000);
}

TEST(ClientEnvironment, LetsNothingLeadTheClientElsewhere) {
  const std::vector<std::string> elsewhere = {"ANTHROPIC_API_KEY=k",
                                              "ANTHROPIC_BASE_URL=https://gateway.example",
                                              "ANTHROPIC_AUTH_TOKEN=other",
                                              "ANTHROPIC_CUSTOM_HEADERS=x: y",
                                              "ANTHROPIC_UNIX_SOCKET=/run/x",
                                              "ANTHROPIC_BEDROCK_BASE_URL=https://b.example",
                                              "ANTHROPIC_SMALL_FAST_MODEL=m",
                                              "ANTHROPIC_MODEL=other",
                                              "CLAUDE_CODE_USE_BEDROCK=1",
                                              "CLAUDE_CODE_USE_VERTEX=1",
                                              "CLAUDE_CODE_USE_FOUNDRY=1",
                                              "CLAUDE_CODE_OAUTH_TOKEN=t",
                                              "PENSIEVE_UPSTREAM_KEY=k",
                                              "CLAUDE_CODE_MAX_CONTEXT_TOKENS=1"};
  EXPECT_EQ(as_map(client_environment(elsewhere, a_server())),
            as_map(client_environment({}, a_server())));
  const std::vector<std::string> kept = {
      "CLAUDE_CONFIG_DIR=/x", "AWS_PROFILE=work", "EDITOR=vi", "ANTHROPICS=1", "EMPTY=", "A=b=c"};
  const auto variables = as_map(client_environment(kept, a_server()));
  EXPECT_EQ(variables.at("CLAUDE_CONFIG_DIR"), "/x");
  EXPECT_EQ(variables.at("AWS_PROFILE"), "work");
  EXPECT_EQ(variables.at("EDITOR"), "vi");
  EXPECT_EQ(variables.at("ANTHROPICS"), "1");
  EXPECT_EQ(variables.at("EMPTY"), "");
  EXPECT_EQ(variables.at("A"), "b=c");
}

TEST(ClientEnvironment, GoesRoundTheProxyForThisMachineOnly) {
  const auto variables = as_map(
      client_environment({"HTTPS_PROXY=http://proxy:3128", "no_proxy=.corp,10.0.0.1"}, a_server()));
  EXPECT_EQ(variables.at("HTTPS_PROXY"), "http://proxy:3128");
  EXPECT_EQ(variables.at("NO_PROXY"), "127.0.0.1,localhost");
  EXPECT_EQ(variables.at("no_proxy"), "127.0.0.1,localhost,.corp,10.0.0.1");
}

// The client keeps room for the answer and 13,000 tokens more before it compacts.
TEST(ClientEnvironment, TheAnswersShareGrowsWithTheWindow) {
  const auto share = [](int window) {
    ClientServer server = a_server();
    server.context_length = window;
    return as_map(client_environment({}, server)).at("CLAUDE_CODE_MAX_OUTPUT_TOKENS");
  };
  EXPECT_EQ(share(4'096), "1024");
  EXPECT_EQ(share(32'768), "4096");
  EXPECT_EQ(share(131'072), "16384");
  EXPECT_EQ(share(1'000'000), "32000");
}

TEST(ClientEnvironment, NeverUsesANameWhoseWindowTheClientThinksItKnows) {
  ClientServer server = a_server();
  server.model = "claude-at-home";
  EXPECT_EQ(as_map(client_environment({}, server)).at("ANTHROPIC_MODEL"), "local-claude-at-home");
}

TEST(ClientSettings, SayTheSameAndUnsetTheProviders) {
  const auto settings = parse_json(client_settings(a_server()));
  ASSERT_TRUE(settings.has_value());
  ASSERT_EQ(settings->size(), 1u);
  const Json& env = (*settings)["env"];
  for (const Variable& variable : client_variables(a_server())) {
    EXPECT_EQ(env[variable.name], variable.value);
  }
  for (const char* name :
       {"ANTHROPIC_API_KEY", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"}) {
    EXPECT_EQ(env[name], "") << name;
  }
}

using Words = std::vector<std::string>;

TEST(ClientArguments, GetPermissionModeAndSettingsUnlessGiven) {
  EXPECT_EQ(client_arguments({"-p", "hi"}, "/s"),
            (Words{"--permission-mode", "default", "--settings", "/s", "-p", "hi"}));
  EXPECT_EQ(client_arguments({"--permission-mode", "plan"}, "/s"),
            (Words{"--settings", "/s", "--permission-mode", "plan"}));
  EXPECT_EQ(client_arguments({"--permission-mode=plan", "--settings={}"}, "/s"),
            (Words{"--permission-mode=plan", "--settings={}"}));
  EXPECT_EQ(client_arguments({"--dangerously-skip-permissions"}, ""),
            (Words{"--dangerously-skip-permissions"}));
  EXPECT_EQ(client_arguments({"--permission-modest"}, ""),
            (Words{"--permission-mode", "default", "--permission-modest"}));
}

TEST(ClientArguments, AdviceOnToolsIsForSmallModelsAndWindowsOnly) {
  EXPECT_TRUE(needs_fewer_tools(a_server(), {}));
  EXPECT_TRUE(needs_fewer_tools(a_server(), {"-p", "hi"}));
  for (const char* own : {"--tools", "--tools=Bash", "--bare", "--version", "--help"}) {
    EXPECT_FALSE(needs_fewer_tools(a_server(), {own})) << own;
  }
  ClientServer large = a_server();
  large.parameters = 30'000'000'000;
  EXPECT_FALSE(needs_fewer_tools(large, {}));
  large.context_length = 32'768;
  EXPECT_TRUE(needs_fewer_tools(large, {}));
  ClientServer unknown = a_server();
  unknown.parameters = 0;
  EXPECT_FALSE(needs_fewer_tools(unknown, {}));
}

}  // namespace
}  // namespace pensieve::cli
