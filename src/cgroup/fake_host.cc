#include "cgroup/fake_host.h"

#include <fmt/core.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>

#include "base/unique_fd.h"
#include "cgroup/control_file.h"
#include "cgroup/limits.h"
#include "cgroup/marked_processes.h"
#include "cgroup/name.h"

namespace mete::cgroup {
namespace {

using agent::KernelLimits;
using agent::Sample;
using Clock = std::chrono::steady_clock;

// A value that differs between hosts, also of different test programs.
std::uint64_t NewSeed() {
  static std::atomic<std::uint64_t> count{0};
  return (static_cast<std::uint64_t>(getpid()) << 24) + ++count;
}

void Pause() {
  const timespec time{0, 500'000};
  nanosleep(&time, nullptr);
}

}  // namespace

struct FakeState {
  std::string name;
  rlim_t mark = 0;
  UniqueFd wake, epoll;
  // Guarded by the host's mutex:
  KernelLimits limits;
  bool frozen = false, removed = false, join_fails = false;
  std::int64_t peak = 0, memory_kills = 0;
  std::map<pid_t, UniqueFd> watched;

  // A descriptor of each live member in the epoll set: the death of the last one is then an event,
  // without a thread or a timer. Members that the dead left behind are found at each call.
  void Watch() {
    const std::vector<pid_t> members = Marked(mark);
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

  void Wake() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] ssize_t put = write(wake.get(), &one, sizeof one);
  }

  void SignalAll(int signal_number) const {
    for (pid_t pid : Marked(mark)) kill(pid, signal_number);
  }
};

class FakeGroup final : public agent::Group {
 public:
  FakeGroup(FakeHost& host, std::shared_ptr<FakeState> state)
      : host_(host), state_(std::move(state)) {}

  const std::string& name() const override { return state_->name; }

  Result<void> SetLimits(const KernelLimits& limits) override {
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
    return {};
  }

  // In a forked child: touches nothing that another thread may have locked.
  int JoinSelf() noexcept override {
    if (state_->join_fails) return EPERM;
    if (int error = MarkSelf(state_->mark)) return error;
    state_->Wake();
    return 0;
  }

  Result<Sample> Read() override {
    if (auto error = Begin(FakeCall::kRead, nullptr)) return std::unexpected(*error);
    if (IsRemoved()) return Fail(ErrorCode::kSystem, "group was removed: " + state_->name);
    return Measure();
  }

  Result<void> Freeze(Duration deadline) override {
    if (auto error = Begin(FakeCall::kFreeze, "Freeze")) return std::unexpected(*error);
    const auto end = Clock::now() + deadline;
    for (;;) {
      bool all = true;
      for (pid_t pid : Marked(state_->mark)) {
        if (IsStopped(pid)) continue;
        all = false;
        kill(pid, SIGSTOP);
      }
      if (all) break;
      if (Clock::now() >= end) {
        state_->SignalAll(SIGCONT);
        return Fail(ErrorCode::kSuspendFailed, "group did not stop in time: " + state_->name);
      }
      Pause();
    }
    std::lock_guard lock(host_.mutex_);
    state_->frozen = true;
    return {};
  }

  Result<void> Thaw() override {
    if (auto error = Begin(FakeCall::kThaw, "Thaw")) return std::unexpected(*error);
    {
      std::lock_guard lock(host_.mutex_);
      state_->frozen = false;
    }
    state_->SignalAll(SIGCONT);
    return {};
  }

  Result<void> Signal(int signal_number) override {
    if (auto error = Begin(FakeCall::kSignal, "Signal")) return std::unexpected(*error);
    if (signal_number < 1 || signal_number > SIGRTMAX) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("signal_number is out of range: given {}, allowed 1 to {}",
                              signal_number, SIGRTMAX));
    }
    state_->SignalAll(signal_number);
    return {};
  }

  Result<void> Kill(Duration deadline) override {
    if (auto error = Begin(FakeCall::kKill, "Kill")) return std::unexpected(*error);
    const auto end = Clock::now() + deadline;
    while (!Marked(state_->mark).empty()) {
      state_->SignalAll(SIGKILL);
      if (Marked(state_->mark).empty()) break;
      if (Clock::now() >= end) {
        return Fail(ErrorCode::kTerminateFailed, "group has processes left: " + state_->name);
      }
      Pause();
    }
    return {};
  }

  Result<void> Remove() override {
    if (IsRemoved()) return {};
    if (auto error = Begin(FakeCall::kRemove, "Remove")) return std::unexpected(*error);
    if (!Marked(state_->mark).empty()) {
      return Fail(ErrorCode::kInUse,
                  "group cannot be removed: processes are in it: " + state_->name);
    }
    std::lock_guard lock(host_.mutex_);
    state_->removed = true;
    host_.groups_.erase(state_->name);
    return {};
  }

  int EventsFd() const override { return state_->epoll.get(); }

  void DrainEvents() override {
    std::uint64_t count;
    [[maybe_unused]] ssize_t got = read(state_->wake.get(), &count, sizeof count);
    std::lock_guard lock(host_.mutex_);
    state_->Watch();
  }

  bool Contains(pid_t pid) override { return MarkOf(pid) == state_->mark; }

 private:
  std::optional<Error> Begin(FakeCall call, const char* logged) {
    if (logged != nullptr) host_.Log(state_->name, logged);
    return host_.TakeFailure(call);
  }

  bool IsRemoved() const {
    std::lock_guard lock(host_.mutex_);
    return state_->removed;
  }

  Sample Measure() {
    Sample sample;
    sample.pids = static_cast<std::int64_t>(Marked(state_->mark).size());
    sample.populated = sample.pids > 0;
    {
      std::lock_guard lock(host_.mutex_);
      state_->Watch();
      sample.frozen = state_->frozen;
      sample.oom_kills = sample.memory_max_hits = state_->memory_kills;
    }
    if (host_.meter) host_.meter(state_->name, sample);
    std::lock_guard lock(host_.mutex_);
    state_->peak = std::max(state_->peak, sample.memory_bytes);
    sample.memory_peak_bytes = std::max(sample.memory_peak_bytes, state_->peak);
    return sample;
  }

  FakeHost& host_;
  std::shared_ptr<FakeState> state_;
};

FakeHost::FakeHost() : seed_(NewSeed()) {
  capabilities.layout = "fake";
  for (agent::GradeInfo* info : {&capabilities.cpu, &capabilities.memory, &capabilities.pids,
                                 &capabilities.freeze, &capabilities.kill, &capabilities.cpu_usage,
                                 &capabilities.memory_usage, &capabilities.memory_peak}) {
    *info = {agent::Grade::kKernel, "as a test says"};
  }
}

FakeHost::~FakeHost() {
  for (const auto& [name, state] : groups_) {
    for (int round = 0; round < 1000 && !Marked(state->mark).empty(); ++round) {
      state->SignalAll(SIGKILL);
      Pause();
    }
  }
}

Result<std::unique_ptr<agent::Group>> FakeHost::Create(std::string_view name,
                                                       const KernelLimits& limits) {
  if (auto checked = CheckGroupName(name); !checked) return std::unexpected(checked.error());
  if (auto checked = CheckLimits(limits); !checked) return std::unexpected(checked.error());
  Log(name, "Create");
  if (auto error = TakeFailure(FakeCall::kCreate)) return std::unexpected(*error);
  auto state = std::make_shared<FakeState>();
  state->name = name;
  state->mark = MarkOfName(name);
  state->limits = limits;
  state->wake.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  state->epoll.reset(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN;
  if (!state->wake || !state->epoll ||
      epoll_ctl(state->epoll.get(), EPOLL_CTL_ADD, state->wake.get(), &event) != 0) {
    return Fail(ErrorCode::kSystem, "no event descriptor: " + ErrnoText(errno));
  }
  std::lock_guard lock(mutex_);
  auto failure = failures_.find(FakeCall::kJoinSelf);
  state->join_fails = failure != failures_.end();
  if (!groups_.emplace(state->name, state).second) {
    return Fail(ErrorCode::kAlreadyExists, "group exists already: " + state->name);
  }
  return std::make_unique<FakeGroup>(*this, state);
}

// A soft limit that nobody sets by chance.
std::uint64_t FakeHost::MarkOfName(std::string_view name) const {
  const std::size_t hash = std::hash<std::string>{}(fmt::format("{} {}", seed_, name));
  return (rlim_t{1} << 61) + (hash >> 4);
}

Result<std::unique_ptr<agent::Group>> FakeHost::Find(std::string_view name) {
  if (auto checked = CheckGroupName(name); !checked) return std::unexpected(checked.error());
  std::shared_ptr<FakeState> state = StateNamed(name);
  if (!state) {
    const rlim_t mark = MarkOfName(name);
    if (Marked(mark).empty()) {
      return Fail(ErrorCode::kNotFound, "group does not exist: " + std::string(name));
    }
    state = std::make_shared<FakeState>();
    state->name = name;
    state->mark = mark;
  }
  return std::make_unique<FakeGroup>(*this, state);
}

std::optional<std::string> FakeHost::GroupOf(pid_t pid) {
  const rlim_t mark = MarkOf(pid);
  std::lock_guard lock(mutex_);
  for (const auto& [name, state] : groups_) {
    if (state->mark == mark) return name;
  }
  return std::nullopt;
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

std::vector<std::string> FakeHost::CallsOn(std::string_view name) const {
  std::lock_guard lock(mutex_);
  auto calls = calls_.find(name);
  return calls == calls_.end() ? std::vector<std::string>() : calls->second;
}

void FakeHost::Announce(std::string_view name) {
  if (auto state = StateNamed(name)) state->Wake();
}

void FakeHost::KillForMemory(std::string_view name) {
  auto state = StateNamed(name);
  if (!state) return;
  {
    std::lock_guard lock(mutex_);
    ++state->memory_kills;
  }
  state->SignalAll(SIGKILL);
  state->Wake();
}

}  // namespace mete::cgroup
