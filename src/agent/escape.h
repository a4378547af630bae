// Finds processes of an agent that are outside its group, and puts them back.
//
// Under another user nobody can leave; under the same one it takes one write. What an agent starts
// are descendants of whoever runs it (orphans come back to it, as the subreaper), so that all of
// them can be found, and each must be held by every limit of the group. Who asks a service of the
// machine to start something is not found: that is the service's child.
//
// The first time what left is put back, and people are told: it may have been a program that
// arranges its groups by itself. Who leaves again is ended. Who is outside when its group stands
// still is put back into it, and who is outside when its group was killed is killed there.
#pragma once

#include <sys/types.h>

#include <optional>
#include <vector>

#include "agent/agent.h"
#include "mete/clock.h"

namespace mete::agent {

class EscapeWatch {
 public:
  static constexpr Duration kInterval = std::chrono::milliseconds(500);

  // Watches the descendants of `root`, and not `except` and its own. `agent` outlives it.
  EscapeWatch(Agent& agent, pid_t root, pid_t except);

  // When due: looks at every process of the agent (10 to 20 us for each), and acts.
  void Tend();
  std::optional<Time> NextDeadline() const;

  // At the end: kills what is outside, and waits until it is gone.
  void Collect();

 private:
  // How many were outside.
  std::size_t PutBack();
  std::size_t KillOutside();

  Agent& agent_;
  const pid_t root_, except_;
  Time next_;
  bool left_before_ = false;
  bool nobody_outside_ = false;  // at the last look, after which nobody could leave
  bool kill_told_ = false;
};

}  // namespace mete::agent
