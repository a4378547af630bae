#include "cgroup/duty_cycle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

namespace mete::cgroup {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A program that uses all it is let, on a number of cores, and a keeper that comes late.
struct World {
  explicit World(std::int64_t nanocores, unsigned spinning = 1, unsigned machine = 2)
      : duty(nanocores, machine), cores(spinning) {}

  void Go(Duration wall, Duration late = Duration(0)) {
    for (const Duration end = now + wall; now < end;) {
      const DutyCycle::Decision decision = duty.Look(now, used);
      EXPECT_GE(decision.next, milliseconds(2));
      EXPECT_LE(decision.next, milliseconds(100));
      const Duration gap = decision.next + late;
      longest = std::max(longest, gap);
      now += gap;
      if (decision.run && spins) used += gap.count() * cores;
      stops += ran && !decision.run;
      ran = decision.run;
    }
  }
  double Share(Duration since, std::int64_t used_then) const {
    return static_cast<double>(used - used_then) / static_cast<double>((now - since).count());
  }

  DutyCycle duty;
  unsigned cores;
  bool spins = true, ran = true;
  Duration now = seconds(1000), longest{};
  std::int64_t used = 0;
  int stops = 0;
};

TEST(DutyCycle, HoldsARateOverTime) {
  for (const std::int64_t millicores : {10, 100, 500, 999, 1500}) {
    SCOPED_TRACE(millicores);
    World world(millicores * 1'000'000, 2);
    world.Go(seconds(60));
    const double rate = static_cast<double>(millicores) / 1000;
    EXPECT_NEAR(world.Share(seconds(1000), 0), rate, rate * 0.05 + 0.001);
    EXPECT_GT(world.stops, 5);
  }
}

// The bound that stands in the header, with a keeper that comes 30 ms late each time.
TEST(DutyCycle, WhatIsUsedTooMuchIsWaitedOut) {
  World world(200'000'000, 2);
  for (int i = 0; i < 200; ++i) {
    world.Go(milliseconds(250), milliseconds(30));
    const double most = 0.2 * static_cast<double>((world.now - seconds(1000)).count()) + 20e6 +
                        2 * static_cast<double>(world.longest.count());
    EXPECT_LE(static_cast<double>(world.used), most);
  }
}

TEST(DutyCycle, NeverStopsWhoStaysBelow) {
  World world(2'000'000'000, 2, 2);
  world.Go(seconds(10));
  EXPECT_EQ(world.stops, 0);
  World half(1'000'000'000, 1, 4);
  half.duty.Look(half.now, 0);
  for (std::int64_t i = 1; i <= 1000; ++i) {
    EXPECT_TRUE(half.duty.Look(half.now + milliseconds(10) * i, i * 9'000'000).run);
  }
}

TEST(DutyCycle, IdleTimeIsNotSavedUpAndIsLookedAtLessOften) {
  World world(100'000'000);
  world.spins = false;
  world.Go(seconds(60));
  EXPECT_EQ(world.duty.Look(world.now, world.used).next, milliseconds(100));
  world.spins = true;
  const Duration since = world.now;
  world.Go(seconds(2));
  // A slice, and one long look.
  EXPECT_LE(world.used, 0.1 * 2e9 + 10e6 + 2 * 100e6);
  EXPECT_GT(world.stops, 0);
  EXPECT_GT(world.now, since);
}

TEST(DutyCycle, AClockThatStandsStillChangesNothing) {
  DutyCycle duty(500'000'000, 2);
  EXPECT_TRUE(duty.Look(seconds(5), 100).run);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(duty.Look(seconds(5), 100).run);
  EXPECT_TRUE(duty.Look(seconds(4), 50).run) << "neither goes back";
}

}  // namespace
}  // namespace mete::cgroup
