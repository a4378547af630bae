#include "base/futex.h"

#include <gtest/gtest.h>

#include <thread>

namespace mete {
namespace {

TEST(Futex, DoesNotSleepOnAnotherValue) {
  std::atomic<std::uint32_t> word{1};
  FutexWait(word, 0);  // or this test would not end
  EXPECT_EQ(word.load(), 1u);
}

TEST(Futex, AWakeEndsASleep) {
  std::atomic<std::uint32_t> word{0};
  std::thread sleeper([&] {
    while (word.load() == 0) FutexWait(word, 0);
  });
  word.store(1);
  FutexWakeOne(word);
  sleeper.join();
}

}  // namespace
}  // namespace mete
