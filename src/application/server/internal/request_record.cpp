#include "application/server/internal/request_record.h"

#include <vector>

#include "foundation/log.h"

namespace pensieve::server {
namespace {

double seconds(RequestRecord::Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

Outcome outcome_of(const RequestRecord& record) {
  if (record.broken || record.status >= 500) return Outcome::Failed;
  if (record.status >= 400) return Outcome::Refused;
  if (record.status == 0 || (record.asks_model && !record.complete)) return Outcome::Left;
  return Outcome::Answered;
}

void log_request(const RequestRecord& record) {
  const bool shown = record.asks_model || record.outcome == Outcome::Refused;
  const LogLevel level = shown ? LogLevel::Info : LogLevel::Debug;
  if (!log_enabled(level)) return;
  std::vector<LogField> fields{{"method", record.method},
                               {"route", record.route},
                               {"status", std::int64_t{record.status}},
                               {"duration_s", seconds(record.end - record.begin)}};
  if (record.prompt_tokens() > 0) {
    fields.push_back({"prompt_tokens", std::int64_t{record.prompt_tokens()}});
    fields.push_back({"hit_tokens", std::int64_t{record.hit_tokens}});
    fields.push_back({"restored_tokens", std::int64_t{record.restored_tokens}});
  }
  if (record.output_tokens > 0) {
    fields.push_back({"output_tokens", std::int64_t{record.output_tokens}});
  }
  if (record.queue) fields.push_back({"queue_s", seconds(*record.queue)});
  if (record.prefill) fields.push_back({"prefill_s", seconds(*record.prefill)});
  if (record.first_token) fields.push_back({"first_token_s", seconds(*record.first_token)});
  if (record.decode) fields.push_back({"decode_s", seconds(*record.decode)});
  if (record.peak_resident_bytes > 0) {
    fields.push_back({"peak_resident_mib", std::int64_t(record.peak_resident_bytes >> 20)});
  }
  log(level, "request " + std::string(to_string(record.outcome)), record.id, fields);
}

}  // namespace pensieve::server
