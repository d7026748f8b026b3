#include "application/server/internal/answer_watch.h"

#include <algorithm>
#include <utility>

#include "foundation/log.h"

namespace pensieve::server {
namespace {

// Reading it costs a system call; an answer grows up to some hundred times a second.
constexpr std::chrono::milliseconds kMemoryEvery{250};

}  // namespace

AnswerWatch::AnswerWatch(Context& context,
                         std::shared_ptr<RequestRecord> record,
                         const claude::Answer& answer)
    : context_(context),
      record_(std::move(record)),
      answer_(answer),
      running_(context.running,
               {.id = record_->id, .route = record_->route, .begin = record_->begin},
               answer) {}

void AnswerWatch::look() {
  RequestRecord& record = *record_;
  if (record.complete) return;
  const auto now = Clock::now();
  if (!report_ && answer_.cache() != nullptr) {
    report_ = *answer_.cache();
    begun_ = now;
    record.queue = now - record.begin;
    record.hit_tokens = report_->hit;
    record.restored_tokens = report_->restored;
    record.missed_tokens = report_->missed;
    running_.begun(report_->hit + report_->restored);
    context_.metrics.begun(*record.queue);
    log_miss();
  }
  look_at_memory(now);
  const int n_tokens = answer_.message().usage.output_tokens;
  if (const int n_new = n_tokens - record.output_tokens; n_new > 0) {
    context_.performance.output(n_new, now);
    record.output_tokens = n_tokens;
  }
  // Where others count the tokens, how many there are is said at the end.
  if (!record.first_token && (n_tokens > 0 || !answer_.message().content.empty())) {
    first_token_ = now;
    record.first_token = now - record.begin;
    context_.metrics.first_token(*record.first_token);
    if (report_) {
      record.prefill = now - begun_;
      context_.metrics.prefilled(*record.prefill);
    }
  }
  if (!answer_.finished()) return;
  record.complete = true;
  if (n_tokens <= 1 || !record.first_token) return;
  record.decode = now - first_token_;
  if (report_) context_.metrics.decoded(*record.decode / (n_tokens - 1));
}

void AnswerWatch::look_at_memory(Clock::time_point now) {
  if (record_->peak_resident_bytes > 0 && now - memory_at_ < kMemoryEvery) return;
  memory_at_ = now;
  record_->peak_resident_bytes = std::max(record_->peak_resident_bytes, resident_bytes());
}

void AnswerWatch::log_miss() const {
  if (!report_->miss || !log_enabled(LogLevel::Info)) return;
  const claude::PrefixMiss& miss = *report_->miss;
  const int found = report_->hit + report_->restored;
  std::string line = std::to_string(found) + " of " + std::to_string(found + report_->missed) +
                     " prompt tokens were cached: behind " + std::to_string(miss.n_common) +
                     " equal tokens the prompt differs from ";
  line += miss.same_session ? "an earlier one of this session" : "one that is kept";
  line += ", in " + miss.part;
  if (context_.options.log_prompt_text) {
    line += ": \"" + miss.now + "\" where \"" + miss.kept + "\" was";
  }
  log_info(line, record_->id);
}

std::vector<http::Header> AnswerWatch::headers() const {
  if (!report_) return {};
  return {{.name = "X-Pensieve-Cache",
           .value = "hit=" + std::to_string(report_->hit) +
                    " miss=" + std::to_string(report_->missed) +
                    " restored=" + std::to_string(report_->restored)}};
}

}  // namespace pensieve::server
