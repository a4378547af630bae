#include "agent/reconcile.h"

#include <algorithm>

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

Duration NextReading(Duration remaining, unsigned cores) noexcept {
  using std::chrono::milliseconds;
  const Duration earliest = remaining / static_cast<std::int64_t>(std::max(cores, 1u));
  return std::clamp<Duration>(earliest, milliseconds(2), milliseconds(1000));
}

}  // namespace mete::agent
