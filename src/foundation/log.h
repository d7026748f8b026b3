// The log: structured lines to standard error or a file, text for people or JSON for machines
// (spdlog behind it). Any thread. Never prompt text, never a token; every line about a request has
// its id. Not from the engine thread per token.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "foundation/log_file.h"
#include "foundation/result.h"

namespace pensieve {

enum class LogLevel { Debug, Info, Warning, Error };
enum class LogFormat { Text, JsonLines };

// Sets level and format for the process. Before it is called: Info, Text.
void configure_log(LogLevel level, LogFormat format);
bool log_enabled(LogLevel level);

// From now on lines go to this file instead of standard error; those that it cannot take (a full
// disk) go there all the same, and when it takes lines again one of them says how many. Call it
// before other threads log, and after configure_log(). Errors: as LogFile::open().
Result<void> log_to_file(LogFileOptions options);
void log_to_standard_error();  // as before

// What a line says beside its message, under a name of [a-z0-9_]: " name=value" in text, a member
// of the object in JSON. Numbers with a fraction have three digits of it.
struct LogField {
  std::string_view name;
  std::variant<std::string_view, std::int64_t, double> value;
};

// Control characters in whatever comes from outside are escaped, so that nobody there can forge a
// line. Without a `request_id` the one of this thread's RequestLogScope stands in the line, if
// there is one.
void log(LogLevel level,
         std::string_view message,
         std::string_view request_id = {},
         std::span<const LogField> fields = {});

// While it lives, what this thread logs is about this request. They nest; `request_id` outlives it.
class RequestLogScope {
 public:
  explicit RequestLogScope(std::string_view request_id);
  RequestLogScope(const RequestLogScope&) = delete;
  RequestLogScope& operator=(const RequestLogScope&) = delete;
  ~RequestLogScope();

 private:
  const std::string_view before_;
};

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
