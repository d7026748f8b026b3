#include "foundation/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>

#include "foundation/text.h"

namespace pensieve {
namespace {

std::atomic<LogFormat> g_format{LogFormat::Text};

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::Debug:
      return spdlog::level::debug;
    case LogLevel::Info:
      return spdlog::level::info;
    case LogLevel::Warning:
      return spdlog::level::warn;
    case LogLevel::Error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = std::make_shared<spdlog::logger>("pensieve",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%e %-7l %v");
    made->flush_on(spdlog::level::debug);
    // A closed or full standard error must not end the server, nor be reported on it.
    made->set_error_handler([](const std::string&) {});
    return made;
  }();
  return *instance;
}

std::string json_escaped(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (const char c : replace_invalid_utf8(text)) {
    const auto u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (u < 0x20 || u == 0x7F) {
      out += "\\u00";
      out += kHex[u >> 4];
      out += kHex[u & 15];
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

void configure_log(LogLevel level, LogFormat format) {
  g_format = format;
  logger().set_level(to_spdlog(level));
  logger().set_pattern(format == LogFormat::JsonLines
                           ? R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l",%v})"
                           : "%Y-%m-%dT%H:%M:%S.%e %-7l %v");
}

bool log_enabled(LogLevel level) {
  return logger().should_log(to_spdlog(level));
}

void log(LogLevel level, std::string_view message, std::string_view request_id) {
  if (!log_enabled(level)) return;
  std::string line;
  if (g_format == LogFormat::JsonLines) {
    line = "\"message\":\"" + json_escaped(message) + '"';
    if (!request_id.empty()) line += ",\"request_id\":\"" + json_escaped(request_id) + '"';
  } else {
    line = printable(message, 4096);
    if (!request_id.empty()) line += " [" + printable(request_id, 128) + "]";
  }
  logger().log(to_spdlog(level), "{}", line);
}

}  // namespace pensieve
