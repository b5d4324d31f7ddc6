// Running one function on several threads, and letting them wait for each other.
//
// With OpenMP the threads are those of the process, shared with PyTorch. A compiler without it gets a small pool.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

#if defined(GATEWISE_POOL)
#include <condition_variable>
#include <mutex>
#include <vector>
#include <unistd.h>
#else
#include <omp.h>
#endif

namespace gatewise {

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Every thread that arrives waits until all have. It spins, since steps last microseconds, but not for long: on a busy
// machine the core is worth more to the thread that is waited for.
class Barrier {
 public:
  // For each of `threads`: how many really came, only they know.
  void wait(int threads) {
    if (threads == 1) return;
    const int round = round_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    for (int spin = 0; round_.load(std::memory_order_acquire) == round; ++spin) {
      if (spin < 2000) relax(); else std::this_thread::yield();
    }
  }

 private:
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> round_{0};
};

// One thread's place among those that work on a call.
struct Worker {
  int id, threads;
  Barrier *barrier;

  void wait() const { barrier->wait(threads); }

  // This worker's share of `count` things: [first, last).
  struct Share { int64_t first, last; };
  Share share(int64_t count) const { return {count * id / threads, count * (id + 1) / threads}; }
};

#if defined(GATEWISE_POOL)

// Threads that sleep between calls. A forked child has none of its parent's threads and starts its own.
class Pool {
 public:
  static Pool &here() {
    static Pool *pool = nullptr;
    static std::mutex making;
    const std::lock_guard<std::mutex> lock(making);
    if (!pool || pool->process_ != getpid()) pool = new Pool;  // never deleted: its threads may outlive static data
    return *pool;
  }

  template <class F> void run(int threads, F &&work) {
    const std::lock_guard<std::mutex> one_call_at_a_time(calling_);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      while (static_cast<int>(started_) < threads - 1) {
        std::thread([this, id = ++started_] { serve(id); }).detach();
      }
      work_ = std::forward<F>(work);
      wanted_ = pending_ = threads - 1;
      ++call_;
    }
    wake_.notify_all();
    work_(0);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return pending_ == 0; });
    work_ = nullptr;
  }

 private:
  void serve(int id) {
    int64_t seen = 0;
    for (;;) {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return call_ != seen; });
      seen = call_;
      if (id > wanted_) continue;
      lock.unlock();
      work_(id);
      lock.lock();
      if (--pending_ == 0) done_.notify_one();
    }
  }

  const int process_ = getpid();
  int started_ = 0, wanted_ = 0, pending_ = 0;
  int64_t call_ = 0;
  std::function<void(int)> work_;
  std::mutex calling_, mutex_;
  std::condition_variable wake_, done_;
};

#endif

// Calls work(Worker) on each of `threads` threads and returns when all have.
template <class F> void parallel(int threads, F &&work) {
  Barrier barrier;
  if (threads <= 1) {
    work(Worker{0, 1, &barrier});
    return;
  }
#if defined(GATEWISE_POOL)
  Pool::here().run(threads, [&](int id) { work(Worker{id, threads, &barrier}); });
#else
  // Asked for n threads, OpenMP may give fewer (inside another region, for one).
#pragma omp parallel num_threads(threads)
  work(Worker{omp_get_thread_num(), omp_get_num_threads(), &barrier});
#endif
}

}  // namespace gatewise
