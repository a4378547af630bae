#include "agent/agent.h"

#include <fmt/format.h>
#include <signal.h>
#include <string.h>

#include <algorithm>

#include "agent/sampling.h"
#include "agent/time_text.h"
#include "base/check.h"
#include "mete/units.h"

namespace mete::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Freezing took at most 135 ms in a fork bomb held at 300 processes (docs/enforcement.md); a group
// that does not stand still after this has a process stuck in the kernel.
constexpr Duration kFreezeDeadline = seconds(2);
constexpr Duration kKillDeadline = seconds(5);
constexpr Duration kFirstRetry = seconds(1);
constexpr Duration kLastRetry = seconds(60);
// Between two looks at a level that no event announces.
constexpr Duration kMemoryInterval = milliseconds(100);
// Pressure comes in waves of seconds; people are told of each minute that has any.
constexpr Duration kPressureInterval = seconds(60);

// What the agent may use at most, to take a share of.
std::int64_t FullRate(const AgentConfig& config, const KernelLimits& kernel) {
  constexpr std::int64_t kCore = 1'000'000'000;
  return kernel.cpu_nanocores.value_or(std::max(config.cores, 1u) * kCore);
}

// Whether this cause turns the CPU down; for the others, reservations wait.
bool TakesCpu(const Cause& cause, const AgentConfig& config) {
  if (cause.action != QuotaAction::kThrottle || !cause.limit) return false;
  const Resource resource = InfoOf(*cause.limit).resource;
  return resource == Resource::kCpu || (resource == Resource::kMemory && !config.memory_slows);
}

}  // namespace

std::int64_t GraceRate(unsigned cores) noexcept {
  return std::min<std::int64_t>(std::max(cores, 1u) * std::int64_t{500'000'000}, 1'000'000'000);
}

std::string EndText(const AgentConfig& config, const EndCause& cause) {
  switch (cause.kind) {
    case EndCause::kLimit: {
      const LimitKind kind = cause.limit.value_or(LimitKind::kMemory);
      if (!cause.above.empty()) {
        return fmt::format("over the limit {} of {}", InfoOf(kind).name, cause.above);
      }
      const std::optional<Limit>& limit = config.limits[kind];
      return fmt::format("over the limit {} = {}", InfoOf(kind).name, limit ? limit->text : "0");
    }
    case EndCause::kMaxSuspend:
      return fmt::format("suspended for {} (--max-suspend)",
                         FormatDuration(config.max_suspend.value_or(Duration::zero())));
    case EndCause::kOperator: return "an operator asked for it";
    case EndCause::kEscape: return "a process left the control group again";
    case EndCause::kSignal: {
      const char* name = sigabbrev_np(cause.signal);
      return name == nullptr ? fmt::format("signal {}", cause.signal) : fmt::format("SIG{}", name);
    }
  }
  return {};
}

Agent::Agent(AgentConfig config, std::unique_ptr<Group> group, const Clock& clock,
             std::unique_ptr<Account> account)
    : config_(std::move(config)),
      group_(std::move(group)),
      clock_(clock),
      account_(account ? std::move(account)
                       : NewAccount(config_.id, config_.limits, config_.policies, clock)),
      totals_before_(account_->Totals()),
      kernel_(KernelPart(config_.limits)),
      written_(kernel_),
      started_(clock.Now()),
      measured_at_(started_) {}

KernelLimits Agent::KernelPart(const ResourceLimits& limits) const {
  return KernelLimitsOf(limits, config_.policies, config_.pids_max, config_.controllers);
}

ResourceQuota Agent::quota() const {
  ResourceQuota quota = account_->Quota();
  std::erase_if(quota.windows, [](const LimitUsage& u) { return u.kind == LimitKind::kCpu; });
  return quota;
}

ResourceUsage Agent::totals() const {
  ResourceUsage totals = account_->Totals();
  totals.cpu_ns -= totals_before_.cpu_ns;
  totals.tokens_consumed -= totals_before_.tokens_consumed;
  totals.requests -= totals_before_.requests;
  totals.cost_nano -= totals_before_.cost_nano;
  return totals;
}

const Policy& Agent::MemoryPolicy() const {
  return config_.policies[static_cast<std::size_t>(Resource::kMemory)];
}

Result<void> Agent::SetLimits(const ResourceLimits& limits) {
  const auto failed = [](const Error& error) {
    return Fail(ErrorCode::kUpdateFailed, error.ToString());
  };
  ResourceLimits merged = config_.limits;
  for (std::size_t i = 0; i < kLimitKindCount; ++i) {
    if (limits.entries[i]) merged.entries[i] = limits.entries[i];
  }
  if (Result<void> good = CheckRanges(limits); !good) return failed(good.error());
  const ResourceLimits before = config_.limits;
  if (Result<void> held = Hold(merged); !held) return failed(held.error());
  if (Result<void> set = account_->SetLimits(limits); !set) {
    // Nothing was changed there, so the kernel goes back to what it held.
    [[maybe_unused]] Result<void> restored = Hold(before);
    return std::unexpected(set.error());
  }
  return {};
}

Result<void> Agent::Hold(const ResourceLimits& limits) {
  Measure();
  const KernelLimits wanted = KernelPart(limits);
  KernelLimits written = wanted;
  const bool pending = written.memory_max && *written.memory_max < sample_.memory_bytes;
  if (pending) written.memory_max = written_.memory_max;
  if (Result<void> set = group_->SetLimits(written); !set) return set;
  config_.limits = limits;
  kernel_ = wanted;
  written_ = written;
  kernel_pending_ = pending;
  return {};
}

// A stored account is changed by others too.
void Agent::Follow(const ResourceQuota& quota) {
  if (quota.target.id.empty() || !Differ(quota.limits, config_.limits)) return;
  if (refused_ && !Differ(quota.limits, *refused_)) return;
  const ResourceLimits before = config_.limits;
  Result<void> held = CheckRanges(quota.limits);
  if (held) held = Hold(quota.limits);
  refused_.reset();
  if (!held) {
    refused_ = quota.limits;
    history_.AddNotice("limits changed, not held: " + held.error().ToString());
    return;
  }
  history_.AddNotice("limits changed: " +
                     ChangesText(before, quota.limits, config_.policies, config_.host));
}

void Agent::SetLevels(const LevelLimits& levels) {
  config_.levels = levels;
  // On v1 a lower quota above has lowered the agent's own, which comes back only if it is written.
  [[maybe_unused]] Result<void> set = group_->SetLimits(written_);
}

void Agent::ApplyPendingMemory() {
  if (!kernel_pending_ || !kernel_.memory_max) return;
  if (sample_.memory_bytes >= *kernel_.memory_max) return;
  if (!group_->SetLimits(kernel_)) return;
  written_ = kernel_;
  kernel_pending_ = false;
}

void Agent::End(EndCause cause) {
  if (!ended_) ended_ = cause;
}

void Agent::Measure(Duration freshness) {
  const Time now = clock_.Now();
  if (freshness > Duration::zero() && now - measured_at_ < freshness) return;
  Result<Sample> read = group_->Read();
  measured_at_ = now;
  if (!read) {
    // Told once: whoever takes the files away takes them away from every reading.
    if (!std::exchange(reading_failed_, true)) {
      history_.AddNotice("usage cannot be read: " + read.error().ToString());
    }
    return;
  }
  const Sample before = std::exchange(sample_, *read);
  sample_.memory_peak_bytes = std::max(sample_.memory_peak_bytes, before.memory_peak_bytes);
  sample_.memory_peak_bytes = std::max(sample_.memory_peak_bytes, sample_.memory_bytes);
  // The counter of a group that is being taken down may read as nothing.
  sample_.cpu_ns = std::max(sample_.cpu_ns, before.cpu_ns);
  Amounts amounts;
  amounts.Set(Resource::kCpu, sample_.cpu_ns - before.cpu_ns);
  amounts.Set(Resource::kMemory, sample_.memory_bytes);
  // Refused only if 292 years of CPU time were passed.
  [[maybe_unused]] Result<Receipt> counted =
      account_->Report(amounts, {.source = Source::kSampled});
  CheckKernelKill(before);
  CheckRefusedForks(before);
  ApplyPendingMemory();
}

// Told once: a program that meets this limit goes on trying.
void Agent::CheckRefusedForks(const Sample& before) {
  if (before.pids_max_hits > 0 || sample_.pids_max_hits == 0) return;
  history_.AddNotice(
      fmt::format("pids: limit {} reached, a process or thread was refused", config_.pids_max));
}

void Agent::NotePressure(Pressure what, const PressureWatch& watch) {
  const Time now = clock_.Now();
  if (pressure_noted_at_ && now - *pressure_noted_at_ < kPressureInterval) return;
  pressure_noted_at_ = now;
  const std::string_view whom = what == Pressure::kMemoryFull ? "all processes" : "processes";
  const std::string_view for_what = what == Pressure::kCpuSome ? "a processor" : "memory";
  history_.AddNotice(fmt::format("pressure: {} waited for {}, {} or more within {}", whom, for_what,
                                 FormatDuration(watch.stall), FormatDuration(watch.window)));
}

// Kills for want of memory on the whole machine are counted there too; they are this limit's doing
// only if the agent was at it. Not every kernel counts the hits (v1 does not where memory and swap
// have one limit), but the peak of a group that was killed for its limit is that limit, within what
// the kernel charges in one piece.
void Agent::CheckKernelKill(const Sample& before) {
  if (sample_.oom_kills <= before.oom_kills) return;
  constexpr std::int64_t kOnePiece = 2 << 20;  // a huge page
  const bool met =
      kernel_.memory_max &&
      (sample_.memory_max_hits > 0 || sample_.memory_peak_bytes >= *kernel_.memory_max - kOnePiece);
  if (!met && HasMemoryAbove() && !std::exchange(kernel_kill_told_, true)) {
    history_.AddNotice(
        "killed by the kernel: memory: not for its own limit, but for that of " +
        (config_.session.empty() ? "tenant " + config_.tenant : "session " + config_.session));
  }
  // Once: of a group that it ends whole, the kernel counts the processes one after the other.
  if (!met || std::exchange(kernel_kill_told_, true)) return;
  const Time now = clock_.Now();
  const Limit limit = config_.limits[LimitKind::kMemory].value_or(Limit{});
  history_.AddViolation(LimitKind::kMemory, sample_.memory_peak_bytes, limit.amount, now);
  history_.AddNotice(fmt::format("killed by the kernel: memory: limit {} reached", limit.text));
  history_.AddAction(LimitKind::kMemory, "killed by the kernel", now);
  End({EndCause::kLimit, LimitKind::kMemory});
}

bool Agent::HasMemoryAbove() const {
  const auto has = [](const std::optional<KernelLimits>& level) {
    return level && level->memory_max.has_value();
  };
  return has(config_.levels.tenant) || has(config_.levels.session);
}

void Agent::OnGroupEvents() {
  group_->DrainEvents();
  Measure();
}

void Agent::Reconcile() {
  const Time now = clock_.Now();
  if (MeasureAt().value_or(Time::max()) <= now) Measure();
  account_->Advance();
  if (kill_at_ && *kill_at_ <= now) kill_wanted_ = true;
  if (suspended_since_ && config_.max_suspend && now - *suspended_since_ >= *config_.max_suspend) {
    End({EndCause::kMaxSuspend, std::nullopt});
  }
  const ResourceQuota quota = this->quota();
  history_.Add(account_->TakeEvents());
  Follow(quota);
  for (const Cause& cause : quota.causes) {
    if (cause.action != QuotaAction::kTerminate) continue;
    End({.kind = cause.limit ? EndCause::kLimit : EndCause::kOperator,
         .limit = cause.limit,
         .above = cause.account == account_->target() ? "" : cause.account.ToString()});
  }
  Throttle(quota, now);
  const Step step = NextStep(state_, {quota.suspended, ended_.has_value(), kill_wanted_});
  if (step == failed_ && retry_at_.value_or(now) > now) return;
  if (Result<void> taken = Take(step); !taken) {
    failed_ = step;
    retry_pause_ = std::clamp<Duration>(retry_pause_ * 2, kFirstRetry, kLastRetry);
    retry_at_ = clock_.Now() + retry_pause_;
    history_.AddNotice(fmt::format("failed, tried again in {}: {}", FormatDuration(retry_pause_),
                                   taken.error().ToString()));
  } else if (step != Step::kNone) {
    failed_ = Step::kNone;
    retry_at_.reset();
    retry_pause_ = {};
  }
}

// Before the step: a rate that is turned down meets a group that still runs, and one that is to be
// frozen or ended is lifted there.
void Agent::Throttle(const ResourceQuota& quota, Time now) {
  if (state_ == State::kTerminating || state_ == State::kKilled) return;
  if (throttled_ && !quota.throttled) history_.AddNotice("no longer throttled");
  throttled_ = quota.throttled;
  const bool takes_cpu = std::ranges::any_of(
      quota.causes, [this](const Cause& cause) { return TakesCpu(cause, config_); });
  cpu_throttle_.Update(takes_cpu && config_.controllers.cpu, now);
  if (cpu_throttle_.percent() == applied_percent_ || rate_retry_at_.value_or(now) > now) return;
  Result<void> applied = ApplyRate();
  rate_retry_at_.reset();
  if (applied) return;
  rate_retry_at_ = now + kFirstRetry;
  history_.AddNotice(fmt::format("cannot throttle, tried again in {}: {}",
                                 FormatDuration(kFirstRetry), applied.error().ToString()));
}

Result<void> Agent::ApplyRate() {
  const int percent = cpu_throttle_.percent();
  std::optional<std::int64_t> rate;
  if (percent < 100) rate = ThrottledRate(FullRate(config_, kernel_), percent);
  if (Result<void> set = group_->SetCpuRate(rate); !set) return set;
  applied_percent_ = percent;
  // Thousandths of a core are as fine as anyone reads.
  history_.AddNotice(rate ? fmt::format("throttled: cpu at {} %, {} cores", percent,
                                        FormatNanoDecimal(*rate / 1'000'000 * 1'000'000))
                          : std::string("cpu at 100 % again"));
  return {};
}

Result<void> Agent::ClearThrottle() {
  if (Result<void> cleared = account_->ClearThrottle(); !cleared) return cleared;
  cpu_throttle_.Clear();
  return {};
}

Result<void> Agent::Take(Step step) {
  switch (step) {
    case Step::kNone: return {};
    case Step::kFreeze: return Freeze();
    case Step::kThaw: return Thaw();
    case Step::kTerminate: return Terminate();
    case Step::kKill: return KillAll();
  }
  return {};
}

Result<void> Agent::Freeze() {
  if (Result<void> frozen = group_->Freeze(kFreezeDeadline); !frozen) return frozen;
  state_ = State::kSuspended;
  suspended_since_ = clock_.Now();
  NoteCauses(quota(), "suspended");
  // Frozen, so that the figures in the message are exact.
  Measure();
  if (std::string why = SuspensionText(); !why.empty()) history_.AddNotice(std::move(why));
  return {};
}

Result<void> Agent::Thaw() {
  if (Result<void> thawed = group_->Thaw(); !thawed) return thawed;
  state_ = State::kRunning;
  const Time now = clock_.Now();
  const Duration held = now - suspended_since_.value_or(now);
  suspended_since_.reset();
  history_.AddResumed(clock_.Now());
  history_.AddNotice("resumed after " + FormatDuration(std::chrono::floor<milliseconds>(held)));
  return {};
}

void Agent::NoteEnd() {
  if (!ended_) return;
  if (ended_->limit) {
    history_.AddAction(*ended_->limit, "terminated", clock_.Now());
  } else {
    NoteCauses(quota(), "terminated");
  }
  history_.AddNotice("terminated: " + EndText(config_, *ended_));
}

// Frozen first, so that nothing is started, reported or cleaned up between the decision and the
// signal, and every process has it pending when it wakes.
Result<void> Agent::Terminate() {
  NoteEnd();
  state_ = State::kTerminating;
  suspended_since_.reset();
  if (config_.grace > Duration::zero()) {
    // One that cannot be frozen gets the signal all the same.
    [[maybe_unused]] Result<void> frozen = group_->Freeze(kFreezeDeadline);
    // Whatever it was throttled to; while it stands still, so that nothing is used in between.
    if (config_.controllers.cpu) {
      [[maybe_unused]] Result<void> capped = group_->SetCpuRate(GraceRate(config_.cores));
    }
    const Result<void> sent = group_->Signal(SIGTERM);
    const Result<void> thawed = group_->Thaw();
    if (sent && thawed) {
      kill_at_ = clock_.Now() + config_.grace;
      return {};
    }
  }
  return KillAll();
}

Result<void> Agent::KillAll() {
  kill_wanted_ = true;
  kill_at_.reset();
  if (Result<void> killed = group_->Kill(kKillDeadline); !killed) return killed;
  state_ = State::kKilled;
  return {};
}

void Agent::NoteCauses(const ResourceQuota& quota, std::string_view what) {
  for (const Cause& cause : quota.causes) {
    const bool is_own = cause.account == account_->target();
    if (is_own && cause.limit && cause.action == QuotaAction::kSuspend) {
      history_.AddAction(*cause.limit, what, clock_.Now());
    }
  }
}

bool Agent::MustMeasure() const {
  if (config_.watch_memory || kernel_pending_) return true;
  // What is above has limits of its own, which others use too: they are not known here.
  if (!config_.tenant.empty() || !config_.session.empty()) return true;
  const std::optional<Limit>& memory = config_.limits[LimitKind::kMemory];
  if (!memory || memory->amount == kUnlimited) return false;
  return !kernel_.memory_max || MemoryPolicy().action != QuotaAction::kTerminate;
}

std::optional<Time> Agent::MeasureAt() const {
  if (state_ == State::kSuspended || state_ == State::kKilled) return std::nullopt;
  std::optional<Time> at;
  if (MustMeasure()) at = measured_at_ + kMemoryInterval;
  const std::optional<Limit>& cpu_seconds = config_.limits[LimitKind::kCpuSecondsPerHour];
  if (!cpu_seconds || cpu_seconds->amount == kUnlimited) return at;
  for (const LimitUsage& usage : quota().windows) {
    if (usage.kind != LimitKind::kCpuSecondsPerHour) continue;
    // Over the limit there is nothing more to find out quickly.
    const std::int64_t left = usage.violated ? kUnlimited : usage.limit.amount - usage.used;
    const Time reading = measured_at_ + NextReading(Duration(left), config_.cores);
    at = std::min(at.value_or(Time::max()), reading);
  }
  return at;
}

std::optional<Time> Agent::NextDeadline() const {
  std::optional<Time> next;
  const auto take = [&next](std::optional<Time> at) {
    if (at && (!next || *at < *next)) next = at;
  };
  take(account_->NextDeadline());
  take(MeasureAt());
  take(kill_at_);
  take(cpu_throttle_.NextChange());
  if (cpu_throttle_.percent() != applied_percent_) take(rate_retry_at_);
  if (retry_at_ && *retry_at_ > clock_.Now()) take(retry_at_);
  if (suspended_since_ && config_.max_suspend) take(*suspended_since_ + *config_.max_suspend);
  return next;
}

void Agent::Stop() {
  if (state_ != State::kRunning) return;
  [[maybe_unused]] Result<void> frozen = group_->Freeze(kFreezeDeadline);
}

void Agent::Continue() {
  if (state_ != State::kRunning) return;
  if (Result<void> thawed = group_->Thaw(); !thawed) {
    history_.AddNotice("cannot continue: " + thawed.error().ToString());
  }
}

Result<void> Agent::Finish() {
  Measure();
  if (sample_.populated) {
    if (Result<void> killed = group_->Kill(kKillDeadline); !killed) return killed;
    Measure();
  }
  if (Result<void> closed = account_->Close(); !closed) history_.NoteUnwritten(closed.error());
  history_.Add(account_->TakeEvents());
  // Found out only now, or in the same moment as the end of the program.
  if (ended_ && state_ != State::kTerminating && state_ != State::kKilled) NoteEnd();
  state_ = State::kKilled;
  return group_->Remove();
}

std::string Agent::SuspensionText() const {
  const Time now = clock_.Now();
  std::string why, command;
  std::optional<Time> until;
  const ResourceQuota quota = this->quota();
  for (const Cause& cause : quota.causes) {
    if (cause.action != QuotaAction::kSuspend) continue;
    why += why.empty() ? "suspended: " : "; ";
    if (!cause.limit) {
      why += "by an operator";
      if (command.empty()) command = "mete resume " + config_.id;
      continue;
    }
    why += InfoOf(*cause.limit).name;
    if (cause.account != account_->target()) {
      why += " of " + cause.account.ToString();
      command =
          "mete quota reset " + cause.account.ToString() + " --state-dir " + account_->ledger();
      continue;
    }
    for (const LimitUsage& usage : quota.windows) {
      if (usage.kind != *cause.limit) continue;
      why += ": " + UsedOfText(usage.kind, usage.used, usage.limit.amount);
      command = RaiseCommand(config_.id, usage.kind, usage.used, usage.limit.amount);
      if (usage.reset_at) until = std::max(until.value_or(*usage.reset_at), *usage.reset_at);
    }
  }
  if (why.empty()) return {};
  if (until) {
    why += fmt::format("; until {} (in {})", TimeOfDayText(*until, clock_),
                       FormatDuration(std::chrono::ceil<seconds>(*until - now)));
  }
  return why + (until ? ", or at once with: " : "; to go on: ") + command;
}

}  // namespace mete::agent
