// Credit under every interleaving, with stores that become visible as late as x86 allows: owners
// spend with plain stores while others take their stock back.
#include <gtest/gtest.h>

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
