// What the engine thread and a reader share: a Job is one request with its events on the way out,
// the Desk is the inbox on the way in, with the count of places and the bell that wakes the engine.
// Everything here may be called from any thread unless it says otherwise.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "domain/engine/engine.h"
#include "domain/engine/internal/kv_gate.h"

namespace pensieve::engine {

// A ring of events that never allocates after it was made. One writer, the engine thread.
class EventQueue {
 public:
  // Room for `max_tokens` Token events, and always for one Started and one Finished beside them.
  explicit EventQueue(int max_tokens);

  // Whether one more token may be pushed. If not, the next pop that leaves the queue half empty
  // rings the desk's bell.
  bool has_room();

  // How many more tokens may be pushed.
  int room();

  // REQUIRES: room for a Token; one Started and one Finished in all.
  void push(TokenEvent&& event);

  struct Popped {
    std::optional<TokenEvent> event;
    bool made_room = false;  // the writer waits for this
  };
  Popped try_pop();
  Popped wait_pop();  // without an event only after Finished was popped

  // As Generation::on_ready(). After it returned, the function set before is neither running nor
  // will be called.
  void on_ready(std::function<void()> ready);

 private:
  Popped pop_locked();

  const int max_tokens_;
  std::mutex mutex_;
  std::condition_variable filled_;
  std::vector<TokenEvent> ring_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
  int tokens_ = 0;  // Token events in the ring
  bool writer_waits_ = false;
  bool over_ = false;  // Finished was popped

  std::mutex ready_mutex_;  // held while ready_ runs
  std::function<void()> ready_;
};

class Desk;

struct Job {
  Job(Request&& its_request,
      int its_max_answer,
      compute::RopeVariant its_rope,
      int token_queue,
      std::shared_ptr<Desk> its_desk,
      KvReservation its_reservation);

  // The engine drops the job before its next step; its place is free at once.
  void cancel();

  // Engine thread, once, when nothing of the job is left in the engine.
  void finish(FinishReason reason, std::optional<Error> error);

  const Request request;
  const int max_answer;  // max_tokens, clamped to the window
  const compute::RopeVariant rope;
  const std::shared_ptr<Desk> desk;
  KvReservation reservation;  // until finish()
  EventQueue events;
  std::atomic<bool> cancelled{false};
  std::atomic<bool> holds_place{true};
  std::atomic<int> prefilled_tokens{0};
  std::atomic<int> output_tokens{0};
};

// The reader's handle: cancels the job when it goes.
std::unique_ptr<Generation> make_generation(std::shared_ptr<Job> job);

class Desk : public std::enable_shared_from_this<Desk> {
 public:
  // `max_places` jobs hold a place. A cancelled job gives its place up at once but lives until the
  // engine has dropped it; at most as many again of those may be left over.
  explicit Desk(int max_places) : max_places_(max_places) {}

  // Puts a new job into the inbox. Errors: Overloaded, Unavailable.
  Result<std::shared_ptr<Job>> submit(Request&& request,
                                      int max_answer,
                                      compute::RopeVariant rope,
                                      int token_queue,
                                      KvReservation reservation);

  KvGate& gate() { return gate_; }

  void ring();
  void drain();
  void stop();

  // Engine thread: puts new jobs into `jobs`, which is empty; false once stopped. With a `wait`,
  // first waits until there is a new job, the bell was rung or that time has passed.
  bool take(std::vector<std::shared_ptr<Job>>& jobs, std::optional<std::chrono::milliseconds> wait);

  int unclaimed() const;  // jobs in the inbox

 private:
  friend struct Job;

  const int max_places_;
  KvGate gate_;
  mutable std::mutex mutex_;
  std::condition_variable bell_;
  std::vector<std::shared_ptr<Job>> inbox_;
  int places_ = 0;      // jobs that hold one
  int unfinished_ = 0;  // those and the cancelled ones that the engine has not dropped yet
  bool rung_ = false;
  bool draining_ = false;
  bool stopped_ = false;
};

}  // namespace pensieve::engine
