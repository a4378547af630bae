// Operations of a scenario, written short, and what is expected of it.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "tree_program.h"

namespace mete::interleave {

inline constexpr std::int64_t kMany = 1000;

inline Op Try(Node node, std::int64_t amount) {
  return {.what = Do::kTryCharge, .node = node, .amount = amount};
}
inline Op Charge(Node node, std::int64_t amount) {
  return {.what = Do::kCharge, .node = node, .amount = amount};
}
inline Op Uncharge(Node node, std::int64_t amount) {
  return {.what = Do::kUncharge, .node = node, .amount = amount};
}
// Only where the thread's operation before was granted.
inline Op ThenUncharge(Node node, std::int64_t amount) {
  return {.what = Do::kUncharge, .node = node, .amount = amount, .if_granted = true};
}
inline Op Reserve(Node node, std::int64_t amount, int slot) {
  return {.what = Do::kReserve, .node = node, .amount = amount, .slot = slot};
}
inline Op Settle(Node node, std::int64_t amount, int slot) {
  return {.what = Do::kSettle, .node = node, .amount = amount, .slot = slot};
}
inline Op Release(Node node, int slot) {
  return {.what = Do::kRelease, .node = node, .slot = slot};
}
inline Op SetLimit(Node node, std::int64_t limit) {
  return {.what = Do::kSetLimit, .node = node, .amount = limit};
}
inline Op Roll(Node node) { return {.what = Do::kRoll, .node = node}; }
inline Op Take(Node node) { return {.what = Do::kTakeEdges, .node = node}; }
inline Op ResetPeak(Node node) { return {.what = Do::kResetPeak, .node = node}; }

inline Op NewCredit(Node node, std::int64_t quantum, int slot) {
  return {.what = Do::kNewCredit, .node = node, .amount = quantum, .slot = slot};
}
inline Op Spend(Node node, std::int64_t amount, int slot) {
  return {.what = Do::kSpend, .node = node, .amount = amount, .slot = slot};
}
inline Op GiveBack(Node node, std::int64_t amount, int slot) {
  return {.what = Do::kGiveBack, .node = node, .amount = amount, .slot = slot};
}
inline Op Flush(Node node, int slot) { return {.what = Do::kFlush, .node = node, .slot = slot}; }
inline Op EndCredit(Node node, int slot) {
  return {.what = Do::kEndCredit, .node = node, .slot = slot};
}

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

inline std::string BoundsText(const Bounds& bounds) {
  std::string text =
      bounds.preemptions == Bounds::kAny ? "any" : std::to_string(bounds.preemptions);
  text += " preemptions";
  if (bounds.weak_failures > 0) text += ", weak failures";
  if (bounds.store_buffers) text += ", store buffers";
  return text;
}

// Every execution within the bounds; one preemption less under AddressSanitizer, which makes each
// operation several times as long.
inline void ExpectHolds(Scenario scenario) {
  if (kSanitized && scenario.bounds.preemptions > 1) --scenario.bounds.preemptions;
  TreeProgram program(scenario);
  const Exploration result = Explore(program, scenario.bounds);
  EXPECT_EQ(result.violation, "") << scenario.name << '\n' << result.schedule;
  std::printf("%-32s %9llu executions, %8llu states, depth %3d, %s\n", scenario.name.c_str(),
              static_cast<unsigned long long>(result.executions),
              static_cast<unsigned long long>(result.states), result.depth,
              BoundsText(scenario.bounds).c_str());
}

// A fault that was seeded is reported within the bounds, and nothing without it.
inline void ExpectFound(Scenario scenario, const Faults& faults, const std::string& what) {
  ExpectHolds(scenario);
  const int most = scenario.bounds.preemptions;
  for (int preemptions = 0; preemptions <= most; ++preemptions) {
    scenario.bounds.preemptions = preemptions;
    TreeProgram program(scenario);
    const Exploration result = Explore(program, scenario.bounds, faults);
    if (result.violation.empty()) continue;
    EXPECT_NE(result.violation.find(what), std::string::npos) << result.violation;
    EXPECT_NE(result.schedule.find("violation: "), std::string::npos);
    std::printf("%s: found in execution %llu with %s: %s\n%s", scenario.name.c_str(),
                static_cast<unsigned long long>(result.executions),
                BoundsText(scenario.bounds).c_str(), result.violation.c_str(),
                result.schedule.c_str());
    return;
  }
  ADD_FAILURE() << scenario.name << ": not found with " << BoundsText(scenario.bounds);
}

// METE_TEST_SEED, or the default.
inline std::uint64_t TestSeed(std::uint64_t otherwise) {
  const char* text = std::getenv("METE_TEST_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

}  // namespace mete::interleave
