// The CPU quota of a group: written, and lifted while the group is stopped or ended.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cgroup/level_quota.h"
#include "cgroup/limits.h"

namespace mete::cgroup {

// Writes the rate as a quota in a period of 100 ms, and reads it back; unset: no quota. On a fresh
// group that is left alone.
//
// v1 takes no quota above that of a group further up, nor one below that of a group further down.
// Neither is an error here: as much is written as the group above holds, and a group below is
// lowered with this one. It is not raised with it again: its own limits must be written again then.
Result<void> WriteCpuQuota(const ControlDirs::One& cpu, std::optional<std::int64_t> nanocores,
                           bool fresh);

// The quota that is held in `dir`, a path relative to the group's directory: "../" is the group
// above. Unset: none, or there is no such file.
std::optional<std::int64_t> QuotaNanocores(const ControlDirs::One& cpu, const std::string& dir);

inline constexpr std::int64_t kOneCore = 1'000'000'000;

// Takes the quota of `dir` away. 0 or an errno.
int LiftQuota(const ControlDirs::One& cpu, const std::string& dir);

// Takes CPU quotas away for as long as the object lives. A group that is short of quota takes up to
// 20 s to freeze and 42 s to die (docs/enforcement.md).
//
// Lifted are the own quota of an agent's group, and put back as it was; those of the `levels`
// groups above it that are below one core, which slow it down as much; and of a group that
// `is_level` those below one core in it. Levels get back what is noted on them (level_quota.h),
// also what somebody else lifted who did not come to put it back.
class QuotaLift {
 public:
  QuotaLift(const QuotaPlace& place, int levels, bool is_level);
  ~QuotaLift();
  QuotaLift(const QuotaLift&) = delete;
  QuotaLift& operator=(const QuotaLift&) = delete;

  // Levels that another owner put back meanwhile, who was done first.
  void LiftAgain();

  // Leaves the quota of an agent's group off. Those above come back all the same.
  void KeepOwn();

 private:
  struct Lifted {
    std::string dir;  // relative to the group's: "", "../", "a-bot.1/"
    std::string old;  // empty: of a level, which has a note
  };

  void LiftLevel(const std::string& dir);
  void LiftLeaf(const std::string& dir, bool only_small);
  void LiftBelow(const std::string& dir, int depth);

  QuotaPlace place_;
  int levels_;
  std::vector<Lifted> lifted_;  // in the order of lifting: from the top down
};

}  // namespace mete::cgroup
