#include "quota/rate_limit.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <vector>

namespace mete {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr Duration kNever = RateLimit::kNever;

Time At(Duration since) { return Time(since); }

// Five per five seconds: a burst of 5, then one each second. `wait` is 0 where the reservation is
// admitted.
TEST(RateLimit, Rule16ABurstOfTheLimitThenEvenSpacing) {
  struct Row {
    Duration now;
    std::int64_t count;
    Duration wait;
    std::int64_t used;  // afterwards, parts counted as whole
  };
  const Row rows[] = {
      {milliseconds(0), 6, kNever, 0},           // more than the burst can never fit
      {milliseconds(0), 1, milliseconds(0), 1},  // the burst
      {milliseconds(0), 1, milliseconds(0), 2},
      {milliseconds(0), 1, milliseconds(0), 3},
      {milliseconds(0), 1, milliseconds(0), 4},
      {milliseconds(0), 1, milliseconds(0), 5},
      {milliseconds(0), 1, milliseconds(1000), 5},  // full: the next fits in one second
      {milliseconds(999), 1, milliseconds(1), 5},
      {milliseconds(999), 2, milliseconds(1001), 5},
      {milliseconds(3000), 1, milliseconds(0), 3},
      {milliseconds(3100), 1, milliseconds(0), 4},  // 3.9, shown as 4
      {milliseconds(4000), 1, milliseconds(0), 4},
      {milliseconds(8000), 1, milliseconds(0), 1},
      {milliseconds(9500), 1, milliseconds(0), 1},
      {milliseconds(9500), 0, milliseconds(0), 1},  // asking for nothing is always granted
      {milliseconds(9500), 2, milliseconds(0), 3},
      {milliseconds(9500), 5, milliseconds(3000), 3},
      {milliseconds(9500), 2, milliseconds(0), 5},
      {milliseconds(2000), 1, milliseconds(1000), 5},  // a time in the past counts as 9500
  };
  RateLimit rate(5, seconds(5), At(seconds(0)));
  int number = 0;
  for (const Row& row : rows) {
    SCOPED_TRACE("row " + std::to_string(++number));
    const auto slot = rate.TryReserve(row.count, At(row.now));
    EXPECT_EQ(slot.has_value(), row.wait == Duration(0));
    EXPECT_EQ(slot ? Duration(0) : slot.error(), row.wait);
    EXPECT_EQ(rate.Used(At(row.now)), row.used);
  }
}

TEST(RateLimit, Rule16TheTimeToRetryIsExact) {
  for (std::int64_t limit : {1, 3, 7, 59, 60, 61, 1'000'000'007}) {
    SCOPED_TRACE(limit);
    RateLimit rate(limit, minutes(1), At(seconds(0)));
    ASSERT_TRUE(rate.TryReserve(limit, At(seconds(0))).has_value());
    const auto refused = rate.TryReserve(1, At(seconds(0)));
    ASSERT_FALSE(refused.has_value());
    RateLimit early = rate;
    EXPECT_FALSE(early.TryReserve(1, At(refused.error() - nanoseconds(1))).has_value());
    EXPECT_TRUE(rate.TryReserve(1, At(refused.error())).has_value());
  }
}

// 7 per minute come 8571428571.43 ns apart. Each is taken at the first nanosecond at which it fits:
// the k-th after the burst at ceil(k * 60 s / 7), however large k is.
TEST(RateLimit, Rule16FractionalIntervalsDoNotDrift) {
  for (std::int64_t limit : {7, 13, 999'983}) {
    SCOPED_TRACE(limit);
    RateLimit rate(limit, minutes(1), At(seconds(0)));
    ASSERT_TRUE(rate.TryReserve(limit, At(seconds(0))).has_value());
    Time now{};
    for (std::int64_t k = 1; k <= 200'000; ++k) {
      const auto refused = rate.TryReserve(1, now);
      ASSERT_FALSE(refused.has_value());
      now += refused.error();
      ASSERT_TRUE(rate.TryReserve(1, now).has_value());
      const std::int64_t period = Duration(minutes(1)).count();
      ASSERT_EQ(now.time_since_epoch().count(), (k * period + limit - 1) / limit);
    }
  }
}

TEST(RateLimit, Rule16AReportCountsAndIsNeverRefused) {
  RateLimit rate(60, minutes(1), At(seconds(0)));
  rate.Report(100, At(seconds(0)));
  EXPECT_EQ(rate.Used(At(seconds(0))), 100);
  EXPECT_EQ(rate.TimeUntil(60, At(seconds(0))), seconds(40));
  const auto refused = rate.TryReserve(1, At(seconds(0)));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error(), seconds(41));
  EXPECT_EQ(rate.Used(At(seconds(40))), 60);  // within again
  EXPECT_EQ(rate.TimeUntil(60, At(seconds(40))), Duration(0));
  EXPECT_EQ(rate.Used(At(seconds(99))), 1);
  EXPECT_EQ(rate.Used(At(seconds(100))), 0);
  EXPECT_EQ(rate.Used(At(seconds(5000))), 0);
}

TEST(RateLimit, Rule16EdgesOfTheLimit) {
  struct Row {
    std::int64_t limit, count;
    bool admitted;
    Duration wait;
  };
  const Row rows[] = {
      {0, 0, true, Duration(0)},       {0, 1, false, kNever},   {1, 0, true, Duration(0)},
      {1, 1, true, Duration(0)},       {1, 2, false, kNever},   {60, 59, true, Duration(0)},
      {60, 60, true, Duration(0)},     {60, 61, false, kNever}, {60, kMax, false, kNever},
      {kMax, kMax, true, Duration(0)},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(std::to_string(row.limit) + ", " + std::to_string(row.count));
    RateLimit rate(row.limit, minutes(1), At(seconds(0)));
    const auto slot = rate.TryReserve(row.count, At(seconds(0)));
    EXPECT_EQ(slot.has_value(), row.admitted);
    EXPECT_EQ(slot ? Duration(0) : slot.error(), row.wait);
  }
}

TEST(RateLimit, Rule04ASumThatWouldOverflowIsKnownBeforehand) {
  RateLimit rate(1, minutes(1), At(seconds(0)));
  EXPECT_TRUE(rate.Fits(kMax, At(seconds(0))));
  rate.Report(kMax, At(seconds(0)));
  EXPECT_FALSE(rate.Fits(1, At(seconds(0))));
  EXPECT_TRUE(rate.Fits(0, At(seconds(0))));
  EXPECT_EQ(rate.Used(At(seconds(0))), kMax);
  EXPECT_EQ(rate.TimeUntil(1, At(seconds(0))), kNever);  // longer than time itself
  EXPECT_FALSE(rate.Fits(1, At(seconds(59))));           // 59/60 of a request less is not enough
  EXPECT_TRUE(rate.Fits(1, At(seconds(60))));
}

TEST(RateLimit, Rule11AChangedLimitKeepsTheContentAndDrainsAtItsOwnRate) {
  RateLimit rate(60, minutes(1), At(seconds(0)));
  rate.Report(60, At(seconds(0)));
  rate.SetLimit(120, At(seconds(10)));  // 50 left, and now 2 drain each second
  EXPECT_EQ(rate.Used(At(seconds(10))), 50);
  EXPECT_EQ(rate.Used(At(seconds(20))), 30);
  rate.SetLimit(0, At(seconds(20)));  // nothing drains any more
  EXPECT_EQ(rate.Used(At(seconds(99999))), 30);
  EXPECT_EQ(rate.TimeUntil(29, At(seconds(99999))), kNever);
  rate.Reset(At(seconds(99999)));
  EXPECT_EQ(rate.Used(At(seconds(99999))), 0);
}

// Ten per ten seconds; 4 reserved at 0, given back later: what has drained by then is spent.
TEST(RateLimit, AReleaseGivesBackOnlyWhatHasNotDrained) {
  struct Row {
    Duration when;
    std::int64_t back;
    std::int64_t used_before, used_after;
  };
  const Row rows[] = {
      {seconds(0), 4, 10, 6},  {seconds(0), 1, 10, 9},
      {seconds(0), 0, 10, 10}, {seconds(1), 4, 9, 6},  // one of the four is spent
      {seconds(3), 2, 7, 6},  // three are spent, of the two only one is left
      {seconds(4), 4, 6, 6},  // all are spent
      {seconds(50), 4, 0, 0},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(std::to_string(row.when.count()) + " ns, " + std::to_string(row.back));
    RateLimit rate(10, seconds(10), At(seconds(0)));
    const auto slot = rate.TryReserve(4, At(seconds(0)));
    ASSERT_TRUE(slot.has_value());
    rate.Report(6, At(seconds(0)));
    EXPECT_EQ(rate.Used(At(row.when)), row.used_before);
    rate.GiveBack(*slot, row.back, At(row.when));
    EXPECT_EQ(rate.Used(At(row.when)), row.used_after);
  }
}

TEST(RateLimit, AResetSpendsWhatWasReserved) {
  RateLimit rate(10, seconds(10), At(seconds(0)));
  const auto slot = rate.TryReserve(4, At(seconds(0)));
  ASSERT_TRUE(slot.has_value());
  rate.Reset(At(seconds(0)));
  rate.Report(3, At(seconds(0)));
  rate.GiveBack(*slot, 4, At(seconds(0)));
  EXPECT_EQ(rate.Used(At(seconds(0))), 3);
}

// The algorithm in its other form, virtual scheduling: a theoretical arrival time, here scaled by
// the limit so that it is a whole number.
struct VirtualScheduling {
  __extension__ using Scaled = __int128;
  std::int64_t limit;
  Scaled period;
  Scaled arrival = 0;

  bool TryReserve(std::int64_t count, Duration now) {
    const Scaled at = static_cast<Scaled>(now.count()) * limit;
    const Scaled next = std::max(arrival, at) + period * count;
    if (count > 0 && next - at > period * limit) return false;
    arrival = next;
    return true;
  }
};

TEST(RateLimit, Rule16AgreesWithVirtualSchedulingOnRandomRequests) {
  std::mt19937_64 random(16);
  for (int round = 0; round < 400; ++round) {
    const auto limit = static_cast<std::int64_t>(random() % (round % 2 == 0 ? 10 : 100'000));
    const Duration period = nanoseconds(1 + random() % (round % 3 == 0 ? 50 : 60'000'000'000));
    RateLimit rate(limit, period, At(seconds(0)));
    VirtualScheduling model{limit, period.count()};
    Duration now{0};
    for (int i = 0; i < 300; ++i) {
      now += nanoseconds(random() % (static_cast<std::uint64_t>(period.count()) / 3 + 2));
      const auto count =
          static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(limit / 2 + 2));
      ASSERT_EQ(rate.TryReserve(count, At(now)).has_value(), model.TryReserve(count, now))
          << "round " << round << ", request " << i;
    }
  }
}

// Whatever is given back, in any order: the bucket is never emptier than one that saw only the
// requests that stayed, so a release can not be used to pass more than the limit allows.
TEST(RateLimit, AReleaseNeverMakesRoomThatTheRestWouldNotHaveLeft) {
  std::mt19937_64 random(3);
  int released = 0;
  for (int round = 0; round < 300; ++round) {
    struct Made {
      Duration when;
      std::int64_t count;
      RateLimit::Slot slot;
    };
    std::vector<Made> stayed;
    RateLimit rate(10, seconds(10), At(seconds(0)));
    Duration now{0};
    for (int i = 0; i < 60; ++i) {
      now += milliseconds(random() % 1500);
      const auto count = static_cast<std::int64_t>(1 + random() % 4);
      if (const auto slot = rate.TryReserve(count, At(now))) stayed.push_back({now, count, *slot});
      if (random() % 2 == 0 && !stayed.empty()) {
        const std::size_t oldest = stayed.size() > 6 ? stayed.size() - 6 : 0;
        const std::size_t which = oldest + random() % (stayed.size() - oldest);
        rate.GiveBack(stayed[which].slot, stayed[which].count, At(now));
        stayed.erase(stayed.begin() + static_cast<std::ptrdiff_t>(which));
        ++released;
      }
      RateLimit truth(10, seconds(10), At(seconds(0)));
      for (const Made& made : stayed) truth.Report(made.count, At(made.when));
      ASSERT_GE(rate.TimeUntil(0, At(now)), truth.TimeUntil(0, At(now)))
          << "round " << round << ", request " << i;
    }
  }
  EXPECT_GT(released, 1000);
}

}  // namespace
}  // namespace mete
