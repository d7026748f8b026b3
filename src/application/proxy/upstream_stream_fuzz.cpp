// Any bytes as the stream of another server: read the same however they are cut, bounded, and what
// comes of them is always a stream a client can follow.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/check.h"
#include "foundation/json.h"

#include "application/proxy/internal/sse_reader.h"
#include "application/proxy/internal/upstream_error.h"
#include "application/proxy/internal/upstream_reply.h"

namespace {

using namespace pensieve;

// Ids are made up anew for each run, so they are left out of what is compared.
std::string without_ids(const api::Event& event) {
  auto json = *parse_json(event.json);
  if (json.contains("content_block")) json["content_block"].erase("id");
  if (json.contains("delta")) json["delta"].erase("signature");
  return json.dump();
}

// Everything that was said, then how it ended. `step` bytes at a time.
std::string run(std::string_view bytes, std::size_t step) {
  proxy::SseReader reader(4096);
  api::Message message;
  proxy::UpstreamReply reply(message, {"STOP"}, {.url = "u", .key = "SECRET"});
  std::vector<api::Event> events;
  std::string ended = "whole";
  while (!bytes.empty() && ended == "whole") {
    std::vector<std::string> data;
    const auto pushed = reader.push(bytes.substr(0, step), data);
    bytes.remove_prefix(std::min(step, bytes.size()));
    for (const std::string& item : data) {
      if (const auto taken = reply.take(item, events); !taken) {
        CHECK(taken.error().message.find("SECRET") == std::string::npos);
        ended = taken.error().message;
        break;
      }
    }
    if (!pushed && ended == "whole") ended = pushed.error().message;
  }
  if (ended == "whole") {
    if (const auto done = reply.finish(events); !done) ended = done.error().message;
  }
  std::string said;
  int open = -1, blocks = 0;
  for (const api::Event& event : events) {
    const auto json = *parse_json(event.json);
    if (event.name == "content_block_start") {
      CHECK(open == -1 && json["index"] == blocks);
      open = blocks++;
    } else if (event.name == "content_block_delta") {
      CHECK(json["index"] == open);
    } else if (event.name == "content_block_stop") {
      CHECK(json["index"] == open);
      open = -1;
    } else {
      CHECK(open == -1);
    }
    said += without_ids(event) + "\n";
  }
  CHECK(reply.over() == (ended == "whole"));
  CHECK(!reply.over() || events.back().name == "message_stop");
  return said + ended;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string whole = run(bytes, size + 1);
  CHECK(run(bytes, 1) == whole);
  CHECK(run(bytes, 7) == whole);
  // As the body of a refusal.
  for (const int status : {400, 401, 429, 500}) {
    const Error error =
        proxy::upstream_status_error({.url = "u", .key = "SECRET"}, status, 3, bytes);
    CHECK(!error.message.empty() && error.message.find("SECRET") == std::string::npos);
  }
  if (const auto room = proxy::room_for_answer(bytes)) CHECK(*room > 0);
  return 0;
}
