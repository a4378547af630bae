// One group of the Linux host. docs/enforcement.md says why each step stands where it stands.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "agent/host.h"
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
  int JoinSelf() noexcept override { return directories_.Join(); }
  int CloneFd() const noexcept override { return directories_.unified(); }
  int JoinRest() noexcept override { return directories_.JoinOutsideUnified(); }
  Result<agent::Sample> Read() override;
  Result<void> Freeze(Duration deadline) override;
  Result<void> Thaw() override;
  Result<void> Signal(int signal_number) override;
  Result<void> Kill(Duration deadline) override;
  Result<void> Remove() override { return directories_.Remove(); }
  int EventsFd() const override { return events_.fd(); }
  void DrainEvents() override { events_.Drain(); }
  bool Contains(pid_t pid) override;

 private:
  using Clock = std::chrono::steady_clock;

  CgroupGroup(std::shared_ptr<const Roots> roots, std::string_view name);

  void OpenFiles();
  Result<void> Prepare(const agent::KernelLimits& limits);
  Result<void> Apply(const agent::KernelLimits& limits, bool fresh);
  Result<void> CheckHeld(const agent::KernelLimits& limits) const;
  int WriteFreeze(bool frozen);
  int KillUntilEmpty(Clock::time_point end);
  bool KillByProcess(Clock::time_point end);

  std::string name_;
  Directories directories_;
  ControlDirs controls_;
  std::optional<agent::KernelLimits> limits_;  // as written last; unset: not known
  EventSource events_;
  std::unique_ptr<Meters> meters_;
  UniqueFd group_events_;  // for waiting; reading it must not clear events_
};

}  // namespace mete::cgroup
