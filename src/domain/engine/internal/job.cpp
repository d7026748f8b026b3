// Queues between readers and the engine thread. Lock order: a queue's own mutex is never held while
// the desk's is taken; the bell is rung after the pop that made room.
#include "domain/engine/internal/job.h"

#include <algorithm>
#include <utility>

#include "foundation/check.h"

namespace pensieve::engine {

EventQueue::EventQueue(int max_tokens)
    : max_tokens_(max_tokens), ring_(static_cast<std::size_t>(max_tokens) + 2) {}

bool EventQueue::has_room() {
  const std::lock_guard lock(mutex_);
  if (tokens_ < max_tokens_) return true;
  writer_waits_ = true;
  return false;
}

int EventQueue::room() {
  const std::lock_guard lock(mutex_);
  return max_tokens_ - tokens_;
}

void EventQueue::push(TokenEvent&& event) {
  {
    const std::lock_guard lock(mutex_);
    CHECK(size_ < ring_.size());
    if (event.kind == TokenEvent::Kind::Token) ++tokens_;
    ring_[(first_ + size_) % ring_.size()] = std::move(event);
    ++size_;
  }
  filled_.notify_one();
  const std::lock_guard lock(ready_mutex_);
  if (!ready_) return;
  try {
    ready_();
  } catch (...) {  // a reader that cannot be told still finds the event; the engine goes on
  }
}

EventQueue::Popped EventQueue::pop_locked() {
  Popped popped;
  if (size_ == 0) return popped;
  popped.event.emplace(std::move(ring_[first_]));
  first_ = (first_ + 1) % ring_.size();
  --size_;
  if (popped.event->kind == TokenEvent::Kind::Token) --tokens_;
  if (popped.event->kind == TokenEvent::Kind::Finished) over_ = true;
  if (writer_waits_ && tokens_ <= max_tokens_ / 2) {
    writer_waits_ = false;
    popped.made_room = true;
  }
  return popped;
}

EventQueue::Popped EventQueue::try_pop() {
  const std::lock_guard lock(mutex_);
  return pop_locked();
}

EventQueue::Popped EventQueue::wait_pop() {
  std::unique_lock lock(mutex_);
  filled_.wait(lock, [&] { return size_ > 0 || over_; });
  return pop_locked();
}

void EventQueue::on_ready(std::function<void()> ready) {
  const std::lock_guard lock(ready_mutex_);
  ready_ = std::move(ready);
  if (!ready_) return;
  bool filled = false;
  {
    const std::lock_guard queue_lock(mutex_);
    filled = size_ > 0;
  }
  if (filled) ready_();
}

Job::Job(Request&& its_request,
         int its_max_answer,
         compute::RopeVariant its_rope,
         int token_queue,
         std::shared_ptr<Desk> its_desk,
         KvReservation its_reservation)
    : request(std::move(its_request)),
      max_answer(its_max_answer),
      rope(its_rope),
      desk(std::move(its_desk)),
      reservation(std::move(its_reservation)),
      events(token_queue) {}

void Job::cancel() {
  cancelled = true;
  {
    const std::lock_guard lock(desk->mutex_);
    if (holds_place.exchange(false)) --desk->places_;
  }
  desk->ring();
}

void Job::finish(FinishReason reason, std::optional<Error> error) {
  {
    // The place is free before the reader can know, so that it may submit its next request then.
    const std::lock_guard lock(desk->mutex_);
    if (holds_place.exchange(false)) --desk->places_;
    --desk->unfinished_;
  }
  reservation.release();
  events.push({.kind = TokenEvent::Kind::Finished, .reason = reason, .error = std::move(error)});
}

Result<std::shared_ptr<Job>> Desk::submit(Request&& request,
                                          int max_answer,
                                          compute::RopeVariant rope,
                                          int token_queue,
                                          KvReservation reservation) {
  // Made outside the lock: it allocates. If there is no place, it goes again unused.
  auto job = std::make_shared<Job>(std::move(request),
                                   max_answer,
                                   rope,
                                   token_queue,
                                   shared_from_this(),
                                   std::move(reservation));
  {
    const std::lock_guard lock(mutex_);
    if (draining_ || stopped_)
      return Error{ErrorKind::Unavailable, "The server is shutting down.", 5};
    if (places_ >= max_places_ || unfinished_ >= 2 * max_places_) {
      // RELIABILITY, 4.3: clients sleep exactly this long, so it stays within 1 to 10 seconds.
      const int retry_after_s = std::clamp(places_ / 2, 1, 10);
      return Error{ErrorKind::Overloaded,
                   "The server is busy with " + std::to_string(places_) +
                       " requests, try again in " + std::to_string(retry_after_s) + " s.",
                   retry_after_s};
    }
    inbox_.push_back(job);
    ++places_;
    ++unfinished_;
    rung_ = true;
  }
  bell_.notify_one();
  return job;
}

void Desk::ring() {
  {
    const std::lock_guard lock(mutex_);
    rung_ = true;
  }
  bell_.notify_one();
}

void Desk::drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

void Desk::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    rung_ = true;
  }
  bell_.notify_one();
}

bool Desk::take(std::vector<std::shared_ptr<Job>>& jobs,
                std::optional<std::chrono::milliseconds> wait) {
  std::unique_lock lock(mutex_);
  if (wait) bell_.wait_for(lock, *wait, [&] { return rung_; });
  rung_ = false;
  CHECK(jobs.empty());
  jobs.swap(inbox_);  // allocates nothing, so it cannot fail
  return !stopped_;
}

int Desk::unclaimed() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(inbox_.size());
}

namespace {

class JobGeneration final : public Generation {
 public:
  explicit JobGeneration(std::shared_ptr<Job> job) : job_(std::move(job)) {}
  ~JobGeneration() override {
    job_->events.on_ready(nullptr);
    if (!finished_) job_->cancel();
  }

  std::optional<TokenEvent> try_next() override { return take(job_->events.try_pop()); }
  std::optional<TokenEvent> next() override { return take(job_->events.wait_pop()); }
  void on_ready(std::function<void()> ready) override { job_->events.on_ready(std::move(ready)); }
  void cancel() override { job_->cancel(); }
  Progress progress() const override {
    return {.prompt_tokens = static_cast<int>(job_->request.prompt.size()),
            .prefilled_tokens = job_->prefilled_tokens,
            .output_tokens = job_->output_tokens};
  }

 private:
  std::optional<TokenEvent> take(EventQueue::Popped popped) {
    if (popped.made_room) job_->desk->ring();
    if (popped.event && popped.event->kind == TokenEvent::Kind::Finished) finished_ = true;
    return std::move(popped.event);
  }

  const std::shared_ptr<Job> job_;
  bool finished_ = false;
};

}  // namespace

std::unique_ptr<Generation> make_generation(std::shared_ptr<Job> job) {
  return std::make_unique<JobGeneration>(std::move(job));
}

}  // namespace pensieve::engine
