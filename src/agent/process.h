// A process that is not a child: known by its number and start time, held by a descriptor.
//
// A number alone may come to mean another process; a number with its start time may not (within one
// boot), and a descriptor never does.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "base/unique_fd.h"

namespace mete::agent {

struct ProcessId {
  pid_t pid = 0;            // 0: none
  std::uint64_t start = 0;  // ticks since boot, /proc/PID/stat
  friend bool operator==(const ProcessId&, const ProcessId&) = default;
};

// Nothing (pid 0) if there is no such process; one that ended and was not waited for is there.
ProcessId IdentifyProcess(pid_t pid);

// Whether it is on its way out, or gone: the kernel moves it to no other control group any more.
bool IsEnding(pid_t pid);

// A descriptor of exactly this process: -1 if it is gone, also if its number is another's now.
UniqueFd OpenProcess(const ProcessId& process);

// How a process that is not a child ended, as wait(2) tells it: Linux 6.15 and later keep it for
// whoever held a descriptor when the process was reaped. Unset: it runs, or the kernel does not
// know.
std::optional<int> WaitStatusOf(const UniqueFd& pidfd);

}  // namespace mete::agent
