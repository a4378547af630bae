#include "agent/time_text.h"

#include <gtest/gtest.h>

namespace mete::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(TimeText, IsTheWallClocksTimeRoundedUp) {
  // 1772370000 is 2026-03-01T13:00:00Z; the machine has been up for 5 s.
  VirtualClock clock(Time(seconds(5)), WallTime(seconds(1'772'370'000)));
  EXPECT_EQ(TimeText(Time(seconds(5)), clock), "2026-03-01T13:00:00Z");
  EXPECT_EQ(TimeText(Time(milliseconds(5001)), clock), "2026-03-01T13:00:01Z");
  EXPECT_EQ(TimeText(Time(seconds(6)), clock), "2026-03-01T13:00:01Z");
  EXPECT_EQ(TimeText(Time(seconds(5 + 24 * 3600)), clock), "2026-03-02T13:00:00Z");
  EXPECT_EQ(TimeOfDayText(Time(seconds(65)), clock), "13:01:00 UTC");
}

TEST(TimeText, FollowsAJumpOfTheWallClock) {
  VirtualClock clock(Time(seconds(5)), WallTime(seconds(1'772'370'000)));
  clock.JumpWall(seconds(60));
  EXPECT_EQ(TimeText(Time(seconds(5)), clock), "2026-03-01T13:01:00Z");
}

}  // namespace
}  // namespace mete::agent
