// What the groups of tenants and sessions are to hold of the CPU, written down on the groups.
//
// The quota of a level is lifted while an agent below it is frozen or killed (cpu_quota.h), by
// several owners at the same time, each of which may be killed in the middle of it. So nobody puts
// back what he read before, which may be what another one had lifted: a limit is noted on its
// group, in an attribute, before the kernel gets it, and what is noted is put back. By whoever
// lifted it, and by whoever comes by later and finds more held than that. Where a group takes no
// attribute, nothing is lifted.
//
// Paths are relative to the group that is frozen or killed: "" is itself, "../" the one above.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cgroup/limits.h"

namespace mete::cgroup {

// The directories of one group: where the quota is, and where the note is.
struct QuotaPlace {
  ControlDirs::One cpu;
  int unified = -1;
};

// Unset: no limit. 0 or an errno.
int NoteLevelQuota(int unified, std::optional<std::int64_t> nanocores);

// Exactly as it was noted, to be put back; empty: nothing was.
std::string LevelNote(int unified, const std::string& dir);
int PutLevelNote(int unified, const std::string& note);

// Takes the quota away that is noted for this group, if it is below one core: with a core, nobody
// waits for one. Whether it was taken away.
bool LiftLevelQuota(const QuotaPlace& place, const std::string& dir);

// Lets the kernel hold what is noted: where it holds more, and in any case if it `was_lifted`. A
// limit that is changed at the same time is held in the end, whoever comes first.
Result<void> RestoreLevelQuota(const QuotaPlace& place, const std::string& dir, bool was_lifted);

// The same for so many levels above the group, where more is held.
Result<void> RestoreLevelsAbove(const QuotaPlace& place, int levels);

}  // namespace mete::cgroup
