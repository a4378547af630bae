#include "cgroup/process_tree_group.h"

#include <fmt/core.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "cgroup/control_file.h"
#include "cgroup/limits.h"
#include "cgroup/marked_processes.h"

namespace mete::cgroup {
namespace {

using agent::KernelLimits;
using agent::Sample;
using Look = ProcessTree::Look;
using std::chrono::milliseconds;

// How often to see that what stands still was not continued from inside.
constexpr Duration kFrozenAgain = milliseconds(100);
// Descriptors kept to hear of ends: of as many members as this. When they have ended, others are
// taken; a thousand is all that a process may have open by default.
constexpr std::size_t kMostWatched = 64;
// Where no descriptor can be had for any of them.
constexpr Duration kUnwatchedAgain = milliseconds(100);

// All threads that run as the user now: what RLIMIT_NPROC counts.
rlim_t TasksOfUser() {
  rlim_t tasks = 0;
  const uid_t user = getuid();
  ForEachProcess([&](pid_t pid) {
    if (UserOf(pid) != user) return;
    if (const auto stat = ReadStat(pid)) tasks += static_cast<rlim_t>(stat->threads);
  });
  return tasks + 1;  // and this one, which is not visited
}

}  // namespace

ProcessTreeGroup::ProcessTreeGroup(std::shared_ptr<TreeShared> shared, std::string_view name)
    : shared_(std::move(shared)), name_(name), tree_({}) {}

Result<void> ProcessTreeGroup::Open() {
  wake_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  timer_.reset(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN;
  if (wake_ && timer_ && epoll_ &&
      epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) == 0 &&
      epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, timer_.get(), &event) == 0) {
    return {};
  }
  return Fail(ErrorCode::kSystem, "no event descriptor: " + ErrnoText(errno));
}

Result<std::unique_ptr<agent::Group>> ProcessTreeGroup::Make(std::shared_ptr<TreeShared> shared,
                                                             std::string_view name,
                                                             const KernelLimits& limits) {
  std::unique_ptr<ProcessTreeGroup> group(new ProcessTreeGroup(std::move(shared), name));
  if (auto held = group->CheckHeld(limits); !held) return std::unexpected(held.error());
  if (auto opened = group->Open(); !opened) return std::unexpected(opened.error());
  if (!agent::IsLevel(name)) group->mark_ = NewMark();
  group->tree_.SetMarks({group->mark_});
  if (auto made = group->shared_->registry.Make(name, group->mark_); !made) {
    return std::unexpected(made.error());
  }
  // With a second one it is not known any more whose an orphan is.
  if (group->mark_ != 0 && ++group->shared_->groups_made == 1) {
    group->orphans_ = true;
    group->tree_.NoteChildren();
    group->meter_.CountReaped();
  }
  if (auto set = group->SetLimits(limits); !set) {
    [[maybe_unused]] Result<void> removed = group->Remove();
    return std::unexpected(set.error());
  }
  return group;
}

Result<std::unique_ptr<agent::Group>> ProcessTreeGroup::Find(std::shared_ptr<TreeShared> shared,
                                                             std::string_view name) {
  std::unique_ptr<ProcessTreeGroup> group(new ProcessTreeGroup(std::move(shared), name));
  if (auto opened = group->Open(); !opened) return std::unexpected(opened.error());
  const auto entries = group->shared_->registry.Below(name);
  if (!agent::IsLevel(name) && !entries.empty()) group->mark_ = entries.front().mark;
  if (group->mark_ != 0) group->tree_.SetMarks({group->mark_});
  group->Refresh();
  // Its last owner may have died while it stood still for its rate of CPU.
  group->paused_ = true;
  if (group->Frozen()) group->Arm(kFrozenAgain);
  return group;
}

// What cannot be held is refused, never dropped.
Result<void> ProcessTreeGroup::CheckHeld(const KernelLimits& limits) const {
  const auto refuse = [](const char* field, std::int64_t asked, const char* why) {
    return Fail(ErrorCode::kSystem, fmt::format("{} cannot be held without control groups: {}: "
                                                "asked {}",
                                                field, why, asked));
  };
  constexpr const char* kByOwner = "whoever runs the agent samples it";
  if (limits.memory_max) return refuse("memory_max", *limits.memory_max, kByOwner);
  if (limits.memory_line) return refuse("memory_line", *limits.memory_line, kByOwner);
  if (!agent::IsLevel(name_)) return {};
  constexpr const char* kOfAgents = "only that of an agent is";
  if (limits.cpu_nanocores) return refuse("cpu_nanocores", *limits.cpu_nanocores, kOfAgents);
  if (limits.pids_max != KernelLimits{}.pids_max) {
    return refuse("pids_max", limits.pids_max, kOfAgents);
  }
  return {};
}

Result<void> ProcessTreeGroup::SetLimits(const KernelLimits& limits) {
  if (auto checked = CheckLimits(limits); !checked) return checked;
  if (auto held = CheckHeld(limits); !held) return held;
  limits_ = limits;
  // The user's other processes count too, so those that are there now are added. Only when another
  // number than the default was asked for: it can refuse a fork for what others started later.
  pids_limit_ = 0;
  if (limits.pids_max != KernelLimits{}.pids_max && !agent::IsLevel(name_)) {
    pids_limit_ = TasksOfUser() + static_cast<rlim_t>(limits.pids_max);
  }
  HoldCpu();
  return {};
}

Result<void> ProcessTreeGroup::SetCpuRate(std::optional<std::int64_t> nanocores) {
  if (nanocores && *nanocores < agent::kMinCpuNanocores) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("nanocores is out of range: given {}, allowed at least {}", *nanocores,
                            agent::kMinCpuNanocores));
  }
  if (!limits_) {
    return Fail(ErrorCode::kUpdateFailed,
                "a rate of CPU needs the limits that it goes back to: group " + name_);
  }
  cpu_rate_ = nanocores;
  HoldCpu();
  return {};
}

std::optional<std::int64_t> ProcessTreeGroup::CpuRate() const {
  std::optional<std::int64_t> rate = limits_ ? limits_->cpu_nanocores : std::nullopt;
  if (cpu_rate_) rate = std::min(rate.value_or(*cpu_rate_), *cpu_rate_);
  return rate;
}

Result<agent::EffectiveLimits> ProcessTreeGroup::Effective() {
  agent::EffectiveLimits limits;
  limits.cpu_nanocores.value = CpuRate();
  limits.cpu_nanocores.own = limits.cpu_nanocores.value.has_value();
  if (limits.cpu_nanocores.own) limits.cpu_nanocores.holder = name_;
  return limits;
}

// Its mark is set from outside. The number may have become another's between the descriptor and
// the mark; then the descriptor's process is gone, and the mark is taken back.
Result<void> ProcessTreeGroup::Adopt(pid_t pid) {
  if (mark_ == 0) {
    return Fail(ErrorCode::kInvalidArgument,
                "only the group of an agent takes processes: " + name_);
  }
  UniqueFd process(pid > 0 ? static_cast<int>(syscall(SYS_pidfd_open, pid, 0)) : -1);
  const auto alive = [&process] {
    return syscall(SYS_pidfd_send_signal, process.get(), 0, nullptr, 0) == 0 || errno == EPERM;
  };
  rlimit before{};
  const bool known = process && prlimit(pid, RLIMIT_RSS, nullptr, &before) == 0;
  const rlimit marked{mark_, before.rlim_max};
  const bool set = known && prlimit(pid, RLIMIT_RSS, &marked, nullptr) == 0;
  const int error = errno;
  if (set && alive()) {
    Arm(Duration(1));
    return {};
  }
  if (set) prlimit(pid, RLIMIT_RSS, &before, nullptr);
  if (set || !process || error == ESRCH) {
    return Fail(ErrorCode::kNotFound, fmt::format("process does not exist: given {}", pid));
  }
  return Fail(ErrorCode::kNotPermitted,
              fmt::format("process cannot be marked: {}: given {}", ErrnoText(error), pid));
}

void ProcessTreeGroup::HoldCpu() {
  const std::optional<std::int64_t> rate = CpuRate();
  if (!rate) {
    duty_.reset();
    if (std::exchange(paused_, false)) Continue();
    return;
  }
  if (duty_ && duty_->nanocores() == *rate) return;
  duty_.emplace(*rate, static_cast<unsigned>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN))));
  Arm(Duration(1));
}

Result<void> ProcessTreeGroup::SetLabel(std::string_view text) {
  if (text.size() > agent::kMaxLabelBytes) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("label is too long: given {} bytes, allowed {}", text.size(),
                            agent::kMaxLabelBytes));
  }
  return shared_->registry.SetLabel(name_, text);
}

int ProcessTreeGroup::JoinSelf() noexcept {
  if (mark_ == 0) return EINVAL;
  if (pids_limit_ != 0) {
    rlimit limit{};
    if (getrlimit(RLIMIT_NPROC, &limit) != 0) return errno;
    limit.rlim_cur = std::min(limit.rlim_max, pids_limit_);
    if (setrlimit(RLIMIT_NPROC, &limit) != 0) return errno;
  }
  if (int error = MarkSelf(mark_)) return error;
  const std::uint64_t one = 1;
  [[maybe_unused]] ssize_t put = write(wake_.get(), &one, sizeof one);
  return 0;
}

// Of a level: of all agents that are in it now. And whether orphans are this process's to take.
ProcessTree& ProcessTreeGroup::Refresh() {
  if (mark_ == 0) {
    std::vector<rlim_t> marks;
    for (const auto& entry : shared_->registry.Below(name_)) {
      if (entry.mark != 0) marks.push_back(entry.mark);
    }
    tree_.SetMarks(std::move(marks));
  }
  if (orphans_ && shared_->groups_made > 1) {
    orphans_ = false;
    meter_.ForgetReaped();
  }
  int reaper = 0;
  tree_.TakeStrays(orphans_ && prctl(PR_GET_CHILD_SUBREAPER, &reaper) == 0 && reaper == 1);
  return tree_;
}

// Nobody is an answer only after the thorough look.
std::vector<Member> ProcessTreeGroup::Members() {
  std::vector<Member> members = Refresh().Members(Look::kMarked);
  return members.empty() ? tree_.Members(Look::kAll) : members;
}

bool ProcessTreeGroup::Frozen() const {
  return shared_->registry.Frozen(name_) || shared_->registry.FrozenAbove(name_);
}

Result<Sample> ProcessTreeGroup::Read() {
  if (!shared_->registry.Has(name_)) {
    return Fail(ErrorCode::kSystem, "group was removed: " + name_);
  }
  const std::vector<Member> members = Members();
  Watch(members);
  Sample sample;
  sample.cpu_ns = meter_.CpuTime(members);
  const TreeMeter::Memory memory = meter_.MemoryOf(members);
  sample.memory_bytes = memory.now;
  sample.memory_peak_bytes = memory.peak;
  for (const Member& member : members) sample.pids += member.stat.threads;
  sample.populated = !members.empty();
  sample.frozen = Frozen();
  return sample;
}

Result<std::int64_t> ProcessTreeGroup::ReadCpu() { return meter_.CpuTime(Members()); }

Result<void> ProcessTreeGroup::Freeze(Duration deadline) {
  // Written first: whoever finds the group after a crash must know that it is to be thawed.
  if (auto written = shared_->registry.SetFrozen(name_, true); !written) return written;
  const auto start = Clock::now();
  if (Refresh().StopAll(start + deadline)) {
    paused_ = false;
    Arm(kFrozenAgain);
    return {};
  }
  [[maybe_unused]] Result<void> undone = Thaw();
  return Fail(
      ErrorCode::kSuspendFailed,
      fmt::format("processes did not stop in time and run on: group {}, waited {} ms, "
                  "allowed {} ms",
                  name_, (Clock::now() - start) / milliseconds(1), deadline / milliseconds(1)));
}

// Only who is not held by a freeze of its own, above or below.
void ProcessTreeGroup::Continue() {
  for (const auto& entry : shared_->registry.Below(name_)) {
    if (entry.mark == 0 || shared_->registry.Frozen(entry.name) ||
        shared_->registry.FrozenAbove(entry.name)) {
      continue;
    }
    if (entry.mark == mark_) {
      tree_.SignalAll(SIGCONT);
    } else {
      ProcessTree({entry.mark}).SignalAll(SIGCONT);
    }
  }
}

Result<void> ProcessTreeGroup::Thaw() {
  if (auto written = shared_->registry.SetFrozen(name_, false); !written) return written;
  paused_ = false;
  Continue();
  if (duty_) Arm(Duration(1));
  return {};
}

Result<void> ProcessTreeGroup::Signal(int signal_number) {
  if (signal_number < 1 || signal_number > SIGRTMAX) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("signal_number is out of range: given {}, allowed 1 to {}",
                            signal_number, SIGRTMAX));
  }
  Refresh().SignalAll(signal_number);
  return {};
}

Result<void> ProcessTreeGroup::Kill(Duration deadline) {
  const auto start = Clock::now();
  if (Refresh().KillAll(start + deadline)) return {};
  return Fail(ErrorCode::kTerminateFailed,
              fmt::format("group has processes that do not die: group {}, left {}, waited {} ms, "
                          "allowed {} ms",
                          name_, tree_.Members(Look::kAll).size(),
                          (Clock::now() - start) / milliseconds(1), deadline / milliseconds(1)));
}

Result<void> ProcessTreeGroup::Remove() {
  if (!shared_->registry.Has(name_)) return {};
  if (!Refresh().Members(Look::kAll).empty()) {
    return Fail(ErrorCode::kInUse,
                fmt::format("group cannot be removed: processes are in it: {}", name_));
  }
  return shared_->registry.Remove(name_);
}

void ProcessTreeGroup::Arm(Duration after) {
  itimerspec when{};
  when.it_value.tv_sec = after.count() / 1'000'000'000;
  when.it_value.tv_nsec = std::max<std::int64_t>(after.count() % 1'000'000'000, 1);
  timerfd_settime(timer_.get(), 0, &when, nullptr);
}

// The end of the last member is an event; what the dead left behind is found when they end.
void ProcessTreeGroup::Watch(const std::vector<Member>& members) {
  std::set<std::pair<pid_t, std::uint64_t>> now;
  for (const Member& member : members) now.insert({member.pid, member.stat.started});
  std::erase_if(watched_, [&](const auto& one) { return !now.contains(one.first); });
  for (const auto& identity : now) {
    if (watched_.size() >= kMostWatched) break;
    if (watched_.contains(identity)) continue;
    UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, identity.first, 0)));
    epoll_event event{};
    event.events = EPOLLIN;
    if (process && epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, process.get(), &event) == 0) {
      watched_.emplace(identity, std::move(process));
    }
  }
  if (!now.empty() && watched_.empty()) Arm(kUnwatchedAgain);
}

void ProcessTreeGroup::Tick() {
  if (Frozen()) {
    Refresh().StopRound(Look::kMarked);
    return Arm(kFrozenAgain);
  }
  if (!duty_) return;
  const std::vector<Member> members = Members();
  const DutyCycle::Decision decision =
      duty_->Look(Clock::now().time_since_epoch(), meter_.CpuTime(members));
  if (!decision.run) {
    paused_ = true;
    tree_.StopRound(Look::kMarked);
  } else if (std::exchange(paused_, false)) {
    Continue();
  }
  Arm(decision.next);
}

void ProcessTreeGroup::DrainEvents() {
  std::uint64_t count;
  [[maybe_unused]] ssize_t woken = read(wake_.get(), &count, sizeof count);
  [[maybe_unused]] ssize_t ticked = read(timer_.get(), &count, sizeof count);
  Tick();
  Watch(Members());
}

}  // namespace mete::cgroup
