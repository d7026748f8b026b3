// The log: structured lines to standard error, text for people or JSON for machines (spdlog behind
// it). Any thread. Never prompt text, never a token; request ids are welcome. Not from the engine
// thread per token.
#pragma once

#include <string>
#include <string_view>

namespace pensieve {

enum class LogLevel { Debug, Info, Warning, Error };
enum class LogFormat { Text, JsonLines };

// Sets level and format for the process. Before it is called: Info, Text.
void configure_log(LogLevel level, LogFormat format);
bool log_enabled(LogLevel level);

// Control characters in `message` and `request_id` are escaped, so that nobody outside can forge a
// line.
void log(LogLevel level, std::string_view message, std::string_view request_id = {});

inline void log_debug(std::string_view message, std::string_view request_id = {}) {
  log(LogLevel::Debug, message, request_id);
}
inline void log_info(std::string_view message, std::string_view request_id = {}) {
  log(LogLevel::Info, message, request_id);
}
inline void log_warning(std::string_view message, std::string_view request_id = {}) {
  log(LogLevel::Warning, message, request_id);
}
inline void log_error(std::string_view message, std::string_view request_id = {}) {
  log(LogLevel::Error, message, request_id);
}

}  // namespace pensieve
