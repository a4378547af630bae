// Watching how long the processes of a group wait: pressure stall information (PSI) by triggers.
#pragma once

#include "agent/host.h"

namespace mete::cgroup {

// `unified` is the group's directory there: PSI is counted in that hierarchy only, also for groups
// whose memory or CPU a v1 hierarchy limits. See Group::WatchPressure.
Result<agent::PressureWatch> OpenPressure(int unified, agent::Pressure what, Duration stall,
                                          Duration window);

// Whether the kernel counts pressure here and lets it be watched; looks only.
agent::GradeInfo PressureGrade(int unified);

}  // namespace mete::cgroup
