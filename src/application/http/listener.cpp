#include "application/http/listener.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <condition_variable>
#include <csignal>
#include <future>
#include <mutex>
#include <thread>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include "foundation/log.h"
#include "foundation/text.h"

#include "application/http/internal/connection.h"
#include "application/http/internal/unix_socket.h"

namespace pensieve::http {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using local = asio::local::stream_protocol;

// Clients beyond the limit that are told so at the same time; more are closed without a word.
constexpr std::size_t kMaxRefusals = 64;
constexpr auto kPauseWithoutDescriptors = std::chrono::milliseconds(10);
// After the grace, for the last events to leave.
constexpr auto kCutOffTime = std::chrono::milliseconds(1500);
// The kernel doubles it. What a stalled reader holds there is beyond our own bound.
constexpr int kSendBufferBytes = 128 * 1024;

// A line in the log, or none: that there is no memory for it must not end a thread.
void log_without_memory(std::string_view what, std::string_view why) {
  try {
    log_error(std::string(what) + (why.empty() ? "" : ": ") + std::string(why));
  } catch (const std::exception&) {
  }
}

int open_spare_descriptor() {
  return ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}

class ListenerImpl final : public Listener {
 public:
  ListenerImpl(const ListenerOptions& options, Handler& handler)
      : n_threads_(options.threads),
        io_(std::make_shared<asio::io_context>()),
        strand_(asio::make_strand(*io_)),
        acceptor_(strand_),
        local_acceptor_(strand_),
        timer_(strand_),
        accept_pause_(strand_),
        local_accept_pause_(strand_),
        shared_{.handler = handler,
                .limits = options.limits,
                .accountant = options.accountant,
                .io = io_,
                .on_all_answered = [this] { asio::post(strand_, [this] { close_all(); }); }} {}

  ~ListenerImpl() override {
    if (started_) {
      shared_.draining = true;
      asio::post(strand_, [this] {
        stop_accepting();
        close_all();
      });
      for (std::thread& thread : threads_) thread.join();
    }
    if (spare_ >= 0) ::close(spare_);
  }

  Result<void> bind(const ListenerOptions& options) {
    CHECK(options.tcp || !options.unix_socket.empty());
    if (options.tcp) PENSIEVE_TRY(bind_tcp(options));
    if (!options.unix_socket.empty()) PENSIEVE_TRY(bind_unix(options.unix_socket));
    spare_ = open_spare_descriptor();
    return {};
  }

  Result<void> bind_tcp(const ListenerOptions& options) {
    if (options.port < 0 || options.port > 65535) {
      return Error{.kind = ErrorKind::InvalidRequest,
                   .message = "port " + std::to_string(options.port) +
                              " does not exist: use --port N with N from 1 to 65535"};
    }
    boost::system::error_code error;
    const std::string host = options.host == "localhost" ? "127.0.0.1" : options.host;
    const auto address = asio::ip::make_address(host, error);
    if (error) {
      return Error{.kind = ErrorKind::InvalidRequest,
                   .message = "\"" + printable(options.host) +
                              "\" is not an address: use --host with an address of this machine, "
                              "such as 127.0.0.1"};
    }
    const tcp::endpoint endpoint(address, static_cast<unsigned short>(options.port));
    acceptor_.open(endpoint.protocol(), error);
    if (!error) ::fcntl(acceptor_.native_handle(), F_SETFD, FD_CLOEXEC);
    // SO_REUSEADDR passes over connections in TIME_WAIT, so that a restart works at once. Never
    // SO_REUSEPORT: two servers would share the port without knowing.
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(tcp::acceptor::max_listen_connections, error);
    if (error) return bind_error(error, options);
    const auto bound = acceptor_.local_endpoint(error);
    if (error) return bind_error(error, options);
    port_ = bound.port();
    loopback_ = address.is_loopback();
    listening_ = acceptor_.native_handle();
    return {};
  }

  Result<void> bind_unix(const std::string& path) {
    PENSIEVE_TRY(unix_socket_, UnixSocket::listen(path));
    boost::system::error_code error;
    local_acceptor_.assign(local(), unix_socket_.release_descriptor(), error);
    if (error) {
      return Error{.kind = ErrorKind::Internal,
                   .message = "--unix-socket " + printable(path, 200) + ": " + error.message()};
    }
    local_listening_ = local_acceptor_.native_handle();
    return {};
  }

  int port() const override { return port_; }
  bool is_loopback() const override { return loopback_; }

  void start() override {
    CHECK(!started_);
    started_ = true;
    if (acceptor_.is_open())
      asio::co_spawn(strand_, accept_all(acceptor_, accept_pause_), asio::detached);
    if (local_acceptor_.is_open())
      asio::co_spawn(strand_, accept_all(local_acceptor_, local_accept_pause_), asio::detached);
    live_threads_ = n_threads_;
    for (int i = 0; i < n_threads_; ++i) {
      threads_.emplace_back([this] { run_thread(); });
    }
  }

  void drain(std::chrono::milliseconds grace) override {
    shared_.draining = true;
    asio::post(strand_, [this, grace] {
      stop_accepting();
      if (shared_.answering.load() == 0) return close_all();
      const auto deadline = Connection::Clock::now() + grace;
      if (grace_deadline_ && *grace_deadline_ <= deadline) return;
      grace_deadline_ = deadline;
      timer_.expires_at(deadline);
      timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error) cut_off_answers();
      });
    });
  }

  bool wait_for(std::chrono::milliseconds limit) override {
    std::unique_lock lock(mutex_);
    return ended_.wait_for(lock, limit, [&] { return shared_.draining && live_threads_ == 0; });
  }

  bool responds_within(std::chrono::milliseconds limit) override {
    const auto done = std::make_shared<std::promise<void>>();
    auto taken = done->get_future();
    asio::post(strand_, [done] { done->set_value(); });
    return taken.wait_for(limit) == std::future_status::ready;
  }

  int end_at_once(std::chrono::milliseconds limit) override {
    using Clock = Connection::Clock;
    const Clock::time_point deadline = Clock::now() + limit;
    shared_.draining = true;
    ending_ = true;
    for (const int acceptor : {listening_.load(), local_listening_.load()})
      if (acceptor >= 0) ::shutdown(acceptor, SHUT_RDWR);
    // Without the lock between two rounds: threads whose connections have ended want it.
    int n_told = 0;
    for (;;) {
      const bool late = Clock::now() >= deadline;
      bool all = false;
      if (mutex_.try_lock()) {
        all = true;
        for (const auto& connection : connections_) {
          const LastWords::State state = connection->last_words().say();
          all = all && state != LastWords::State::Later;
          n_told += state == LastWords::State::Said ? 1 : 0;
          if (late) connection->last_words().give_up();
        }
        mutex_.unlock();
      }
      if (all || late) return n_told;
      const timespec moment{.tv_sec = 0, .tv_nsec = 1'000'000};
      nanosleep(&moment, nullptr);
    }
  }

  std::size_t connections() const override {
    const std::lock_guard lock(mutex_);
    return connections_.size();
  }
  std::size_t answering() const override { return shared_.answering.load(); }

 private:
  static Error bind_error(const boost::system::error_code& error, const ListenerOptions& options) {
    const std::string port = std::to_string(options.port);
    if (error == asio::error::address_in_use) {
      return {.kind = ErrorKind::Unavailable,
              .message = "port " + port +
                         " is in use by another program: use --port N, or stop the other one"};
    }
    if (error == asio::error::access_denied) {
      return {.kind = ErrorKind::InvalidRequest,
              .message = "port " + port +
                         " needs the rights of an administrator: use --port N with N above 1023"};
    }
    return {.kind = ErrorKind::InvalidRequest,
            .message = "cannot listen on " + printable(options.host) + " port " + port + " (" +
                       error.message() + "): use --host and --port with ones of this machine"};
  }

  void run_thread() {
    for (;;) {
      try {
        io_->run();
        break;
      } catch (const std::exception& error) {
        log_without_memory("an io thread caught an exception", error.what());
      }
    }
    {
      const std::lock_guard lock(mutex_);
      --live_threads_;
    }
    ended_.notify_all();
  }

  // Without memory a round of the loop may throw, or a connection may not come to life: the next
  // client is as welcome.
  template <typename Acceptor>
  asio::awaitable<void> accept_all(Acceptor& acceptor, asio::steady_timer& pause) {
    while (acceptor.is_open() && !ending_) {
      bool failed = false;
      try {
        co_await accept_until_closed(acceptor, pause);
      } catch (const std::exception&) {
        failed = true;
      }
      // Asleep and not on the timer, which needs memory.
      if (failed) std::this_thread::sleep_for(kPauseWithoutDescriptors);
    }
  }

  template <typename Acceptor>
  asio::awaitable<void> accept_until_closed(Acceptor& acceptor, asio::steady_timer& pause) {
    while (acceptor.is_open() && !ending_) {
      Connection::Socket socket(asio::make_strand(*io_));
      const auto [error] =
          co_await acceptor.async_accept(socket, asio::as_tuple(asio::use_awaitable));
      if (!acceptor.is_open() || ending_) break;
      if (error == asio::error::no_descriptors || error.value() == ENFILE ||
          error == asio::error::no_memory || error == asio::error::no_buffer_space) {
        turn_one_away(acceptor.native_handle());
        pause.expires_after(kPauseWithoutDescriptors);
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
        continue;
      }
      if (!error) welcome(std::move(socket), std::is_same_v<Acceptor, local::acceptor>);
    }
  }

  // Without a free descriptor a client would wait in the backlog until it gives up; the spare one
  // lets us accept it and close it, which it sees at once.
  void turn_one_away(int acceptor) {
    if (spare_ < 0) {
      spare_ = open_spare_descriptor();
      return;
    }
    ::close(spare_);
    const int client = ::accept(acceptor, nullptr, nullptr);
    if (client >= 0) ::close(client);
    spare_ = open_spare_descriptor();
  }

  void welcome(Connection::Socket socket, bool over_unix_socket) {
    // Mode and directory keep others out already; a process of another user is one whose rights
    // were lent or lost on the way.
    if (over_unix_socket && !peer_is_our_user(socket.native_handle())) return;
    boost::system::error_code ignored;
    ::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
    if (!over_unix_socket) socket.set_option(tcp::no_delay(true), ignored);
    socket.set_option(asio::socket_base::send_buffer_size(kSendBufferBytes), ignored);
    const auto connection =
        std::make_shared<Connection>(std::move(socket), shared_, over_unix_socket);
    const std::size_t open = connections();
    if (open >= shared_.limits.connections + kMaxRefusals) return;
    const bool refused = open >= shared_.limits.connections;
    auto registration = std::make_unique<Registration>(*this, connection);
    asio::co_spawn(connection->executor(), live(std::move(registration), refused), asio::detached);
  }

  // The registered time of a connection. Its end is a destructor: it also comes when the coroutine
  // is dropped because there was no memory to resume it.
  class Registration {
   public:
    Registration(ListenerImpl& listener, std::shared_ptr<Connection> connection)
        : listener_(listener), connection_(std::move(connection)) {
      const std::lock_guard lock(listener_.mutex_);
      listener_.connections_.insert(connection_);
    }
    Registration(const Registration&) = delete;
    Registration& operator=(const Registration&) = delete;
    ~Registration() {
      connection_->close();
      const std::lock_guard lock(listener_.mutex_);
      listener_.connections_.erase(connection_);
    }
    Connection& connection() { return *connection_; }

   private:
    ListenerImpl& listener_;
    const std::shared_ptr<Connection> connection_;
  };

  asio::awaitable<void> live(std::unique_ptr<Registration> registration, bool refused) {
    if (refused) {
      Error error{.kind = ErrorKind::Unavailable,
                  .message = "too many connections are open: try again",
                  .retry_after_s = 1};
      co_await registration->connection().run_refusal(std::move(error));
    } else {
      co_await registration->connection().run();
    }
  }

  // On the strand, all of these.
  void stop_accepting() {
    boost::system::error_code ignored;
    listening_ = local_listening_ = -1;
    acceptor_.close(ignored);
    unix_socket_.remove();  // the next server may bind it while our last answers leave
    local_acceptor_.close(ignored);
    accept_pause_.cancel();
    local_accept_pause_.cancel();
  }

  void cut_off_answers() {
    shared_.cutting = true;
    for (const auto& connection : open_connections()) connection->nudge();
    timer_.expires_after(kCutOffTime);
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) close_all();
    });
  }

  void close_all() {
    timer_.cancel();
    for (const auto& connection : open_connections()) connection->close_soon();
  }

  std::vector<std::shared_ptr<Connection>> open_connections() const {
    const std::lock_guard lock(mutex_);
    return {connections_.begin(), connections_.end()};
  }

  const int n_threads_;
  const std::shared_ptr<asio::io_context> io_;
  asio::strand<asio::io_context::executor_type> strand_;
  tcp::acceptor acceptor_;
  UnixSocket unix_socket_;
  local::acceptor local_acceptor_;
  asio::steady_timer timer_;  // the grace, then the cut-off
  asio::steady_timer accept_pause_;
  asio::steady_timer local_accept_pause_;
  std::optional<Connection::Clock::time_point> grace_deadline_;
  ConnectionShared shared_;
  int port_ = 0;
  bool loopback_ = true;
  std::atomic<int> listening_{-1};  // descriptors of the acceptors while they are open
  std::atomic<int> local_listening_{-1};
  std::atomic<bool> ending_{false};  // at once
  bool started_ = false;
  int spare_ = -1;

  mutable std::mutex mutex_;
  std::condition_variable ended_;
  std::unordered_set<std::shared_ptr<Connection>> connections_;
  int live_threads_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace

Result<std::unique_ptr<Listener>> Listener::create(const ListenerOptions& options,
                                                   Handler& handler) {
  CHECK(options.threads >= 1);
  // A client that leaves while we write must be an error of that write, not a signal.
  std::signal(SIGPIPE, SIG_IGN);
  auto listener = std::make_unique<ListenerImpl>(options, handler);
  PENSIEVE_TRY(listener->bind(options));
  return std::unique_ptr<Listener>(std::move(listener));
}

}  // namespace pensieve::http
