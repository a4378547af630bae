// Budgets under the interleavings of three threads of two operations over three levels.
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <random>

#include "scenarios.h"

namespace mete::interleave {
namespace {

constexpr auto kFlow = BudgetKind::kFlow;
class Interleavings : public testing::TestWithParam<Scenario> {};

TEST_P(Interleavings, Hold) { ExpectHolds(GetParam()); }

// Charges and holds that are refused.
std::vector<Scenario> Refusals() {
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
       .thresholds = {},
       .threads = {{Reserve(kLeafA, 5, 0), Settle(kLeafA, 3, 0)},
                   {Reserve(kLeafB, 5, 1), Release(kLeafB, 1)},
                   {Try(kLeafA, 4), ThenUncharge(kLeafA, 4)}}},
      {.name = "HoldsOfAFlow",
       .kind = kFlow,
       .limits = {9, kMany, 8, kMany},
       .thresholds = {},
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
  };
}

// Limits, edges, windows and peaks that move under charges.
std::vector<Scenario> Movements() {
  return {
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
                   {Charge(kLeafA, 5), Take(kLeafA)},
                   {Reserve(kLeafA, 3, 0), Settle(kLeafA, 2, 0)}}},
      {.name = "WindowsRolledUnderRefusals",
       .kind = kFlow,
       .limits = {5, kMany, 10, kMany},
       .thresholds = {},
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

std::vector<Scenario> Scenarios() {
  std::vector<Scenario> all = Refusals();
  std::ranges::move(Movements(), std::back_inserter(all));
  return all;
}

INSTANTIATE_TEST_SUITE_P(Budget, Interleavings, testing::ValuesIn(Scenarios()),
                         [](const auto& each) { return each.param.name; });

// compare_exchange_weak may fail on its own; once anywhere in an execution is explored here, with
// one preemption less. More failures lead to the states that one does, since the loops start over.
TEST(WeakFailures, Hold) {
  for (Scenario scenario : Scenarios()) {
    scenario.bounds = {.preemptions = kSanitized ? 0 : 1, .weak_failures = 1};
    ExpectHolds(scenario);
  }
}

// Two operations of one thread that may follow each other.
std::vector<Op> RandomThread(std::mt19937_64& random, BudgetKind kind, int thread) {
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(high - low + 1));
  };
  const auto node = [&] { return static_cast<Node>(pick(kTenant, kLeafB)); };
  const Node leaf = pick(0, 2) < 2 ? kLeafA : kLeafB;
  const std::int64_t amount = pick(1, 6);
  switch (pick(0, 8)) {
    case 0: return {Try(leaf, amount), Try(node(), pick(1, 6))};
    case 1: return {Reserve(leaf, amount, thread), Settle(leaf, pick(0, 7), thread)};
    case 2: return {Reserve(leaf, amount, thread), Release(leaf, thread)};
    case 3: return {SetLimit(node(), pick(0, 12)), Try(leaf, amount)};
    case 4: return {SetLimit(leaf, pick(0, 12)), SetLimit(leaf, pick(0, 12))};
    case 5: return {Charge(leaf, amount), Take(node())};
    case 6: return {Try(leaf, amount), Reserve(leaf, pick(1, 6), thread)};
    // Only the first thread, because one Roll of a node runs at a time.
    case 7:
      if (kind == kFlow) return {thread == 0 ? Roll(leaf) : Charge(leaf, amount), Take(leaf)};
      return {Uncharge(kLeafA, pick(0, 1)), Try(leaf, amount)};
    default:
      if (kind == kFlow) return {thread == 0 ? Roll(leaf) : Try(leaf, amount), Charge(leaf, 1)};
      return {Try(leaf, amount), ThenUncharge(leaf, amount)};
  }
}

Scenario RandomScenario(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Scenario scenario{.name = "Seed" + std::to_string(seed)};
  scenario.kind = random() % 2 == 0 ? BudgetKind::kLevel : kFlow;
  for (std::int64_t& limit : scenario.limits) {
    limit = random() % 3 == 0 ? kNoLimit : static_cast<std::int64_t>(3 + random() % 10);
  }
  scenario.thresholds = {random() % 2 == 0 ? 50 : 80};
  scenario.setup = {Charge(kLeafA, 3 + static_cast<std::int64_t>(random() % 4))};
  for (int thread = 0; thread < 3; ++thread) {
    scenario.threads.push_back(RandomThread(random, scenario.kind, thread));
  }
  scenario.bounds.preemptions = kSanitized ? 1 : 2;
  return scenario;
}

TEST(RandomPrograms, Hold) {
  constexpr std::uint64_t kPrograms = kSanitized ? 15 : 40;
  const std::uint64_t first = TestSeed(1);
  std::uint64_t executions = 0;
  int depth = 0;
  for (std::uint64_t seed = first; seed < first + kPrograms; ++seed) {
    const Scenario scenario = RandomScenario(seed);
    TreeProgram program(scenario);
    const Exploration result = Explore(program, scenario.bounds);
    ASSERT_EQ(result.violation, "") << "METE_TEST_SEED=" << seed << '\n' << result.schedule;
    executions += result.executions;
    depth = std::max(depth, result.depth);
  }
  std::printf("%llu programs from seed %llu: %llu executions, depth %d\n",
              static_cast<unsigned long long>(kPrograms), static_cast<unsigned long long>(first),
              static_cast<unsigned long long>(executions), depth);
}

// The checker must find what is seeded, and show how it comes about.
TEST(SeededFaults, ARefusalWithoutUndoIsFound) {
  const Scenario scenario{.name = "WithoutUndo",
                          .limits = {5, kMany, kMany, kMany},
                          .threads = {{Try(kLeafA, 3)}, {Try(kLeafB, 3)}, {Try(kLeafA, 2)}}};
  ExpectFound(scenario, {.drop_subtraction = 1}, "used are");
}

TEST(SeededFaults, ALimitCheckedBesideTheSwapIsFound) {
  const Scenario scenario{.name = "CheckedBeside",
                          .limits = {kMany, 5, kMany, kMany},
                          .threads = {{Try(kLeafA, 3)}, {Try(kLeafB, 3)}}};
  ExpectFound(scenario, {.unchecked_cas = true}, "session is charged to 6, its limit is 5");
}

}  // namespace
}  // namespace mete::interleave
