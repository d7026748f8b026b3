#include "application/cli/service_units.h"

#include <span>
#include <string_view>

#include "foundation/text.h"

namespace pensieve::cli {
namespace {

// '%' begins a specifier everywhere in a unit (systemd.unit(5), "Specifiers").
std::string without_specifiers(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '%') out += '%';
    out += c;
  }
  return out;
}

// One word between double quotes (systemd.syntax(7), "Quoting"). On a command line '$' begins a
// variable and "$$" stands for it (systemd.service(5), "Command lines").
std::string quoted(std::string_view text, bool command_line) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      out += "\\x" + hex(std::span(&byte, 1));
    } else {
      if (c == '%' || (c == '$' && command_line)) out += c;
      out += c;
    }
  }
  return out + "\"";
}

// XML 1.0, 2.4: what has a meaning of its own in text. Control characters cannot stand there at
// all.
std::string xml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (static_cast<unsigned char>(c) >= 0x20 || c == '\t' || c == '\n') {
      out += c;
    }
  }
  return out;
}

std::string string_element(std::string_view text) {
  return "<string>" + xml(text) + "</string>\n";
}

}  // namespace

std::string systemd_unit(const ServiceSpec& spec, int systemd_version) {
  std::string command = quoted(spec.program, false);
  for (const std::string& argument : spec.arguments) command += " " + quoted(argument, true);
  std::string text =
      "# Written by `pensieve service install`, which replaces it.\n"
      "[Unit]\n"
      "Description=Pensieve, a local server for large language models\n"
      "StartLimitIntervalSec=0\n"
      "\n"
      "[Service]\n"
      "Type=notify\n"
      "ExecStart=" +
      command + "\n";
  for (const std::string& variable : spec.variables)
    text += "Environment=" + quoted(variable, false) + "\n";
  if (!spec.secrets_file.empty())
    text += "EnvironmentFile=-" + without_specifiers(spec.secrets_file) + "\n";
  text +=
      "Restart=on-failure\n"
      "RestartPreventExitStatus=2 3\n";
  text += systemd_version >= 254 ? "RestartSec=1s\nRestartSteps=9\nRestartMaxDelaySec=5min\n"
                                 : "RestartSec=10s\n";
  // Starting may mean fetching a model. Ending: 30 s for running answers, and what is written back.
  text +=
      "WatchdogSec=60s\n"
      "TimeoutStartSec=infinity\n"
      "TimeoutStopSec=60s\n"
      "OOMScoreAdjust=300\n"
      "NoNewPrivileges=yes\n"
      "LimitCORE=0\n"
      "UMask=0077\n"
      "\n"
      "[Install]\n"
      "WantedBy=default.target\n";
  return text;
}

std::string launch_agent(const ServiceSpec& spec) {
  std::string text =
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" "
      "\"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n"
      "<plist version=\"1.0\">\n"
      "<dict>\n"
      "  <key>Label</key>\n  " +
      string_element(kLaunchLabel) +
      "  <key>ProgramArguments</key>\n"
      "  <array>\n    " +
      string_element(spec.program);
  for (const std::string& argument : spec.arguments) text += "    " + string_element(argument);
  text += "  </array>\n";
  if (!spec.variables.empty()) {
    text += "  <key>EnvironmentVariables</key>\n  <dict>\n";
    for (const std::string& variable : spec.variables) {
      const std::size_t equals = variable.find('=');
      text += "    <key>" + xml(variable.substr(0, equals)) + "</key>\n    " +
              string_element(std::string_view(variable).substr(equals + 1));
    }
    text += "  </dict>\n";
  }
  return text +
         "  <key>RunAtLoad</key>\n  <true/>\n"
         "  <key>KeepAlive</key>\n  <dict>\n    <key>SuccessfulExit</key>\n    <false/>\n  "
         "</dict>\n"
         "  <key>ThrottleInterval</key>\n  <integer>10</integer>\n"
         "  <key>ExitTimeOut</key>\n  <integer>60</integer>\n"
         "  <key>Umask</key>\n  <integer>63</integer>\n"  // 077
         "  <key>StandardOutPath</key>\n  " +
         string_element(spec.log) + "  <key>StandardErrorPath</key>\n  " +
         string_element(spec.log) + "</dict>\n</plist>\n";
}

int systemd_version_of(const std::string& text) {
  int version = 0;
  for (std::size_t i = text.starts_with('v') ? 1 : 0; i < text.size() && version < 100'000; ++i) {
    if (text[i] < '0' || text[i] > '9') break;
    version = version * 10 + (text[i] - '0');
  }
  return version;
}

}  // namespace pensieve::cli
