#include "cgroup/process_tree.h"

#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/unique_fd.h"
#include "cgroup/marked_processes.h"

namespace mete::cgroup {
namespace {

constexpr int kSignalRounds = 8;
constexpr int kCleanRounds = 2;

void Pause() {
  const timespec time{0, 200'000};
  nanosleep(&time, nullptr);
}

}  // namespace

struct ProcessTree::Candidate {
  Member member;
  rlim_t mark = 0;
  bool inside = false;
};

bool ProcessTree::Mine(rlim_t mark) const {
  return mark != 0 && std::ranges::find(marks_, mark) != marks_.end();
}

bool ProcessTree::Has(pid_t pid) const { return Mine(MarkOfAny(pid)); }

std::vector<ProcessTree::Candidate> ProcessTree::Everyone() const {
  std::vector<Candidate> all;
  ForEachProcess([&](pid_t pid) {
    const std::optional<ProcessStat> stat = ReadStat(pid);
    if (!stat) return;
    Candidate one{{pid, false, *stat}, MarkOfAny(pid), false};
    one.member.marked = one.inside = Mine(one.mark);
    all.push_back(one);
  });
  return all;
}

void ProcessTree::NoteChildren() {
  not_ours_.clear();
  for (const Candidate& one : Everyone()) {
    if (one.member.stat.parent == getpid()) {
      not_ours_.insert({one.member.pid, one.member.stat.started});
    }
  }
}

void ProcessTree::TakeStrays(bool take) { strays_to_ = take ? getpid() : 0; }

std::vector<Member> ProcessTree::Members(Look look) {
  std::vector<Member> members;
  if (look == Look::kMarked && unmarked_.empty()) {
    ForEachProcess([&](pid_t pid) {
      if (!Mine(MarkOf(pid))) return;
      const std::optional<ProcessStat> stat = ReadStat(pid);
      if (stat && !stat->gone()) members.push_back({pid, true, *stat});
    });
    return members;
  }
  std::vector<Candidate> all = Everyone();
  std::set<pid_t> inside;
  for (const Candidate& one : all) {
    if (one.inside) inside.insert(one.member.pid);
  }
  // A chain of parents may stand in any order of numbers, so until nothing changes.
  for (bool news = true; news;) {
    news = false;
    for (Candidate& one : all) {
      const Identity identity{one.member.pid, one.member.stat.started};
      if (one.inside || IsMark(one.mark)) continue;
      const pid_t parent = one.member.stat.parent;
      one.inside = unmarked_.contains(identity) || inside.contains(parent) ||
                   (parent == strays_to_ && parent != 0 && !not_ours_.contains(identity));
      if (!one.inside) continue;
      inside.insert(one.member.pid);
      news = true;
    }
  }
  unmarked_.clear();
  dead_.clear();
  for (const Candidate& one : all) {
    if (!one.inside) continue;
    if (one.member.stat.gone()) {
      dead_.insert({one.member.pid, one.member.stat.started});
      continue;
    }
    if (!one.member.marked) unmarked_.insert({one.member.pid, one.member.stat.started});
    members.push_back(one.member);
  }
  return members;
}

bool ProcessTree::Signal(const Member& member, int signal_number) {
  UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, member.pid, 0)));
  if (!process) return false;
  if (!Mine(MarkOfAny(member.pid))) {
    const std::optional<ProcessStat> now = ReadStat(member.pid);
    if (!now || now->started != member.stat.started ||
        !unmarked_.contains({member.pid, now->started})) {
      return false;
    }
  }
  return syscall(SYS_pidfd_send_signal, process.get(), signal_number, nullptr, 0) == 0;
}

void ProcessTree::SignalAll(int signal_number) {
  std::set<Identity> met;
  for (int round = 0; round < kSignalRounds; ++round) {
    bool news = false;
    for (const Member& member : Members(Look::kAll)) {
      if (!met.insert({member.pid, member.stat.started}).second) continue;
      news = true;
      Signal(member, signal_number);
    }
    if (!news) return;
  }
}

bool ProcessTree::StopRound(Look look) {
  bool all = true;
  std::set<Identity> told;
  for (const Member& member : Members(look)) {
    const Identity identity{member.pid, member.stat.started};
    const Stillness stillness = StillnessOf(member.pid);
    if (stillness == Stillness::kStill) continue;
    // Sent once, it stays pending; who was continued behind our back runs again, and is told again.
    if (stillness == Stillness::kHeld && told_.contains(identity)) {
      told.insert(identity);
      continue;
    }
    all = false;
    if (Signal(member, SIGSTOP)) told.insert(identity);
  }
  told_ = std::move(told);
  return all;
}

// A chain of processes that live shorter than a look takes may be missed by any number of looks,
// but not its dead, which wait for their reaper: while there are new ones, it goes on.
bool ProcessTree::StopAll(Clock::time_point end) {
  std::set<Identity> dead;
  for (int clean = 0;;) {
    const bool still = StopRound(Look::kAll) && dead_ == dead;
    dead = dead_;
    clean = still ? clean + 1 : 0;
    if (clean == kCleanRounds) return true;
    if (clean > 0) continue;
    if (Clock::now() >= end) return false;
    Pause();
  }
}

bool ProcessTree::KillAll(Clock::time_point end) {
  std::set<Identity> dead;
  for (int clean = 0;;) {
    const std::vector<Member> members = Members(Look::kAll);
    const bool still = members.empty() && dead_ == dead;
    dead = dead_;
    clean = still ? clean + 1 : 0;
    if (clean == kCleanRounds) return true;
    for (const Member& member : members) Signal(member, SIGKILL);
    if (clean > 0) continue;
    if (Clock::now() >= end) return false;
    Pause();
  }
}

}  // namespace mete::cgroup
