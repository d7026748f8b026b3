#include "foundation/log.h"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <memory>
#include <mutex>
#include <utility>

#include "foundation/text.h"

namespace pensieve {
namespace {

std::atomic<LogFormat> g_format{LogFormat::Text};
thread_local std::string_view t_request_id;

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

// A value in quotes where it would not be read as one word.
std::string quoted(std::string_view text) {
  std::string shown = printable(text, 1024);
  if (!shown.empty() && shown.find_first_of(" =\"") == std::string::npos) return shown;
  std::string out = "\"";
  for (const char c : shown) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string number_text(double value) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.3f", value);
  return text.data();
}

std::string value_text(const LogField& field, bool json) {
  if (const auto* number = std::get_if<std::int64_t>(&field.value)) return std::to_string(*number);
  if (const auto* number = std::get_if<double>(&field.value)) return number_text(*number);
  const auto text = std::get<std::string_view>(field.value);
  return json ? '"' + json_escaped(text) + '"' : quoted(text);
}

// What stands behind time and level.
std::string payload(std::string_view message,
                    std::string_view request_id,
                    std::span<const LogField> fields) {
  std::string line;
  if (g_format == LogFormat::JsonLines) {
    line = "\"message\":\"" + json_escaped(message) + '"';
    for (const LogField& field : fields) {
      line.append(",\"").append(field.name).append("\":") += value_text(field, true);
    }
    if (!request_id.empty()) line += ",\"request_id\":\"" + json_escaped(request_id) + '"';
  } else {
    line = printable(message, 4096);
    for (const LogField& field : fields) {
      line.append(" ").append(field.name).append("=") += value_text(field, false);
    }
    if (!request_id.empty()) line += " [" + printable(request_id, 128) + "]";
  }
  return line;
}

// spdlog's own rotating sink follows links, leaves the mode to the umask and does not survive that
// its file cannot be opened again (1.10).
class FileSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit FileSink(LogFile file) : file_(std::move(file)) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (n_lost_ > 0 && file_.append(line_of(note_of_lost(message)))) n_lost_ = 0;
    const std::string line = line_of(message);
    if (n_lost_ == 0 && file_.append(line)) return;
    ++n_lost_;
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
  }
  void flush_() override {}

  std::string line_of(const spdlog::details::log_msg& message) {
    spdlog::memory_buf_t buffer;
    formatter_->format(message, buffer);
    return {buffer.data(), buffer.size()};
  }
  spdlog::details::log_msg note_of_lost(const spdlog::details::log_msg& now) {
    note_ = payload("the log file could not be written for a while: " + std::to_string(n_lost_) +
                        " lines went to standard error",
                    {},
                    {});
    return {now.time, {}, now.logger_name, spdlog::level::warn, note_};
  }

  LogFile file_;
  std::uint64_t n_lost_ = 0;
  std::string note_;
};

void set_pattern() {
  logger().set_pattern(g_format == LogFormat::JsonLines
                           ? R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l",%v})"
                           : "%Y-%m-%dT%H:%M:%S.%e %-7l %v");
}

}  // namespace

void configure_log(LogLevel level, LogFormat format) {
  g_format = format;
  logger().set_level(to_spdlog(level));
  set_pattern();
}

Result<void> log_to_file(LogFileOptions options) {
  PENSIEVE_TRY(auto file, LogFile::open(std::move(options)));
  logger().sinks() = {std::make_shared<FileSink>(std::move(file))};
  set_pattern();
  return {};
}

void log_to_standard_error() {
  logger().sinks() = {std::make_shared<spdlog::sinks::stderr_sink_mt>()};
  set_pattern();
}

bool log_enabled(LogLevel level) {
  return logger().should_log(to_spdlog(level));
}

void log(LogLevel level,
         std::string_view message,
         std::string_view request_id,
         std::span<const LogField> fields) {
  if (!log_enabled(level)) return;
  if (request_id.empty()) request_id = t_request_id;
  logger().log(to_spdlog(level), "{}", payload(message, request_id, fields));
}

RequestLogScope::RequestLogScope(std::string_view request_id)
    : before_(std::exchange(t_request_id, request_id)) {}

RequestLogScope::~RequestLogScope() {
  t_request_id = before_;
}

}  // namespace pensieve
