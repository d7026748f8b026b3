#include "application/http/internal/last_words.h"

#include <sys/socket.h>
#include <time.h>

#include <cerrno>

#include "foundation/check.h"

namespace pensieve::http {
namespace {

#ifdef MSG_NOSIGNAL
constexpr int kSend = MSG_DONTWAIT | MSG_NOSIGNAL;
#else
constexpr int kSend = MSG_DONTWAIT;  // SIGPIPE is ignored in any case
#endif

}  // namespace

void LastWords::prepare(int socket, std::string bytes) {
  CHECK(turn_ == Turn::Silent || turn_ == Turn::Over);
  if (turn_ == Turn::Over) return;
  socket_ = socket;
  bytes_ = std::move(bytes);
  turn_ = Turn::Ready;
}

void LastWords::pause() {
  const timespec moment{.tv_sec = 0, .tv_nsec = 1'000'000};
  nanosleep(&moment, nullptr);
}

void LastWords::wait_while_saying() const {
  while (turn_ == Turn::Saying) pause();
}

bool LastWords::begin_sending() {
  while (wanted_ && turn_ == Turn::Ready) pause();  // an answer that always has more to send
  Turn ready = Turn::Ready;
  if (turn_.compare_exchange_strong(ready, Turn::Sending)) return true;
  wait_while_saying();
  return turn_ == Turn::Silent;  // none were ever ready
}

void LastWords::end_sending() {
  Turn sending = Turn::Sending;
  turn_.compare_exchange_strong(sending, Turn::Ready);
}

void LastWords::forget() {
  for (const Turn from : {Turn::Ready, Turn::Sending}) {
    Turn expected = from;
    if (turn_.compare_exchange_strong(expected, Turn::Silent)) return;
  }
  wait_while_saying();
}

LastWords::State LastWords::say() {
  Turn ready = Turn::Ready;
  if (!turn_.compare_exchange_strong(ready, Turn::Saying) && ready != Turn::Saying) {
    if (ready == Turn::Sending) {
      wanted_ = true;
      return State::Later;
    }
    return State::Silent;
  }
  while (said_ < bytes_.size()) {
    const ssize_t n = ::send(socket_, bytes_.data() + said_, bytes_.size() - said_, kSend);
    if (n >= 0) {
      said_ += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return State::Later;
    } else if (errno != EINTR) {
      break;  // the client is gone
    }
  }
  ::shutdown(socket_, SHUT_WR);
  turn_ = Turn::Over;
  return State::Said;
}

void LastWords::give_up() {
  Turn saying = Turn::Saying;
  turn_.compare_exchange_strong(saying, Turn::Over);
  wanted_ = false;
}

}  // namespace pensieve::http
