#include "agent/reconcile.h"

namespace mete::agent {

std::string_view NameOf(State state) noexcept {
  switch (state) {
    case State::kRunning: return "running";
    case State::kSuspended: return "suspended";
    case State::kTerminating:
    case State::kKilled: return "terminating";
  }
  return "running";
}

Step NextStep(State state, const Wish& wish) noexcept {
  if (state == State::kKilled) return Step::kNone;
  if (wish.kill) return Step::kKill;
  if (state == State::kTerminating) return Step::kNone;
  if (wish.terminate) return Step::kTerminate;
  if (wish.suspend && state == State::kRunning) return Step::kFreeze;
  if (!wish.suspend && state == State::kSuspended) return Step::kThaw;
  return Step::kNone;
}

}  // namespace mete::agent
