// Budgets under the interleavings of three threads of two operations over three levels.
#include <gtest/gtest.h>

#include "scenarios.h"

namespace mete::interleave {
namespace {

constexpr auto kFlow = BudgetKind::kFlow;
class Interleavings : public testing::TestWithParam<Scenario> {};

TEST_P(Interleavings, Hold) {
  const Scenario& scenario = GetParam();
  TreeProgram program(scenario);
  const Exploration result = Explore(program, scenario.bounds);
  EXPECT_EQ(result.violation, "") << '\n' << result.schedule;
  Print(scenario, result);
}

std::vector<Scenario> Scenarios() {
  return {
      {.name = "RefusedAtTheLeaf",
       .limits = {kMany, kMany, 5, kMany},
       .threads = {{Try(kLeafA, 3), Try(kLeafA, 2)},
                   {Try(kLeafA, 3), Try(kLeafA, 2)},
                   {Try(kLeafB, 3), Try(kLeafA, 2)}}},
      {.name = "RefusedAtTheSession",
       .limits = {kMany, 5, kMany, kMany},
       .threads = {{Try(kLeafA, 3), ThenUncharge(kLeafA, 3)},
                   {Try(kLeafB, 3), ThenUncharge(kLeafB, 3)},
                   {Try(kLeafA, 2), Try(kSession, 1)}}},
      {.name = "RefusedAtTheTenant",
       .limits = {5, kMany, kMany, kMany},
       .threads = {{Try(kLeafA, 3), Try(kLeafA, 2)},
                   {Try(kLeafB, 3), ThenUncharge(kLeafB, 3)},
                   {Try(kTenant, 2), Try(kLeafA, 2)}}},
      {.name = "RefusedOnEveryLevel",
       .limits = {9, 8, 6, 6},
       .thresholds = {50},
       .threads = {{Try(kLeafA, 4), Try(kLeafB, 4)},
                   {Try(kLeafB, 4), Try(kLeafA, 4)},
                   {Try(kLeafA, 3), Take(kSession)}}},
      {.name = "Holds",
       .limits = {9, kMany, 8, kMany},
       .threads = {{Reserve(kLeafA, 5, 0), Settle(kLeafA, 3, 0)},
                   {Reserve(kLeafB, 5, 1), Release(kLeafB, 1)},
                   {Try(kLeafA, 4), ThenUncharge(kLeafA, 4)}}},
      {.name = "HoldsOfAFlow",
       .kind = kFlow,
       .limits = {9, kMany, 8, kMany},
       .threads = {{Reserve(kLeafA, 5, 0), Settle(kLeafA, 6, 0)},
                   {Reserve(kLeafB, 5, 1), Release(kLeafB, 1)},
                   {Try(kLeafA, 4), Charge(kLeafA, 2)}}},
      {.name = "RefusedHoldsHideNoEdge",
       .limits = {kMany, kMany, 100, kMany},
       .setup = {Charge(kLeafA, 70)},
       .threads = {{Reserve(kLeafA, 50, 0)},
                   {Charge(kLeafA, 15)},
                   {Take(kLeafA), Charge(kLeafB, 1)}}},
      {.name = "HoldsRefusedAboveHideNoEdge",
       .limits = {10, kMany, 100, kMany},
       .setup = {SetLimit(kTenant, kMany), Charge(kLeafA, 70), SetLimit(kTenant, 10)},
       .threads = {{Reserve(kLeafA, 10, 0)}, {Charge(kLeafA, 15), Take(kLeafA)}}},
      {.name = "EndingHoldsLeaveNoEdgeStuck",
       .limits = {kMany, kMany, 100, kMany},
       .thresholds = {10},
       .setup = {Reserve(kLeafA, 10, 0), Reserve(kLeafA, 10, 1)},
       .threads = {{Charge(kLeafA, 1)}, {Release(kLeafA, 0), Release(kLeafA, 1)}}},
      {.name = "LimitsLowered",
       .limits = {kMany, kMany, 10, kMany},
       .threads = {{Try(kLeafA, 6), Try(kLeafA, 3)},
                   {SetLimit(kLeafA, 5), Try(kLeafA, 2)},
                   {Try(kLeafB, 3), SetLimit(kTenant, 8)}}},
      {.name = "LimitsRacing",
       .limits = {kMany, kMany, 5, kMany},
       .threads = {{SetLimit(kLeafA, 100)},
                   {SetLimit(kLeafA, 5), Try(kLeafA, 10)},
                   {Take(kLeafA)}}},
      {.name = "Edges",
       .limits = {20, 10, kMany, kMany},
       .threads = {{Charge(kLeafA, 8), Uncharge(kLeafA, 8)},
                   {Charge(kLeafB, 3), Take(kSession)},
                   {Try(kLeafA, 2), ThenUncharge(kLeafA, 2)}}},
      {.name = "EdgesOfAMovedLimit",
       .limits = {kMany, 20, kMany, kMany},
       .threads = {{Charge(kLeafA, 9), Take(kSession)},
                   {SetLimit(kSession, 10), SetLimit(kSession, 20)},
                   {Charge(kLeafB, 2), Uncharge(kLeafB, 2)}}},
      {.name = "WindowsRolled",
       .kind = kFlow,
       .limits = {kMany, kMany, 10, kMany},
       .thresholds = {50},
       .setup = {Charge(kLeafA, 4)},
       .threads = {{Roll(kLeafA), Take(kLeafA)},
                   {Charge(kLeafA, 5), Try(kLeafA, 5)},
                   {Reserve(kLeafA, 3, 0), Settle(kLeafA, 2, 0)}}},
      {.name = "WindowsRolledUnderRefusals",
       .kind = kFlow,
       .limits = {5, kMany, 10, kMany},
       .threads = {{Try(kLeafA, 6), Try(kLeafA, 6)},
                   {Roll(kLeafA), Roll(kLeafA)},
                   {Charge(kLeafA, 5)}}},
      {.name = "Peaks",
       .limits = {kMany, kMany, 20, kMany},
       .setup = {Charge(kLeafA, 10)},
       .threads = {{Uncharge(kLeafA, 10), Charge(kLeafA, 3)},
                   {Reserve(kLeafA, 5, 0), Settle(kLeafA, 1, 0)},
                   {ResetPeak(kLeafA), Charge(kLeafB, 1)}}},
  };
}

INSTANTIATE_TEST_SUITE_P(Budget, Interleavings, testing::ValuesIn(Scenarios()),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace mete::interleave
