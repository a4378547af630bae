#include "cgroup/cgroup_group.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <set>

#include "cgroup/control_file.h"
#include "cgroup/label.h"
#include "cgroup/pressure.h"
#include "cgroup/processes.h"

namespace mete::cgroup {
namespace {

using agent::KernelLimits;
using agent::Sample;

// Rounds of a pid walk until one finds nobody new; only a group that forks all the time needs more
// than two, and that one must be frozen first if every process has to be met.
constexpr int kSignalRounds = 8;
// What was written is written again meanwhile: processes may have joined, quotas been put back.
constexpr Duration kAgain = std::chrono::milliseconds(20);

std::int64_t Milliseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

Duration Left(std::chrono::steady_clock::time_point end) {
  return std::max<Duration>(end - std::chrono::steady_clock::now(), Duration(0));
}

}  // namespace

CgroupGroup::CgroupGroup(std::shared_ptr<const Roots> roots, std::string_view name)
    : name_(name), is_level_(agent::IsLevel(name)), directories_(std::move(roots), name) {}

Result<std::unique_ptr<agent::Group>> CgroupGroup::Make(std::shared_ptr<const Roots> roots,
                                                        std::string_view name,
                                                        const KernelLimits& limits) {
  std::unique_ptr<CgroupGroup> group(new CgroupGroup(std::move(roots), name));
  if (auto made = group->directories_.Make(); !made) return std::unexpected(made.error());
  if (auto prepared = group->Prepare(limits); !prepared) {
    // The error that led here says more than one of cleaning up.
    [[maybe_unused]] Result<void> removed = group->Remove();
    return std::unexpected(prepared.error());
  }
  return group;
}

Result<std::unique_ptr<agent::Group>> CgroupGroup::Find(std::shared_ptr<const Roots> roots,
                                                        std::string_view name) {
  std::unique_ptr<CgroupGroup> group(new CgroupGroup(std::move(roots), name));
  if (auto opened = group->directories_.Open(); !opened) return std::unexpected(opened.error());
  group->OpenFiles();
  // Half a group may lack what is watched; it has nobody to watch.
  [[maybe_unused]] Result<void> watched =
      group->events_.Open(group->directories_.unified(), group->controls_);
  return group;
}

void CgroupGroup::OpenFiles() {
  controls_ = directories_.controls();
  meters_ = std::make_unique<Meters>(controls_);
  meters_->events(directories_.unified());  // so that a wait never lacks the descriptor
}

Result<void> CgroupGroup::Prepare(const KernelLimits& limits) {
  OpenFiles();
  if (meters_->events(directories_.unified()) < 0) {
    return Fail(ErrorCode::kSystem,
                fmt::format("cgroup.events cannot be opened: {}", ErrnoText(errno)));
  }
  if (faccessat(directories_.unified(), "cgroup.freeze", F_OK, 0) != 0) {
    return Fail(ErrorCode::kSystem,
                "group cannot be frozen here: the kernel has no cgroup.freeze "
                "(Linux 5.2 or later is needed)");
  }
  if (auto opened = events_.Open(directories_.unified(), controls_); !opened) return opened;
  return Apply(limits, true);
}

// What cannot be held is refused, never dropped.
Result<void> CgroupGroup::CheckHeld(const KernelLimits& limits) const {
  auto absent = [](const char* field, std::int64_t asked) {
    return Fail(ErrorCode::kSystem, fmt::format("{} cannot be held: no such controller for groups "
                                                "here ('mete doctor' says why): asked {}",
                                                field, asked));
  };
  if (limits.cpu_nanocores && controls_.cpu.version == Version::kNone) {
    return absent("cpu_nanocores", *limits.cpu_nanocores);
  }
  if (controls_.memory.version == Version::kNone) {
    if (limits.memory_max) return absent("memory_max", *limits.memory_max);
    if (limits.memory_line) return absent("memory_line", *limits.memory_line);
  }
  return {};
}

Result<void> CgroupGroup::Apply(KernelLimits limits, bool fresh) {
  if (auto held = CheckHeld(limits); !held) return held;
  if (limits.memory_max) {
    if (auto fits = CheckMemoryFits(controls_, *limits.memory_max); !fits) return fits;
  }
  const KernelLimits given = limits;
  if (is_level_) limits.die_together = false;
  if (cpu_rate_)
    limits.cpu_nanocores = std::min(*cpu_rate_, limits.cpu_nanocores.value_or(*cpu_rate_));
  auto written = WriteLimits(controls_, limits, fresh);
  if (written && (!limits_ || limits.memory_line != limits_->memory_line)) {
    written = events_.SetLine(controls_.memory, limits.memory_line);
  }
  if (written) limits_ = given;
  return written;
}

Result<void> CgroupGroup::SetLimits(const KernelLimits& limits) {
  if (auto checked = CheckLimits(limits); !checked) return checked;
  const SavedLimits saved(controls_);
  const std::string note = is_level_ ? LevelNote(directories_.unified(), "") : std::string();
  // One that cannot be noted holds all the same, and is never lifted.
  if (is_level_) NoteLevelQuota(directories_.unified(), limits.cpu_nanocores);
  auto applied = Apply(limits, false);
  if (applied) return applied;
  // Half of a change is worse than none: put back what was held, as far as the kernel takes it.
  if (is_level_) PutLevelNote(directories_.unified(), note);
  saved.Restore();
  // What was saved may have been lifted at that moment.
  if (is_level_) {
    [[maybe_unused]] Result<void> restored = RestoreLevelQuota(quota_place(), "", false);
  }
  return applied;
}

Result<void> CgroupGroup::SetCpuRate(std::optional<std::int64_t> nanocores) {
  if (nanocores) {
    KernelLimits rate;
    rate.cpu_nanocores = nanocores;
    if (auto checked = CheckLimits(rate); !checked) return checked;
    if (auto held = CheckHeld(rate); !held) return held;
  }
  if (!limits_) {
    return Fail(ErrorCode::kUpdateFailed,
                fmt::format("the limits of the group are not known, so that there would be none to "
                            "go back to; set them first: group {}",
                            name_));
  }
  std::optional<std::int64_t> held = limits_->cpu_nanocores;
  if (nanocores) held = std::min(*nanocores, held.value_or(*nanocores));
  auto written = WriteCpuQuota(controls_.cpu, held, false);
  if (written) cpu_rate_ = nanocores;
  return written;
}

Result<agent::EffectiveLimits> CgroupGroup::Effective() {
  return ReadEffective(controls_, {directories_.directory_of(0), directories_.directory_of(1),
                                   directories_.directory_of(2)});
}

Result<void> CgroupGroup::SetLabel(std::string_view text) {
  if (text.size() > agent::kMaxLabelBytes) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("label is too long: given {} bytes, allowed {}", text.size(),
                            agent::kMaxLabelBytes));
  }
  const int error = WriteLabel(directories_.unified(), text);
  if (error == 0) return {};
  return Fail(ErrorCode::kSystem,
              fmt::format("label cannot be set: group {}: {}", name_, ErrnoText(error)));
}

std::string CgroupGroup::Label() { return ReadLabel(directories_.unified()); }

std::string CgroupGroup::Claim(std::string_view ledger) {
  return ClaimFor(directories_.unified(), ledger);
}

// Processes are only in leaves; on v2 the kernel says the same where controllers are passed on.
int CgroupGroup::JoinSelf() noexcept { return is_level_ ? EBUSY : directories_.Join(); }
int CgroupGroup::JoinRest() noexcept {
  return is_level_ ? EBUSY : directories_.JoinOutsideUnified();
}

Result<void> CgroupGroup::Adopt(pid_t pid) {
  const int error = is_level_ ? EBUSY : directories_.Move(pid);
  if (error == 0) return {};
  const ErrorCode code = error == ESRCH                      ? ErrorCode::kNotFound
                         : error == EPERM || error == EACCES ? ErrorCode::kNotPermitted
                                                             : ErrorCode::kSystem;
  return Fail(code, fmt::format("process cannot be moved into the group: process {}, group {}: {}",
                                pid, name_, ErrnoText(error)));
}

Result<Sample> CgroupGroup::Read() { return meters_->Read(directories_.unified(), controls_); }

Result<std::int64_t> CgroupGroup::ReadCpu() { return meters_->ReadCpu(directories_.unified()); }

int CgroupGroup::WriteFreeze(bool frozen) {
  return WriteAt(directories_.unified(), "cgroup.freeze", frozen ? "1" : "0");
}

Result<void> CgroupGroup::RestoreAbove() {
  return RestoreLevelsAbove(quota_place(), directories_.levels_above());
}

bool CgroupGroup::WaitUntilFrozen(Clock::time_point end, QuotaLift& lift) {
  for (;;) {
    const Duration step = std::min<Duration>(Left(end), kAgain);
    if (WaitFor(meters_->events(directories_.unified()), "frozen", 1, step)) return true;
    if (Left(end) == Duration(0)) return false;
    lift.LiftAgain();
  }
}

Result<void> CgroupGroup::Freeze(Duration deadline) {
  const auto start = Clock::now();
  // Only of what is already to stand still, and put back while it does: whoever is killed in
  // between leaves no group that runs without its quota.
  int error = WriteFreeze(true);
  if (error == 0) {
    QuotaLift lift(quota_place(), directories_.levels_above(), is_level_);
    if (WaitUntilFrozen(start + deadline, lift)) return {};
  }
  WriteFreeze(false);
  return Fail(
      ErrorCode::kSuspendFailed,
      error != 0
          ? fmt::format("cgroup.freeze cannot be written: group {}: {}", name_, ErrnoText(error))
          : fmt::format("group did not stop in time and runs on: group {}, waited "
                        "{} ms, allowed {} ms",
                        name_, Milliseconds(Clock::now() - start), Milliseconds(deadline)));
}

Result<void> CgroupGroup::Thaw() {
  int error = WriteFreeze(false);
  if (error == 0) return {};
  return Fail(ErrorCode::kSystem, fmt::format("cgroup.freeze cannot be written: group {}: {}",
                                              name_, ErrnoText(error)));
}

Result<void> CgroupGroup::Signal(int signal_number) {
  if (signal_number < 1 || signal_number > SIGRTMAX) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("signal_number is out of range: given {}, allowed 1 to {}",
                            signal_number, SIGRTMAX));
  }
  std::set<pid_t> met;
  for (int round = 0; round < kSignalRounds; ++round) {
    bool news = false;
    for (pid_t pid : ProcessesIn(directories_.unified())) {
      if (!met.insert(pid).second) continue;
      news = true;
      SignalIn(pid, signal_number, directories_.paths());
    }
    if (!news) break;
  }
  return {};
}

// pids.max bounds how many there can be.
bool CgroupGroup::KillByProcess(Clock::time_point end) {
  for (;;) {
    std::vector<pid_t> pids = ProcessesIn(directories_.unified());
    std::vector<pid_t> outside = directories_.ProcessesOutsideUnified();
    pids.insert(pids.end(), outside.begin(), outside.end());
    if (pids.empty()) return true;
    for (pid_t pid : pids) SignalIn(pid, SIGKILL, directories_.paths());
    if (Left(end) == Duration(0)) return false;
    // Also the pause between rounds, which is shorter if the group becomes empty.
    WaitFor(meters_->events(directories_.unified()), "populated", 0,
            std::min<Duration>(Left(end), kAgain));
  }
}

// A process that joins after the write lives on, so the write is repeated while anybody is there.
// 0, or the errno of the write.
int CgroupGroup::KillUntilEmpty(Clock::time_point end, QuotaLift& lift) {
  for (;;) {
    if (int error = WriteAt(directories_.unified(), "cgroup.kill", "1")) return error;
    const Duration step = std::min<Duration>(Left(end), kAgain);
    if (WaitFor(meters_->events(directories_.unified()), "populated", 0, step)) return 0;
    if (Left(end) == Duration(0)) return ETIME;
    lift.LiftAgain();
  }
}

Result<void> CgroupGroup::Kill(Duration deadline) {
  const auto start = Clock::now();
  // Killed before the quota is lifted, as in Freeze: nobody runs on without it.
  int error = WriteAt(directories_.unified(), "cgroup.kill", "1");
  QuotaLift lift(quota_place(), directories_.levels_above(), is_level_);
  // They need CPU time to die, also if this call gives up on them; a level is used again.
  if (!is_level_) lift.KeepOwn();
  if (error == 0) error = KillUntilEmpty(start + deadline, lift);
  if (error == ENODEV) return {};  // removed already: nobody is in it
  // Without cgroup.kill (before Linux 5.14), and for processes that left the unified group only.
  if (error == 0 || error == ENOENT) error = KillByProcess(start + deadline) ? 0 : ETIME;
  if (error == 0) return {};
  if (error != ETIME) {
    return Fail(
        ErrorCode::kTerminateFailed,
        fmt::format("cgroup.kill cannot be written: group {}: {}", name_, ErrnoText(error)));
  }
  return Fail(ErrorCode::kTerminateFailed,
              fmt::format("group has processes that do not die: group {}, left {}, waited {} ms, "
                          "allowed {} ms",
                          name_, ProcessesIn(directories_.unified()).size(),
                          Milliseconds(Clock::now() - start), Milliseconds(deadline)));
}

Result<agent::PressureWatch> CgroupGroup::WatchPressure(agent::Pressure what, Duration stall,
                                                        Duration window) {
  return OpenPressure(directories_.unified(), what, stall, window);
}

bool CgroupGroup::Contains(pid_t pid) {
  const std::string path = UnifiedPathOf(pid);
  return !path.empty() && IsWithin(path, directories_.paths().front());
}

bool CgroupGroup::Holds(pid_t pid) {
  const std::string text = ReadWhole(fmt::format("/proc/{}/cgroup", pid).c_str());
  return text.empty() || directories_.HoldsAll(text);
}

}  // namespace mete::cgroup
