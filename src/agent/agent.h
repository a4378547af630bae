// One running agent: its quota, its group, and what the one asks of the other.
//
// Everything here is synchronous and knows no sockets and no terminal: the owner of the loop calls
// Reconcile() after whatever happened, and again at NextDeadline(). What is reported is only
// counted; the next Reconcile() acts upon it.
//
// Invariants:
//   1. The group is frozen exactly while the state is kSuspended, but for a stop by the terminal.
//   2. Once ended() is set it keeps its first value.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/account.h"
#include "agent/history.h"
#include "agent/host.h"
#include "agent/kernel_limits.h"
#include "agent/reconcile.h"
#include "agent/throttle.h"
#include "mete/clock.h"
#include "mete/resource_manager.h"

namespace mete::agent {

struct AgentConfig {
  std::string id;
  // What the agent is below, in the tree of groups too; empty: nothing. Their groups hold `levels`.
  std::string tenant, session;
  LevelLimits levels;
  ResourceLimits limits;  // as entered; `cpu` is the kernel's alone (rule 5)
  PolicySet policies;
  std::int64_t pids_max = 4096;
  bool pids_asked = false;  // by somebody: then it must be held
  Controllers controllers;
  Duration grace = std::chrono::seconds(5);  // between SIGTERM and the kill
  std::optional<Duration> max_suspend;       // ends an agent that is suspended that long
  unsigned cores = 1;                        // of this machine: how fast CPU time can be used
  bool watch_memory = false;                 // the kernel keeps no peak, so mete has to look
  // The kernel slows the agent down at its memory line (memory.high); where it only tells, an agent
  // that is throttled for its memory gets less CPU time instead.
  bool memory_slows = true;
  Capabilities host;  // as it was when the agent was started
};

// What an agent may use of the CPU between SIGTERM and the kill, however much it was allowed: one
// core, or half of the machine if that is less, so that a fork bomb in its grace harms nobody.
std::int64_t GraceRate(unsigned cores) noexcept;

// Why mete ended an agent.
struct EndCause {
  enum Kind : std::uint8_t { kLimit, kMaxSuspend, kOperator, kSignal, kEscape } kind;
  std::optional<LimitKind> limit{};  // kLimit
  int signal = 0;                    // kSignal: the one that `mete run` was sent
  std::string above{};               // kLimit: "tenant acme", whose limit it is; empty: its own
};

// "over the limit memory = 64Mi": one line for people.
std::string EndText(const AgentConfig& config, const EndCause& cause);

class Agent {
 public:
  // `clock` outlives the agent. Without an account it gets a new one, in memory.
  Agent(AgentConfig config, std::unique_ptr<Group> group, const Clock& clock,
        std::unique_ptr<Account> account = nullptr);

  const AgentConfig& config() const { return config_; }
  const std::string& id() const { return config_.id; }
  Account& account() { return *account_; }
  const Account& account() const { return *account_; }
  // As it is now, without the rate of CPU: nothing is counted against what the kernel holds.
  ResourceQuota quota() const;
  ResourceUsage totals() const;  // since it was started; levels as they are
  const Clock& clock() const { return clock_; }
  Group& group() { return *group_; }
  History& history() { return history_; }
  const History& history() const { return history_; }

  // By the agent itself.
  Result<Receipt> Report(const Amounts& amounts) { return account_->Report(amounts, {}); }

  // Set entries change, in the kernel and in the quota, or nothing does: E2073 says why. A memory
  // limit below what is in use is written to the kernel once the use is below it (rule 11).
  Result<void> SetLimits(const ResourceLimits& limits);

  // What is above it holds other limits now.
  void SetLevels(const LevelLimits& levels);

  // Ends the agent: SIGTERM, the grace, then the kill. The first cause stays.
  void End(EndCause cause);
  void Kill() { kill_wanted_ = true; }

  // Ends all throttling, and the steps of the CPU rate that are left of it.
  Result<void> ClearThrottle();

  // What waits for memory or a processor, for the notices.
  void NotePressure(Pressure what, const PressureWatch& watch);

  // Reads usage from the group and counts it; finds kills by the kernel. Twice within `freshness`
  // reads once.
  void Measure(Duration freshness = Duration::zero());

  // After the group's EventsFd polled readable.
  void OnGroupEvents();

  // Brings the group to what is wanted, and tells what it did in history(). May take the time of a
  // freeze: milliseconds, two seconds at worst.
  void Reconcile();
  std::optional<Time> NextDeadline() const;

  // A stop of the whole terminal job: everything stands still until Continue().
  void Stop();
  void Continue();

  // After the main process ended: kills what is left, takes the final reading, removes the group. A
  // kill by the kernel that shows only there is the end all the same; what the policies would want
  // of a program that ended by itself is not.
  // kTerminateFailed: something could not be killed, and the group is still there.
  Result<void> Finish();

  State state() const { return state_; }
  const std::optional<EndCause>& ended() const { return ended_; }
  const Sample& sample() const { return sample_; }
  Time started() const { return started_; }
  std::optional<Time> suspended_since() const { return suspended_since_; }

  // While suspended: which limits, until when, and how to go on; one line.
  std::string SuspensionText() const;

 private:
  void CheckKernelKill(const Sample& before);
  Result<void> Take(Step step);
  Result<void> Freeze();
  Result<void> Thaw();
  Result<void> Terminate();
  Result<void> KillAll();
  void NoteCauses(const ResourceQuota& quota, std::string_view what);
  void NoteEnd();
  Result<void> Hold(const ResourceLimits& limits);
  void Follow(const ResourceQuota& quota);
  void ApplyPendingMemory();
  void CheckRefusedForks(const Sample& before);
  void Throttle(const ResourceQuota& quota, Time now);
  Result<void> ApplyRate();
  KernelLimits KernelPart(const ResourceLimits& limits) const;
  bool MustMeasure() const;
  bool HasMemoryAbove() const;
  std::optional<Time> MeasureAt() const;
  const Policy& MemoryPolicy() const;

  AgentConfig config_;
  std::unique_ptr<Group> group_;
  const Clock& clock_;
  std::unique_ptr<Account> account_;
  ResourceUsage totals_before_;
  History history_;
  KernelLimits kernel_;                    // as wanted
  KernelLimits written_;                   // and as the kernel was told last
  std::optional<ResourceLimits> refused_;  // what the account says now and could not be held
  bool kernel_pending_ = false;            // the memory limit waits until less is in use

  State state_ = State::kRunning;
  std::optional<EndCause> ended_;
  bool kill_wanted_ = false;
  Time started_;
  std::optional<Time> suspended_since_;
  std::optional<Time> kill_at_;
  Step failed_ = Step::kNone;  // this step failed, and is not tried again before retry_at_
  std::optional<Time> retry_at_;
  Duration retry_pause_{};
  bool kernel_kill_told_ = false;
  bool reading_failed_ = false;

  CpuThrottle cpu_throttle_;
  int applied_percent_ = 100;  // of its CPU, as the kernel holds it
  std::optional<Time> rate_retry_at_;
  bool throttled_ = false;
  std::optional<Time> pressure_noted_at_;

  Sample sample_;
  Time measured_at_;
};

}  // namespace mete::agent
