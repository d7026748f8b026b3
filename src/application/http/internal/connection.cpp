#include "application/http/internal/connection.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <iterator>
#include <utility>

#include "foundation/log.h"

#include "application/http/response_writer.h"

namespace pensieve::http {
namespace {

namespace asio = boost::asio;

// Up to here the rest of a refused request is read and dropped, so that the connection stays
// usable; beyond, it is cheaper to close.
constexpr std::uint64_t kSkippableBodyBytes = 64 * 1024;

// From here on a body is accounted for, and its room taken in one piece (untouched pages cost
// nothing; growing by copies would cost the body twice).
constexpr std::size_t kSmallBodyBytes = 64 * 1024;

// A client that sends nothing for so long behind a refusal has nothing left to say.
constexpr std::chrono::seconds kLingerQuiet{1};

// An answer that could not say that there is more of it, for lack of memory, is looked at this
// often.
constexpr std::chrono::milliseconds kLookAgain{500};

std::int64_t unix_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Counts an answer that is under way.
class Answering {
 public:
  explicit Answering(ConnectionShared& shared) : shared_(shared) { ++shared_.answering; }
  Answering(const Answering&) = delete;
  Answering& operator=(const Answering&) = delete;
  ~Answering() {
    if (--shared_.answering == 0 && shared_.draining.load()) shared_.on_all_answered();
  }

 private:
  ConnectionShared& shared_;
};

// GCC 12 destroys an aggregate that is built inside a co_await or co_return expression twice, so
// errors are built here, outside.
Error too_slow(std::string what) {
  return {.kind = ErrorKind::Timeout, .message = std::move(what)};
}
Error client_gone() {
  return {.kind = ErrorKind::Cancelled, .message = "the client left"};
}
Error shutting_down() {
  return {
      .kind = ErrorKind::Unavailable, .message = "the server is shutting down", .retry_after_s = 5};
}

// bad_alloc is what is left to be thrown where an answer is made.
Error no_memory() {
  return {.kind = ErrorKind::Internal, .message = "out of memory"};
}

void tell_exception(const char* where, const std::exception& error) noexcept {
  try {
    log_error(std::string(where) + " ended with an exception: " + error.what());
  } catch (...) {  // there may be no memory for a log line either
  }
}

Reply call_handler(Handler& handler, Request request) {
  try {
    return handler.handle(std::move(request));
  } catch (const std::exception& error) {
    tell_exception("a request", error);
    return handler.refuse(no_memory(), nullptr);
  }
}

// What is said when not even an error could be put into words; both APIs' clients can read it.
constexpr std::string_view kLastWords =
    "HTTP/1.1 500 Internal Server Error\r\n"
    "Content-Type: application/json\r\n"
    "Content-Length: 85\r\n"
    "Connection: close\r\n\r\n"
    R"({"type":"error","error":{"type":"api_error","message":"the server is out of memory"}})";

}  // namespace

Connection::Connection(Socket socket, ConnectionShared& shared, bool over_unix_socket)
    : shared_(shared),
      socket_(std::move(socket)),
      timer_(socket_.get_executor()),
      parser_(shared.limits, over_unix_socket) {}

void Connection::close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
}

void Connection::nudge() {
  asio::post(executor(), [self = shared_from_this()] { self->wake(); });
}

void Connection::close_soon() {
  asio::post(executor(), [self = shared_from_this()] {
    self->closing_ = true;
    self->wake();
  });
}

Connection::Task<void> Connection::run() {
  bool failed = false;
  try {
    while (co_await read_head()) {
      const bool again = co_await serve();
      if (!again) break;
    }
  } catch (const std::exception& error) {
    tell_exception("a connection", error);
    failed = true;
  }
  if (failed && !answered_ && !writing_) {
    try {
      Error error = no_memory();
      co_await refuse(std::move(error), nullptr);
    } catch (const std::exception&) {
      if (!answered_ && !writing_) say_last_words();
    }
  }
  close();
}

Connection::Task<void> Connection::run_refusal(Error error) {
  try {
    co_await refuse(std::move(error), nullptr);
  } catch (const std::exception& exception) {
    tell_exception("a refusal", exception);
  }
  close();
}

// Nothing of this answer is in the socket's buffer yet, so this does not wait.
void Connection::say_last_words() {
  boost::system::error_code ignored;
  socket_.write_some(asio::buffer(kLastWords), ignored);
}

// Every wait is this one: for the deadline, or for wake(). All handlers run on the strand and set
// their flag before they wake, so a flag looked at before the wait cannot be missed.
Connection::Task<void> Connection::pause_until(Time deadline) {
  timer_.expires_at(deadline);
  co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
}

// For more of an answer, which announces itself.
Connection::Task<void> Connection::pause_for_more(Time deadline) {
  co_await pause_until(std::min(deadline, Clock::now() + kLookAgain));
}

void Connection::start_read() {
  if (reading_ || gone_) return;
  if (begin_ == end_) begin_ = end_ = 0;
  if (begin_ > 0 && end_ == buffer_.size()) {
    std::copy(buffer_.begin() + begin_, buffer_.begin() + end_, buffer_.begin());
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == buffer_.size()) return;  // enough pipelined requests for now
  reading_ = true;
  socket_.async_read_some(
      asio::buffer(buffer_.data() + end_, buffer_.size() - end_),
      [self = shared_from_this()](const boost::system::error_code& error, std::size_t n) {
        self->reading_ = false;
        self->end_ += n;
        self->received_ += n;
        if (error) self->gone_ = true;
        self->wake();
      });
}

void Connection::start_write() {
  writing_ = true;
  socket_.async_write_some(
      asio::buffer(out_.data() + out_at_, out_.size() - out_at_),
      [self = shared_from_this()](const boost::system::error_code& error, std::size_t n) {
        self->writing_ = false;
        self->out_at_ += n;
        if (n > 0) {
          self->last_sent_ = Clock::now();
          self->answered_ = true;
        }
        if (error) self->broken_ = true;
        self->wake();
      });
}

// Sends all of `bytes`. `needs_reader`: give up as soon as the client has ended its side, which for
// a running answer means that nobody wants it any more.
Connection::Task<bool> Connection::send(std::string bytes, bool needs_reader) {
  out_ = std::move(bytes);
  out_at_ = 0;
  last_sent_ = Clock::now();
  while (out_at_ < out_.size()) {
    if (broken_ || closing_ || (needs_reader && gone_)) co_return false;
    if (!writing_) start_write();
    if (needs_reader) start_read();
    const Time deadline = last_sent_ + shared_.limits.send_stall;
    if (Clock::now() >= deadline) co_return false;
    co_await pause_until(deadline);
  }
  co_return true;
}

Connection::Task<bool> Connection::read_head() {
  parser_.reset();
  answered_ = false;
  Time deadline = Clock::now() + shared_.limits.keep_alive_idle;
  for (;;) {
    if (closing_) co_return false;
    if (begin_ < end_) {
      if (!parser_.started()) deadline = Clock::now() + shared_.limits.header_time;
      auto taken = parser_.feed(input());
      if (!taken) {
        co_await refuse(std::move(taken).error(), nullptr);
        co_return false;
      }
      begin_ += *taken;
      if (parser_.state() != RequestParser::State::Head) co_return true;
      continue;
    }
    if (gone_) co_return false;
    if (Clock::now() >= deadline) {
      if (parser_.started()) {
        Error error = too_slow("the headers took too long");
        co_await refuse(std::move(error), nullptr);
      }
      co_return false;
    }
    start_read();
    co_await pause_until(deadline);
  }
}

Connection::Task<bool> Connection::serve() {
  const Answering answering(shared_);
  const RequestHead& head = parser_.head();
  const bool head_only = head.method == "HEAD";
  auto refusal = shared_.handler.admit(head);
  if (!refusal && head.content_length.value_or(0) > shared_.limits.body_bytes) {
    refusal =
        shared_.handler.refuse({.kind = ErrorKind::TooLarge,
                                .message = "the body is larger than " +
                                           std::to_string(shared_.limits.body_bytes) + " bytes"},
                               &head);
  }
  if (refusal) {
    const bool skippable = !head.chunked && !head.expects_continue &&
                           head.content_length.value_or(0) <= kSkippableBodyBytes;
    const bool keep = skippable && keeps_alive(head);
    const WriteOptions options{.head_only = head_only, .keep_alive = keep};
    const bool sent = co_await send(render(*refusal, options, unix_now()), false);
    if (!sent) co_return false;
    if (keep) co_return co_await skip_body();
    co_await linger();
    co_return false;
  }
  if (parser_.state() == RequestParser::State::Body && head.expects_continue && begin_ == end_) {
    const bool sent = co_await send(std::string(kContinue), false);
    if (!sent) co_return false;
    answered_ = false;
  }
  auto error = co_await read_body(true);
  if (error) {
    if (!gone_ || begin_ < end_) co_await refuse(std::move(*error), &head);
    co_return false;
  }
  co_return co_await answer(parser_.take());
}

Connection::Task<bool> Connection::skip_body() {
  parser_.discard_body();
  auto error = co_await read_body(false);
  co_return !error.has_value();
}

// Reads to the end of the request. An average rate is asked for once the grace is over, so that a
// trickle cannot hold a connection for hours.
Connection::Task<std::optional<Error>> Connection::read_body(bool keep) {
  const Time start = Clock::now();
  while (parser_.state() != RequestParser::State::Complete) {
    if (begin_ < end_) {
      auto taken = parser_.feed(input());
      if (!taken) co_return std::move(taken).error();
      begin_ += *taken;
      if (keep) {
        if (auto error = make_room_for_body()) co_return error;
      }
      continue;
    }
    if (gone_ || closing_) co_return client_gone();
    const auto earned = std::chrono::milliseconds(1000 * parser_.body_bytes() /
                                                  shared_.limits.body_bytes_per_second);
    const Time deadline =
        start + std::max<std::chrono::milliseconds>(shared_.limits.body_grace, earned);
    if (Clock::now() >= deadline) {
      co_return too_slow("the body took too long");
    }
    start_read();
    co_await pause_until(deadline);
  }
  co_return std::nullopt;
}

std::optional<Error> Connection::make_room_for_body() {
  if (parser_.body_bytes() < kSmallBodyBytes || body_reservation_.bytes() > 0) return std::nullopt;
  const auto expected =
      static_cast<std::size_t>(parser_.head().content_length.value_or(shared_.limits.body_bytes));
  if (shared_.accountant != nullptr) {
    auto reservation = shared_.accountant->reserve(MemoryUse::Connections, expected);
    if (!reservation) return std::move(reservation).error();
    body_reservation_ = std::move(*reservation);
  }
  parser_.reserve_body(expected);
  return std::nullopt;
}

Connection::Task<bool> Connection::answer(Request request) {
  const RequestHead head = request.head;
  Reply reply = call_handler(shared_.handler, std::move(request));
  body_reservation_.release();
  if (auto* pending = std::get_if<std::unique_ptr<Pending>>(&reply)) {
    co_return co_await answer_pending(std::move(*pending), head);
  }
  if (auto* stream = std::get_if<StreamReply>(&reply)) {
    co_return co_await answer_stream(std::move(*stream), head);
  }
  co_return co_await send_response(std::get<Response>(reply), head);
}

Connection::Task<bool> Connection::send_response(const Response& response,
                                                 const RequestHead& head) {
  const bool keep = keeps_alive(head);
  const WriteOptions options{.head_only = head.method == "HEAD", .keep_alive = keep};
  const bool sent = co_await send(render(response, options, unix_now()), false);
  if (!sent) co_return false;
  if (!keep) co_await linger();
  co_return keep;
}

std::function<void()> Connection::ready_hook() {
  // Many tokens become one wake-up: a second post is spared while the first has not run.
  auto posted = std::make_shared<std::atomic<bool>>(false);
  return [io = shared_.io, executor = executor(), weak = weak_from_this(), posted] {
    if (posted->exchange(true)) return;
    try {
      asio::post(executor, [weak, posted] {
        posted->store(false);
        if (const auto self = weak.lock()) {
          self->ready_ = true;
          self->wake();
        }
      });
    } catch (...) {
      posted->store(false);  // or no other post would ever be tried
      throw;
    }
  };
}

void Connection::prepare_last_words(const RequestHead& head) {
  const WriteOptions options{.head_only = head.method == "HEAD", .keep_alive = false};
  last_words_.prepare(socket_.native_handle(),
                      render(shared_.handler.emergency(head), options, unix_now()));
}

// The way out of an answer, whichever it is. What was prepared must not be said into what comes
// next; but where there was no memory to go on, it is said here, if nothing stands half sent.
class Connection::Forgets {
 public:
  explicit Forgets(Connection& connection) : connection_(connection) {}
  Forgets(const Forgets&) = delete;
  Forgets& operator=(const Forgets&) = delete;
  ~Forgets() {
    LastWords& words = connection_.last_words_;
    if (std::uncaught_exceptions() > n_exceptions_) {
      const std::size_t at = connection_.out_at_;
      if (!connection_.writing_ && (at == 0 || at == connection_.out_.size())) words.end_sending();
      words.say();
      words.give_up();
    }
    words.forget();
  }

 private:
  Connection& connection_;
  const int n_exceptions_ = std::uncaught_exceptions();
};

std::optional<Response> Connection::poll(Pending& pending, const RequestHead& head) {
  try {
    return pending.poll();
  } catch (const std::exception& error) {
    tell_exception("an answer", error);
    return shared_.handler.refuse(no_memory(), &head);
  }
}

StreamPiece Connection::poll(EventStream& events, const RequestHead& head) {
  try {
    return events.poll();
  } catch (const std::exception& error) {
    tell_exception("a stream", error);
    const Error reason = no_memory();
    return {.bytes = events.cut_off(reason),
            .finished = true,
            .close = true,
            .instead = shared_.handler.refuse(reason, &head)};
  }
}

Connection::Task<bool> Connection::answer_pending(std::unique_ptr<Pending> pending,
                                                  const RequestHead& head) {
  const Forgets at_the_end(*this);
  prepare_last_words(head);
  ready_ = false;
  pending->on_ready(ready_hook());
  std::optional<Response> response = poll(*pending, head);
  bool cut = false;
  while (!response) {
    start_read();
    if (gone_ || closing_) co_return false;
    if (shared_.cutting.load()) {
      cut = true;
      response = shared_.handler.refuse(shutting_down(), &head);
      break;
    }
    if (!ready_) co_await pause_for_more(Time::max());
    ready_ = false;
    response = poll(*pending, head);
  }
  pending.reset();
  if (!last_words_.begin_sending()) co_return false;
  const bool keep = keeps_alive(head) && !cut;
  const WriteOptions options{.head_only = head.method == "HEAD", .keep_alive = keep};
  const bool sent = co_await send(render(*response, options, unix_now()), false);
  if (!sent) co_return false;
  if (!keep) co_await linger();
  co_return keep;
}

// The first piece that says anything, or an empty one once the deadline has passed, the client has
// left or the server has to end its streams.
Connection::Task<StreamPiece> Connection::first_piece(EventStream& events,
                                                      const RequestHead& head,
                                                      Time deadline) {
  StreamPiece piece;
  while (Clock::now() < deadline && !shared_.cutting.load()) {
    ready_ = false;
    piece = poll(events, head);
    if (!piece.bytes.empty() || piece.finished) break;
    start_read();
    if (gone_ || closing_) break;
    if (!ready_) co_await pause_for_more(deadline);
  }
  co_return piece;
}

// Pieces are pulled only when the one before has left: a slow reader so slows the engine down, and
// nothing piles up here.
Connection::Task<bool> Connection::answer_stream(StreamReply reply, const RequestHead& head) {
  const bool chunked = head.minor_version == 1;
  const auto frame = [chunked](std::string bytes, bool last) {
    if (!chunked) return bytes;
    std::string out = bytes.empty() ? std::string() : chunk(bytes);
    if (last) out += kLastChunk;
    return out;
  };
  const Forgets at_the_end(*this);
  prepare_last_words(head);
  ready_ = false;
  reply.events->on_ready(ready_hook());
  StreamPiece piece = co_await first_piece(*reply.events, head, Clock::now() + reply.head_wait);
  if (gone_ || closing_) co_return false;
  if (!last_words_.begin_sending()) co_return false;
  if (piece.instead) {
    reply.events.reset();
    co_return co_await send_response(*piece.instead, head);
  }
  if (piece.bytes.empty() && !piece.finished) reply.events->head_leaves();
  std::move(piece.headers.begin(), piece.headers.end(), std::back_inserter(reply.head.headers));
  bool keep = chunked;
  bool sent = co_await send(render_stream_head(reply.head, chunked, unix_now()), true);
  last_words_.change(frame(reply.events->emergency(), true));
  last_words_.end_sending();
  while (sent) {
    if (shared_.cutting.load()) {
      if (!last_words_.begin_sending()) co_return false;
      keep = false;
      std::string end = frame(reply.events->cut_off(shutting_down()), true);
      sent = co_await send(std::move(end), true);
      break;
    }
    if (piece.bytes.empty() && !piece.finished) {
      ready_ = false;
      piece = poll(*reply.events, head);
    }
    if (!piece.bytes.empty() || piece.finished) {
      const bool finished = piece.finished;
      keep = keep && !piece.close;
      if (!last_words_.begin_sending()) co_return false;
      sent = co_await send(frame(std::move(piece.bytes), finished), true);
      if (finished) break;
      last_words_.end_sending();
      piece = StreamPiece();
      continue;
    }
    start_read();
    if (gone_ || closing_) co_return false;
    const Time next_ping = last_sent_ + shared_.limits.ping_interval;
    if (Clock::now() >= next_ping) {
      if (!last_words_.begin_sending()) co_return false;
      sent = co_await send(frame(reply.events->ping(), false), true);
      last_words_.end_sending();
      continue;
    }
    if (!ready_) co_await pause_for_more(next_ping);
  }
  reply.events.reset();
  if (!sent) co_return false;
  // The head said keep-alive, but a client has to bear a close between requests (RFC 9112, 9.3.1).
  keep = keep && keeps_alive(head);
  if (!keep) co_await linger();
  co_return keep;
}

Connection::Task<void> Connection::refuse(Error error, const RequestHead* head) {
  const Response response = shared_.handler.refuse(error, head);
  const bool head_only = head != nullptr && head->method == "HEAD";
  const WriteOptions options{.head_only = head_only, .keep_alive = false};
  const bool sent = co_await send(render(response, options, unix_now()), false);
  if (sent) co_await linger();
}

// Closing a socket with unread bytes resets it, and the reset can overtake the answer. So the
// sending side ends first, and what still comes is read and dropped for a while (RFC 9112, 9.6).
Connection::Task<void> Connection::linger() {
  boost::system::error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  const Time deadline = Clock::now() + shared_.limits.linger;
  Time quiet_since = Clock::now();
  std::uint64_t seen = received_;
  while (!gone_ && !closing_) {
    begin_ = end_;
    if (received_ != seen) {
      seen = received_;
      quiet_since = Clock::now();
    }
    const Time until = std::min(deadline, quiet_since + kLingerQuiet);
    if (Clock::now() >= until) break;
    start_read();
    co_await pause_until(until);
  }
}

}  // namespace pensieve::http
