#include "agent/throttle.h"

#include <gtest/gtest.h>

#include "agent/host.h"
#include "mete/quota.h"

namespace mete::agent {
namespace {

const Time kStart{std::chrono::hours(10)};
constexpr Duration kStep = CpuThrottle::kStep;

TEST(CpuThrottle, IsOffUntilItIsWanted) {
  CpuThrottle throttle;
  EXPECT_EQ(throttle.percent(), 100);
  EXPECT_EQ(throttle.Update(false, kStart), 100);
  EXPECT_FALSE(throttle.NextChange());
}

TEST(CpuThrottle, StepsDownWhileItIsWantedAndStopsAtATenth) {
  CpuThrottle throttle;
  EXPECT_EQ(throttle.Update(true, kStart), 50) << "the first at once";
  EXPECT_EQ(throttle.NextChange(), kStart + kStep);
  EXPECT_EQ(throttle.Update(true, kStart + kStep - Duration(1)), 50);
  EXPECT_EQ(throttle.Update(true, kStart + kStep), 25);
  EXPECT_EQ(throttle.Update(true, kStart + 2 * kStep), 10);
  EXPECT_FALSE(throttle.NextChange());
  EXPECT_EQ(throttle.Update(true, kStart + 100 * kStep), 10);
}

TEST(CpuThrottle, AgesBackTheWayItCame) {
  CpuThrottle throttle;
  throttle.Update(true, kStart);
  ASSERT_EQ(throttle.Update(true, kStart + 2 * kStep), 10);
  const Time end = kStart + 3 * kStep;
  EXPECT_EQ(throttle.Update(false, end), 25);
  EXPECT_EQ(throttle.NextChange(), end + kStep);
  EXPECT_EQ(throttle.Update(false, end + kStep), 50);
  EXPECT_EQ(throttle.Update(false, end + 2 * kStep), 100);
  EXPECT_FALSE(throttle.NextChange());
}

TEST(CpuThrottle, GoesDownFromWhereItIs) {
  CpuThrottle throttle;
  throttle.Update(true, kStart);
  throttle.Update(true, kStart + 2 * kStep);
  ASSERT_EQ(throttle.Update(false, kStart + 3 * kStep), 25);
  EXPECT_EQ(throttle.Update(true, kStart + 3 * kStep + Duration(1)), 10);
}

TEST(CpuThrottle, TakesMissedStepsTogether) {
  CpuThrottle throttle;
  throttle.Update(true, kStart);
  EXPECT_EQ(throttle.Update(true, kStart + 50 * kStep), 10);
  EXPECT_EQ(throttle.Update(false, kStart + 60 * kStep), 25);
  EXPECT_EQ(throttle.Update(false, kStart + 90 * kStep), 100);
}

TEST(CpuThrottle, ClearedGoesBackAtOnce) {
  CpuThrottle throttle;
  throttle.Update(true, kStart);
  throttle.Clear();
  EXPECT_EQ(throttle.percent(), 100);
  EXPECT_FALSE(throttle.NextChange());
  EXPECT_EQ(throttle.Update(false, kStart + Duration(1)), 100);
  EXPECT_EQ(throttle.Update(true, kStart + Duration(2)), 50) << "a new cause throttles anew";
}

TEST(ThrottledRate, IsAShareButNeverLessThanTheKernelHolds) {
  EXPECT_EQ(ThrottledRate(2'000'000'000, 50), 1'000'000'000);
  EXPECT_EQ(ThrottledRate(2'000'000'000, 10), 200'000'000);
  EXPECT_EQ(ThrottledRate(100'000'000, 10), kMinCpuNanocores);
  EXPECT_EQ(ThrottledRate(kMinCpuNanocores, 10), kMinCpuNanocores);
  EXPECT_EQ(ThrottledRate(kUnlimited, 50), kUnlimited / 100 * 50) << "no overflow";
}

}  // namespace
}  // namespace mete::agent
