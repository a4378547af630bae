#include "agent/loop.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>

namespace mete::agent {
namespace {

struct Pipe {
  Pipe() {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    reader.reset(ends[0]);
    writer.reset(ends[1]);
  }
  void Write() { EXPECT_EQ(write(writer.get(), "x", 1), 1); }
  UniqueFd reader, writer;
};

class LoopTest : public testing::Test {
 protected:
  LoopTest() : loop(*Loop::Create()) {}
  // One look, without waiting.
  void Look() { ASSERT_TRUE(loop->RunOnce(Time())); }

  std::unique_ptr<Loop> loop;
};

TEST_F(LoopTest, CallsTheHandlerWhileItsDescriptorIsReady) {
  Pipe pipe;
  int calls = 0;
  ASSERT_TRUE(loop->Add(pipe.reader.get(), EPOLLIN, [&](std::uint32_t events) {
    EXPECT_EQ(events & EPOLLIN, unsigned{EPOLLIN});
    ++calls;
  }));
  Look();
  EXPECT_EQ(calls, 0);
  pipe.Write();
  Look();
  Look();
  EXPECT_EQ(calls, 2) << "level-triggered";
  loop->Change(pipe.reader.get(), 0);
  Look();
  EXPECT_EQ(calls, 2);
}

TEST_F(LoopTest, HandlersMayRemoveThemselvesAndOthersOfTheSameRound) {
  std::array<Pipe, 3> pipes;
  int calls = 0;
  for (Pipe& pipe : pipes) {
    pipe.Write();
    ASSERT_TRUE(loop->Add(pipe.reader.get(), EPOLLIN, [&](std::uint32_t) {
      ++calls;
      for (Pipe& each : pipes) loop->Remove(each.reader.get());
    }));
  }
  Look();
  Look();
  EXPECT_EQ(calls, 1);
}

TEST_F(LoopTest, AnEventOfAClosedDescriptorDoesNotReachTheNextWithItsNumber) {
  std::array<Pipe, 2> pipes;
  int old_calls = 0, new_calls = 0;
  for (Pipe& pipe : pipes) {
    pipe.Write();
    ASSERT_TRUE(loop->Add(pipe.reader.get(), EPOLLIN, [&](std::uint32_t) {
      ++old_calls;
      // The first handler that runs puts another file in the place of both descriptors.
      for (Pipe& each : pipes) {
        const int number = each.reader.get();
        loop->Remove(number);
        Pipe fresh;
        ASSERT_EQ(dup2(fresh.reader.get(), number), number);
        ASSERT_TRUE(loop->Add(number, EPOLLIN, [&](std::uint32_t) { ++new_calls; }));
      }
    }));
  }
  Look();
  EXPECT_EQ(old_calls, 1);
  EXPECT_EQ(new_calls, 0);
}

TEST_F(LoopTest, WaitsForItsDeadlineAndNotLonger) {
  const SystemClock clock;
  const Time start = clock.Now();
  const Time deadline = start + std::chrono::milliseconds(20);
  ASSERT_TRUE(loop->RunOnce(deadline));
  EXPECT_GE(clock.Now(), deadline);
  // Over: the same one again, an earlier one and a later one.
  ASSERT_TRUE(loop->RunOnce(deadline));
  ASSERT_TRUE(loop->RunOnce(start));
  ASSERT_TRUE(loop->RunOnce(clock.Now() + std::chrono::milliseconds(1)));
}

TEST_F(LoopTest, ATimerThatIsTakenBackWakesNobody) {
  Pipe pipe;
  ASSERT_TRUE(loop->Add(pipe.reader.get(), EPOLLIN, [](std::uint32_t) {}));
  ASSERT_TRUE(loop->RunOnce(Time()));
  pipe.Write();
  ASSERT_TRUE(loop->RunOnce(std::nullopt));  // returns for the pipe alone
}

TEST_F(LoopTest, TakesSignalsAsEvents) {
  sigset_t signals, old;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  sigprocmask(SIG_BLOCK, &signals, &old);
  std::vector<unsigned> seen;
  ASSERT_TRUE(loop->AddSignals(
      signals, [&](const signalfd_siginfo& info) { seen.push_back(info.ssi_signo); }));
  Look();
  EXPECT_TRUE(seen.empty());
  kill(getpid(), SIGUSR1);
  ASSERT_TRUE(loop->RunOnce(std::nullopt));
  EXPECT_EQ(seen, std::vector<unsigned>{SIGUSR1});
  sigprocmask(SIG_SETMASK, &old, nullptr);
}

TEST_F(LoopTest, RemoveOfWhatIsNotWatchedDoesNothing) {
  loop->Remove(-1);
  loop->Remove(5000);
  Pipe pipe;
  loop->Remove(pipe.reader.get());
}

}  // namespace
}  // namespace mete::agent
