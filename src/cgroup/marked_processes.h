// Processes that carry a mark which fork, exec, setsid and closed descriptors do not take off: the
// soft limit RLIMIT_RSS, which Linux keeps and does nothing with. For the host without control
// groups, and for the fake one.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <vector>

namespace mete::cgroup {

// Marks the calling process. Async-signal-safe; 0 or an errno.
int MarkSelf(rlim_t mark) noexcept;

// 0 if there is no such process, or it is another user's.
rlim_t MarkOf(pid_t pid);

// Also of another user's process, from /proc/PID/limits: 10 us.
rlim_t MarkOfAny(pid_t pid);

// Marks are in a range of their own that nobody limits memory to: from 2^61 bytes to 2^62.
inline constexpr rlim_t kFirstMark = rlim_t{1} << 61;
constexpr bool IsMark(rlim_t value) { return value >= kFirstMark && value < 2 * kFirstMark; }

// The processes with this mark that have not ended.
std::vector<pid_t> Marked(rlim_t mark);

// Whether the process is stopped, or ended.
bool IsStopped(pid_t pid);

}  // namespace mete::cgroup
