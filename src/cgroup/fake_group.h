// One group of the fake host.
#pragma once

#include <sys/resource.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "cgroup/fake_host.h"

namespace mete::cgroup {

struct FakeState {
  std::string name;
  rlim_t mark = 0;  // 0: of a tenant or session, whose processes are those of the groups below
  UniqueFd wake, epoll;
  // Guarded by the host's mutex:
  std::optional<agent::KernelLimits> limits;
  std::optional<std::int64_t> cpu_rate;
  std::string label, ledger;
  bool frozen = false, removed = false, join_fails = false;
  std::int64_t peak = 0, memory_kills = 0;
  std::map<pid_t, UniqueFd> watched;
  std::vector<std::pair<agent::Pressure, UniqueFd>> pressure;

  // A descriptor of each live member in the epoll set: the death of the last one is then an event,
  // without a thread or a timer. Members that the dead left behind are found at each call.
  void Watch(const std::vector<pid_t>& members);
  void Wake() const;
};

class FakeGroup final : public agent::Group {
 public:
  // `created`: its limits are known to the owner of this handle.
  FakeGroup(FakeHost& host, std::shared_ptr<FakeState> state, bool created)
      : host_(host), state_(std::move(state)), limits_known_(created) {}

  const std::string& name() const override { return state_->name; }
  Result<void> SetLimits(const agent::KernelLimits& limits) override;
  Result<void> SetCpuRate(std::optional<std::int64_t> nanocores) override;
  Result<agent::EffectiveLimits> Effective() override;
  Result<void> SetLabel(std::string_view text) override;
  std::string Label() override;
  std::string Claim(std::string_view ledger) override;
  Result<void> Adopt(pid_t pid) override;
  int JoinSelf() noexcept override;
  Result<agent::Sample> Read() override;
  Result<void> Freeze(Duration deadline) override;
  Result<void> Thaw() override;
  Result<void> Signal(int signal_number) override;
  Result<void> Kill(Duration deadline) override;
  Result<void> Remove() override;
  int EventsFd() const override { return state_->epoll.get(); }
  void DrainEvents() override;
  Result<agent::PressureWatch> WatchPressure(agent::Pressure what, Duration stall,
                                             Duration window) override;
  bool Contains(pid_t pid) override;

 private:
  std::optional<Error> Begin(FakeCall call, const char* logged);
  bool IsRemoved() const;
  bool IsLevel() const { return state_->mark == 0; }
  agent::Sample Measure();
  agent::Sample MeasureLeaf(FakeState& leaf);
  std::vector<pid_t> Members() const;
  void SignalAll(int signal_number) const;
  void Continue() const;  // who is not held by another freeze

  FakeHost& host_;
  std::shared_ptr<FakeState> state_;
  bool limits_known_;
};

}  // namespace mete::cgroup
