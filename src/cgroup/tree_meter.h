// What a tree of processes uses, where no control group counts it.
//
// CPU time: the clocks of the processes that live, and of those that ended what their parents were
// charged for them (wait(2)), or what was last seen of them where nobody waits. What a process used
// between the last reading and its end is lost only if its parent does not wait for it.
//
// Memory: of one process what is resident. Of several the proportional part, in which a page that n
// share counts a nth in each: resident pages alone count all that a fork shares with its parent
// twice, and would end programs for memory that they do not use. The proportional part is dear, so
// it is taken again only when the resident sum has moved by a sixteenth, and for a twentieth of the
// time at most; until then the last one holds. It is never more than the resident sum.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include "cgroup/process_tree.h"
#include "mete/clock.h"

namespace mete::cgroup {

class TreeMeter {
 public:
  // REQUIRES: called once, before the tree has a member. From then on, what the calling process
  // waited for counts as the tree's: it reaps no others, but the tree's orphans.
  void CountReaped();
  void ForgetReaped() { reaped_before_.reset(); }  // there are others now

  // Of the members as they are now. Never falls.
  std::int64_t CpuTime(std::span<const Member> members);

  struct Memory {
    std::int64_t now = 0, peak = 0;
  };
  Memory MemoryOf(std::span<const Member> members);

 private:
  struct Seen {
    pid_t parent = 0;
    std::int64_t own = 0;     // its own clock
    std::int64_t reaped = 0;  // what it was charged for children that it waited for
    std::int64_t ended = 0;   // what was last seen of its children that ended
    std::int64_t Sum() const;
  };
  using Identity = std::pair<pid_t, std::uint64_t>;

  void TakeProportional(std::span<const Member> members, std::int64_t resident);
  void Retire(const std::map<Identity, Seen>& now);
  Seen* Find(std::map<Identity, Seen>& seen, pid_t pid);

  std::map<Identity, Seen> seen_;
  std::int64_t retired_ = 0;  // of those whose parent is no member
  std::optional<std::int64_t> reaped_before_;
  std::int64_t cpu_ = 0;

  std::int64_t peak_ = 0;
  std::int64_t proportional_ = 0, resident_then_ = 0;
  std::optional<ProcessTree::Clock::time_point> next_proportional_;
};

}  // namespace mete::cgroup
