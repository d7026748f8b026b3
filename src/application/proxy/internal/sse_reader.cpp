#include "application/proxy/internal/sse_reader.h"

#include <utility>

namespace pensieve::proxy {
namespace {

Error too_long(std::size_t limit) {
  return {.kind = ErrorKind::TooLarge,
          .message = "the upstream sent an event of more than " + std::to_string(limit) + " bytes"};
}

}  // namespace

Result<void> SseReader::push(std::string_view bytes, std::vector<std::string>& events) {
  while (!bytes.empty()) {
    if (std::exchange(after_cr_, false) && bytes.front() == '\n') {
      bytes.remove_prefix(1);
      continue;
    }
    const auto end = bytes.find_first_of("\r\n");
    const std::string_view part = bytes.substr(0, end);
    if (line_.size() + part.size() > max_event_bytes_) return too_long(max_event_bytes_);
    line_ += part;
    if (end == std::string_view::npos) return {};
    after_cr_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    PENSIEVE_TRY(take_line(events));
  }
  return {};
}

Result<void> SseReader::take_line(std::vector<std::string>& events) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  std::string_view line = line_;
  if (std::exchange(first_line_, false) && line.starts_with(kByteOrderMark)) {
    line.remove_prefix(kByteOrderMark.size());
  }
  if (line.empty()) {
    if (std::exchange(has_data_, false)) events.push_back(std::exchange(data_, {}));
    line_.clear();
    return {};
  }
  const auto colon = line.find(':');
  if (line.substr(0, colon) == "data") {
    std::string_view value =
        colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (data_.size() + value.size() + 1 > max_event_bytes_) return too_long(max_event_bytes_);
    if (std::exchange(has_data_, true)) data_ += '\n';
    data_ += value;
  }
  line_.clear();
  return {};
}

}  // namespace pensieve::proxy
