// Which part of an agent's limits the kernel holds, and how well each limit is held here.
#pragma once

#include <string>

#include "agent/host.h"
#include "mete/error.h"
#include "mete/quota.h"

namespace mete::agent {

// With `suspend`, the kernel's own limit lies this far above the agent's, so that the agent is
// frozen (or with `throttle` slowed down) before the kernel kills it: a quarter of the limit, at
// least 64 MiB. A program that does nothing but allocate got 14 MiB beyond its limit at most, on a
// machine with five times as many busy programs as cores.
std::int64_t MemoryHeadroom(std::int64_t limit);

// Which controllers there are to hold a limit; without one it is only sampled (--best-effort).
struct Controllers {
  bool cpu = true;
  bool memory = true;
};

// What the kernel is to hold. Of memory, by the policy's action: terminate holds the limit itself;
// suspend and throttle draw a line there, and hold the limit plus the headroom; warn only samples.
// `cpu` with warn_only is not held either.
KernelLimits KernelLimitsOf(const ResourceLimits& limits, const PolicySet& policies,
                            std::int64_t pids_max, Controllers controllers = {});

// E2071 if a limit is set below the least that the kernel can hold, or above the most; the text
// names that. The first does not name the limit, which its caller does.
Result<void> CheckRange(LimitKind kind, const Limit& limit);
Result<void> CheckRanges(const ResourceLimits& limits);

// How this machine holds a limit.
GradeInfo GradeOf(LimitKind kind, const Policy& policy, const Capabilities& host);

// Whether other amounts are allowed; however they were entered.
bool Differ(const ResourceLimits& a, const ResourceLimits& b);

// What is allowed now instead, with its grade: "cpu = 200m (kernel), memory = unlimited".
std::string ChangesText(const ResourceLimits& before, const ResourceLimits& after,
                        const PolicySet& policies, const Capabilities& host);

}  // namespace mete::agent
