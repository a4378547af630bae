#include "quota/policy.h"

namespace mete {

Decision Decide(EnforcementMode mode, const PolicyState& state, Time now, Duration grace) {
  switch (mode) {
    case EnforcementMode::kHard:
      return state.acted || state.lifted ? Decision::kNothing : Decision::kAct;
    case EnforcementMode::kSoftThenHard:
      if (!state.warned) return Decision::kWarn;
      if (state.acted || state.lifted || now - state.warned_at < grace) return Decision::kNothing;
      return Decision::kAct;
    case EnforcementMode::kWarnOnly: return state.warned ? Decision::kNothing : Decision::kWarn;
  }
  return Decision::kNothing;
}

PolicyState After(Decision decision, PolicyState state, Time now) {
  if (decision == Decision::kWarn) state.warned = true, state.warned_at = now;
  if (decision == Decision::kAct) state.acted = true;
  return state;
}

std::int64_t RearmLevel(std::int64_t limit) {
  // limit - ceil(limit / 20), so that the line is never above 95 per cent.
  return limit - (limit / 20 + (limit % 20 != 0 ? 1 : 0));
}

}  // namespace mete
