// What to do next with an agent: a pure decision between what is wanted and what is.
//
// The wishes are levels, not commands: however many reports race, an agent in violation is frozen
// once, and one whose last cause went away is thawed once. Ending goes one way: nothing thaws,
// freezes or revives an agent that is on its way out.
#pragma once

#include <cstdint>
#include <string_view>

namespace mete::agent {

enum class State : std::uint8_t {
  kRunning,
  kSuspended,    // frozen
  kTerminating,  // asked to end, and given its grace
  kKilled,
};
std::string_view NameOf(State state) noexcept;  // "running"; killed is "terminating" to people

enum class Step : std::uint8_t { kNone, kFreeze, kThaw, kTerminate, kKill };

struct Wish {
  bool suspend = false;
  bool terminate = false;
  bool kill = false;  // the grace is over, or nobody wants to wait for it
};

Step NextStep(State state, const Wish& wish) noexcept;

}  // namespace mete::agent
