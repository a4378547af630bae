#include "cgroup/fake_group.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "cgroup/control_file.h"
#include "cgroup/limits.h"
#include "cgroup/marked_processes.h"

namespace mete::cgroup {
namespace {

using agent::KernelLimits;
using agent::Sample;
using Clock = std::chrono::steady_clock;

void Pause() {
  const timespec time{0, 500'000};
  nanosleep(&time, nullptr);
}

}  // namespace

void FakeState::Watch(const std::vector<pid_t>& members) {
  std::erase_if(watched, [&](const auto& one) {
    return std::ranges::find(members, one.first) == members.end();
  });
  for (pid_t pid : members) {
    if (watched.contains(pid)) continue;
    UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    epoll_event event{};
    event.events = EPOLLIN;
    if (process && epoll_ctl(epoll.get(), EPOLL_CTL_ADD, process.get(), &event) == 0) {
      watched.emplace(pid, std::move(process));
    }
  }
}

void FakeState::Wake() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] ssize_t put = write(wake.get(), &one, sizeof one);
}

std::optional<Error> FakeGroup::Begin(FakeCall call, const char* logged) {
  if (logged != nullptr) host_.Log(state_->name, logged);
  return host_.TakeFailure(call);
}

bool FakeGroup::IsRemoved() const {
  std::lock_guard lock(host_.mutex_);
  return state_->removed;
}

std::vector<pid_t> FakeGroup::Members() const {
  std::vector<pid_t> members;
  for (const auto& leaf : host_.LeavesIn(state_)) {
    const std::vector<pid_t> more = Marked(leaf->mark);
    members.insert(members.end(), more.begin(), more.end());
  }
  return members;
}

void FakeGroup::SignalAll(int signal_number) const {
  for (pid_t pid : Members()) kill(pid, signal_number);
}

void FakeGroup::Continue() const {
  for (const auto& leaf : host_.LeavesIn(state_)) {
    {
      std::lock_guard lock(host_.mutex_);
      if (host_.IsFrozen(leaf->name)) continue;
    }
    for (pid_t pid : Marked(leaf->mark)) kill(pid, SIGCONT);
  }
}

Result<void> FakeGroup::SetLimits(const KernelLimits& limits) {
  if (auto error = Begin(FakeCall::kSetLimits, "SetLimits")) return std::unexpected(*error);
  if (auto checked = CheckLimits(limits); !checked) return checked;
  const Sample sample = Measure();
  if (limits.memory_max && sample.memory_bytes > *limits.memory_max) {
    return Fail(ErrorCode::kUpdateFailed,
                fmt::format("memory_max is below what is in use: asked {}, in use {}",
                            *limits.memory_max, sample.memory_bytes));
  }
  std::lock_guard lock(host_.mutex_);
  state_->limits = limits;
  limits_known_ = true;
  return {};
}

Result<void> FakeGroup::SetCpuRate(std::optional<std::int64_t> nanocores) {
  if (auto error = Begin(FakeCall::kSetCpuRate, "SetCpuRate")) return std::unexpected(*error);
  KernelLimits rate;
  rate.cpu_nanocores = nanocores;
  if (auto checked = CheckLimits(rate); !checked) return checked;
  if (!limits_known_) {
    return Fail(ErrorCode::kUpdateFailed,
                "the limits of the group are not known; set them first: group " + state_->name);
  }
  std::lock_guard lock(host_.mutex_);
  state_->cpu_rate = nanocores;
  return {};
}

Result<agent::EffectiveLimits> FakeGroup::Effective() {
  agent::EffectiveLimits tightest;
  std::lock_guard lock(host_.mutex_);
  const auto take = [](agent::EffectiveLimits::One& one, std::optional<std::int64_t> value,
                       const FakeState& holder, bool own) {
    if (value && (!one.value || *value < *one.value)) one = {value, holder.name, own};
  };
  for (std::string_view name = state_->name; name != agent::kTopGroup;
       name = agent::ParentOf(name)) {
    auto group = host_.groups_.find(name);
    if (group == host_.groups_.end() || !group->second->limits) continue;
    const FakeState& state = *group->second;
    const bool own = name == state_->name;
    take(tightest.cpu_nanocores, state.limits->cpu_nanocores, state, own);
    take(tightest.cpu_nanocores, state.cpu_rate, state, own);
    take(tightest.memory_max, state.limits->memory_max, state, own);
    take(tightest.pids_max, state.limits->pids_max, state, own);
  }
  return tightest;
}

Result<void> FakeGroup::SetLabel(std::string_view text) {
  if (auto error = Begin(FakeCall::kSetLabel, "SetLabel")) return std::unexpected(*error);
  if (text.size() > agent::kMaxLabelBytes) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("label is too long: given {} bytes, allowed {}", text.size(),
                            agent::kMaxLabelBytes));
  }
  if (host_.capabilities.labels.grade == agent::Grade::kAbsent) {
    return Fail(ErrorCode::kSystem, "label cannot be set: group " + state_->name);
  }
  std::lock_guard lock(host_.mutex_);
  state_->label = text;
  return {};
}

std::string FakeGroup::Label() {
  std::lock_guard lock(host_.mutex_);
  return state_->label;
}

std::string FakeGroup::Claim(std::string_view ledger) {
  std::lock_guard lock(host_.mutex_);
  const bool kept = host_.capabilities.labels.grade != agent::Grade::kAbsent;
  if (kept && state_->ledger.empty()) state_->ledger = ledger;
  return kept ? state_->ledger : std::string(ledger);
}

Result<void> FakeGroup::Adopt(pid_t pid) {
  if (auto error = Begin(FakeCall::kAdopt, "Adopt")) return std::unexpected(*error);
  rlimit limit{};
  int error = IsLevel() ? EBUSY : pid <= 0 ? ESRCH : 0;
  if (error == 0 && prlimit(pid, RLIMIT_RSS, nullptr, &limit) != 0) error = errno;
  limit.rlim_cur = state_->mark;
  if (error == 0 && prlimit(pid, RLIMIT_RSS, &limit, nullptr) != 0) error = errno;
  if (error == 0) return {};
  return Fail(error == ESRCH   ? ErrorCode::kNotFound
              : error == EPERM ? ErrorCode::kNotPermitted
                               : ErrorCode::kSystem,
              fmt::format("process cannot be moved into the group: process {}, group {}: {}", pid,
                          state_->name, ErrnoText(error)));
}

// In a forked child: touches nothing that another thread may have locked.
int FakeGroup::JoinSelf() noexcept {
  if (IsLevel()) return EBUSY;
  if (state_->join_fails) return EPERM;
  if (int error = MarkSelf(state_->mark)) return error;
  state_->Wake();
  return 0;
}

Result<Sample> FakeGroup::Read() {
  if (auto error = Begin(FakeCall::kRead, nullptr)) return std::unexpected(*error);
  if (IsRemoved()) return Fail(ErrorCode::kSystem, "group was removed: " + state_->name);
  return Measure();
}

Result<void> FakeGroup::Freeze(Duration deadline) {
  if (auto error = Begin(FakeCall::kFreeze, "Freeze")) return std::unexpected(*error);
  const auto end = Clock::now() + deadline;
  for (;;) {
    bool all = true;
    for (pid_t pid : Members()) {
      if (IsStopped(pid)) continue;
      all = false;
      kill(pid, SIGSTOP);
    }
    if (all) break;
    if (Clock::now() >= end) {
      Continue();
      return Fail(ErrorCode::kSuspendFailed, "group did not stop in time: " + state_->name);
    }
    Pause();
  }
  std::lock_guard lock(host_.mutex_);
  state_->frozen = true;
  return {};
}

Result<void> FakeGroup::Thaw() {
  if (auto error = Begin(FakeCall::kThaw, "Thaw")) return std::unexpected(*error);
  {
    std::lock_guard lock(host_.mutex_);
    state_->frozen = false;
  }
  Continue();
  return {};
}

Result<void> FakeGroup::Signal(int signal_number) {
  if (auto error = Begin(FakeCall::kSignal, "Signal")) return std::unexpected(*error);
  if (signal_number < 1 || signal_number > SIGRTMAX) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("signal_number is out of range: given {}, allowed 1 to {}",
                            signal_number, SIGRTMAX));
  }
  SignalAll(signal_number);
  return {};
}

Result<void> FakeGroup::Kill(Duration deadline) {
  if (auto error = Begin(FakeCall::kKill, "Kill")) return std::unexpected(*error);
  const auto end = Clock::now() + deadline;
  while (!Members().empty()) {
    SignalAll(SIGKILL);
    if (Members().empty()) break;
    if (Clock::now() >= end) {
      return Fail(ErrorCode::kTerminateFailed, "group has processes left: " + state_->name);
    }
    Pause();
  }
  return {};
}

Result<void> FakeGroup::Remove() {
  if (IsRemoved()) return {};
  if (auto error = Begin(FakeCall::kRemove, "Remove")) return std::unexpected(*error);
  const bool used = !Members().empty();
  std::lock_guard lock(host_.mutex_);
  if (used || (IsLevel() && host_.HasGroupsIn(state_->name))) {
    return Fail(ErrorCode::kInUse, fmt::format("group cannot be removed: {} are in it: {}",
                                               used ? "processes" : "groups", state_->name));
  }
  state_->removed = true;
  host_.groups_.erase(state_->name);
  for (std::string_view above = agent::ParentOf(state_->name); above != agent::kTopGroup;
       above = agent::ParentOf(above)) {
    auto level = host_.groups_.find(above);
    if (level == host_.groups_.end() || host_.HasGroupsIn(above)) break;
    level->second->removed = true;
    host_.groups_.erase(level);
  }
  return {};
}

void FakeGroup::DrainEvents() {
  std::uint64_t count;
  [[maybe_unused]] ssize_t got = read(state_->wake.get(), &count, sizeof count);
  const std::vector<pid_t> members = Members();
  std::lock_guard lock(host_.mutex_);
  state_->Watch(members);
}

Result<agent::PressureWatch> FakeGroup::WatchPressure(agent::Pressure what, Duration stall,
                                                      Duration window) {
  if (auto error = Begin(FakeCall::kWatchPressure, "WatchPressure")) {
    return std::unexpected(*error);
  }
  UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  UniqueFd mine(fcntl(event.get(), F_DUPFD_CLOEXEC, 0));
  if (!event || !mine) return Fail(ErrorCode::kSystem, "no event descriptor: " + ErrnoText(errno));
  std::lock_guard lock(host_.mutex_);
  state_->pressure.emplace_back(what, std::move(mine));
  return agent::PressureWatch{std::move(event), POLLIN, stall, window};
}

bool FakeGroup::Contains(pid_t pid) {
  const rlim_t mark = MarkOf(pid);
  return mark != 0 && std::ranges::any_of(host_.LeavesIn(state_),
                                          [mark](const auto& leaf) { return leaf->mark == mark; });
}

Sample FakeGroup::MeasureLeaf(FakeState& leaf) {
  Sample sample;
  const std::vector<pid_t> members = Marked(leaf.mark);
  sample.pids = static_cast<std::int64_t>(members.size());
  sample.populated = sample.pids > 0;
  {
    std::lock_guard lock(host_.mutex_);
    if (&leaf == state_.get()) leaf.Watch(members);
    sample.frozen = host_.IsFrozen(leaf.name) || leaf.frozen;
    sample.oom_kills = sample.memory_max_hits = leaf.memory_kills;
  }
  if (host_.meter) host_.meter(leaf.name, sample);
  std::lock_guard lock(host_.mutex_);
  leaf.peak = std::max(leaf.peak, sample.memory_bytes);
  sample.memory_peak_bytes = std::max(sample.memory_peak_bytes, leaf.peak);
  return sample;
}

Sample FakeGroup::Measure() {
  if (!IsLevel()) return MeasureLeaf(*state_);
  Sample sum;
  for (const auto& leaf : host_.LeavesIn(state_)) {
    const Sample one = MeasureLeaf(*leaf);
    sum.cpu_ns += one.cpu_ns;
    sum.memory_bytes += one.memory_bytes;
    sum.pids += one.pids;
    sum.oom_kills += one.oom_kills;
    sum.memory_max_hits += one.memory_max_hits;
    sum.pids_max_hits += one.pids_max_hits;
    sum.populated = sum.populated || one.populated;
  }
  const std::vector<pid_t> members = Members();
  std::lock_guard lock(host_.mutex_);
  state_->Watch(members);
  sum.frozen = host_.IsFrozen(state_->name);
  sum.memory_peak_bytes = state_->peak = std::max(state_->peak, sum.memory_bytes);
  return sum;
}

}  // namespace mete::cgroup
