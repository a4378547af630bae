// One group of the Linux host. docs/enforcement.md says why each step stands where it stands.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "agent/host.h"
#include "cgroup/cpu_quota.h"
#include "cgroup/directories.h"
#include "cgroup/events.h"
#include "cgroup/limits.h"
#include "cgroup/meters.h"

namespace mete::cgroup {

class CgroupGroup final : public agent::Group {
 public:
  // Makes the directories, writes the limits, opens the event source; nothing is left if one fails.
  // REQUIRES: the name and the limits were checked.
  static Result<std::unique_ptr<agent::Group>> Make(std::shared_ptr<const Roots> roots,
                                                    std::string_view name,
                                                    const agent::KernelLimits& limits);

  // Opens what there is of a group; half of one, left by a maker that died, can be removed. E2070.
  static Result<std::unique_ptr<agent::Group>> Find(std::shared_ptr<const Roots> roots,
                                                    std::string_view name);

  const std::string& name() const override { return name_; }
  Result<void> SetLimits(const agent::KernelLimits& limits) override;
  Result<void> SetCpuRate(std::optional<std::int64_t> nanocores) override;
  Result<agent::EffectiveLimits> Effective() override;
  Result<void> SetLabel(std::string_view text) override;
  std::string Label() override;
  std::string Claim(std::string_view ledger) override;
  Result<void> Adopt(pid_t pid) override;
  int JoinSelf() noexcept override;
  int CloneFd() const noexcept override { return is_level_ ? -1 : directories_.unified(); }
  int JoinRest() noexcept override;
  Result<agent::Sample> Read() override;
  Result<std::int64_t> ReadCpu() override;
  Result<void> RestoreAbove() override;
  Result<void> Freeze(Duration deadline) override;
  Result<void> Thaw() override;
  Result<void> Signal(int signal_number) override;
  Result<void> Kill(Duration deadline) override;
  Result<void> Remove() override { return directories_.Remove(); }
  int EventsFd() const override { return events_.fd(); }
  void DrainEvents() override { events_.Drain(); }
  Result<agent::PressureWatch> WatchPressure(agent::Pressure what, Duration stall,
                                             Duration window) override;
  bool Contains(pid_t pid) override;
  bool Holds(pid_t pid) override;

 private:
  using Clock = std::chrono::steady_clock;

  CgroupGroup(std::shared_ptr<const Roots> roots, std::string_view name);

  void OpenFiles();
  Result<void> Prepare(const agent::KernelLimits& limits);
  Result<void> Apply(agent::KernelLimits limits, bool fresh);
  Result<void> CheckHeld(const agent::KernelLimits& limits) const;
  int WriteFreeze(bool frozen);
  QuotaPlace quota_place() const { return {controls_.cpu, directories_.unified()}; }
  bool WaitUntilFrozen(Clock::time_point end, QuotaLift& lift);
  int KillUntilEmpty(Clock::time_point end, QuotaLift& lift);
  bool KillByProcess(Clock::time_point end);

  std::string name_;
  bool is_level_;  // of a tenant or session
  Directories directories_;
  ControlDirs controls_;
  std::optional<agent::KernelLimits> limits_;  // as given last; unset: not known
  std::optional<std::int64_t> cpu_rate_;       // held as well, if it is the lower one
  EventSource events_;
  std::unique_ptr<Meters> meters_;
};

}  // namespace mete::cgroup
