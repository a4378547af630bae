#include "cgroup/probe.h"

#include <fmt/core.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <functional>

#include "agent/identity.h"
#include "cgroup/control_file.h"

namespace mete::cgroup {
namespace {

using agent::Capabilities;
using agent::Grade;
using agent::GradeInfo;
using agent::Group;
using agent::KernelLimits;
using agent::Sample;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kTouched = 32 * kMiB;
// As long as a suspension is given. A machine that is only slow, or has much else to do, holds what
// it promises too, so nothing is absent before this has passed; what holds is mostly seen at once.
constexpr Duration kPatience = std::chrono::seconds(2);
constexpr unsigned kChildSeconds = 10;
// Somebody else than whoever runs this: user and group 65533, whom no machine needs to know.
constexpr uid_t kAnother = 65533;
// What a task may still be charged after it was announced as frozen: the way to its stop.
constexpr Duration kUsedWhileFrozen = milliseconds(5);

void Sleep(Duration duration) {
  timespec time{0, static_cast<long>(duration.count())};
  nanosleep(&time, nullptr);
}

std::string UniqueName(const char* what) {
  static int count = 0;
  return fmt::format("probe.{}.{}.{}", getpid(), what, ++count);
}

// A group with one child in it; both are gone at the end, whatever happened in between.
class Trial {
 public:
  Trial(agent::Host& host, const char* what, const KernelLimits& limits) {
    auto made = host.Create(UniqueName(what), limits);
    if (made) group_ = std::move(*made);
    if (!made) failure_ = made.error().message;
  }
  ~Trial() {
    if (group_) [[maybe_unused]]
      auto killed = group_->Kill(kPatience);
    if (child_ > 0) kill(child_, SIGKILL), Wait(kPatience);
    if (group_) [[maybe_unused]]
      auto removed = group_->Remove();
  }
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

  // Runs the body in a child that has joined the group; the body is async-signal-safe and its
  // result is the exit status. No child outlives a probe that was killed for long.
  bool Start(int (*body)()) {
    if (!group_) return false;
    child_ = fork();
    if (child_ == 0) {
      alarm(kChildSeconds);
      _exit(group_->JoinSelf() == 0 ? body() : 127);
    }
    if (child_ < 0) failure_ = "no process can be made";
    return child_ > 0;
  }

  // The wait status of the child, or -1 if it still runs at the deadline.
  int Wait(Duration deadline) {
    const auto end = Clock::now() + deadline;
    int status = 0;
    while (waitpid(child_, &status, WNOHANG) != child_) {
      if (Clock::now() >= end) return -1;
      Sleep(milliseconds(1));
    }
    child_ = -1;
    return status;
  }

  // Lets time go by as the owner of an agent does: what is held by looking is held by its owner.
  void Tend(Duration duration) {
    const auto end = Clock::now() + duration;
    for (;;) {
      const auto left = std::chrono::ceil<milliseconds>(end - Clock::now());
      if (left.count() <= 0) return;
      pollfd events{group_->EventsFd(), POLLIN, 0};
      if (poll(&events, 1, static_cast<int>(left.count())) > 0) group_->DrainEvents();
    }
  }

  Sample Read() { return group_->Read().value_or(Sample{}); }
  bool failed() const { return group_ == nullptr; }
  Group& group() { return *group_; }
  const std::string& failure() const { return failure_; }

 private:
  std::unique_ptr<Group> group_;
  std::string failure_ = "no process can be put into a group";
  pid_t child_ = -1;
};

bool Held(const GradeInfo& info) {
  return info.grade == Grade::kKernel || info.grade == Grade::kSampled;
}

int Spin() {
  for (;;) asm volatile("");
}

// Twice the limit of the trial: 16 MiB.
int TouchMemory() {
  void* memory =
      mmap(nullptr, kTouched, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 2;
  for (std::size_t at = 0; at < std::size_t{kTouched}; at += 4096)
    static_cast<volatile char*>(memory)[at] = 1;
  return 0;
}

int TouchMemoryAndWait() {
  const int touched = TouchMemory();
  for (;;) {
    if (touched != 0) return touched;
    pause();
  }
}

// 0 if a fork was refused before there were eight more processes.
int ForkUntilRefused() {
  for (int i = 0; i < 8; ++i) {
    const pid_t pid = fork();
    if (pid < 0) return errno == EAGAIN ? 0 : 2;
    if (pid == 0) {
      alarm(kChildSeconds);
      for (;;) pause();
    }
  }
  return 1;
}

void Absent(GradeInfo& info, std::string why) { info = {Grade::kAbsent, std::move(why)}; }

void TryMemory(agent::Host& host, Capabilities& seen) {
  KernelLimits limits;
  limits.memory_max = 16 * kMiB;
  Trial trial(host, "memory", limits);
  if (!trial.Start(TouchMemory)) return Absent(seen.memory, trial.failure());
  const int status = trial.Wait(kPatience);
  const Sample sample = trial.Read();
  if (status == 0 || (status > 0 && WIFEXITED(status))) {
    return Absent(seen.memory,
                  fmt::format("{} is written, but a program went past it", seen.memory.how));
  }
  seen.memory.how +=
      fmt::format(": {} at 16 MiB, peak {:.1f} MiB", status < 0 ? "held" : "a program was killed",
                  static_cast<double>(sample.memory_peak_bytes) / kMiB);
  if (sample.memory_peak_bytes < 8 * kMiB) {
    Absent(seen.memory_peak, fmt::format("{} does not count", seen.memory_peak.how));
  }
}

// The owner acts on what it reads; so what is tried is the reading.
void TryMemoryReading(agent::Host& host, Capabilities& seen) {
  Trial trial(host, "memory", {});
  if (!trial.Start(TouchMemoryAndWait)) return Absent(seen.memory, trial.failure());
  std::int64_t read = 0;
  for (const auto end = Clock::now() + kPatience; read < kTouched && Clock::now() < end;) {
    trial.Tend(milliseconds(10));
    read = trial.Read().memory_bytes;
  }
  const double size = static_cast<double>(read) / kMiB;
  if (read < kTouched || read > 2 * kTouched) {
    return Absent(seen.memory,
                  fmt::format("{}, but {:.1f} MiB were read of 32", seen.memory.how, size));
  }
  seen.memory.how += fmt::format(": {:.1f} MiB were read of 32", size);
}

void TryPids(agent::Host& host, Capabilities& seen) {
  KernelLimits limits;
  limits.pids_max = 4;
  Trial trial(host, "pids", limits);
  if (!trial.Start(ForkUntilRefused)) return Absent(seen.pids, trial.failure());
  const int status = trial.Wait(kPatience);
  if (status != 0) {
    return Absent(seen.pids, fmt::format("{} is written, but more were started", seen.pids.how));
  }
  seen.pids.how += ": a fifth process was refused at 4";
}

// A tenth of a core for at least 200 ms of spinning: 20 ms, and one period's worth of start-up.
// What was used too much while this process was kept waiting is waited out after it.
void TryCpu(agent::Host& host, Capabilities& seen) {
  KernelLimits limits;
  limits.cpu_nanocores = 100'000'000;
  Trial trial(host, "cpu", limits);
  if (!trial.Start(Spin)) return Absent(seen.cpu, trial.failure());
  const auto start = Clock::now();
  Duration wall{};
  double share = 0;
  do {
    trial.Tend(milliseconds(220));
    const auto used = static_cast<double>(trial.Read().cpu_ns);
    wall = Clock::now() - start;
    share = used / static_cast<double>(wall.count());
  } while ((share == 0 || share > 0.4) && wall < kPatience);
  if (share == 0)
    return Absent(seen.cpu_usage, fmt::format("{} counts nothing", seen.cpu_usage.how));
  if (share > 0.4) {
    return Absent(seen.cpu, fmt::format("{} is written, but a program used {:.2f} cores of 0.10",
                                        seen.cpu.how, share));
  }
  seen.cpu.how += fmt::format(": {:.2f} cores were used of 0.10", share);
}

void TryActions(agent::Host& host, Capabilities& seen) {
  KernelLimits limits;
  limits.cpu_nanocores = 500'000'000;
  if (!Held(seen.cpu)) limits.cpu_nanocores.reset();
  Trial trial(host, "actions", limits);
  if (!trial.Start(Spin)) {
    Absent(seen.freeze, trial.failure());
    return Absent(seen.kill, trial.failure());
  }
  trial.Tend(milliseconds(5));
  const auto start = Clock::now();
  const Result<void> frozen = trial.group().Freeze(kPatience);
  const Duration took = Clock::now() - start;
  const std::int64_t before = trial.Read().cpu_ns;
  trial.Tend(milliseconds(20));
  const std::int64_t after = trial.Read().cpu_ns;
  if (!frozen) {
    Absent(seen.freeze, frozen.error().message);
  } else if (after - before > kUsedWhileFrozen.count()) {
    Absent(seen.freeze, fmt::format("{} is written, but the program ran on", seen.freeze.how));
  } else {
    seen.freeze.how +=
        fmt::format(": stopped in {:.1f} ms", static_cast<double>(took.count()) / 1e6);
  }
  const auto kill_start = Clock::now();
  const Result<void> killed = trial.group().Kill(kPatience);
  if (!killed) return Absent(seen.kill, killed.error().message);
  seen.kill.how += fmt::format(": gone in {:.1f} ms",
                               static_cast<double>((Clock::now() - kill_start).count()) / 1e6);
}

// A process that is made in its group is never outside of it, not even for a moment. What cannot be
// cloned joins by itself before it runs its program, which costs more.
void TryClone(agent::Host& host, Capabilities& seen) {
  Trial trial(host, "clone", {});
  if (trial.failed()) return Absent(seen.clone, trial.failure());
  if (trial.group().CloneFd() < 0) {
    return Absent(seen.clone, "no control group to clone into; a child joins before its program");
  }
  clone_args arguments{};
  arguments.flags = CLONE_INTO_CGROUP;
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<std::uint64_t>(trial.group().CloneFd());
  const auto pid = static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof arguments));
  if (pid == 0) _exit(42);
  if (pid < 0) {
    return Absent(seen.clone, fmt::format("clone3 is refused: {}; a child joins before its program",
                                          ErrnoText(errno)));
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  // Linux 6.18 does so from a group that cgroup.kill was ever used on.
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 42) {
    return Absent(seen.clone, "a cloned child is killed; a child joins before its program");
  }
  seen.clone = {Grade::kKernel, "clone3 into the group"};
}

// What holds all agents together, from outside of mete.
void ReadAbove(agent::Host& host, Capabilities& seen) {
  Trial trial(host, "above", {});
  if (trial.failed()) return Absent(seen.above, trial.failure());
  const Result<agent::EffectiveLimits> limits = trial.group().Effective();
  if (!limits) return Absent(seen.above, limits.error().message);
  std::string found;
  const auto add = [&found](const char* what, const agent::EffectiveLimits::One& one,
                            std::int64_t unit, const char* suffix) {
    if (!one.value || one.own) return;
    if (!found.empty()) found += "; ";
    found += fmt::format("{} {}{} by {}", what, *one.value / unit, suffix, one.holder);
  };
  add("cpu", limits->cpu_nanocores, 1'000'000, "m");
  add("memory", limits->memory_max, kMiB, "Mi");
  add("pids", limits->pids_max, 1, "");
  seen.above = found.empty() ? GradeInfo{Grade::kAbsent, "no limit above is known"}
                             : GradeInfo{Grade::kKernel, found};
}

// 0 if an agent could be started as another user, or the reason why not: it is what starts them
// that is tried, since rights alone do not say which users there are (a user namespace).
int TryToBecomeAnother() {
  const pid_t pid = fork();
  if (pid == 0) {
    agent::Identity other;
    other.uid = other.gid = kAnother;
    _exit(agent::Become(other));
  }
  int status = 0;
  if (pid < 0) return errno;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
}

void LookAtUsers(Capabilities& seen) {
  seen.other_user = {Grade::kKernel, "mete may start agents as another user"};
  if (const int error = TryToBecomeAnother()) {
    Absent(seen.other_user, "no agent can be started as another user: " + ErrnoText(error));
  }
  seen.notes.push_back(
      geteuid() == 0
          ? "agents run as root and could leave their group: this guards against mistakes, not "
            "against a program that means harm"
          : "agents run as the same user as mete and could move themselves out of their group: "
            "this "
            "guards against mistakes, not against malice");
}

}  // namespace

Capabilities ProbeHost(agent::Host& host) {
  Capabilities seen = host.Look();
  LookAtUsers(seen);
  if (!Held(seen.freeze)) {
    seen.clone = seen.above = {Grade::kAbsent, seen.freeze.how};
    return seen;
  }
  if (Held(seen.cpu)) TryCpu(host, seen);
  if (seen.memory.grade == Grade::kKernel) TryMemory(host, seen);
  if (seen.memory.grade == Grade::kSampled) TryMemoryReading(host, seen);
  if (seen.pids.grade != Grade::kAbsent) TryPids(host, seen);
  TryActions(host, seen);
  TryClone(host, seen);
  ReadAbove(host, seen);
  return seen;
}

}  // namespace mete::cgroup
