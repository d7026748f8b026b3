#include "application/server/internal/answer_watch.h"

#include "foundation/log.h"

namespace pensieve::server {

void AnswerWatch::look(const claude::Answer& answer) {
  const auto now = Clock::now();
  if (!report_ && answer.cache() != nullptr) {
    report_ = *answer.cache();
    begun_ = now;
    context_.metrics.begun(now - asked_);
    log_miss();
  }
  if (!report_ || over_) return;
  const int n_tokens = answer.message().usage.output_tokens;
  if (n_tokens > 0 && !first_token_) {
    first_token_ = now;
    context_.metrics.prefilled(now - begun_);
  }
  if (!answer.finished()) return;
  over_ = true;
  if (n_tokens > 1) context_.metrics.decoded((now - *first_token_) / (n_tokens - 1));
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
  log_info(line, request_id_);
}

std::vector<http::Header> AnswerWatch::headers() const {
  if (!report_) return {};
  return {{.name = "X-Pensieve-Cache",
           .value = "hit=" + std::to_string(report_->hit) +
                    " miss=" + std::to_string(report_->missed) +
                    " restored=" + std::to_string(report_->restored)}};
}

}  // namespace pensieve::server
