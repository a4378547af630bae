#include "mete/budget.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "budget/watch.h"

namespace mete {
namespace {

constexpr std::int64_t kMax = kNoLimit;
constexpr BudgetKind kLevel = BudgetKind::kLevel;
constexpr BudgetKind kFlow = BudgetKind::kFlow;

// Tenant, session, agent.
struct Tree {
  SharedBudget tenant, session;
  Budget agent;
  Tree(BudgetKind kind, std::int64_t tenant_limit, std::int64_t session_limit,
       std::int64_t agent_limit)
      : tenant(kind, tenant_limit),
        session(kind, session_limit, &tenant),
        agent(kind, agent_limit, &session) {}
  std::array<std::int64_t, 3> charged() const {
    return {tenant.charged(), session.charged(), agent.charged()};
  }
};
using Sums = std::array<std::int64_t, 3>;

TEST(BudgetTest, LimitsAreStrict) {
  struct Row {
    std::int64_t limit, charged, amount;
    bool granted;
  };
  const Row rows[] = {
      {0, 0, 0, true},
      {0, 0, 1, false},
      {1, 0, 1, true},
      {1, 0, 2, false},
      {100, 0, 99, true},
      {100, 0, 100, true},
      {100, 0, 101, false},
      {100, 99, 1, true},
      {100, 100, 0, true},
      {100, 100, 1, false},
      {kMax, 0, kMax, true},
      {kMax, 1, kMax, false},
      {kMax, kMax, 1, false},
      {kMax, kMax, 0, true},
      {kMax - 1, 0, kMax - 1, true},
      {kMax - 1, 0, kMax, false},
      {100, 0, -1, false},
      {kMax, 5, -kMax - 1, false},
  };
  for (const Row& row : rows) {
    Budget budget(kLevel, row.limit);
    ASSERT_TRUE(budget.TryCharge(row.charged));
    const Charged charged = budget.TryCharge(row.amount);
    EXPECT_EQ(charged.has_value(), row.granted)
        << row.limit << ' ' << row.charged << ' ' << row.amount;
    EXPECT_EQ(budget.charged(), row.charged + (row.granted ? row.amount : 0));
  }
}

TEST(BudgetTest, ARefusalNamesTheNodeAndChangesNothing) {
  Tree tree(kLevel, 100, 80, 60);
  ASSERT_TRUE(tree.agent.TryCharge(50));
  const Charged by_agent = tree.agent.TryCharge(11);
  ASSERT_FALSE(by_agent);
  EXPECT_EQ(by_agent.error().budget, &tree.agent);
  EXPECT_EQ(by_agent.error().reason, Refusal::Reason::kLimit);
  EXPECT_EQ(by_agent.error().asked, 11);
  EXPECT_EQ(by_agent.error().limit, 60);
  EXPECT_EQ(by_agent.error().charged, 50);
  EXPECT_EQ(tree.charged(), (Sums{50, 50, 50}));

  ASSERT_TRUE(tree.session.TryCharge(25));
  const Charged by_session = tree.agent.TryCharge(10);
  ASSERT_FALSE(by_session);
  EXPECT_EQ(by_session.error().budget, &tree.session);
  ASSERT_TRUE(tree.tenant.TryCharge(22));
  const Charged by_tenant = tree.agent.TryCharge(4);
  ASSERT_FALSE(by_tenant);
  EXPECT_EQ(by_tenant.error().budget, &tree.tenant);
  EXPECT_EQ(tree.charged(), (Sums{97, 75, 50}));
  EXPECT_EQ(tree.agent.held(), 0);
}

TEST(BudgetTest, ChargeRecordsPastLimitsAndSaysSo) {
  Tree tree(kFlow, 100, kMax, kMax);
  EXPECT_FALSE(tree.agent.Charge(100)->over);
  EXPECT_TRUE(tree.agent.Charge(1)->over);
  EXPECT_EQ(tree.charged(), (Sums{101, 101, 101}));
  EXPECT_TRUE(tree.agent.Charge(0)->over);
}

TEST(BudgetTest, AChargeThatWouldOverflowChangesNothing) {
  Tree tree(kFlow, kMax, kMax, kMax);
  ASSERT_TRUE(tree.tenant.Charge(kMax - 10));
  const Charged charged = tree.agent.Charge(11);
  ASSERT_FALSE(charged);
  EXPECT_EQ(charged.error().reason, Refusal::Reason::kOverflow);
  EXPECT_EQ(charged.error().budget, &tree.tenant);
  EXPECT_EQ(tree.charged(), (Sums{kMax - 10, 0, 0}));
  EXPECT_EQ(tree.agent.Charge(-1).error().reason, Refusal::Reason::kNegative);
  EXPECT_EQ(tree.agent.TryCharge(11).error().reason, Refusal::Reason::kOverflow);
  EXPECT_TRUE(tree.agent.Charge(10));
  EXPECT_EQ(tree.charged(), (Sums{kMax, 10, 10}));
}

TEST(BudgetTest, UnchargeGivesBackOnAllLevelsAndKeepsThePeak) {
  Tree tree(kLevel, 100, 100, 100);
  ASSERT_TRUE(tree.agent.TryCharge(70));
  tree.agent.Uncharge(50);
  ASSERT_TRUE(tree.agent.TryCharge(10));
  EXPECT_EQ(tree.charged(), (Sums{30, 30, 30}));
  EXPECT_EQ(tree.tenant.peak(), 70);
  EXPECT_EQ(tree.agent.peak(), 70);
  tree.agent.ResetPeak();
  EXPECT_EQ(tree.agent.peak(), 30);
  ASSERT_TRUE(tree.agent.TryCharge(70));
  EXPECT_EQ(tree.agent.peak(), 100) << "a peak counts before anything is given back";
}

TEST(BudgetTest, RemovalReturnsALevelAndLeavesAFlow) {
  SharedBudget level(kLevel, 100);
  SharedBudget flow(kFlow, 100);
  {
    Budget one(kLevel, 100, &level);
    Budget two(kFlow, 100, &flow);
    ASSERT_TRUE(one.Charge(40));
    ASSERT_TRUE(two.Charge(40));
  }
  EXPECT_EQ(level.charged(), 0);
  EXPECT_EQ(level.peak(), 40);
  EXPECT_EQ(flow.charged(), 40);
}

TEST(HoldTest, HeldCountsAgainstLimitsButIsNotUsed) {
  Tree tree(kFlow, 100, 100, 100);
  auto hold = tree.agent.Reserve(60);
  ASSERT_TRUE(hold);
  EXPECT_EQ(tree.tenant.used(), 0);
  EXPECT_EQ(tree.tenant.held(), 60);
  EXPECT_FALSE(tree.agent.Reserve(41));
  EXPECT_FALSE(tree.agent.TryCharge(41));
  EXPECT_EQ(tree.charged(), (Sums{60, 60, 60}));
  ASSERT_TRUE(hold->Settle(25));
  EXPECT_FALSE(*hold);
  EXPECT_EQ(tree.charged(), (Sums{25, 25, 25}));
  EXPECT_EQ(tree.agent.used(), 25);
  EXPECT_EQ(tree.agent.held(), 0);
}

TEST(HoldTest, EndsExactlyOnceHoweverItEnds) {
  for (const BudgetKind kind : {kLevel, kFlow}) {
    SharedBudget root(kind, 100);
    {
      auto hold = root.Reserve(10);
      ASSERT_TRUE(hold);
      Hold moved = std::move(*hold);
      EXPECT_FALSE(*hold);
      Hold other = *root.Reserve(20);
      other = std::move(moved);
      EXPECT_EQ(root.charged(), 10) << "the hold that was assigned over is released";
      EXPECT_EQ(other.amount(), 10);
    }
    EXPECT_EQ(root.charged(), 0);
    EXPECT_EQ(root.held(), 0);
    Hold zero = *root.Reserve(0);
    ASSERT_TRUE(zero.Settle(3));
    EXPECT_EQ(root.used(), 3);
  }
}

TEST(HoldTest, SettlingAboveTheHoldIsNeverRefusedForALimit) {
  Tree tree(kFlow, 100, 100, 100);
  Hold hold = *tree.agent.Reserve(90);
  EXPECT_TRUE(hold.Settle(130)->over);
  EXPECT_EQ(tree.charged(), (Sums{130, 130, 130}));
  EXPECT_EQ(tree.tenant.held(), 0);
}

TEST(HoldTest, ASettleThatOverflowsLeavesTheHold) {
  Budget budget(kFlow);
  Hold hold = *budget.Reserve(10);
  ASSERT_TRUE(budget.Charge(kMax - 20));
  EXPECT_EQ(hold.Settle(21).error().reason, Refusal::Reason::kOverflow);
  EXPECT_EQ(hold.Settle(-1).error().reason, Refusal::Reason::kNegative);
  EXPECT_TRUE(hold);
  EXPECT_EQ(budget.held(), 10);
  EXPECT_TRUE(hold.Settle(20));
  EXPECT_EQ(budget.used(), kMax);
}

TEST(HoldTest, TheLargestHoldsMayComeAndGoForever) {
  for (const BudgetKind kind : {kFlow, kLevel}) {
    Budget budget(kind);
    for (int i = 0; i < 10; ++i) {
      auto hold = budget.Reserve(kMax);
      ASSERT_TRUE(hold.has_value());
      EXPECT_FALSE(budget.Reserve(kMax).has_value());
      EXPECT_EQ(budget.held(), kMax);
      EXPECT_EQ(budget.used(), 0);
      hold->Release();
    }
    EXPECT_EQ(budget.held(), 0);
    EXPECT_TRUE(budget.Charge(7).has_value());
    EXPECT_EQ(budget.used(), 7);
  }
}

TEST(RollTest, EndsTheWindowOfOneNodeAndKeepsHolds) {
  Tree tree(kFlow, 1000, 1000, 100);
  ASSERT_TRUE(tree.agent.Charge(70));
  Hold hold = *tree.agent.Reserve(20);
  EXPECT_EQ(tree.agent.Roll(), 70);
  EXPECT_EQ(tree.agent.used(), 0);
  EXPECT_EQ(tree.agent.held(), 20);
  EXPECT_EQ(tree.agent.charged(), 20);
  EXPECT_EQ(tree.session.used(), 70) << "the ancestors have windows of their own";
  ASSERT_TRUE(hold.Settle(30));
  EXPECT_EQ(tree.agent.used(), 30) << "a hold settles in the new window";
  EXPECT_EQ(tree.agent.Roll(), 30);
  EXPECT_EQ(tree.agent.Roll(), 0);
}

// The percentages of the pending edges; 0 stands for the limit.
std::vector<int> Take(Budget& budget) {
  std::vector<int> taken;
  const Edges edges = budget.TakeEdges();
  const auto percents = budget.thresholds().percents();
  for (std::size_t i = 0; i < percents.size(); ++i) {
    if ((edges.thresholds >> i & 1) != 0) taken.push_back(percents[i]);
  }
  if (edges.limit) taken.push_back(0);
  return taken;
}
using Percents = std::vector<int>;

TEST(EdgeTest, EachCrossingIsOneEdge) {
  struct Row {
    const char* what;
    std::int64_t change;
    Percents edges;
  };
  const Row rows[] = {
      {"below 80 %", 79, {}},
      {"reaches 80 %", 1, {80}},
      {"stays above", 1, {}},
      {"reaches 95 %", 14, {95}},
      {"reaches the limit", 5, {}},
      {"passes it", 1, {0}},
      {"stays over", 10, {}},
      {"falls to 96 %", -15, {}},
      {"over: not re-armed", 5, {}},
      {"falls to 95 %", -6, {}},
      {"passes it again", 6, {0}},
      {"falls to 90 %", -11, {}},
      {"95 again", 5, {95}},
      {"falls to 76 %", -19, {}},
      {"80: not re-armed", 5, {}},
      {"falls to 75 %", -6, {}},
      {"80 again", 5, {80}},
      {"falls to 0", -80, {}},
      {"all at once", 200, {80, 95, 0}},
  };
  Budget budget(kLevel, 100);
  for (const Row& row : rows) {
    if (row.change > 0) {
      ASSERT_TRUE(budget.Charge(row.change));
    } else {
      budget.Uncharge(-row.change);
    }
    EXPECT_EQ(Take(budget), row.edges) << row.what;
    EXPECT_EQ(Take(budget), Percents{}) << row.what;
  }
}

TEST(EdgeTest, OfALimitOfZeroOneAndMany) {
  Budget none(kFlow, 0);
  ASSERT_TRUE(none.Charge(1));
  EXPECT_EQ(Take(none), Percents{0}) << "no thresholds at 0";
  Budget one(kFlow, 1);
  ASSERT_TRUE(one.Charge(1));
  EXPECT_EQ(Take(one), (Percents{80, 95}));
  ASSERT_TRUE(one.Charge(1));
  EXPECT_EQ(Take(one), Percents{0});
  Budget unlimited(kFlow);
  ASSERT_TRUE(unlimited.Charge(kMax));
  EXPECT_EQ(Take(unlimited), Percents{});
  Budget huge(kFlow, kMax - 1);
  ASSERT_TRUE(huge.Charge(watch::ThresholdAmount(kMax - 1, 80) - 1));
  EXPECT_EQ(Take(huge), Percents{});
  ASSERT_TRUE(huge.Charge(1));
  EXPECT_EQ(Take(huge), Percents{80});
}

TEST(EdgeTest, HoldsRaiseNoneUntilTheyAreUsed) {
  Budget budget(kFlow, 100);
  Hold hold = *budget.Reserve(90);
  EXPECT_EQ(Take(budget), Percents{});
  ASSERT_TRUE(budget.Charge(79));
  EXPECT_EQ(Take(budget), Percents{});
  EXPECT_TRUE(hold.Settle(1)->edges);
  EXPECT_EQ(Take(budget), Percents{80});
}

TEST(EdgeTest, ARolledWindowArmsAllAgain) {
  Budget budget(kFlow, 100);
  ASSERT_TRUE(budget.Charge(101));
  EXPECT_EQ(Take(budget), (Percents{80, 95, 0}));
  budget.Roll();
  ASSERT_TRUE(budget.Charge(95));
  EXPECT_EQ(Take(budget), (Percents{80, 95}));
}

TEST(EdgeTest, LimitsThatChange) {
  Budget budget(kFlow, kMax);
  ASSERT_TRUE(budget.Charge(90));
  Outcome outcome = budget.SetLimit(100);
  EXPECT_TRUE(outcome.edges);
  EXPECT_FALSE(outcome.over);
  EXPECT_EQ(Take(budget), Percents{80});
  outcome = budget.SetLimit(89);
  EXPECT_TRUE(outcome.over);
  EXPECT_EQ(Take(budget), (Percents{95, 0}));
  EXPECT_FALSE(budget.TryCharge(1));
  EXPECT_FALSE(budget.SetLimit(200).over);
  EXPECT_TRUE(budget.TryCharge(70));
  EXPECT_EQ(Take(budget), Percents{80}) << "raising re-armed it";
  EXPECT_TRUE(budget.SetLimit(0).over);
}

TEST(EdgeTest, AreDrainedUpThePathAndMayBeReentered) {
  Tree tree(kFlow, 100, 1000, 50);
  ASSERT_TRUE(tree.agent.Charge(80)->edges);
  std::vector<Budget*> order;
  tree.agent.DrainEdges([&](Budget& node, Edges) {
    order.push_back(&node);
    ASSERT_TRUE(tree.agent.Charge(1));  // the receiver may charge
  });
  EXPECT_EQ(order, (std::vector<Budget*>{&tree.agent, &tree.tenant}));
}

TEST(EdgeTest, ARefusedChargeRaisesNone) {
  Tree tree(kLevel, 50, 100, 100);
  EXPECT_FALSE(tree.agent.TryCharge(96));
  EXPECT_EQ(Take(tree.agent), Percents{});
  EXPECT_EQ(tree.agent.peak(), 0);
}

TEST(ThresholdsTest, AreInternedAndChecked) {
  const int fine[] = {50, 75, 100};
  const auto set = Thresholds::Of(fine);
  ASSERT_TRUE(set);
  Budget budget(kLevel, 10, nullptr, *set);
  ASSERT_TRUE(budget.Charge(10));
  EXPECT_EQ(Take(budget), (Percents{50, 75, 100}));
  const std::vector<std::vector<int>> bad = {{0},      {101},    {-1},
                                             {80, 80}, {90, 80}, {1, 2, 3, 4, 5, 6, 7, 8}};
  for (const auto& percents : bad) {
    const auto refused = Thresholds::Of(percents);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  }
  EXPECT_TRUE(Thresholds::Of({})->percents().empty());
}

TEST(WatchTest, AFloorIsNeverAboveItsAmountAndClose) {
  std::vector<std::int64_t> amounts = {1, 2, 3, kMax, kMax - 1};
  for (int bit = 2; bit < 63; ++bit) {
    const std::int64_t power = std::int64_t{1} << bit;
    for (const std::int64_t amount : {power - 1, power, power + 1, power / 3 * 2}) {
      amounts.push_back(amount);
    }
  }
  for (const std::int64_t amount : amounts) {
    const std::int64_t floor = watch::DecodeFloor(watch::EncodeFloor(amount));
    EXPECT_LE(floor, amount);
    EXPECT_LE(amount - floor, amount >> 25) << amount;
  }
  EXPECT_EQ(watch::DecodeFloor(watch::EncodeFloor(0)), 0);
}

TEST(WatchTest, ThresholdAmountsAreExact) {
  struct Row {
    std::int64_t limit;
    int percent;
    std::int64_t at, rearm;
  };
  const Row rows[] = {{100, 80, 80, 75}, {1, 80, 1, 0},
                      {10, 95, 10, 9},   {7, 50, 4, 3},
                      {99, 1, 1, 0},     {1000, 100, 1000, 950},
                      {3, 33, 1, 0},     {kMax, 100, kMax, watch::RearmAmount(kMax, 100)}};
  for (const Row& row : rows) {
    EXPECT_EQ(watch::ThresholdAmount(row.limit, row.percent), row.at) << row.limit;
    EXPECT_EQ(watch::RearmAmount(row.limit, row.percent), row.rearm) << row.limit;
  }
}

TEST(BudgetDeathTest, MisuseStopsTheProgram) {
  EXPECT_DEATH(Budget(kLevel, -1), "limit >= 0");
  EXPECT_DEATH(
      {
        Budget budget(kLevel, 10);
        budget.Uncharge(1);
      },
      "before >= amount");
  EXPECT_DEATH(
      {
        Budget budget(kFlow, 10);
        budget.Uncharge(0);
      },
      "kLevel");
  EXPECT_DEATH(
      {
        Budget budget(kLevel, 10);
        budget.Roll();
      },
      "kFlow");
  EXPECT_DEATH(
      {
        SharedBudget flow(kFlow, 10);
        Budget level(kLevel, 10, &flow);
      },
      "kind");
}

}  // namespace
}  // namespace mete
