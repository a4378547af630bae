// What follows a violating charge (rules 1, 10, 11): a pure decision over the policy and what it
// has already done about this limit.
//
// A charge is violating when, after it, more is used than the limit (equal is within). The caller
// asks once for each violating charge and keeps the state; it forgets the right part of the state
// when the violation, the window or the limit changes:
//
//   event                                warned    acted, lifted
//   window ends, reset                   forgets   forgets
//   limit raised                         keeps     forgets
//   level or rate within its limit       keeps     forgets acted
//   the same, and 5 points below         forgets   forgets
#pragma once

#include <cstdint>

#include "mete/clock.h"
#include "mete/quota.h"

namespace mete {

enum class Decision : std::uint8_t { kNothing, kWarn, kAct };

struct PolicyState {
  bool warned = false;  // the one warning of this window was given, at `warned_at`
  bool acted = false;   // the action of this violation was asked for
  bool lifted = false;  // an operator overrode the action (rule 12)
  Time warned_at{};

  friend bool operator==(const PolicyState&, const PolicyState&) = default;
};

// For one violating charge at `now`. `grace` is the least time between the warning and the action
// of soft_then_hard. Never asks for the same action twice: however many charges race, a violation
// has one warning and one action.
Decision Decide(EnforcementMode mode, const PolicyState& state, Time now, Duration grace);

// The state once the decision is carried out.
PolicyState After(Decision decision, PolicyState state, Time now);

// How much used a level or a rate must fall to before its edges and its warning can come again: 5
// points of the limit below it (rule 9).
std::int64_t RearmLevel(std::int64_t limit);

}  // namespace mete
