#include "quota/window.h"

#include <gtest/gtest.h>

#include <random>

namespace mete {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr Time At(Duration since) { return Time(since); }

// A window of an hour that was created at second 100; the columns are in nanoseconds where a
// boundary is meant to the nanosecond.
TEST(Window, Rule07IsHalfOpenKeepsItsPhaseAndCountsTheBoundariesPassed) {
  constexpr Duration kHour = std::chrono::hours(1);
  struct Row {
    const char* when;
    Duration now;
    std::int64_t passed;
    Duration start, reset_at;  // afterwards
  };
  const Duration t = seconds(100);
  const Row rows[] = {
      {"when created", t, 0, t, t + kHour},
      {"before it was created", t - seconds(1), 0, t, t + kHour},
      {"in the middle", t + kHour / 2, 0, t, t + kHour},
      {"the last nanosecond", t + kHour - nanoseconds(1), 0, t, t + kHour},
      {"the end is the next window", t + kHour, 1, t + kHour, t + 2 * kHour},
      {"again at the same time", t + kHour, 0, t + kHour, t + 2 * kHour},
      {"just before the next end", t + 2 * kHour - nanoseconds(1), 0, t + kHour, t + 2 * kHour},
      {"after 7 hours and a bit", t + 8 * kHour + seconds(17), 7, t + 8 * kHour, t + 9 * kHour},
      {"exactly on a later boundary", t + 11 * kHour, 3, t + 11 * kHour, t + 12 * kHour},
      {"a time in the past changes nothing", t + kHour, 0, t + 11 * kHour, t + 12 * kHour},
  };
  Window window(At(t), kHour);
  for (const Row& row : rows) {
    SCOPED_TRACE(row.when);
    EXPECT_EQ(window.Advance(At(row.now)), row.passed);
    EXPECT_EQ(window.start(), At(row.start));
    EXPECT_EQ(window.reset_at(), At(row.reset_at));
  }
}

TEST(Window, Rule08ResetStartsANewWindowNowWithANewPhase) {
  Window window(At(seconds(0)), seconds(60));
  window.Reset(At(seconds(45)));
  EXPECT_EQ(window.reset_at(), At(seconds(105)));
  EXPECT_EQ(window.Advance(At(seconds(60))), 0);  // the old boundary is gone
  EXPECT_EQ(window.Advance(At(seconds(105))), 1);
  EXPECT_EQ(window.reset_at(), At(seconds(165)));
}

TEST(Window, EdgesOfTime) {
  struct Row {
    const char* what;
    Time start;
    Duration length;
    Time now;
    std::int64_t passed;
    Time reset_at;
  };
  const Row rows[] = {
      {"shortest", Time{}, seconds(1), At(nanoseconds(999'999'999)), 0, At(seconds(1))},
      {"shortest, at its end", Time{}, seconds(1), At(seconds(1)), 1, At(seconds(2))},
      {"the whole of time in seconds", Time::min(), seconds(1), Time::max(), 18446744073,
       Time::max()},
      {"never ends", At(seconds(1)), Duration::max(), Time::max(), 0, Time::max()},
      {"longest from 0", Time{}, Duration::max(), Time::max() - nanoseconds(1), 0, Time::max()},
      {"before the epoch", At(-seconds(90)), seconds(60), At(seconds(0)), 1, At(seconds(30))},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    Window window(row.start, row.length);
    EXPECT_EQ(window.Advance(row.now), row.passed);
    EXPECT_EQ(window.reset_at(), row.reset_at);
  }
}

// However seldom anyone looks, the window is the one that looking each second would have found.
TEST(Window, LookingSeldomFindsTheSameWindowAsLookingOften) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 200; ++round) {
    const Duration length = seconds(1 + random() % 50);
    Window often(Time{}, length), seldom(Time{}, length);
    Duration now{0};
    std::int64_t passed_often = 0, passed_seldom = 0;
    for (int i = 0; i < 300; ++i) {
      now += std::chrono::milliseconds(random() % 1000);
      passed_often += often.Advance(At(now));
      if (random() % 40 == 0) passed_seldom += seldom.Advance(At(now));
    }
    passed_seldom += seldom.Advance(At(now));
    ASSERT_EQ(passed_seldom, passed_often) << "round " << round;
    ASSERT_EQ(seldom.start(), often.start());
    ASSERT_LE(seldom.start(), At(now));
    ASSERT_GT(seldom.reset_at(), At(now));
  }
}

}  // namespace
}  // namespace mete
