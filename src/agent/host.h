// The operating system as an agent's runner sees it: groups of processes with limits that the
// kernel holds. Implemented by cgroup/ (control groups v2, the hybrid v1+v2 layout) and by a fake
// host for tests; one contract suite runs over all of them.
//
// Groups form a tree, tenant / session / agent, named as group_name.h says. Processes are only in
// its leaves, the groups of agents; the groups above hold limits for the sum of what is below them,
// and freeze or kill all of it in one step.
//
// Order rules that every implementation keeps, with their measurements in docs/enforcement.md:
//   1. the CPU quota is lifted while a group is frozen or killed, once that was written; that of a
//      level above only where its limit is written down on it, for whoever has to put it back;
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

#include "agent/group_name.h"
#include "base/unique_fd.h"
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
  std::string how;             // "cpu.max", "memory.limit_in_bytes (v1)", or why it is absent
  std::string overshoot = {};  // with kSampled: how far the limit may be passed, at worst
};

struct Capabilities {
  std::string layout;                              // "v2", "hybrid", "processes", "none"
  std::string root;                                // where groups are made
  GradeInfo cpu, memory, pids;                     // limits
  GradeInfo freeze, kill;                          // actions
  GradeInfo cpu_usage, memory_usage, memory_peak;  // readings
  GradeInfo labels;                                // kAbsent: SetLabel keeps nothing here
  GradeInfo pressure;                              // WatchPressure
  // Found by Probe alone: starting a process in its group; limits of groups above mete's; agents of
  // another user than mete's own.
  GradeInfo clone, above, other_user;
  bool memory_slows = false;       // a group is slowed down at its memory line, not only told of it
  std::vector<std::string> notes;  // what an operator should know, one line each
};

// What the kernel is asked to hold. Unset: no limit of that kind.
struct KernelLimits {
  std::optional<std::int64_t> cpu_nanocores;  // >= kMinCpuNanocores
  std::optional<std::int64_t> memory_max;     // bytes: at this the kernel refuses or kills
  std::optional<std::int64_t> memory_line;    // bytes: reaching it makes EventsFd readable (v2:
                                              // memory.high, which also slows down from there on)
  std::optional<std::int64_t> swap_max = {};  // bytes; unset: none while there is a memory_max
  std::int64_t pids_max = 4096;               // always set, so that a fork bomb is bounded
  // A kill for memory ends the whole group, not one process of it (v2). Only in a leaf: above, it
  // would end agents that used little.
  bool die_together = true;

  bool operator==(const KernelLimits&) const = default;
};
inline constexpr std::int64_t kMinCpuNanocores = 10'000'000;  // 10m: 1 ms in a period of 100 ms
inline constexpr std::int64_t kMinMemoryBytes = 1 << 20;      // a process needs about this to start
// What an agent may be given at most: a million cores, far below the 2^44 us of quota at which the
// kernel says EINVAL, and so much memory that with the headroom above it (kernel_limits.h) it stays
// below the 4 EiB that v1 says for "no limit". Nobody has either.
inline constexpr std::int64_t kMaxCpuNanocores = 1'000'000'000'000'000;
inline constexpr std::int64_t kMaxMemoryBytes = std::int64_t{2} << 60;

// The tightest limit of a group and all groups above it, also those that are not mete's.
struct EffectiveLimits {
  struct One {
    std::optional<std::int64_t> value;  // unset: none holds on the way up
    std::string holder;                 // the directory of the group that holds it
    bool own = false;                   // it is the group's own
  };
  One cpu_nanocores, memory_max, pids_max;
};

struct Sample {
  std::int64_t cpu_ns = 0;
  std::int64_t memory_bytes = 0;
  std::int64_t memory_peak_bytes = 0;
  std::int64_t pids = 0;             // processes and threads in the group now
  std::int64_t oom_kills = 0;        // as the kernel counts them; not a head count
  std::int64_t memory_max_hits = 0;  // times the limit was met (v2 "max", v1 failcnt)
  std::int64_t pids_max_hits = 0;    // times a fork was refused
  bool populated = false;
  bool frozen = false;
};

// What processes wait for: `some` of them, or all (`full`) at the same time.
enum class Pressure : std::uint8_t { kCpuSome, kMemorySome, kMemoryFull };

// A descriptor to be polled for `events` and nothing else: the kernel's is readable all the time.
// Read it once after each event, without looking at what it gives. The kernel tells at most once in
// a window. Closing it ends the watch. POLLERR: the group is gone.
struct PressureWatch {
  UniqueFd fd;
  short events = 0;        // POLLPRI, of poll(2) and epoll(7)
  Duration stall, window;  // as taken: see WatchPressure
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
  //
  // In the group of a tenant or session they hold for the sum. Written while there are groups below
  // (CreateLeaf does), because an empty group of a tenant goes with the last of its agents.
  virtual Result<void> SetLimits(const KernelLimits& limits) = 0;

  // Throttles: no more than this rate, or the CPU limit if that is lower. Unset: the limit alone.
  // The limit itself stays what it is, also for the next SetLimits, which keeps the rate. Lifted
  // with the limit for a freeze and a kill. >= kMinCpuNanocores (E2071).
  // After Find the limits are not known: SetLimits first, so that there is one to go back to.
  virtual Result<void> SetCpuRate(std::optional<std::int64_t> nanocores);

  // What the kernel holds, here and above. Costs a few reads for each level.
  virtual Result<EffectiveLimits> Effective();

  // A small text (at most kMaxLabelBytes) that the group keeps until it is removed, also when its
  // owner dies; replaced as a whole. Opaque here. kSystem where nothing can keep it: see
  // Capabilities::labels. Processes of the group cannot change one that a root wrote.
  virtual Result<void> SetLabel(std::string_view text);
  virtual std::string Label();  // empty: none

  // Whose the group of a tenant or session is until it is removed: this ledger's, unless another
  // one was first. Of several at the same time one is. Where nothing can keep it: the given one.
  virtual std::string Claim(std::string_view ledger) { return std::string(ledger); }

  // Moves another process into the group, in every hierarchy, with all its threads; memory that it
  // has stays charged where it is. E2070: there is no such process. E2078: not allowed to.
  virtual Result<void> Adopt(pid_t pid);

  // Moves the calling process into the group. Async-signal-safe: for a child between fork and exec,
  // which has one thread. Returns 0 or an errno.
  virtual int JoinSelf() noexcept = 0;

  // For clone3(2) with CLONE_INTO_CGROUP: a child made with it starts in the group, but for what
  // JoinRest then does like JoinSelf. Moving a process instead waits for all processors (an RCU
  // grace period: 8 ms in the median against 0.3 ms, Linux 6.18). -1: there is no such way here.
  virtual int CloneFd() const noexcept { return -1; }
  virtual int JoinRest() noexcept { return JoinSelf(); }

  virtual Result<Sample> Read() = 0;

  // The CPU time alone, in nanoseconds: one read of a kept descriptor. In the group of a tenant or
  // session, and in the top group, it counts all that is below: unchanged, nothing below has run
  // since, and no sample there is worth reading.
  virtual Result<std::int64_t> ReadCpu();

  // Sees that the groups of its session and tenant hold what their limits say. Their CPU quota is
  // lifted too while a group below them is frozen or killed; who is killed in that moment leaves it
  // so, and this puts it back. A Freeze or Kill of any group below it does the same.
  virtual Result<void> RestoreAbove() { return {}; }

  // Stops every task, in the groups below too; returns when all are stopped, or undoes it and fails
  // with E2074 at the deadline. A group below that was frozen itself stays so after the Thaw.
  virtual Result<void> Freeze(Duration deadline) = 0;
  virtual Result<void> Thaw() = 0;

  // Queues a signal for every process of the group, frozen or not.
  virtual Result<void> Signal(int signal_number) = 0;

  // Kills every process, also frozen and newly forked ones; returns when none is left, or fails
  // with E2075 at the deadline.
  virtual Result<void> Kill(Duration deadline) = 0;

  // Removes the empty group and what Create made for it: the groups above too, unless others are in
  // them. E2080 while processes are in it, or below it. Safe to repeat.
  virtual Result<void> Remove() = 0;

  // A descriptor that polls readable after the group became empty, an out-of-memory kill, the
  // memory line, or a fork that pids_max refused (v1 only counts those); the kernel may take 10 ms
  // to say so. Read() then tells what happened: perhaps nothing, as a freeze or a joining process
  // may wake it too. DrainEvents() clears the descriptor.
  virtual int EventsFd() const = 0;
  virtual void DrainEvents() = 0;

  // Becomes readable when processes wait for a processor or for memory longer than `stall` in any
  // `window` (500 ms to 10 s). Without CAP_SYS_RESOURCE the kernel takes only multiples of 2 s: the
  // next one it takes is used then, the stall in proportion, and the answer says so.
  virtual Result<PressureWatch> WatchPressure(Pressure what, Duration stall, Duration window);

  // Whether the process is in this group or below it now.
  virtual bool Contains(pid_t pid) = 0;

  // Whether every limit of the group holds the process: it is in the group in every hierarchy. True
  // also of one that is gone.
  virtual bool Holds(pid_t pid);
};
inline constexpr std::size_t kMaxLabelBytes = 4000;

// A group as Scan found it. What a crash left behind may be half of one; it is listed all the same.
struct FoundGroup {
  std::string name;  // for Find
  bool leaf = false;
  bool populated = false;
  bool frozen = false;         // every task stands still, by its own freeze or one above
  bool freeze_wanted = false;  // by its own: what Thaw undoes
  std::uint64_t inode = 0;     // of its directory: another one after it was removed and made again
  std::string label;           // empty: none
};

class Host {
 public:
  virtual ~Host() = default;

  // Tries each limit and action on a throw-away group. Cost: some milliseconds; for `mete doctor`.
  virtual Capabilities Probe() = 0;

  // What Create can do, from what is mounted and writable, without trying. Cost: microseconds.
  virtual Capabilities Look() = 0;

  // Makes a fresh, empty group with these limits, and the groups above it that are not there, those
  // without limits; leaves nothing behind if it fails. The name is one of group_name.h (E2071) and
  // not in use (E2076). E2099: no groups, or none with this limit, can be made here; the message
  // says what is missing.
  virtual Result<std::unique_ptr<Group>> Create(std::string_view name,
                                                const KernelLimits& limits) = 0;

  // A group that is there already, whoever made it: to end it, or to read it once more. E2070 if
  // there is none of that name. Its limits are not known; SetLimits replaces them all. kTopGroup is
  // the one that holds all others; it is there while one of them is.
  virtual Result<std::unique_ptr<Group>> Find(std::string_view name) = 0;

  // The name of the mete group that holds this process, if it is in one.
  virtual std::optional<std::string> GroupOf(pid_t pid) = 0;

  // Every group of mete below this host's root, a group before those below it. What cannot be read
  // because it goes at that moment is left out.
  virtual Result<std::vector<FoundGroup>> Scan();

  // The generations of this agent that are there now, ascending; id.generation is not looked at.
  // One listing of a directory.
  virtual Result<std::vector<std::uint64_t>> Generations(const GroupId& id);
};

// Limits for the sums, where the id has such a level; unset: what is held there stays.
struct LevelLimits {
  std::optional<KernelLimits> tenant, session;
  std::string ledger = {};  // whose they are: Account::ledger, canonical; empty: nobody's
};

// Makes the group of an agent and writes the limits of its session and tenant, from the top down,
// before anything can run in it: with the leaf in them, those groups cannot go. Leaves no group
// behind if it fails; limits of a level that were written before the failure stay.
// E2073: a level uses more memory than it is to be allowed. E2076: also a level that another ledger
// has, whose limits stay as they are.
Result<std::unique_ptr<Group>> CreateLeaf(Host& host, const GroupId& id, const KernelLimits& limits,
                                          const LevelLimits& levels = {});

// The host of this machine.
std::unique_ptr<Host> OpenHost();

}  // namespace mete::agent
