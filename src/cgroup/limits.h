// Limits in the files of control groups: which file takes which text, on v1 and on v2.
//
// | limit       | v2                                  | v1                                        |
// | ----------- | ----------------------------------- | ----------------------------------------- |
// | cpu         | cpu.max "<quota> 100000"            | cpu.cfs_period_us, cpu.cfs_quota_us       |
// | memory_max  | memory.max, memory.swap.max 0,      | memory.limit_in_bytes,                    |
// |             | memory.oom.group 1                  | memory.memsw.limit_in_bytes + one page    |
// | memory_line | memory.high                         | none: an event descriptor (events.h)      |
// | pids        | pids.max                            | pids.max                                  |
//
// The swap files are written where the kernel has them: without them a program over its memory
// limit would go on in swap.
#pragma once

#include <array>
#include <string>

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

// E2073 if the memory limit would be below what is in use. The kernel would start killing (v2) or
// refuse after a vain reclaim (v1); on a frozen v2 group it kills while frozen.
Result<void> CheckMemoryFits(const ControlDirs& dirs, std::int64_t memory_max);

// Takes the CPU quota away for as long as the object lives, and puts the same text back then.
// A group that is short of quota takes up to 20 s to freeze and 42 s to die (docs/enforcement.md).
class QuotaLift {
 public:
  explicit QuotaLift(const ControlDirs::One& cpu);
  ~QuotaLift();
  QuotaLift(const QuotaLift&) = delete;
  QuotaLift& operator=(const QuotaLift&) = delete;

  // Leaves the quota off.
  void Keep() { old_.clear(); }

 private:
  ControlDirs::One cpu_;
  std::string old_;  // empty: nothing to put back
};

// The tightest limit of this directory and the groups above it, for the notes of doctor.
std::optional<std::int64_t> CpuAbove(const ControlDirs::One& cpu);  // nanocores
std::optional<std::int64_t> MemoryAbove(const ControlDirs::One& memory);

}  // namespace mete::cgroup
