#include "base/parking_lock.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace mete {
namespace {

TEST(ParkingLock, OneAtATimeAndNobodySleepsForEver) {
  ParkingLock lock;
  std::int64_t counted = 0;  // guarded by lock
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20000; ++i) {
        const std::lock_guard held(lock);
        ++counted;
        if (i % 1000 == 0) std::this_thread::yield();  // so that others come to sleep
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counted, 80000);
}

}  // namespace
}  // namespace mete
