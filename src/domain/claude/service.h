// The whole answer: a request of the Messages API -> events, by calling the rooms in order: render
// (chat), encode (tokenizer), prefill and decode (engine), decode text (tokenizer), interpret
// (chat), report (api). No branch about models, no byte about sockets.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/accountant.h"
#include "foundation/result.h"

#include "domain/api/messages.h"
#include "domain/chat/chat_format.h"
#include "domain/claude/cache_report.h"
#include "domain/claude/token_score.h"
#include "domain/engine/engine.h"
#include "domain/model/model_file.h"
#include "domain/tokenizer/tokenizer.h"

namespace pensieve::claude {

// Everything that comes from one model path: weights, tokenizer, chat format.
struct LoadedModel {
  std::unique_ptr<model::ModelFile> file;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;
  std::unique_ptr<chat::ChatFormat> format;
};
// Puts tokenizer and chat format together for an opened file. Errors: BadFile; Unavailable
// where the system has no memory.
Result<LoadedModel> load(std::unique_ptr<model::ModelFile> file);

// What a request without a temperature gets: 0, greedy, the same answer every time. The API's own
// default is 1.0, which small local models handle badly. A request that sets a temperature and no
// seed gets a fresh one.
inline constexpr double kDefaultTemperature = 0;

// One running answer. Usage: cache_read_input_tokens is the part of the prompt whose KV was already
// there, in memory or on the disk. Of what was computed, cache_creation_input_tokens reaches to the
// last cache_control of the request, and input_tokens is the rest: all of it where nothing is
// marked. The sum is always what count_tokens() says. message_start waits for the engine to begin
// with the prompt, which decides these numbers; after begin() it goes out at once, all of the
// prompt as input_tokens, and message_delta and message() have them right. Not thread-safe: one
// caller at a time. Destroying it cancels the request.
class Answer {
 public:
  virtual ~Answer() = default;

  // The events that have become known since the last call, message_start first, message_stop last.
  // Errors: once, when the engine failed or shuts down (Cancelled); the answer is over then, and
  // what it had not given out yet is lost.
  virtual Result<std::vector<api::Event>> poll() = 0;
  virtual bool finished() const = 0;  // message_stop was given out, or an error

  // message_start does not wait any longer: the next poll() gives it.
  virtual void begin() {}

  // Where the prompt's tokens came from: from message_start on, unless begin() hurried it; null
  // before, and where somebody else computes. Stays as it is once it is there.
  virtual const CacheReport* cache() const { return nullptr; }

  // `ready` is called from another thread whenever poll() may have something new: it must only
  // post.
  virtual void on_ready(std::function<void()> ready) = 0;

  // Blocks until something can be polled or `limit_ms` has gone by (for the terminal and tests).
  virtual void wait(int limit_ms) = 0;

  // The message as far as poll() has given it out; complete once finished().
  virtual const api::Message& message() const = 0;

  // For a request with top_logprobs: the scores of the tokens of the text that became known since
  // the last call. Tokens of tool calls and of what ends the answer have none.
  virtual std::vector<TokenScore> take_scores() { return {}; }

  // Any thread, also while another one is in a call.
  virtual engine::Progress progress() const = 0;
};

class Service {
 public:
  // `model` and `engine` outlive the service.
  static std::unique_ptr<Service> create(const LoadedModel& model, engine::Engine& engine);
  virtual ~Service() = default;

  // Any thread. Errors: InvalidRequest ("prompt is too long: N tokens > M maximum" among them),
  // Overloaded, Unavailable.
  virtual Result<std::unique_ptr<Answer>> answer(const api::MessagesRequest& request,
                                                 std::string_view group) = 0;

  // Goes on from `prompt` as it stands: no turns, no tools, and no text becomes a control token. Of
  // `request` the model's name, limits, sampling, stop sequences and top_logprobs count. Errors: as
  // answer(); NotImplemented where only chats can be answered.
  virtual Result<std::unique_ptr<Answer>> complete(const api::MessagesRequest& request,
                                                   std::string_view prompt,
                                                   std::string_view group);

  // What answer() would report as input tokens, cached ones included.
  virtual Result<int> count_tokens(const api::MessagesRequest& request) = 0;

  // The token ids answer() would submit; for `trace` and tests.
  virtual Result<std::vector<TokenId>> encode(const chat::Prompt& prompt) = 0;
};

}  // namespace pensieve::claude
