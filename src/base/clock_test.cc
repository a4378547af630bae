#include "mete/clock.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <ctime>

namespace mete {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;

Duration Since(clockid_t id) {
  timespec now{};
  clock_gettime(id, &now);
  return seconds(now.tv_sec) + nanoseconds(now.tv_nsec);
}

TEST(SystemClock, LiesBetweenTwoLooksAtTheKernelsClocks) {
  const SystemClock clock;
  const Duration before = Since(CLOCK_BOOTTIME);
  const Duration now = clock.Now().time_since_epoch();
  EXPECT_LE(before, now);
  EXPECT_LE(now, Since(CLOCK_BOOTTIME));

  // The wall clock may be set at any moment, so it is only told from the other one.
  const Duration wall = clock.WallNow().time_since_epoch();
  EXPECT_LT(std::chrono::abs(wall - Since(CLOCK_REALTIME)), std::chrono::hours(1));
}

// Behind by its lag at most, but for the moment that the thread may not run between two looks.
TEST(SystemClock, TheCoarseOneIsNeverAhead) {
  const SystemClock& clock = SystemClock::Instance();
  Duration least = Duration::max();
  for (int i = 0; i < 1000; ++i) {
    const Time before = clock.Now();
    const Time coarse = clock.Coarse();
    ASSERT_LE(coarse, clock.Now());
    least = std::min(least, before - coarse);
  }
  EXPECT_LE(least, Clock::kCoarseLag);
}

TEST(SystemClock, NeverGoesBack) {
  const SystemClock clock;
  Time last = clock.Now();
  for (int i = 0; i < 1000; ++i) {
    const Time now = clock.Now();
    ASSERT_LE(last, now);
    last = now;
  }
}

TEST(VirtualClock, MovesOnlyWhenTold) {
  VirtualClock clock(Time(seconds(5)), WallTime(seconds(100)));
  EXPECT_EQ(clock.Now(), Time(seconds(5)));
  EXPECT_EQ(clock.WallNow(), WallTime(seconds(100)));
  clock.Advance(nanoseconds(1));
  EXPECT_EQ(clock.Now(), Time(seconds(5) + nanoseconds(1)));
  EXPECT_EQ(clock.WallNow(), WallTime(seconds(100) + nanoseconds(1)));
}

TEST(VirtualClock, JumpsTheWallAlone) {
  VirtualClock clock(Time(seconds(5)), WallTime(seconds(100)));
  clock.JumpWall(-seconds(30));
  EXPECT_EQ(clock.Now(), Time(seconds(5)));
  EXPECT_EQ(clock.WallNow(), WallTime(seconds(70)));
}

}  // namespace
TEST(SystemClockTest, NamesTheBoot) {
  const SystemClock clock;
  EXPECT_EQ(clock.BootId().size(), 36u);
  EXPECT_EQ(clock.BootId(), SystemClock::Instance().BootId());
}

TEST(VirtualClockTest, ARebootStartsTheBootClockAgainAndMovesTheWall) {
  VirtualClock clock(Time(std::chrono::hours(5)), WallTime(std::chrono::hours(1000)));
  const std::string before = clock.BootId();
  clock.Reboot(std::chrono::minutes(2));
  EXPECT_NE(clock.BootId(), before);
  EXPECT_EQ(clock.Now(), Time{});
  EXPECT_EQ(clock.WallNow(), WallTime(std::chrono::hours(1000) + std::chrono::minutes(2)));
}

}  // namespace mete
