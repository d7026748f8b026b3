// The compute threads: one per physical core, the engine thread among them. Work is handed out in
// chunks as threads become free, because a static split waits for whichever core another program
// has taken (measured: two to three times slower).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace pensieve::compute::cpu {

class ThreadPool {
 public:
  // `n_threads` >= 1 counts the calling thread; n_threads - 1 are started, or as many as the system
  // gives.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return n_threads_; }

  // Calls work(item, thread) for every item in [0, n_items), each once, from several threads, and
  // returns when all are done. 0 <= thread < size(); items of one thread run one after another.
  // One caller at a time; `work` must not throw. No allocation.
  template <typename Work>
  void run(int n_items, Work&& work) {
    using Plain = std::remove_reference_t<Work>;
    run_erased(
        n_items,
        [](void* context, int item, int thread) { (*static_cast<Plain*>(context))(item, thread); },
        &work);
  }

 private:
  ThreadPool() = default;
  using Call = void (*)(void* context, int item, int thread);
  void run_erased(int n_items, Call call, void* context);
  void work_on(int thread);
  void worker(int thread);

  int n_threads_ = 1;
  Call call_ = nullptr;
  void* context_ = nullptr;
  int n_items_ = 0;
  alignas(64) std::atomic<int> next_item_{0};
  alignas(64) std::atomic<std::uint32_t> round_{0};  // rises with every run(); workers wait on it
  alignas(64) std::atomic<int> busy_{0};             // workers that have not finished this round
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

// Physical cores this process may run on (its affinity mask and cgroup quota considered), at
// least 1.
int physical_cores();

}  // namespace pensieve::compute::cpu
