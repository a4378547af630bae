// Two threads at once, measured honestly on a busy machine: short bursts, of which only those count
// in which both threads ran from start to end without being preempted and overlapped.
#pragma once

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

namespace mete::bench {

struct BurstResult {
  double median_ns = 0;  // per operation and thread, over the bursts that count
  int counted = 0;
  int tried = 0;
};

namespace internal {

struct Run {
  std::int64_t begin = 0, end = 0;
  bool calm = false;  // not preempted in between
};

inline std::int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Preemptions only: to wait for a mutex is part of what a peer costs.
inline long Preemptions() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

inline void PinTo(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cpu), &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

}  // namespace internal

// Runs `body(thread, operations)` on two threads at once, `after()` alone between bursts, until
// `wanted` bursts count or `limit` were tried. REQUIRES: two processors.
template <class Body, class After>
BurstResult MeasureBursts(int operations, int wanted, int limit, Body&& body, After&& after) {
  using internal::Run;
  std::atomic<int> burst{0}, arrived{0}, done{0};
  std::atomic<bool> stop{false};
  Run runs[2];
  auto thread_main = [&](int self) {
    internal::PinTo(self);
    for (int mine = 1; !stop.load(); ++mine) {
      burst.wait(mine - 1);
      if (stop.load()) return;
      arrived.fetch_add(1);
      while (arrived.load(std::memory_order_acquire) < 2 * mine) {
        // Spinning, so that both start within a cache miss of each other.
      }
      const long preemptions = internal::Preemptions();
      Run& run = runs[self];
      run.begin = internal::NowNs();
      body(self, operations);
      run.end = internal::NowNs();
      run.calm = internal::Preemptions() == preemptions;
      if (done.fetch_add(1) == 2 * mine - 1) done.notify_one();
    }
  };
  std::thread first(thread_main, 0), second(thread_main, 1);
  std::vector<double> per_operation;
  BurstResult result;
  while (result.counted < wanted && result.tried < limit) {
    ++result.tried;
    burst.store(result.tried, std::memory_order_release);
    burst.notify_all();
    // Asleep while they run: there may be no third processor.
    for (int seen = done.load(); seen < 2 * result.tried; seen = done.load()) done.wait(seen);
    after();
    const std::int64_t overlap =
        std::min(runs[0].end, runs[1].end) - std::max(runs[0].begin, runs[1].begin);
    const std::int64_t longest = std::max(runs[0].end - runs[0].begin, runs[1].end - runs[1].begin);
    if (!runs[0].calm || !runs[1].calm || overlap * 10 < longest * 8) continue;
    ++result.counted;
    for (const Run& run : runs) {
      per_operation.push_back(static_cast<double>(run.end - run.begin) / operations);
    }
  }
  stop.store(true);
  burst.fetch_add(1);
  burst.notify_all();
  first.join();
  second.join();
  if (!per_operation.empty()) {
    auto middle = per_operation.begin() + static_cast<std::ptrdiff_t>(per_operation.size() / 2);
    std::nth_element(per_operation.begin(), middle, per_operation.end());
    result.median_ns = *middle;
  }
  return result;
}

}  // namespace mete::bench
