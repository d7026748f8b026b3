// The texts for the init systems. How systemd itself reads the unit is held by
// tests/e2e/test_service.py; here a reader of the quoting rules of systemd.syntax(7) and
// systemd.service(5) takes the words back out.
#include "application/cli/service_units.h"

#include <gtest/gtest.h>

#include <sstream>

namespace pensieve::cli {
namespace {

// The words of a value as systemd.syntax(7), "Quoting", has them: between double quotes, with
// C escapes; then "%%" is '%' and, on a command line, "$$" is '$'.
std::vector<std::string> words_of(const std::string& value, bool command_line) {
  std::vector<std::string> words;
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (value[i] == ' ') continue;
    EXPECT_EQ(value[i], '"');
    std::string word;
    for (++i; i < value.size() && value[i] != '"'; ++i) {
      const char c = value[i];
      if (c == '\\' && value[i + 1] == 'x') {
        word += static_cast<char>(std::stoi(value.substr(i + 2, 2), nullptr, 16));
        i += 3;
      } else if (c == '\\') {
        word += value[++i];
      } else if (c == '%' || (c == '$' && command_line)) {
        EXPECT_EQ(value[i + 1], c) << "a specifier or variable in " << value;
        word += value[++i];
      } else {
        word += c;
      }
    }
    words.push_back(word);
  }
  return words;
}

std::string value_of(const std::string& unit, const std::string& key) {
  std::istringstream lines(unit);
  std::string line;
  while (std::getline(lines, line)) {
    if (line.starts_with(key + "=")) return line.substr(key.size() + 1);
  }
  return "not there";
}

const std::vector<std::string> kHardArguments = {"--model",
                                                 "/home/a b/100% \"best\" \\model.gguf",
                                                 "--upstream",
                                                 "http://h:1/$HOME/${X}",
                                                 "line\nend",
                                                 "tab\tend",
                                                 "'single'",
                                                 "",
                                                 "ünïcode",
                                                 ";"};

TEST(SystemdUnit, KeepsEveryWordAsItIs) {
  const std::string unit = systemd_unit({.program = "/opt/a b/pensieve",
                                         .arguments = kHardArguments,
                                         .variables = {"PENSIEVE_HOME=/a \"b\"/50%$x"}},
                                        252);
  auto words = words_of(value_of(unit, "ExecStart"), true);
  ASSERT_EQ(words.size(), kHardArguments.size() + 1);
  EXPECT_EQ(words.front(), "/opt/a b/pensieve");
  words.erase(words.begin());
  EXPECT_EQ(words, kHardArguments);
  EXPECT_EQ(words_of(value_of(unit, "Environment"), false),
            std::vector<std::string>{"PENSIEVE_HOME=/a \"b\"/50%$x"});
}

TEST(SystemdUnit, BacksOffWhereSystemdKnowsHow) {
  const ServiceSpec spec{.program = "/p", .arguments = {}, .variables = {}};
  // RestartSteps= and RestartMaxDelaySec= came with 254 (systemd.service(5)).
  EXPECT_EQ(value_of(systemd_unit(spec, 253), "RestartSteps"), "not there");
  EXPECT_EQ(value_of(systemd_unit(spec, 253), "RestartSec"), "10s");
  EXPECT_EQ(value_of(systemd_unit(spec, 254), "RestartMaxDelaySec"), "5min");
  EXPECT_EQ(value_of(systemd_unit(spec, 254), "RestartSec"), "1s");
  for (const int version : {0, 252, 256}) {
    const std::string unit = systemd_unit(spec, version);
    EXPECT_EQ(value_of(unit, "Restart"), "on-failure");
    EXPECT_EQ(value_of(unit, "StartLimitIntervalSec"), "0") << "it never gives up for good";
    EXPECT_EQ(value_of(unit, "Type"), "notify");
    EXPECT_EQ(value_of(unit, "RestartPreventExitStatus"), "2 3");
  }
}

TEST(SystemdUnit, ReadsVersions) {
  EXPECT_EQ(systemd_version_of("252 (252.38-1~deb12u1)"), 252);
  EXPECT_EQ(systemd_version_of("v256.7"), 256);
  EXPECT_EQ(systemd_version_of("257~rc1"), 257);
  EXPECT_EQ(systemd_version_of(""), 0);
  EXPECT_EQ(systemd_version_of("unknown"), 0);
}

// launchd.plist(5); the text is XML 1.0.
TEST(LaunchAgent, EscapesWhatXmlWouldRead) {
  const std::string text = launch_agent({.program = "/p & q/<pensieve>",
                                         .arguments = {"--model", "a\x01]]>\"'b"},
                                         .variables = {"A=1=2"},
                                         .log = "/log"});
  EXPECT_NE(text.find("<string>/p &amp; q/&lt;pensieve&gt;</string>"), std::string::npos);
  EXPECT_NE(text.find("<string>a]]&gt;\"'b</string>"), std::string::npos);
  EXPECT_NE(text.find("<key>A</key>\n    <string>1=2</string>"), std::string::npos);
  EXPECT_NE(
      text.find("<key>KeepAlive</key>\n  <dict>\n    <key>SuccessfulExit</key>\n    <false/>"),
      std::string::npos);
}

}  // namespace
}  // namespace pensieve::cli
