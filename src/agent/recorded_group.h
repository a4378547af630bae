// A group of which it is written down what is about to be done to it, before it is done.
//
// What cannot be written down is done all the same: the record that is there says what becomes of
// the agent without its owner, and a freeze that it does not know counts as one whose lease is
// over. So a full disk prevents neither a freeze nor an end; TakeTrouble() tells of it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "agent/host.h"
#include "agent/record_file.h"

namespace mete::agent {

class RecordedGroup final : public Group {
 public:
  // The group was made after its record; from here on the record names it, and so does its label,
  // where there is one.
  RecordedGroup(std::unique_ptr<Group> group, RecordFile file);
  ~RecordedGroup() override { Forget(); }

  // Called before each writing, to fill in what the group does not know: limits as entered, causes,
  // counters, the lease. The phase is what is about to be done; one on its way out is kEnding.
  void DescribeBy(std::function<void(AgentRecord&)> describe) { describe_ = std::move(describe); }

  // Before the main process may start its program.
  void SetLeader(pid_t pid);

  // Writes what DescribeBy says now, if it differs from what is written: counters alone at most
  // once a second.
  void Refresh(Time now);

  // Why the last writing failed; told once, until one succeeds.
  std::optional<Error> TakeTrouble();

  // Unlinks the record of a group that was removed: the last thing of all, when nothing is left of
  // the agent that somebody would have to know. The destructor does it otherwise.
  void Forget();

  const AgentRecord& record() const { return record_; }

  // Recorded before it is done.
  Result<void> SetLimits(const KernelLimits& limits) override;
  Result<void> SetCpuRate(std::optional<std::int64_t> nanocores) override;
  Result<void> Freeze(Duration deadline) override;
  Result<void> Signal(int signal_number) override;
  Result<void> Kill(Duration deadline) override;
  // Recorded after it is done: until then it may be frozen.
  Result<void> Thaw() override;
  Result<void> Remove() override;

  // Passed on.
  const std::string& name() const override { return group_->name(); }
  Result<EffectiveLimits> Effective() override { return group_->Effective(); }
  Result<void> SetLabel(std::string_view text) override { return group_->SetLabel(text); }
  std::string Label() override { return group_->Label(); }
  int JoinSelf() noexcept override { return group_->JoinSelf(); }
  int CloneFd() const noexcept override { return group_->CloneFd(); }
  int JoinRest() noexcept override { return group_->JoinRest(); }
  Result<void> RestoreAbove() override { return group_->RestoreAbove(); }
  Result<Sample> Read() override { return group_->Read(); }
  Result<std::int64_t> ReadCpu() override { return group_->ReadCpu(); }
  int EventsFd() const override { return group_->EventsFd(); }
  void DrainEvents() override { group_->DrainEvents(); }
  Result<PressureWatch> WatchPressure(Pressure what, Duration stall, Duration window) override {
    return group_->WatchPressure(what, stall, window);
  }
  Result<void> Adopt(pid_t pid) override { return group_->Adopt(pid); }
  bool Contains(pid_t pid) override { return group_->Contains(pid); }
  bool Holds(pid_t pid) override { return group_->Holds(pid); }

 private:
  void Write(Phase phase);

  std::unique_ptr<Group> group_;
  RecordFile file_;
  AgentRecord record_;
  std::function<void(AgentRecord&)> describe_;
  std::optional<Error> trouble_;
  bool told_ = false;
  bool removed_ = false;
  Time refreshed_{};
};

// The record's limits, and the rate that the agent was throttled to. E2073: a memory limit is below
// what is in use, and what was held stays.
Result<void> WriteLimits(Group& group, const AgentRecord& record);

// The inode of the group's directory; 0 where groups are no directories.
std::uint64_t GroupIdOf(const Group& group);

}  // namespace mete::agent
