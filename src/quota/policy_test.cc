#include "quota/policy.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace mete {
namespace {

using std::chrono::seconds;
using enum EnforcementMode;
using enum Decision;

// Each row is one violating charge, some seconds after the start of the window; the policy's
// memory is carried from row to row.
struct Charge {
  int second;
  int grace_seconds;
  Decision expected;
};

void Play(EnforcementMode mode, const std::vector<Charge>& charges, PolicyState state = {}) {
  int number = 0;
  for (const Charge& charge : charges) {
    SCOPED_TRACE("charge " + std::to_string(++number));
    const Time now{seconds(charge.second)};
    const Decision decision = Decide(mode, state, now, seconds(charge.grace_seconds));
    EXPECT_EQ(decision, charge.expected);
    state = After(decision, state, now);
  }
}

TEST(Policy, Rule10HardActsAtOnceAndOnce) {
  Play(kHard, {{0, 0, kAct}, {0, 0, kNothing}, {9, 0, kNothing}});
  Play(kHard, {{0, 5, kAct}});  // the grace is for soft limits
}

TEST(Policy, Rule10SoftThenHardWarnsThenActs) {
  Play(kSoftThenHard, {{0, 0, kWarn}, {0, 0, kAct}, {1, 0, kNothing}});
}

TEST(Policy, Rule10SampledUsageGetsItsGraceAfterTheWarning) {
  Play(kSoftThenHard, {{10, 5, kWarn},
                       {11, 5, kNothing},
                       {14, 5, kNothing},
                       {15, 5, kAct},  // 5 s after the warning, to the nanosecond
                       {16, 5, kNothing}});
}

TEST(Policy, Rule10AReportNeedNotWaitForTheGraceOfSamples) {
  Play(kSoftThenHard, {{10, 5, kWarn}, {11, 5, kNothing}, {12, 0, kAct}});
}

TEST(Policy, Rule10WarnOnlyWarnsOncePerWindow) {
  Play(kWarnOnly, {{0, 0, kWarn}, {1, 0, kNothing}, {3000, 0, kNothing}});
}

TEST(Policy, Rule12WhatAnOperatorLiftedIsNotActedOnAgain) {
  const PolicyState lifted{.warned = true, .acted = true, .lifted = true, .warned_at = Time{}};
  Play(kHard, {{1, 0, kNothing}}, lifted);
  Play(kSoftThenHard, {{1, 0, kNothing}}, lifted);
}

TEST(Policy, Rule11RaisingForgetsTheActionButKeepsTheWarning) {
  PolicyState state{.warned = true, .acted = false, .lifted = false, .warned_at = Time{}};
  Play(kSoftThenHard, {{100, 5, kAct}, {101, 5, kNothing}}, state);
  Play(kWarnOnly, {{100, 5, kNothing}}, state);
}

TEST(Policy, Rule09RearmsFivePointsBelow) {
  struct Row {
    std::int64_t limit, level;
  };
  const Row rows[] = {
      {0, 0},    {1, 0},      {19, 18},
      {20, 19},  {21, 19},  // 95 per cent of 21 is 19.95: rounded down
      {100, 95}, {1000, 950}, {std::numeric_limits<std::int64_t>::max(), 8762203435012037016},
  };
  for (const Row& row : rows) EXPECT_EQ(RearmLevel(row.limit), row.level) << row.limit;
}

}  // namespace
}  // namespace mete
