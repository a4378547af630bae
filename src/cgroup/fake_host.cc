#include "cgroup/fake_host.h"

#include <fmt/core.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "cgroup/control_file.h"
#include "cgroup/fake_group.h"
#include "cgroup/limits.h"
#include "cgroup/marked_processes.h"
#include "cgroup/name.h"

namespace mete::cgroup {
namespace {

using agent::KernelLimits;

// A value that differs between hosts, also of different test programs.
std::uint64_t NewSeed() {
  static std::atomic<std::uint64_t> count{0};
  return (static_cast<std::uint64_t>(getpid()) << 24) + ++count;
}

void KillMarked(rlim_t mark) {
  for (pid_t pid : Marked(mark)) kill(pid, SIGKILL);
}

}  // namespace

FakeHost::FakeHost() : seed_(NewSeed()) {
  capabilities.layout = "fake";
  for (agent::GradeInfo* info :
       {&capabilities.cpu, &capabilities.memory, &capabilities.pids, &capabilities.freeze,
        &capabilities.kill, &capabilities.cpu_usage, &capabilities.memory_usage,
        &capabilities.memory_peak, &capabilities.labels, &capabilities.pressure}) {
    *info = {agent::Grade::kKernel, "as a test says"};
  }
}

FakeHost::~FakeHost() {
  for (const auto& [name, state] : groups_) {
    for (int round = 0; round < 1000 && state->mark != 0 && !Marked(state->mark).empty(); ++round) {
      KillMarked(state->mark);
      const timespec time{0, 500'000};
      nanosleep(&time, nullptr);
    }
  }
}

Result<std::unique_ptr<agent::Group>> FakeHost::Create(std::string_view name,
                                                       const KernelLimits& limits) {
  if (auto checked = CheckGroupName(name); !checked) return std::unexpected(checked.error());
  if (auto checked = CheckLimits(limits); !checked) return std::unexpected(checked.error());
  Log(name, "Create");
  if (auto error = TakeFailure(FakeCall::kCreate)) return std::unexpected(*error);
  auto state = NewState(name);
  if (!state) return std::unexpected(state.error());
  (*state)->limits = limits;
  std::lock_guard lock(mutex_);
  (*state)->join_fails = failures_.contains(FakeCall::kJoinSelf);
  if (!groups_.emplace(name, *state).second) {
    return Fail(ErrorCode::kAlreadyExists, "group exists already: " + (*state)->name);
  }
  for (std::string_view above = agent::ParentOf(name); above != agent::kTopGroup;
       above = agent::ParentOf(above)) {
    if (groups_.contains(above)) continue;
    auto level = NewState(above);
    if (!level) return std::unexpected(level.error());
    groups_.emplace(above, *level);
  }
  return std::make_unique<FakeGroup>(*this, *state, true);
}

Result<std::shared_ptr<FakeState>> FakeHost::NewState(std::string_view name) const {
  auto state = std::make_shared<FakeState>();
  state->name = name;
  state->mark = agent::IsLevel(name) ? 0 : MarkOfName(name);
  state->wake.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  state->epoll.reset(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN;
  if (!state->wake || !state->epoll ||
      epoll_ctl(state->epoll.get(), EPOLL_CTL_ADD, state->wake.get(), &event) != 0) {
    return Fail(ErrorCode::kSystem, "no event descriptor: " + ErrnoText(errno));
  }
  return state;
}

bool FakeHost::HasGroupsIn(std::string_view name) const {
  const std::string prefix = fmt::format("{}/", name);
  auto first = groups_.lower_bound(prefix);
  return first != groups_.end() && first->first.starts_with(prefix);
}

bool FakeHost::IsFrozen(std::string_view name) const {
  for (; name != agent::kTopGroup; name = agent::ParentOf(name)) {
    auto group = groups_.find(name);
    if (group != groups_.end() && group->second->frozen) return true;
  }
  return false;
}

std::vector<std::shared_ptr<FakeState>> FakeHost::LeavesIn(
    const std::shared_ptr<FakeState>& group) const {
  if (group->mark != 0) return {group};
  std::vector<std::shared_ptr<FakeState>> leaves;
  const std::string prefix = group->name.empty() ? "" : group->name + "/";
  std::lock_guard lock(mutex_);
  for (const auto& [name, state] : groups_) {
    if (state->mark != 0 && name.starts_with(prefix)) leaves.push_back(state);
  }
  return leaves;
}

// A soft limit that nobody sets by chance.
std::uint64_t FakeHost::MarkOfName(std::string_view name) const {
  const std::size_t hash = std::hash<std::string>{}(fmt::format("{} {}", seed_, name));
  return (rlim_t{1} << 61) + (hash >> 4);
}

Result<std::unique_ptr<agent::Group>> FakeHost::Find(std::string_view name) {
  const bool top = name == agent::kTopGroup;
  if (auto checked = CheckGroupName(name); !checked && !top) {
    return std::unexpected(checked.error());
  }
  std::shared_ptr<FakeState> state = StateNamed(name);
  if (!state) {
    auto made = NewState(name);
    if (!made) return std::unexpected(made.error());
    std::lock_guard lock(mutex_);
    const bool there =
        top ? !groups_.empty() : (*made)->mark != 0 && !Marked((*made)->mark).empty();
    if (!there) return Fail(ErrorCode::kNotFound, "group does not exist: " + std::string(name));
    state = *std::move(made);
  }
  return std::make_unique<FakeGroup>(*this, state, false);
}

std::optional<std::string> FakeHost::GroupOf(pid_t pid) {
  const rlim_t mark = MarkOf(pid);
  std::lock_guard lock(mutex_);
  for (const auto& [name, state] : groups_) {
    if (mark != 0 && state->mark == mark) return name;
  }
  return std::nullopt;
}

Result<std::vector<agent::FoundGroup>> FakeHost::Scan() {
  std::vector<agent::FoundGroup> found;
  std::lock_guard lock(mutex_);
  for (const auto& [name, state] : groups_) {
    agent::FoundGroup group;
    group.name = name;
    group.leaf = state->mark != 0;
    const std::string prefix = name + "/";
    for (const auto& [other, leaf] : groups_) {
      if (leaf->mark == 0 || (other != name && !other.starts_with(prefix))) continue;
      group.populated = group.populated || !Marked(leaf->mark).empty();
    }
    group.frozen = IsFrozen(name);
    group.freeze_wanted = state->frozen;
    group.inode = MarkOfName(name);
    group.label = state->label;
    found.push_back(std::move(group));
  }
  return found;
}

void FakeHost::FailNext(FakeCall call, Error error, int times) {
  std::lock_guard lock(mutex_);
  if (times <= 0) {
    failures_.erase(call);
  } else {
    failures_.insert_or_assign(call, std::pair(times, std::move(error)));
  }
  for (const auto& [name, state] : groups_) {
    if (call == FakeCall::kJoinSelf) state->join_fails = times > 0;
  }
}

std::optional<Error> FakeHost::TakeFailure(FakeCall call) {
  std::lock_guard lock(mutex_);
  auto failure = failures_.find(call);
  if (failure == failures_.end()) return std::nullopt;
  Error error = failure->second.second;
  if (--failure->second.first == 0) failures_.erase(failure);
  return error;
}

void FakeHost::Log(std::string_view name, const char* call) {
  std::lock_guard lock(mutex_);
  calls_[std::string(name)].emplace_back(call);
}

std::shared_ptr<FakeState> FakeHost::StateNamed(std::string_view name) const {
  std::lock_guard lock(mutex_);
  auto group = groups_.find(name);
  return group == groups_.end() ? nullptr : group->second;
}

bool FakeHost::Exists(std::string_view name) const { return StateNamed(name) != nullptr; }

std::optional<KernelLimits> FakeHost::LimitsOf(std::string_view name) const {
  auto state = StateNamed(name);
  if (!state) return std::nullopt;
  std::lock_guard lock(mutex_);
  return state->limits;
}

std::optional<std::int64_t> FakeHost::CpuRateOf(std::string_view name) const {
  auto state = StateNamed(name);
  if (!state) return std::nullopt;
  std::lock_guard lock(mutex_);
  return state->cpu_rate;
}

std::vector<std::string> FakeHost::CallsOn(std::string_view name) const {
  std::lock_guard lock(mutex_);
  auto calls = calls_.find(name);
  return calls == calls_.end() ? std::vector<std::string>() : calls->second;
}

void FakeHost::Announce(std::string_view name) {
  if (auto state = StateNamed(name)) state->Wake();
}

void FakeHost::AnnouncePressure(std::string_view name, agent::Pressure what) {
  auto state = StateNamed(name);
  if (!state) return;
  std::lock_guard lock(mutex_);
  for (const auto& [watched, event] : state->pressure) {
    const std::uint64_t one = 1;
    if (watched == what) [[maybe_unused]]
      ssize_t put = write(event.get(), &one, sizeof one);
  }
}

void FakeHost::KillForMemory(std::string_view name) {
  auto state = StateNamed(name);
  if (!state) return;
  {
    std::lock_guard lock(mutex_);
    ++state->memory_kills;
  }
  KillMarked(state->mark);
  state->Wake();
}

}  // namespace mete::cgroup
