#include "agent/recorded_group.h"

#include <signal.h>
#include <sys/stat.h>

#include <utility>

namespace mete::agent {
namespace {

// A record costs some microseconds; counters of a dead owner need be no fresher than people look.
constexpr Duration kCountersEvery = std::chrono::seconds(1);

}  // namespace

Result<void> WriteLimits(Group& group, const AgentRecord& record) {
  if (Result<void> set = group.SetLimits(record.kernel); !set) return set;
  return record.cpu_rate ? group.SetCpuRate(record.cpu_rate) : Result<void>();
}

std::uint64_t GroupIdOf(const Group& group) {
  struct stat status{};
  const int directory = group.CloneFd();
  return directory >= 0 && fstat(directory, &status) == 0 ? status.st_ino : 0;
}

RecordedGroup::RecordedGroup(std::unique_ptr<Group> group, RecordFile file)
    : group_(std::move(group)),
      file_(std::move(file)),
      record_(file_.last().value_or(AgentRecord{})) {
  record_.group = group_->name();
  record_.group_id = GroupIdOf(*group_);
  Write(record_.phase);
}

void RecordedGroup::Write(Phase phase) {
  record_.phase = phase;
  if (describe_) describe_(record_);
  Result<void> written = file_.Write(record_);
  if (written) record_.sequence = file_.last()->sequence;
  // The label is the smaller promise: where it cannot be kept, the file still is.
  [[maybe_unused]] Result<void> labelled = group_->SetLabel(EncodeRecord(record_));
  if (written) {
    trouble_.reset();
    told_ = false;
  } else if (!told_) {
    trouble_ = std::move(written.error());
  }
}

std::optional<Error> RecordedGroup::TakeTrouble() {
  if (trouble_) told_ = true;
  return std::exchange(trouble_, std::nullopt);
}

void RecordedGroup::SetLeader(pid_t pid) {
  record_.leader = IdentifyProcess(pid);
  Write(Phase::kRunning);
}

void RecordedGroup::Refresh(Time now) {
  AgentRecord described = record_;
  if (describe_) describe_(described);
  if (described == record_) return;
  if (now - refreshed_ < kCountersEvery) {
    described.counters = record_.counters;
    if (described == record_) return;
  }
  refreshed_ = now;
  Write(described.phase);
}

Result<void> RecordedGroup::SetLimits(const KernelLimits& limits) {
  const KernelLimits before = std::exchange(record_.kernel, limits);
  Write(record_.phase);
  Result<void> set = group_->SetLimits(limits);
  if (!set) {
    record_.kernel = before;
    Write(record_.phase);
  }
  return set;
}

Result<void> RecordedGroup::SetCpuRate(std::optional<std::int64_t> nanocores) {
  const std::optional<std::int64_t> before = std::exchange(record_.cpu_rate, nanocores);
  Write(record_.phase);
  Result<void> set = group_->SetCpuRate(nanocores);
  if (!set) {
    record_.cpu_rate = before;
    Write(record_.phase);
  }
  return set;
}

Result<void> RecordedGroup::Freeze(Duration deadline) {
  const Phase before = record_.phase;
  Write(before == Phase::kEnding ? before : Phase::kSuspended);
  Result<void> frozen = group_->Freeze(deadline);
  if (!frozen) Write(before);
  return frozen;
}

Result<void> RecordedGroup::Thaw() {
  Result<void> thawed = group_->Thaw();
  if (thawed && record_.phase == Phase::kSuspended) Write(Phase::kRunning);
  return thawed;
}

Result<void> RecordedGroup::Signal(int signal_number) {
  if (signal_number == SIGTERM || signal_number == SIGKILL) Write(Phase::kEnding);
  return group_->Signal(signal_number);
}

Result<void> RecordedGroup::Kill(Duration deadline) {
  Write(Phase::kEnding);
  return group_->Kill(deadline);
}

Result<void> RecordedGroup::Remove() {
  Result<void> removed = group_->Remove();
  removed_ = removed.has_value();
  return removed;
}

void RecordedGroup::Forget() {
  if (removed_) file_.Remove();
}

}  // namespace mete::agent
