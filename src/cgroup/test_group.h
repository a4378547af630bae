// Groups and children for tests of hosts: bounded, and gone when the test ends, also when it fails.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "agent/host.h"

namespace mete::cgroup {

using std::chrono::milliseconds;
using std::chrono::seconds;

// How long a test waits for what must happen; generous, because other work shares the cores.
inline constexpr Duration kSoon = seconds(20);

inline void SleepFor(Duration duration) {
  const timespec time{static_cast<time_t>(duration.count() / 1'000'000'000),
                      static_cast<long>(duration.count() % 1'000'000'000)};
  nanosleep(&time, nullptr);
}

// Waits until the condition holds; false after kSoon.
template <class Condition>
bool Eventually(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + kSoon;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    SleepFor(milliseconds(1));
  }
  return true;
}

// A name that no other test program uses at the same time.
inline std::string TestName(const std::string& what) {
  static int count = 0;
  return "test." + std::to_string(getpid()) + "." + what + "." + std::to_string(++count);
}

class TestGroup {
 public:
  TestGroup(agent::Host& host, const std::string& what, const agent::KernelLimits& limits = {})
      : TestGroup(host.Create(TestName(what), limits)) {}
  explicit TestGroup(Result<std::unique_ptr<agent::Group>> made) {
    EXPECT_TRUE(made.has_value()) << (made ? "" : made.error().ToString());
    if (made) group_ = std::move(*made);
  }
  ~TestGroup() {
    if (!group_) return;
    EXPECT_TRUE(group_->Kill(kSoon));
    auto removed = group_->Remove();
    EXPECT_TRUE(removed.has_value()) << (removed ? "" : removed.error().ToString());
  }
  TestGroup(const TestGroup&) = delete;
  TestGroup& operator=(const TestGroup&) = delete;

  explicit operator bool() const { return group_ != nullptr; }
  agent::Group* operator->() { return group_.get(); }
  agent::Group& operator*() { return *group_; }
  agent::Sample Read() {
    auto sample = group_->Read();
    EXPECT_TRUE(sample.has_value()) << (sample ? "" : sample.error().ToString());
    return sample.value_or(agent::Sample{});
  }
  bool EventWithin(Duration wait) {
    pollfd poll{group_->EventsFd(), POLLIN, 0};
    return ::poll(&poll, 1, static_cast<int>(wait / milliseconds(1))) == 1;
  }

 private:
  std::unique_ptr<agent::Group> group_;
};

// Numbers that a test and its children share.
class SharedPage {
 public:
  SharedPage()
      : words_(static_cast<volatile long*>(
            mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  ~SharedPage() { munmap(const_cast<long*>(words_), 4096); }
  SharedPage(const SharedPage&) = delete;
  SharedPage& operator=(const SharedPage&) = delete;
  volatile long& operator[](int index) { return words_[index]; }

 private:
  volatile long* words_;
};

// A child that joins the group and runs the body; ends after a minute at the latest. Exists when it
// has joined.
class TestChild {
 public:
  template <class Body>
  TestChild(agent::Group& group, Body body) : pid_(fork()) {
    if (pid_ == 0) {
      alarm(60);
      const int error = group.JoinSelf();
      progress_[0] = error == 0 ? 1 : 2;
      _exit(error == 0 ? body() : error);
    }
    EXPECT_TRUE(Eventually([this] { return progress_[0] != 0; }));
    EXPECT_EQ(progress_[0], 1) << "it could not join";
  }
  ~TestChild() { End(); }
  TestChild(const TestChild&) = delete;
  TestChild& operator=(const TestChild&) = delete;

  pid_t pid() const { return pid_; }
  // The wait status; -1 if it did not end in time.
  int Wait() {
    int status = -1;
    const bool ended = Eventually([&] { return waitpid(pid_, &status, WNOHANG) == pid_; });
    if (ended) pid_ = -1;
    return ended ? status : -1;
  }
  // Bounded: under a small quota it can take long to die, until the group's Kill lifts that.
  void End() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    Wait();
  }

 private:
  SharedPage progress_;
  pid_t pid_;
};

// Bodies for children.
inline int SleepLong() {
  for (;;) pause();
}
inline int SpinLong() {
  for (;;) asm volatile("");
}
// Unseen by sanitizers: what they keep about memory would count against the group too.
__attribute__((no_sanitize("thread", "address"))) inline int TouchAndSleep(std::size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 2;
  for (std::size_t at = 0; at < bytes; at += 4096) static_cast<volatile char*>(memory)[at] = 1;
  return SleepLong();
}

}  // namespace mete::cgroup
