#include "quota/counting.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "quota/rule_rows_test.h"

namespace mete {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

// Lines are kept in the order of their kind, wherever they are kept.
TEST(Counting, LinesComeAndGoInTheirOrder) {
  std::mt19937 random(1);
  Record record;
  std::vector<LimitKind> expected;
  for (int step = 0; step < 2000; ++step) {
    const auto kind = static_cast<LimitKind>(random() % kLimitKindCount);
    const auto at = std::lower_bound(expected.begin(), expected.end(), kind);
    if (at != expected.end() && *at == kind) {
      ASSERT_EQ(FindLine(record, kind)->limit, static_cast<std::int64_t>(kind) + 7);
      RemoveLine(record, kind);
      expected.erase(at);
      ASSERT_EQ(FindLine(record, kind), nullptr);
    } else {
      AddLine(record, kind).limit = static_cast<std::int64_t>(kind) + 7;
      expected.insert(at, kind);
    }
    std::vector<LimitKind> is;
    ForEachLine(record, [&](Line& line) { is.push_back(line.kind); });
    ASSERT_EQ(is, expected);
  }
}

TEST(Counting, Rule05TheEffectiveLimitOfCoresIsExact) {
  struct Case {
    std::int64_t limit;
    Duration window;
    std::int64_t effective;
  };
  const Case cases[] = {
      {0, hours(1), 0},
      {500'000'000, hours(1), 1'800'000'000'000},
      {1, hours(1), 3600},
      {1, milliseconds(1999), 1},
      {2'000'000'000, seconds(1), 2'000'000'000},
      {kMax - 1, hours(1), kMax - 1},
      {kMax - 1, seconds(1), kMax - 1},
      {1'000'000'000, Duration::max(), kMax - 1},
  };
  for (const Case& one : cases) {
    Line line;
    line.kind = LimitKind::kCpu;
    line.limit = one.limit;
    EXPECT_EQ(EffectiveLimit(line, Terms{.policies = {}, .window = one.window}), one.effective);
    line.kind = LimitKind::kTokensPerHour;
    EXPECT_EQ(EffectiveLimit(line, Terms{.policies = {}, .window = one.window}), one.limit);
  }
}

// The edge is the smallest total at which anything would follow.
TEST(Counting, TheEdgeLiesWhereSomethingFollows) {
  const Thresholds thresholds = *Thresholds::Of(std::vector<int>{80, 95});
  const Terms terms{.policies = DefaultPolicies(), .window = hours(1)};
  Record record;
  Watch(record, terms, thresholds);
  EXPECT_EQ(record.edge[kTokenCounter], kFarEdge);
  EXPECT_EQ(record.ceiling[kTokenCounter], kUnlimited);
  Line& line = AddLine(record, LimitKind::kTokensPerHour);
  line.limit = 101;
  record.tokens_base = 1000;
  record.total[kTokenCounter] = 1000;
  Watch(record, terms, thresholds);
  EXPECT_EQ(record.edge[kTokenCounter], 1081);  // 80.8, rounded up
  EXPECT_EQ(record.ceiling[kTokenCounter], 1101);
  line.armed = static_cast<std::uint8_t>(line.armed & ~1);
  record.total[kTokenCounter] = 1081;
  Watch(record, terms, thresholds);
  EXPECT_EQ(record.edge[kTokenCounter], 1096);
  line.armed = static_cast<std::uint8_t>(line.armed & ~2);
  record.total[kTokenCounter] = 1096;
  Watch(record, terms, thresholds);
  EXPECT_EQ(record.edge[kTokenCounter], 1102);
  record.total[kTokenCounter] = 1102;
  Watch(record, terms, thresholds);
  EXPECT_LT(record.edge[kTokenCounter], 1);  // the next violating charge may be answered
  line.warned = line.acted = true;
  Watch(record, terms, thresholds);
  EXPECT_EQ(record.edge[kTokenCounter], kFarEdge);
  // The nearer one of two limits, and what is held.
  AddLine(record, LimitKind::kTokensPerDay).limit = 5;
  ExtraOf(record).held[IndexOf(Resource::kTokens)] = 2;
  record.tokens_day_base = 1100;
  Watch(record, terms, thresholds);
  EXPECT_EQ(record.edge[kTokenCounter], 1104);
  EXPECT_EQ(record.ceiling[kTokenCounter], 1099);
}

TEST(Counting, TimeToExhaustionNamesNoTimeThatIsNone) {
  EXPECT_EQ(TimeToExhaustion(10, 2.0), seconds(5));
  EXPECT_EQ(TimeToExhaustion(0, 2.0), Duration(0));
  EXPECT_FALSE(TimeToExhaustion(10, 0).has_value());
  EXPECT_FALSE(TimeToExhaustion(10, -1).has_value());
  EXPECT_FALSE(TimeToExhaustion(kUnlimited, 2.0).has_value());
  EXPECT_FALSE(TimeToExhaustion(kMax - 1, 1e-9).has_value());
}

// Two worlds with the same story; in one of them something is measured, which no report names, so
// that every report takes the long way.
class Twins {
 public:
  // Limits are small, or such that totals come near the end of int64.
  Twins(std::uint64_t seed, bool is_huge)
      : random_(seed), is_huge_(is_huge), scale_(is_huge ? std::uint64_t{1} << 62 : 200) {
    ManagerConfig config = Plain();
    for (Policy& policy : config.policies) {
      policy.mode = static_cast<EnforcementMode>(Below(3));
      policy.action = static_cast<QuotaAction>(Below(4));
    }
    const ResourceLimits above = SomeLimits(), own = SomeLimits();
    QuotaOptions options;
    options.parent = {QuotaScope::kSession, "s"};
    for (std::unique_ptr<World>& world : worlds_) {
      world = std::make_unique<World>(config);
      (*world)->CreateQuota(*options.parent, above).value();
      (*world)->CreateQuota("a", own, options).value();
      (*world)->CreateQuota("b", {}, options).value();
      world->TakeEvents();
    }
    for (const char* id : {"a", "b"}) {
      (*worlds_[0])->Attach(id, {}).value();
      (*worlds_[1])->Attach(id, {.measured = {Resource::kCost}, .cpu_held = false}).value();
    }
  }

  void Step() {
    at_ += Below(20) == 0 ? Duration(hours(1)) : Duration(Below(1000));
    const Amounts amounts = SomeAmounts();
    const char* const id = Below(3) == 0 ? "b" : "a";
    const bool resets = Below(40) == 0;
    Result<Receipt> receipts[2];
    std::string events[2];
    for (std::size_t i = 0; i < 2; ++i) {
      World& world = *worlds_[i];
      world.MoveTo(at_);
      if (resets) world->ResetQuota({QuotaScope::kSession, "s"}).value();
      receipts[i] = world->ReportUsage(id, amounts);
      events[i] = world.TakeEvents();
    }
    ASSERT_EQ(events[0], events[1]);
    ASSERT_EQ(receipts[0].has_value(), receipts[1].has_value());
    if (receipts[0]) Compare(*receipts[0], *receipts[1]);
  }

  void CompareQuotas() {
    for (const Target target : {Target("a"), Target("b"), Target(QuotaScope::kSession, "s")}) {
      ASSERT_EQ(worlds_[0]->Usage(target), worlds_[1]->Usage(target));
      ASSERT_EQ(worlds_[0]->Quota(target).usage, worlds_[1]->Quota(target).usage);
    }
  }

 private:
  std::int64_t Below(std::uint64_t bound) { return static_cast<std::int64_t>(random_() % bound); }

  ResourceLimits SomeLimits() {
    ResourceLimits limits;
    for (const LimitInfo& info : AllLimits()) {
      if (Below(2) == 0) limits[info.kind] = Limit{Below(scale_), ""};
    }
    if (limits[LimitKind::kCpu]) limits[LimitKind::kCpu]->amount = Below(3);
    return limits;
  }

  Amounts SomeAmounts() {
    const std::uint64_t most = is_huge_ ? std::uint64_t{1} << (40 + Below(23)) : 30;
    Amounts amounts;
    if (Below(2) == 0) amounts.Set(Resource::kTokens, Below(most));
    if (Below(2) == 0) amounts.Set(Resource::kCpu, Below(most));
    if (Below(2) == 0) amounts.Set(Resource::kMemory, Below(scale_));
    return amounts;
  }

  static void Compare(const Receipt& quiet, const Receipt& full) {
    ASSERT_EQ(quiet.recorded, full.recorded);
    ASSERT_EQ(quiet.used, full.used);
    ASSERT_EQ(quiet.remaining, full.remaining);
    ASSERT_EQ(quiet.limit, full.limit);
    ASSERT_EQ(quiet.suspended, full.suspended);
    ASSERT_EQ(quiet.throttled, full.throttled);
    ASSERT_EQ(quiet.terminated, full.terminated);
    ASSERT_EQ(quiet.action_pending, full.action_pending);
    ASSERT_EQ(quiet.elapsed, full.elapsed);
  }

  std::mt19937_64 random_;
  const bool is_huge_;
  const std::uint64_t scale_;
  Duration at_{0};
  std::unique_ptr<World> worlds_[2];
};

TEST(Counting, TheQuietReportEqualsTheLongWay) {
  for (std::uint64_t game = 0; game < 400; ++game) {
    Twins twins(game, game % 10 == 0);
    for (int step = 0; step < 200; ++step) {
      SCOPED_TRACE("game " + std::to_string(game) + ", " + std::to_string(step));
      ASSERT_NO_FATAL_FAILURE(twins.Step());
    }
    ASSERT_NO_FATAL_FAILURE(twins.CompareQuotas());
  }
}

}  // namespace
}  // namespace mete
