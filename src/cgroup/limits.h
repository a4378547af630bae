// Limits in the files of control groups: which file takes which text, on v1 and on v2.
//
// | limit       | v2                                  | v1                                        |
// | ----------- | ----------------------------------- | ----------------------------------------- |
// | cpu         | cpu.max "<quota> 100000"            | cpu.cfs_period_us, cpu.cfs_quota_us       |
// | memory_max  | memory.max, memory.swap.max 0,      | memory.limit_in_bytes,                    |
// |             | memory.oom.group 1 in a leaf        | memory.memsw.limit_in_bytes + one page    |
// | memory_line | memory.high                         | none: an event descriptor (events.h)      |
// | pids        | pids.max                            | pids.max                                  |
//
// The swap files are written where the kernel has them: without them a program over its memory
// limit would go on in swap.
#pragma once

#include <array>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "agent/host.h"
#include "cgroup/layout.h"

namespace mete::cgroup {

// The directories of one group, by controller; borrowed descriptors.
struct ControlDirs {
  struct One {
    Version version = Version::kNone;
    int dir = -1;
  };
  One cpu, memory, pids;
};

// Bounds of the limits themselves (E2071), before anything is touched.
Result<void> CheckLimits(const agent::KernelLimits& limits);

// Writes and reads back. On a fresh group unset limits are left alone: the kernel sets none.
// REQUIRES: CheckLimits passed. May have written some of the limits when it fails.
Result<void> WriteLimits(const ControlDirs& dirs, const agent::KernelLimits& limits, bool fresh);

// E2073 if the memory limit would be lowered to below what is in use. The kernel would start
// killing (v2) or refuse after a vain reclaim (v1); on a frozen v2 group it kills while frozen.
Result<void> CheckMemoryFits(const ControlDirs& dirs, std::int64_t memory_max);

// One control file with one value: written, read back, compared. The error names the file, what was
// asked and what is held.
Result<void> PutValue(int dir, const char* file, std::string_view value);

// What the files of limits held when this was made, to be put back when a change fails halfway.
class SavedLimits {
 public:
  explicit SavedLimits(const ControlDirs& dirs);
  void Restore() const;

 private:
  struct Value {
    int dir;
    const char* file;
    std::string text;
  };
  void Save(const ControlDirs::One& place, std::initializer_list<const char*> files);

  std::vector<Value> values_;
};

// The tightest limits of the group and those above it, as far as they are mounted. `directories`
// are the group's, by controller.
agent::EffectiveLimits ReadEffective(const ControlDirs& dirs,
                                     const std::array<std::string, 3>& directories);

}  // namespace mete::cgroup
