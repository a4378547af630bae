// The operating system as an agent's runner sees it: groups of processes with limits that the
// kernel holds. Implemented by cgroup/ (control groups v2, the hybrid v1+v2 layout) and by a fake
// host for tests; one contract suite runs over all of them.
//
// Order rules that every implementation keeps, with their measurements in docs/enforcement.md:
//   1. the CPU quota is lifted before a group is frozen or killed;
//   2. a memory limit is never written below what is in use;
//   3. a freeze that does not complete in time is undone and reported;
//   4. nothing waits for a thaw.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mete/clock.h"
#include "mete/error.h"

namespace mete::agent {

// How well this machine holds a limit, found out by trying.
enum class Grade : std::uint8_t {
  kKernel,    // the kernel refuses, throttles or kills at the limit
  kSampled,   // mete samples and acts; the note states the worst overshoot
  kReported,  // counted when the agent reports, acted on by the kernel
  kAdvisory,  // told to the program, which may ignore it
  kAbsent,    // not held at all
};
std::string_view NameOf(Grade grade) noexcept;  // "kernel"

struct GradeInfo {
  Grade grade = Grade::kAbsent;
  std::string how;  // "cpu.max", "memory.limit_in_bytes (v1)", or why it is absent
};

struct Capabilities {
  std::string layout;                              // "v2", "hybrid", "none"
  std::string root;                                // where groups are made
  GradeInfo cpu, memory, pids;                     // limits
  GradeInfo freeze, kill;                          // actions
  GradeInfo cpu_usage, memory_usage, memory_peak;  // readings
  std::vector<std::string> notes;                  // what an operator should know, one line each
};

// What the kernel is asked to hold. Unset: no limit of that kind.
struct KernelLimits {
  std::optional<std::int64_t> cpu_nanocores;  // >= kMinCpuNanocores
  std::optional<std::int64_t> memory_max;     // bytes: at this the kernel refuses or kills
  std::optional<std::int64_t> memory_line;    // bytes: reaching it makes EventsFd readable
  std::int64_t pids_max = 4096;               // always set, so that a fork bomb is bounded
};
inline constexpr std::int64_t kMinCpuNanocores = 10'000'000;  // 10m: 1 ms in a period of 100 ms
inline constexpr std::int64_t kMinMemoryBytes = 1 << 20;      // a process needs about this to start

struct Sample {
  std::int64_t cpu_ns = 0;
  std::int64_t memory_bytes = 0;
  std::int64_t memory_peak_bytes = 0;
  std::int64_t pids = 0;             // processes and threads in the group now
  std::int64_t oom_kills = 0;        // as the kernel counts them; not a head count
  std::int64_t memory_max_hits = 0;  // times the limit was met (v2 "max", v1 failcnt)
  bool populated = false;
  bool frozen = false;
};

// One group of processes. Not thread-safe. The destructor closes descriptors and touches nothing:
// a group outlives its owner on purpose, until Remove.
class Group {
 public:
  virtual ~Group() = default;

  virtual const std::string& name() const = 0;

  // Writes the limits, reads them back; an error names the limit, what was asked and what the
  // kernel holds instead. Limits that are unset are lifted. E2071: out of range; E2073: a memory
  // limit below what is in use; what was held before then stays.
  virtual Result<void> SetLimits(const KernelLimits& limits) = 0;

  // Moves the calling process into the group. Async-signal-safe: for a child between fork and exec,
  // which has one thread. Returns 0 or an errno.
  virtual int JoinSelf() noexcept = 0;

  // For clone3(2) with CLONE_INTO_CGROUP: a child made with it starts in the group, but for what
  // JoinRest then does like JoinSelf. Moving a process instead waits for all processors (an RCU
  // grace period: 8 ms in the median against 0.3 ms, Linux 6.18). -1: there is no such way here.
  virtual int CloneFd() const noexcept { return -1; }
  virtual int JoinRest() noexcept { return JoinSelf(); }

  virtual Result<Sample> Read() = 0;

  // Stops every task; returns when all are stopped, or undoes it and fails with E2074 at the
  // deadline.
  virtual Result<void> Freeze(Duration deadline) = 0;
  virtual Result<void> Thaw() = 0;

  // Queues a signal for every process of the group, frozen or not.
  virtual Result<void> Signal(int signal_number) = 0;

  // Kills every process, also frozen and newly forked ones; returns when none is left, or fails
  // with E2075 at the deadline.
  virtual Result<void> Kill(Duration deadline) = 0;

  // Removes the empty group and what Create made for it; E2080 while processes are in it. Safe to
  // repeat.
  virtual Result<void> Remove() = 0;

  // A descriptor that polls readable after the group became empty, an out-of-memory kill, or the
  // memory line; the kernel may take 10 ms to say so. Read() then tells what happened: perhaps
  // nothing, as a freeze or a joining process may wake it too. DrainEvents() clears the descriptor.
  virtual int EventsFd() const = 0;
  virtual void DrainEvents() = 0;

  // Whether the process is in this group or below it now.
  virtual bool Contains(pid_t pid) = 0;
};

class Host {
 public:
  virtual ~Host() = default;

  // Tries each limit and action on a throw-away group. Cost: some milliseconds; for `mete doctor`.
  virtual Capabilities Probe() = 0;

  // What Create can do, from what is mounted and writable, without trying. Cost: microseconds.
  virtual Capabilities Look() = 0;

  // Makes a fresh, empty group with these limits; leaves nothing behind if it fails. The name is
  // [A-Za-z0-9._:-]{1,128} (E2071) and not in use (E2076). E2099: no groups, or none with this
  // limit, can be made here; the message says what is missing.
  virtual Result<std::unique_ptr<Group>> Create(std::string_view name,
                                                const KernelLimits& limits) = 0;

  // A group that is there already, whoever made it: to end it, or to read it once more. E2070 if
  // there is none of that name. Its limits are not known; SetLimits replaces them all.
  virtual Result<std::unique_ptr<Group>> Find(std::string_view name) = 0;

  // The name of the mete group that holds this process, if it is in one.
  virtual std::optional<std::string> GroupOf(pid_t pid) = 0;
};

// The host of this machine.
std::unique_ptr<Host> OpenHost();

}  // namespace mete::agent
