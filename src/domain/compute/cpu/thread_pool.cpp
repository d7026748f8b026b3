#include "domain/compute/cpu/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <fstream>
#include <set>
#include <string>

#ifdef __linux__
#include <sched.h>
#endif
#ifdef __APPLE__
#include <sys/sysctl.h>
#endif
#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "foundation/check.h"
#include "foundation/log.h"

namespace pensieve::compute::cpu {
namespace {

// Between two runs of one forward pass lie a few microseconds, between two steps far more: spin
// over the former, sleep over the latter.
constexpr int kSpins = 2'000;

void pause_briefly() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

}  // namespace

// Delegates, so that the destructor ends the threads should something throw behind them.
ThreadPool::ThreadPool(int n_threads) : ThreadPool() {
  CHECK(n_threads >= 1);
  threads_.reserve(static_cast<std::size_t>(n_threads - 1));
  try {
    for (; n_threads_ < n_threads; ++n_threads_)
      threads_.emplace_back([this, i = n_threads_] { worker(i); });
  } catch (const std::exception&) {  // no memory, or as many threads as there may be
    log_warning("the system gave only " + std::to_string(n_threads_) + " of " +
                std::to_string(n_threads) + " compute threads");
  }
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  round_.fetch_add(1);
  round_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void ThreadPool::run_erased(int n_items, Call call, void* context) {
  if (n_threads_ == 1 || n_items <= 1) {
    for (int i = 0; i < n_items; ++i) call(context, i, 0);
    return;
  }
  call_ = call;
  context_ = context;
  n_items_ = n_items;
  next_item_.store(0, std::memory_order_relaxed);
  busy_.store(n_threads_ - 1, std::memory_order_relaxed);
  round_.fetch_add(1);  // publishes the fields above
  round_.notify_all();
  work_on(0);
  for (int spins = 0;;) {
    const int busy = busy_.load(std::memory_order_acquire);
    if (busy == 0) return;
    if (++spins < kSpins) {
      pause_briefly();
    } else {
      busy_.wait(busy);
    }
  }
}

void ThreadPool::work_on(int thread) {
  for (int item; (item = next_item_.fetch_add(1, std::memory_order_relaxed)) < n_items_;) {
    call_(context_, item, thread);
  }
}

void ThreadPool::worker(int thread) {
  std::uint32_t seen = 0;
  while (true) {
    std::uint32_t now = round_.load(std::memory_order_acquire);
    for (int spins = 0; now == seen; now = round_.load(std::memory_order_acquire)) {
      if (++spins < kSpins) {
        pause_briefly();
      } else {
        round_.wait(seen);
      }
    }
    seen = now;
    if (stop_) return;
    work_on(thread);
    if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_one();
  }
}

int physical_cores() {
#if defined(__APPLE__)
  int cores = 0;
  std::size_t size = sizeof cores;
  if (sysctlbyname("hw.perflevel0.physicalcpu", &cores, &size, nullptr, 0) == 0 && cores > 0)
    return cores;
  if (sysctlbyname("hw.physicalcpu", &cores, &size, nullptr, 0) == 0 && cores > 0) return cores;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
#elif defined(__linux__)
  cpu_set_t mask;
  CPU_ZERO(&mask);
  int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) {
    // Hyper-threads of one core name the same siblings; count each group once.
    std::set<std::string> siblings;
    int unknown = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &mask)) continue;
      std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                         "/topology/thread_siblings_list");
      std::string list;
      if (file && std::getline(file, list)) {
        siblings.insert(list);
      } else {
        ++unknown;
      }
    }
    cores = std::max(1, static_cast<int>(siblings.size()) + unknown);
  }
  // cgroup v2: "max 100000" or "200000 100000" (quota, period in microseconds).
  std::ifstream quota_file("/sys/fs/cgroup/cpu.max");
  long long quota = 0, period = 0;
  if (quota_file >> quota >> period && quota > 0 && period > 0) {
    cores = std::min(cores, std::max(1, static_cast<int>(quota / period)));
  }
  return cores;
#else
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
#endif
}

}  // namespace pensieve::compute::cpu
