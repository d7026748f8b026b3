// Server-sent events as they come in from another server: bytes, cut anywhere -> the data of each
// event. Source: WHATWG HTML, 9.2.6 "Interpreting an event stream". Names, ids and retry times are
// read over: no server that speaks OpenAI's API says anything with them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/result.h"

namespace pensieve::proxy {

class SseReader {
 public:
  // `max_event_bytes`: the longest line and the longest data of one event.
  explicit SseReader(std::size_t max_event_bytes) : max_event_bytes_(max_event_bytes) {}

  // Appends the data of every event that `bytes` completes, several data lines joined by a line
  // feed. An event without data is none. Errors: TooLarge; the reader is of no use then. What
  // stands behind the last empty line when the stream ends is no event.
  Result<void> push(std::string_view bytes, std::vector<std::string>& events);

 private:
  Result<void> take_line(std::vector<std::string>& events);

  const std::size_t max_event_bytes_;
  std::string line_;
  std::string data_;
  bool has_data_ = false;
  bool after_cr_ = false;   // a line feed now belongs to the carriage return before it
  bool first_line_ = true;  // a byte order mark may stand before it
};

}  // namespace pensieve::proxy
