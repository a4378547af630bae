#include "agent/reconcile.h"

#include <gtest/gtest.h>

#include <chrono>

namespace mete::agent {
namespace {

constexpr State kRunning = State::kRunning;
constexpr State kSuspended = State::kSuspended;
constexpr State kTerminating = State::kTerminating;
constexpr State kKilled = State::kKilled;

struct Row {
  State state;
  bool suspend, terminate, kill;
  Step step;
};

// Every state with every combination of wishes.
// clang-format off
constexpr Row kTable[] = {
    // state       suspend terminate kill
    {kRunning,     false,  false,    false, Step::kNone},
    {kRunning,     true,   false,    false, Step::kFreeze},
    {kRunning,     false,  true,     false, Step::kTerminate},
    {kRunning,     true,   true,     false, Step::kTerminate},
    {kRunning,     false,  false,    true,  Step::kKill},
    {kRunning,     true,   false,    true,  Step::kKill},
    {kRunning,     false,  true,     true,  Step::kKill},
    {kRunning,     true,   true,     true,  Step::kKill},
    {kSuspended,   false,  false,    false, Step::kThaw},
    {kSuspended,   true,   false,    false, Step::kNone},
    {kSuspended,   false,  true,     false, Step::kTerminate},
    {kSuspended,   true,   true,     false, Step::kTerminate},
    {kSuspended,   false,  false,    true,  Step::kKill},
    {kSuspended,   true,   false,    true,  Step::kKill},
    {kSuspended,   false,  true,     true,  Step::kKill},
    {kSuspended,   true,   true,     true,  Step::kKill},
    // On its way out: nothing freezes, thaws or asks again.
    {kTerminating, false,  false,    false, Step::kNone},
    {kTerminating, true,   false,    false, Step::kNone},
    {kTerminating, false,  true,     false, Step::kNone},
    {kTerminating, true,   true,     false, Step::kNone},
    {kTerminating, false,  false,    true,  Step::kKill},
    {kTerminating, true,   false,    true,  Step::kKill},
    {kTerminating, false,  true,     true,  Step::kKill},
    {kTerminating, true,   true,     true,  Step::kKill},
    {kKilled,      false,  false,    false, Step::kNone},
    {kKilled,      true,   false,    false, Step::kNone},
    {kKilled,      false,  true,     false, Step::kNone},
    {kKilled,      true,   true,     false, Step::kNone},
    {kKilled,      false,  false,    true,  Step::kNone},
    {kKilled,      true,   false,    true,  Step::kNone},
    {kKilled,      false,  true,     true,  Step::kNone},
    {kKilled,      true,   true,     true,  Step::kNone},
};
// clang-format on

TEST(NextStep, FollowsTheTable) {
  for (const Row& row : kTable) {
    EXPECT_EQ(NextStep(row.state, {row.suspend, row.terminate, row.kill}), row.step)
        << NameOf(row.state) << " suspend " << row.suspend << " terminate " << row.terminate
        << " kill " << row.kill;
  }
}

TEST(NextStep, ThatIsTakenWantsNothingMore) {
  for (const Row& row : kTable) {
    State after = row.state;
    switch (row.step) {
      case Step::kNone: continue;
      case Step::kFreeze: after = kSuspended; break;
      case Step::kThaw: after = kRunning; break;
      case Step::kTerminate: after = kTerminating; break;
      case Step::kKill: after = kKilled; break;
    }
    EXPECT_EQ(NextStep(after, {row.suspend, row.terminate, row.kill}), Step::kNone);
  }
}

TEST(StateName, IsWhatPeopleRead) {
  EXPECT_EQ(NameOf(kRunning), "running");
  EXPECT_EQ(NameOf(kSuspended), "suspended");
  EXPECT_EQ(NameOf(kTerminating), "terminating");
  EXPECT_EQ(NameOf(kKilled), "terminating");
}

}  // namespace
}  // namespace mete::agent
