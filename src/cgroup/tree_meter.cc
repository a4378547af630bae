#include "cgroup/tree_meter.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>

namespace mete::cgroup {
namespace {

constexpr std::int64_t kDearness = 20;
constexpr std::int64_t kLeastMove = 1 << 20;

std::int64_t NanosecondsOf(const timeval& time) {
  return (std::int64_t{time.tv_sec} * 1'000'000 + time.tv_usec) * 1000;
}

std::int64_t ReapedByThisProcess() {
  rusage usage{};
  getrusage(RUSAGE_CHILDREN, &usage);
  return NanosecondsOf(usage.ru_utime) + NanosecondsOf(usage.ru_stime);
}

}  // namespace

// A child that was waited for is in both figures, the first of which comes in ticks of 10 ms.
std::int64_t TreeMeter::Seen::Sum() const { return own + std::max(reaped, ended); }

TreeMeter::Seen* TreeMeter::Find(std::map<Identity, Seen>& seen, pid_t pid) {
  auto at = seen.lower_bound({pid, 0});
  return at != seen.end() && at->first.first == pid ? &at->second : nullptr;
}

void TreeMeter::CountReaped() { reaped_before_ = ReapedByThisProcess(); }

// What is left of those that ended goes to their parents; of a whole branch, to the nearest that
// lives.
void TreeMeter::Retire(const std::map<Identity, Seen>& now) {
  // From the latest on: a child is younger than its parent.
  std::map<std::pair<std::uint64_t, pid_t>, Identity, std::greater<>> ended;
  for (const auto& [identity, seen] : seen_) {
    if (!now.contains(identity)) ended[{identity.second, identity.first}] = identity;
  }
  for (const auto& [key, identity] : ended) {
    const Seen last = seen_[identity];
    seen_.erase(identity);
    if (Seen* parent = Find(seen_, last.parent)) {
      parent->ended += last.Sum();
    } else {
      retired_ += last.Sum();
    }
  }
}

std::int64_t TreeMeter::CpuTime(std::span<const Member> members) {
  std::map<Identity, Seen> now;
  for (const Member& member : members) {
    const Identity identity{member.pid, member.stat.started};
    auto before = seen_.find(identity);
    Seen seen = before != seen_.end() ? before->second : Seen{};
    seen.parent = member.stat.parent;
    seen.own = std::max(seen.own, CpuTimeOf(member.pid).value_or(0));
    seen.reaped = member.stat.reaped_cpu.count();
    now.emplace(identity, seen);
  }
  Retire(now);
  std::int64_t sum = 0;
  for (auto& [identity, seen] : now) {
    auto kept = seen_.find(identity);
    if (kept != seen_.end()) seen.ended = kept->second.ended;
    sum += seen.Sum();
  }
  seen_ = std::move(now);
  std::int64_t gone = retired_;
  if (reaped_before_) gone = std::max(gone, ReapedByThisProcess() - *reaped_before_);
  cpu_ = std::max(cpu_, sum + gone);
  return cpu_;
}

void TreeMeter::TakeProportional(std::span<const Member> members, std::int64_t resident) {
  const auto start = ProcessTree::Clock::now();
  if (start < next_proportional_.value_or(start)) return;
  proportional_ = 0;
  for (const Member& member : members) {
    proportional_ += ProportionalBytes(member.pid).value_or(ResidentBytes(member.pid));
  }
  resident_then_ = resident;
  const auto end = ProcessTree::Clock::now();
  next_proportional_ = end + (end - start) * kDearness;
}

TreeMeter::Memory TreeMeter::MemoryOf(std::span<const Member> members) {
  std::int64_t resident = 0;
  for (const Member& member : members) resident += ResidentBytes(member.pid);
  std::int64_t now = resident;
  if (members.size() > 1) {
    const auto moved = [&] {
      return std::abs(resident - resident_then_) > std::max(proportional_ / 16, kLeastMove);
    };
    if (moved()) TakeProportional(members, resident);
    const std::int64_t since = moved() ? 0 : resident - resident_then_;
    now = std::clamp<std::int64_t>(proportional_ + since, 0, resident);
  }
  peak_ = std::max(peak_, now);
  return {now, peak_};
}

}  // namespace mete::cgroup
