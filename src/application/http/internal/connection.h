// One client's connection as one coroutine on one strand: read a head, ask the handler, read a
// body, answer, again. A read is always in flight while an answer is computed, so a client that
// leaves is noticed at once. Heavy (Boost.Asio): for this room's .cpp files only.
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "foundation/accountant.h"

#include "application/http/handler.h"
#include "application/http/internal/last_words.h"
#include "application/http/limits.h"
#include "application/http/request_parser.h"

namespace pensieve::http {

// What all connections of a listener share. Any thread.
struct ConnectionShared {
  Handler& handler;
  const Limits limits;
  Accountant* const accountant;
  const std::shared_ptr<boost::asio::io_context> io;
  const std::function<void()> on_all_answered;  // the last running answer ended

  std::atomic<bool> draining{false};  // every answer closes its connection
  std::atomic<bool> cutting{false};   // the grace is over: running answers end now
  std::atomic<std::size_t> answering{0};
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Clock = std::chrono::steady_clock;
  using Socket = boost::asio::generic::stream_protocol::socket;  // TCP or unix

  // REQUIRES: the socket's executor is a strand of its own.
  Connection(Socket socket, ConnectionShared& shared, bool over_unix_socket = false);

  // The connection's life; ends with the socket closed, and without an exception. Once, kept alive
  // by the caller.
  boost::asio::awaitable<void> run();
  // The life of a connection beyond the limit: one refusal.
  boost::asio::awaitable<void> run_refusal(Error error);

  // On the connection's strand: a socket that stayed open would keep its client waiting.
  void close();

  boost::asio::any_io_executor executor() { return socket_.get_executor(); }

  // Any thread: have the coroutine look at the shared flags, or end now.
  void nudge();
  void close_soon();

  // Any thread that keeps the connection alive: see Listener::end_at_once().
  LastWords& last_words() { return last_words_; }

 private:
  class Forgets;
  using Time = Clock::time_point;
  template <typename T>
  using Task = boost::asio::awaitable<T>;

  // Each Task<bool>: false when the connection must not be used for another request.
  Task<bool> read_head();
  Task<bool> serve();
  Task<bool> answer(Request request);
  Task<bool> answer_pending(std::unique_ptr<Pending> pending, const RequestHead& head);
  Task<bool> answer_stream(StreamReply reply, const RequestHead& head);
  Task<StreamPiece> first_piece(EventStream& events, const RequestHead& head, Time deadline);
  std::optional<Response> poll(Pending& pending, const RequestHead& head);
  StreamPiece poll(EventStream& events, const RequestHead& head);
  Task<bool> send_response(const Response& response, const RequestHead& head);
  Task<bool> skip_body();
  Task<std::optional<Error>> read_body(bool keep);
  Task<void> refuse(Error error, const RequestHead* head);
  Task<bool> send(std::string bytes, bool needs_reader);
  Task<void> linger();
  void say_last_words();
  Task<void> pause_until(Time deadline);
  Task<void> pause_for_more(Time deadline);

  std::optional<Error> make_room_for_body();
  bool keeps_alive(const RequestHead& head) const {
    return head.keep_alive && !shared_.draining.load();
  }
  std::function<void()> ready_hook();
  void wake() { timer_.cancel(); }
  void start_read();
  void start_write();
  void prepare_last_words(const RequestHead& head);
  std::string_view input() const { return {buffer_.data() + begin_, end_ - begin_}; }

  ConnectionShared& shared_;
  Socket socket_;
  boost::asio::steady_timer timer_;  // the one thing the coroutine ever waits for
  RequestParser parser_;
  Reservation body_reservation_;

  // Bytes read and not yet parsed lie in [begin_, end_).
  std::array<char, 16 * 1024> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::uint64_t received_ = 0;

  LastWords last_words_;  // while an answer is under way
  std::string out_;
  std::size_t out_at_ = 0;
  Time last_sent_{};

  bool answered_ = false;  // something of the current request's answer has been sent
  bool reading_ = false;
  bool writing_ = false;
  bool gone_ = false;     // the client sends no more: end of stream, or an error
  bool broken_ = false;   // nothing can be sent any more
  bool closing_ = false;  // we were told to end
  bool ready_ = false;    // the answer may have something new
};

}  // namespace pensieve::http
