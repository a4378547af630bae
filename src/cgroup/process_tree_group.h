// One group of the host without control groups, or one above it (of a session, a tenant, all).
//
// What must be done again and again (a rate of CPU, a freeze that is undone from inside) is done in
// DrainEvents(): the descriptor polls readable when it is due. An owner that does not come holds
// nothing, and loosens nothing: a tree that stands still then stands still.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/host.h"
#include "base/unique_fd.h"
#include "cgroup/duty_cycle.h"
#include "cgroup/process_tree.h"
#include "cgroup/process_tree_host.h"
#include "cgroup/tree_meter.h"

namespace mete::cgroup {

class ProcessTreeGroup final : public agent::Group {
 public:
  // REQUIRES: the name and the limits were checked, the folder of the registry is there.
  static Result<std::unique_ptr<agent::Group>> Make(std::shared_ptr<TreeShared> shared,
                                                    std::string_view name,
                                                    const agent::KernelLimits& limits);
  // REQUIRES: it is there.
  static Result<std::unique_ptr<agent::Group>> Find(std::shared_ptr<TreeShared> shared,
                                                    std::string_view name);

  const std::string& name() const override { return name_; }
  Result<void> SetLimits(const agent::KernelLimits& limits) override;
  Result<void> SetCpuRate(std::optional<std::int64_t> nanocores) override;
  Result<agent::EffectiveLimits> Effective() override;
  Result<void> Adopt(pid_t pid) override;
  Result<void> SetLabel(std::string_view text) override;
  std::string Label() override { return shared_->registry.Label(name_); }
  int JoinSelf() noexcept override;
  Result<agent::Sample> Read() override;
  Result<std::int64_t> ReadCpu() override;
  Result<void> Freeze(Duration deadline) override;
  Result<void> Thaw() override;
  Result<void> Signal(int signal_number) override;
  Result<void> Kill(Duration deadline) override;
  Result<void> Remove() override;
  int EventsFd() const override { return epoll_.get(); }
  void DrainEvents() override;
  bool Contains(pid_t pid) override { return Refresh().Has(pid); }
  bool Holds(pid_t pid) override { return Contains(pid) || !ReadStat(pid); }

 private:
  using Clock = ProcessTree::Clock;

  ProcessTreeGroup(std::shared_ptr<TreeShared> shared, std::string_view name);

  Result<void> Open();
  Result<void> CheckHeld(const agent::KernelLimits& limits) const;
  void HoldCpu();
  std::optional<std::int64_t> CpuRate() const;
  ProcessTree& Refresh();
  std::vector<Member> Members();
  void Watch(const std::vector<Member>& members);
  void Arm(Duration after);
  void Tick();
  void Continue();
  bool Frozen() const;

  std::shared_ptr<TreeShared> shared_;
  std::string name_;
  rlim_t mark_ = 0;  // 0: a level
  ProcessTree tree_;
  TreeMeter meter_;
  std::optional<agent::KernelLimits> limits_;  // unset: not known, after Find
  std::optional<std::int64_t> cpu_rate_;
  std::optional<DutyCycle> duty_;
  bool paused_ = false;    // by the duty cycle
  bool orphans_ = false;   // orphans of the tree come to this process
  rlim_t pids_limit_ = 0;  // for who joins; 0: none
  UniqueFd wake_, timer_, epoll_;
  std::map<std::pair<pid_t, std::uint64_t>, UniqueFd> watched_;
};

}  // namespace mete::cgroup
