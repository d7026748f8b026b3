// What is known of one request when it is over: for its line in the log, the rolling numbers and
// the metrics. Knows numbers and names of the route table. Must not know what anyone said.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pensieve::server {

enum class Outcome : std::uint8_t {
  Answered,  // the client got what it asked for
  Refused,   // 4xx: the request was at fault
  Failed,    // 5xx, or an error inside a stream: the server was
  Left,      // the client went before the end
};
inline constexpr int kOutcomes = 4;

constexpr std::string_view to_string(Outcome outcome) {
  constexpr std::string_view kWords[kOutcomes] = {"answered", "refused", "failed", "left"};
  return kWords[static_cast<int>(outcome)];
}

struct RequestRecord {
  using Clock = std::chrono::steady_clock;

  // Of every request.
  std::string id;
  std::string_view method, route;  // of the table
  Clock::time_point begin{};       // its last byte was there
  Clock::time_point end{};
  int status = 0;  // of the response's head; 0: none left
  Outcome outcome = Outcome::Left;

  // Of those that the model was asked to answer.
  bool asks_model = false;
  bool complete = false;                         // the answer's end was given out
  bool broken = false;                           // it ended with an error
  std::optional<Clock::duration> queue{};        // until the engine began with the prompt
  std::optional<Clock::duration> prefill{};      // from there to the first token
  std::optional<Clock::duration> first_token{};  // from `begin`
  std::optional<Clock::duration> decode{};       // from the first token to the last
  int hit_tokens = 0, restored_tokens = 0, missed_tokens = 0;  // of the prompt
  int output_tokens = 0;
  std::uint64_t peak_resident_bytes = 0;  // the process's, while the answer was made

  int prompt_tokens() const { return hit_tokens + restored_tokens + missed_tokens; }
};

// From status, complete and broken.
Outcome outcome_of(const RequestRecord& record);

// One line of the log: Info where the model was asked or the request was refused, else Debug.
void log_request(const RequestRecord& record);

}  // namespace pensieve::server
