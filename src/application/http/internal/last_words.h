// What a connection says last when the process has to end at once, said by another thread straight
// into the socket: nothing is allocated, and the io threads need not run. Knows bytes and a
// descriptor. Must not know what they mean.
#pragma once

#include <atomic>
#include <string>
#include <utility>

namespace pensieve::http {

class LastWords {
 public:
  // ---- the connection's own thread

  // From now on `bytes` may be said in place of what is left of the answer, unless something is
  // just being sent. `socket` stays open until forget(). REQUIRES: not ready.
  void prepare(int socket, std::string bytes);

  // Around everything that is sent while words are ready. False: they are being said or have been,
  // and nothing may be sent any more; waits until that is over.
  bool begin_sending();
  void end_sending();
  // Between the two: other words from now on.
  void change(std::string bytes) { bytes_ = std::move(bytes); }

  // Nothing may be said any more. Where they are being said, waits until that is over.
  void forget();

  // ---- any other thread, one at a time

  enum class State { Silent, Later, Said };
  // Says what can be said now. Later: something is being sent, or the socket takes no more for now.
  // Said: all of it, just now.
  State say();
  // Ends it where not all could be said.
  void give_up();

 private:
  enum class Turn { Silent, Ready, Sending, Saying, Over };
  static void pause();
  void wait_while_saying() const;

  std::atomic<Turn> turn_{Turn::Silent};
  std::atomic<bool> wanted_{false};  // who would say them came while something was being sent
  int socket_ = -1;
  std::string bytes_;
  std::size_t said_ = 0;
};

}  // namespace pensieve::http
