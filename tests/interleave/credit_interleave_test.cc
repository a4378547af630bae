// Credit under every interleaving, with stores that become visible as late as x86 allows: owners
// spend with plain stores while others take their stock back.
#include <gtest/gtest.h>

#include <random>

#include "scenarios.h"

namespace mete::interleave {
namespace {

constexpr Bounds kAll{.preemptions = 3, .store_buffers = true};

class Credits : public testing::TestWithParam<Scenario> {};

TEST_P(Credits, Hold) { ExpectHolds(GetParam()); }

// Leaf a with a credit of 4 spent and 12 in stock, under a tenant of 100.
std::vector<Op> Stocked() { return {NewCredit(kLeafA, 16, 0), Spend(kLeafA, 4, 0)}; }

std::vector<Scenario> Scenarios() {
  return {
      {.name = "SpentWhileTakenBack",
       .limits = {100, kMany, kMany, kMany},
       .setup = Stocked(),
       .threads = {{Spend(kLeafA, 3, 0), Spend(kLeafA, 3, 0)}, {Try(kLeafB, 90)}},
       .bounds = kAll},
      {.name = "SpentOrTakenBack",
       .limits = {100, kMany, kMany, kMany},
       .setup = Stocked(),
       .threads = {{Spend(kLeafA, 3, 0), GiveBack(kLeafA, 3, 0)}, {Try(kLeafB, 95)}},
       .bounds = kAll},
      {.name = "RefilledWhileTakenBack",
       .limits = {100, kMany, kMany, kMany},
       .setup = Stocked(),
       .threads = {{Spend(kLeafA, 14, 0), Spend(kLeafA, 1, 0)}, {Try(kLeafB, 80)}},
       .bounds = kAll},
      {.name = "GivenBackWhileTakenBack",
       .limits = {100, kMany, kMany, kMany},
       .setup = {NewCredit(kLeafA, 16, 0), Spend(kLeafA, 30, 0), Spend(kLeafA, 1, 0)},
       .threads = {{GiveBack(kLeafA, 25, 0)}, {Try(kLeafB, 68)}},
       .bounds = kAll},
      {.name = "FlushedWhileTakenBack",
       .limits = {100, kMany, kMany, kMany},
       .setup = Stocked(),
       .threads = {{Flush(kLeafA, 0), Spend(kLeafA, 2, 0)}, {Try(kLeafB, 94)}},
       .bounds = kAll},
      {.name = "EndedWhileTakenBack",
       .limits = {100, kMany, kMany, kMany},
       .setup = Stocked(),
       .threads = {{EndCredit(kLeafA, 0)}, {Try(kLeafB, 94)}},
       .bounds = kAll},
      {.name = "BegunWhileRefused",
       .limits = {100, kMany, kMany, kMany},
       .threads = {{NewCredit(kLeafA, 16, 0), Spend(kLeafA, 4, 0), EndCredit(kLeafA, 0)},
                   {Try(kLeafB, 96)}},
       .bounds = kAll},
      {.name = "TwoOwners",
       .limits = {100, kMany, kMany, kMany},
       .setup = {NewCredit(kLeafA, 16, 0), NewCredit(kLeafB, 16, 1), Spend(kLeafA, 4, 0),
                 Spend(kLeafB, 4, 1)},
       .threads = {{Spend(kLeafA, 60, 0)}, {Spend(kLeafB, 30, 1)}},
       .bounds = kAll},
      {.name = "LimitLoweredOverCredit",
       .limits = {100, kMany, kMany, kMany},
       .setup = Stocked(),
       .threads = {{SetLimit(kSession, 6)}, {Spend(kLeafA, 5, 0), Spend(kLeafA, 5, 0)}},
       .bounds = kAll},
      {.name = "LimitLoweredUnderACharge",
       .limits = {kMany, kMany, 100, kMany},
       .setup = Stocked(),
       .threads = {{SetLimit(kLeafA, 18)}, {Try(kLeafA, 4), Spend(kLeafA, 2, 0)}},
       .bounds = kAll},
      {.name = "ChargedPastTheLimitOverCredit",
       .limits = {100, kMany, kMany, kMany},
       .setup = Stocked(),
       .threads = {{Charge(kLeafB, 90)}, {Spend(kLeafA, 7, 0), Spend(kLeafA, 5, 0)}},
       .bounds = kAll},
      {.name = "GivenBackPastTheLimit",
       .limits = {100, kMany, kMany, kMany},
       .setup = Stocked(),
       .threads = {{Charge(kLeafB, 99)}, {GiveBack(kLeafA, 3, 0), Spend(kLeafA, 3, 0)}},
       .bounds = kAll},
  };
}

INSTANTIATE_TEST_SUITE_P(Credit, Credits, testing::ValuesIn(Scenarios()),
                         [](const auto& each) { return each.param.name; });

// Two owners of credit, or one and a plain thread, and one that changes what they rely on.
std::vector<Op> RandomThread(std::mt19937_64& random, int thread) {
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(high - low + 1));
  };
  const auto node = [&] { return static_cast<Node>(pick(kTenant, kLeafB)); };
  if (thread < 2 && pick(0, 3) > 0) {
    const Node own = thread == 0 ? kLeafA : kLeafB;
    const auto use = [&]() -> Op {
      switch (pick(0, 5)) {
        case 0: return Flush(own, thread);
        case 1:
        case 2: return GiveBack(own, pick(1, 3), thread);
        default: return Spend(own, pick(0, 4) == 0 ? pick(20, 60) : pick(0, 14), thread);
      }
    };
    if (pick(0, 5) == 0) return {use(), EndCredit(own, thread)};
    return {use(), use()};
  }
  switch (pick(0, 4)) {
    case 0: return {Charge(node(), pick(20, 90)), Try(node(), pick(1, 20))};
    case 1: return {SetLimit(node(), pick(0, 60))};
    case 2: return {Reserve(kSession, pick(20, 90), thread), Release(kSession, thread)};
    default: return {Try(node(), pick(30, 95))};
  }
}

TEST(RandomCreditPrograms, Hold) {
  constexpr std::uint64_t kPrograms = kSanitized ? 15 : 60;
  const std::uint64_t first = TestSeed(1);
  std::uint64_t executions = 0;
  for (std::uint64_t seed = first; seed < first + kPrograms; ++seed) {
    std::mt19937_64 random(seed);
    Scenario scenario{.name = "Seed" + std::to_string(seed)};
    for (std::int64_t& limit : scenario.limits) {
      limit = random() % 2 == 0 ? kNoLimit : static_cast<std::int64_t>(60 + random() % 60);
    }
    scenario.setup = {NewCredit(kLeafA, 16, 0), NewCredit(kLeafB, 16, 1), Spend(kLeafA, 6, 0),
                      Spend(kLeafB, 6, 1)};
    const int threads = random() % 2 == 0 ? 2 : 3;
    for (int thread = 0; thread < threads; ++thread) {
      scenario.threads.push_back(RandomThread(random, thread));
    }
    // Three threads with two preemptions are a million executions each.
    scenario.bounds = {.preemptions = threads == 2 && !kSanitized ? 2 : 1, .store_buffers = true};
    TreeProgram program(scenario);
    const Exploration result = Explore(program, scenario.bounds);
    ASSERT_EQ(result.violation, "") << "METE_TEST_SEED=" << seed << '\n' << result.schedule;
    executions += result.executions;
  }
  std::printf("%llu programs from seed %llu: %llu executions\n",
              static_cast<unsigned long long>(kPrograms), static_cast<unsigned long long>(first),
              static_cast<unsigned long long>(executions));
}

// A taker whose fence reaches only its own thread: the owner spends what was taken back.
TEST(SeededFaults, AFenceThatDoesNotReachTheOwnerIsFound) {
  const Scenario scenario{.name = "WeakFence",
                          .limits = {100, kMany, kMany, kMany},
                          .setup = Stocked(),
                          .threads = {{Spend(kLeafA, 12, 0)}, {Try(kLeafB, 90)}},
                          .bounds = kAll};
  ExpectFound(scenario, {.weak_fence = true}, "");
}

}  // namespace
}  // namespace mete::interleave
