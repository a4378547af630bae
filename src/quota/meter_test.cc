#include "quota/meter.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace mete {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

struct Fixture {
  explicit Fixture(LimitKind kind, std::int64_t limit = kUnlimited)
      : meter(InfoOf(kind), limit, InfoOf(kind).window, Thresholds(), Time{}) {}
  Meter meter;
};

TEST(Meter, AWindowAddsALevelIsSetARateDrains) {
  Fixture window(LimitKind::kTokensPerHour), level(LimitKind::kMemory);
  Fixture rate(LimitKind::kRequestsPerMinute, 60);
  for (const int second : {0, 10}) {
    const Time now{seconds(second)};
    for (Fixture* one : {&window, &level, &rate}) one->meter.Record(30, now);
  }
  EXPECT_EQ(window.meter.used(), 60);
  EXPECT_EQ(level.meter.used(), 30);
  EXPECT_EQ(rate.meter.used(), 50);
  EXPECT_EQ(window.meter.reset_at(), Time(hours(1)));
  EXPECT_FALSE(level.meter.reset_at().has_value());
  EXPECT_FALSE(rate.meter.reset_at().has_value());
}

TEST(Meter, KnowsBeforehandWhatWouldOverflow) {
  struct Row {
    LimitKind kind;
    std::int64_t used, held, amount;
    bool fits;
  };
  const Row rows[] = {
      {LimitKind::kTokensPerHour, 0, 0, kMax, true},
      {LimitKind::kTokensPerHour, 1, 0, kMax - 1, true},
      {LimitKind::kTokensPerHour, 1, 0, kMax, false},
      {LimitKind::kTokensPerHour, 1, 1, kMax - 1, false},
      {LimitKind::kMemory, kMax, 0, kMax, true},  // set, not added
      {LimitKind::kMemory, 1, 1, kMax, false},
      {LimitKind::kMemory, 1, 1, kMax - 1, true},
      {LimitKind::kRequestsPerMinute, 1, 0, kMax, false},
      {LimitKind::kRequestsPerMinute, 1, 1, kMax - 2, true},
      {LimitKind::kRequestsPerMinute, 1, 1, kMax - 1, false},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(std::string(InfoOf(row.kind).name) + " " + std::to_string(row.amount));
    Fixture one(row.kind);
    auto share = one.meter.TryReserve(row.held, Time{});
    ASSERT_TRUE(share.has_value());
    ASSERT_TRUE(one.meter.Fits(row.used, Time{}));
    one.meter.Record(row.used, Time{});
    EXPECT_EQ(one.meter.Fits(row.amount, Time{}), row.fits);
    one.meter.Release(*share, Time{});
  }
}

TEST(Meter, AShareIsSettledForMoreOrLessOrReleased) {
  for (const LimitKind kind :
       {LimitKind::kTokensPerHour, LimitKind::kMemory, LimitKind::kRequestsPerMinute}) {
    for (const std::int64_t actual : {0, 1, 39, 40, 41, 100}) {
      SCOPED_TRACE(std::string(InfoOf(kind).name) + " " + std::to_string(actual));
      Fixture one(kind, 60);
      auto share = one.meter.TryReserve(40, Time{});
      ASSERT_TRUE(share.has_value());
      EXPECT_EQ(one.meter.used() + one.meter.held(), 40);
      EXPECT_FALSE(one.meter.TryReserve(21, Time{}).has_value());
      ASSERT_TRUE(one.meter.FitsInstead(*share, actual, Time{}));
      one.meter.Settle(*share, actual, Time{});
      EXPECT_EQ(one.meter.used(), actual);
      EXPECT_EQ(one.meter.held(), 0);
      EXPECT_EQ(one.meter.IsOver(), actual > 60);
    }
  }
}

TEST(Meter, ARefusalSaysWhyAndForARateHowLong) {
  Fixture window(LimitKind::kTokensPerHour, 10), rate(LimitKind::kRequestsPerMinute, 60);
  const auto limit = window.meter.TryReserve(11, Time{});
  ASSERT_FALSE(limit.has_value());
  EXPECT_EQ(limit.error().reason, Refusal::Reason::kLimit);
  EXPECT_FALSE(limit.error().wait.has_value());
  rate.meter.Record(60, Time{});
  const auto soon = rate.meter.TryReserve(2, Time{});
  ASSERT_FALSE(soon.has_value());
  EXPECT_EQ(soon.error().wait, seconds(2));
  const auto never = rate.meter.TryReserve(61, Time{});
  ASSERT_FALSE(never.has_value());
  EXPECT_EQ(never.error().wait, RateLimit::kNever);
  EXPECT_EQ(rate.meter.UntilNext(Time{}), seconds(1));
}

TEST(Meter, SaysWhenItWillChange) {
  Fixture window(LimitKind::kTokensPerDay), level(LimitKind::kMemory, 1);
  Fixture rate(LimitKind::kRequestsPerMinute, 60);
  EXPECT_EQ(window.meter.NextChange(Time{}), Time(hours(24)));
  level.meter.Record(2, Time{});
  EXPECT_FALSE(level.meter.NextChange(Time{}).has_value());
  rate.meter.Record(60, Time{});
  EXPECT_FALSE(rate.meter.NextChange(Time{}).has_value());
  rate.meter.Record(1, Time{});
  EXPECT_EQ(rate.meter.NextChange(Time{}), Time(seconds(1)));
  rate.meter.SetLimit(0, Time{});
  EXPECT_FALSE(rate.meter.NextChange(Time{}).has_value());  // never by itself
  EXPECT_EQ(rate.meter.UntilNext(Time{}), RateLimit::kNever);
}

TEST(Meter, ResetEmptiesWindowsAndRatesAndKeepsLevels) {
  Fixture window(LimitKind::kTokensPerHour), level(LimitKind::kMemory);
  Fixture rate(LimitKind::kRequestsPerMinute, 60);
  level.meter.Record(90, Time{});
  for (Fixture* one : {&window, &level, &rate}) {
    one->meter.Record(30, Time{});
    one->meter.Reset(Time(minutes(10)));
  }
  EXPECT_EQ(window.meter.used(), 0);
  EXPECT_EQ(window.meter.reset_at(), Time(minutes(70)));
  EXPECT_EQ(level.meter.used(), 30);
  EXPECT_EQ(level.meter.peak(), 30);
  EXPECT_EQ(rate.meter.used(), 0);
}

}  // namespace
}  // namespace mete
