// The chunks of a chat completion (or completion) of another server -> content blocks and events.
// Pure: data of server-sent events in, events of the Messages API out. Knows the chunk object's
// fields, and what other servers add to them. Must not know sockets or HTTP.
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "foundation/json.h"
#include "foundation/result.h"

#include "domain/api/messages.h"
#include "domain/claude/reply_writer.h"
#include "domain/claude/token_score.h"
#include "domain/engine/stop_sequences.h"

#include "application/proxy/internal/upstream_error.h"

namespace pensieve::proxy {

// Blocks come one after the other in a stream of the Messages API, but the calls of a chunk stream
// may be interleaved by their index. So everything is lined up in the order in which it began; the
// first in the line is given out as it grows, and its place is free when something stands behind
// it: at once for text and thinking, for a call when its arguments are a complete object.
class UpstreamReply {
 public:
  // `message`: its content, stop reason and usage are written here; it outlives the reply.
  // The answer ends at the first of the stop sequences, as it does for a model of ours.
  UpstreamReply(api::Message& message,
                std::vector<std::string> stop_sequences,
                UpstreamName upstream);

  // The data of one event: a chunk, a whole completion object, or [DONE]. Appends to `events`.
  // Errors: what the upstream reports in its stream; Internal for what is no chunk, and for more
  // than the bounds below. Nothing is taken once over().
  Result<void> take(std::string_view data, std::vector<api::Event>& events);

  // The stream has ended. Errors: Internal when the answer was not complete.
  Result<void> finish(std::vector<api::Event>& events);

  // The last event, message_stop, was given out.
  bool over() const { return over_; }

  // The scores of tokens that have come since the last call, if the upstream tells any.
  std::vector<claude::TokenScore> take_scores() { return std::exchange(scores_, {}); }

  // The upstream counted the tokens; otherwise usage counts pieces of the answer and no prompt.
  bool has_usage() const { return has_usage_; }

  static constexpr std::size_t kMaxAnswerBytes = std::size_t{32} << 20;
  static constexpr std::size_t kMaxCalls = 1024;

 private:
  // Follows one JSON object through its pieces, as far as its end.
  class ObjectEnd {
   public:
    void push(std::string_view piece);
    bool reached() const { return reached_; }

   private:
    int depth_ = 0;
    bool in_string_ = false, escaped_ = false, reached_ = false;
  };
  struct Call {
    int index = 0;  // the upstream's
    std::string id, name;
    ObjectEnd arguments;
    bool begun = false;   // a block was opened for it
    bool closed = false;  // and closed
  };
  enum class PartKind { Text, Thinking, Call };
  struct Part {
    PartKind kind = PartKind::Text;
    std::size_t call = 0;  // PartKind::Call: which one
    std::string waiting;   // text or arguments that were not given out yet
  };

  Result<void> take_choice(const Json& choice);
  Result<void> take_calls(const Json& list);
  Result<void> take_call(const Json& item, std::size_t place);
  Result<void> add_text(PartKind kind, const Json& holder, const char* field);
  Result<void> count(std::size_t bytes);
  void take_usage(const Json& usage);
  void take_logprobs(const Json& choice);
  Call& call_for(const Json& item, std::size_t place);

  Result<void> write_out(bool everything);
  Result<void> write(Part& part, bool everything);
  void write_text(std::string_view text);
  api::StopReason stop_reason() const;
  void end(api::StopReason reason);

  api::Message& message_;
  const std::vector<std::string> stop_sequences_;
  const UpstreamName upstream_;
  engine::StopSequenceFilter stops_;
  std::vector<api::Event> events_;  // since the last call
  claude::ReplyWriter writer_;
  std::vector<Call> calls_;
  std::deque<Part> line_;
  std::vector<claude::TokenScore> scores_;
  std::string finish_reason_;
  std::size_t answer_bytes_ = 0;
  int n_pieces_ = 0;
  bool has_usage_ = false;
  bool over_ = false;
};

}  // namespace pensieve::proxy
