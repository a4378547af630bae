// The processes of an agent where no control group holds them: found, signalled, stopped, ended.
//
// A member carries a mark that fork and exec pass on (marked_processes.h), so setsid, double forks
// and a cleared environment lose nobody. Who took its mark off is found by its parent: a child of a
// member is a member, and so is an orphan that came to the reaper without any mark, where that is
// known to be no other's. A process that does both, leaves the mark and its parent, between two
// walks of a reaper that is not looking for orphans is lost; so is one that another user's may not
// be signalled. This is for mistakes, not against a program that means harm.
//
// No signal reaches a stranger. A number may be another process's by the time it is used; so a
// descriptor is taken first, what makes it a member is looked at again, and the signal is sent by
// the descriptor: if the process was replaced before the look, the descriptor's is gone.
//
// Everything here takes rounds over /proc, and two that find nothing to do count as done: a process
// that forks and ends behind the back of one round leaves a child for the next.
#pragma once

#include <dirent.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "cgroup/proc_stat.h"

namespace mete::cgroup {

struct Member {
  pid_t pid = 0;
  bool marked = true;  // else found by its parent
  ProcessStat stat;
};

class ProcessTree {
 public:
  using Clock = std::chrono::steady_clock;

  // One mark for each agent; a tree of a session or tenant has those of all agents in it.
  explicit ProcessTree(std::vector<rlim_t> marks) : marks_(std::move(marks)) {}
  void SetMarks(std::vector<rlim_t> marks) { marks_ = std::move(marks); }

  // Unmarked children of the calling process are members, but for those that it had at the time of
  // NoteChildren(). REQUIRES: it is the reaper of orphans (PR_SET_CHILD_SUBREAPER), has no other
  // tree, and starts nothing else.
  void NoteChildren();
  void TakeStrays(bool take);

  // How hard to look: a prlimit(2) for each process of the machine, or its stat too (7 us each),
  // which also finds who took the mark off, or became another user.
  enum class Look : std::uint8_t { kMarked, kAll };
  std::vector<Member> Members(Look look);  // those that have not ended

  bool Has(pid_t pid) const;  // by its mark

  // Whether it is still a member and could be signalled.
  bool Signal(const Member& member, int signal_number);
  // Every member once, however fast they fork: until a round finds nobody new, 8 rounds at most.
  void SignalAll(int signal_number);

  // SIGSTOP until every member stands still, or false at the deadline.
  bool StopAll(Clock::time_point end);
  // One round without waiting; true if all stood still already.
  bool StopRound(Look look);
  // SIGKILL until nobody is left, or false at the deadline.
  bool KillAll(Clock::time_point end);

 private:
  using Identity = std::pair<pid_t, std::uint64_t>;  // and when it started

  struct Candidate;
  std::vector<Candidate> Everyone() const;
  bool Mine(rlim_t mark) const;

  std::vector<rlim_t> marks_;
  pid_t strays_to_ = 0;          // 0: strays are not taken
  std::set<Identity> not_ours_;  // children of the reaper that are no strays
  std::set<Identity> unmarked_;  // members found by their parents
  std::set<Identity> dead_;      // as of the last look at all: those that nobody has waited for
  std::set<Identity> told_;      // were sent SIGSTOP and had not stopped when last looked at
};

// Calls the visitor with the number of each process but the caller's and the first.
template <class Visitor>
void ForEachProcess(Visitor visit) {
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return;
  const pid_t self = getpid();
  while (const dirent* entry = readdir(proc)) {
    const pid_t pid = std::atoi(entry->d_name);
    if (pid > 1 && pid != self) visit(pid);
  }
  closedir(proc);
}

}  // namespace mete::cgroup
