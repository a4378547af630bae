// What /proc says about one process.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "mete/clock.h"

namespace mete::cgroup {

struct ProcessStat {
  pid_t parent = 0;
  char state = 'X';
  std::int64_t threads = 0;
  std::uint64_t started = 0;  // ticks after boot; with the pid it names one process
  Duration reaped_cpu{};      // of children that were waited for, and of theirs

  // Ended with all its threads; it may still wait to be reaped. A main thread may end before the
  // others, and then looks like a dead process with threads.
  bool gone() const { return state == 'X' || (state == 'Z' && threads <= 1); }
};

std::optional<ProcessStat> ParseStat(std::string_view text);  // of /proc/PID/stat
std::optional<ProcessStat> ReadStat(pid_t pid);               // nullopt: no such process

// Whose it is; -1 if there is no such process.
uid_t UserOf(pid_t pid);

// The CPU time of all its threads, also those that ended, to the nanosecond: the clock of the
// process. /proc/PID/stat counts in ticks of 10 ms. nullopt: no such process.
std::optional<std::int64_t> CpuTimeOf(pid_t pid);

// How far a stop has come, over all threads of a process.
enum class Stillness : std::uint8_t {
  kRuns,
  kHeld,  // those that have not stopped sleep in the kernel, where no signal wakes them; one that
          // was sent SIGSTOP stops before it runs any code of its own (a parent in vfork, slow I/O)
  kStill,
};
Stillness StillnessOf(pid_t pid);

// Resident memory: pages shared with others count in each. 0 if there is no such process.
std::int64_t ResidentBytes(pid_t pid);

// The proportional part: pages shared by n processes count a nth in each. The kernel walks all page
// tables for it: 19 us for a small process, 18 ms for a resident gigabyte. nullopt where it is not
// allowed or not known.
std::optional<std::int64_t> ProportionalBytes(pid_t pid);

}  // namespace mete::cgroup
