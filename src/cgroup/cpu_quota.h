// The CPU quota of a group: written, and lifted while the group is stopped or ended.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

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

// Takes CPU quotas away for as long as the object lives, and puts the same text back then. A group
// that is short of quota takes up to 20 s to freeze and 42 s to die (docs/enforcement.md).
//
// Lifted are the group's own quota; those of the `levels` groups above it that are below one core,
// which slow it down as much; and with `below` those of the groups in it that are below one core.
// What another owner writes meanwhile to a group above stays.
class QuotaLift {
 public:
  explicit QuotaLift(const ControlDirs::One& cpu, int levels = 0, bool below = false);
  ~QuotaLift();
  QuotaLift(const QuotaLift&) = delete;
  QuotaLift& operator=(const QuotaLift&) = delete;

  // Leaves the group's own quota off. Those above and below come back all the same.
  void KeepOwn();

 private:
  struct Lifted {
    std::string dir;  // relative to the group's: "", "../", "a-bot.1/"
    std::string old;
  };

  void Lift(const std::string& dir, bool only_small);
  void LiftBelow(const std::string& dir, int depth);

  ControlDirs::One cpu_;
  std::vector<Lifted> lifted_;  // in the order of lifting: from the top down
};

}  // namespace mete::cgroup
