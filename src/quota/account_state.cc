#include "quota/account_state.h"

#include <algorithm>

#include "base/check.h"

namespace mete {
inline namespace single {

std::string_view NameOf(EventKind kind) noexcept {
  constexpr std::array<std::string_view, 11> kNames = {
      "threshold",  "violation", "warned",        "throttled", "suspended",         "resumed",
      "terminated", "reset",     "window_rolled", "updated",   "settled_above_hold"};
  const auto index = static_cast<std::size_t>(kind);
  METE_CHECK(index < kNames.size());
  return kNames[index];
}

Account::State::State(AccountConfig& config_in, Time now_in) : config(config_in), now(now_in) {
  const Result<Thresholds> thresholds = Thresholds::Of(config.thresholds);
  METE_CHECK(thresholds.has_value());
  METE_CHECK(config.main_window >= kShortestWindow);
  for (const LimitInfo& info : AllLimits()) {
    if (info.counting == Counting::kCores) continue;
    const std::optional<Limit>& limit = config.limits[info.kind];
    const bool is_main = info.counting == Counting::kWindow && info.window == std::chrono::hours(1);
    lines[Index(info.kind)].emplace(info, limit ? limit->amount : kUnlimited,
                                    is_main ? config.main_window : info.window, *thresholds, now);
  }
}

Time Account::State::Step(Time when) {
  now = std::max(now, when);
  Advance(now);
  return now;
}

void Account::State::Emit(EventKind kind, const Line* line, std::int64_t amount, Time when) {
  Event event{.kind = kind, .time = when, .limit = {}, .amount = amount};
  if (line != nullptr) {
    event.limit = line->kind();
    event.used = line->meter.used();
  }
  events.push_back(event);
}

// Policy

bool Account::State::HasCause(QuotaAction action) const {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const auto& line) { return line && line->cause == action; });
}

Wants Account::State::wants() const {
  return {.suspend = operator_suspended || HasCause(QuotaAction::kSuspend),
          .throttle = HasCause(QuotaAction::kThrottle),
          .terminate = terminate};
}

void Account::State::EndCause(Line& line, Time when) {
  const std::optional<QuotaAction> cause = std::exchange(line.cause, std::nullopt);
  if (!cause || HasCause(*cause)) return;
  if (*cause == QuotaAction::kSuspend && operator_suspended) return;
  Emit(EventKind::kResumed, &line, line.meter.limit(), when);
}

void Account::State::Act(Line& line, Time when) {
  const QuotaAction action = config.policies[Index(line.meter.info().resource)].action;
  switch (action) {
    case QuotaAction::kWarn: return Emit(EventKind::kWarned, &line, line.meter.limit(), when);
    case QuotaAction::kThrottle:
      line.cause = action;
      return Emit(EventKind::kThrottled, &line, line.meter.limit(), when);
    case QuotaAction::kSuspend:
      line.cause = action;
      return Emit(EventKind::kSuspended, &line, line.meter.limit(), when);
    case QuotaAction::kTerminate:
      if (terminate) return;
      terminate = line.kind();
      return Emit(EventKind::kTerminated, &line, line.meter.limit(), when);
  }
}

void Account::State::RaiseEdges(Line& line, Time when) {
  const Edges edges = line.meter.TakeEdges();
  for (std::size_t i = 0; i < Thresholds::kMax; ++i) {
    if (((edges.thresholds >> i) & 1) == 0) continue;
    Emit(EventKind::kThreshold, &line, line.meter.limit(), when);
    events.back().percent = line.meter.percent(i);
  }
  if (edges.limit) Emit(EventKind::kViolation, &line, line.meter.limit(), when);
}

void Account::State::Look(Line& line, bool violating, Duration grace, Time when) {
  RaiseEdges(line, when);
  if (!line.meter.IsOver()) {
    // A flow falls only with its window; a level or a rate ends its violation here (rule 13).
    if (line.meter.reset_at()) return;
    line.policy.acted = false;
    if (line.meter.used() <= RearmLevel(line.meter.limit())) line.policy = {};
    return EndCause(line, when);
  }
  if (!violating) return;
  const Policy& policy = config.policies[Index(line.meter.info().resource)];
  const Decision decision = Decide(policy.mode, line.policy, when, grace);
  line.policy = After(decision, line.policy, when);
  if (decision == Decision::kWarn) Emit(EventKind::kWarned, &line, line.meter.limit(), when);
  if (decision == Decision::kAct) Act(line, when);
}

void Account::State::Advance(Time when) {
  ForEachLine([&](Line& line) {
    const Meter::Ended ended = line.meter.Advance(when);
    if (ended.windows > 0) {
      line.policy = {};
      if (config.limits[line.kind()]) {
        Emit(EventKind::kWindowRolled, &line, ended.rolled, when);
        events.back().windows = ended.windows;
      }
      EndCause(line, when);
    }
    if (line.meter.info().counting == Counting::kRate) Look(line, false, Duration(0), when);
  });
}

// Recording

Result<void> Account::State::CheckSigns(const Amounts& amounts) const {
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const auto resource = static_cast<Resource>(i);
    if (amounts[resource].value_or(0) < 0) {
      return Fail(ErrorCode::kInvalidArgument,
                  std::string(NameOf(resource)) + ": a negative amount; allowed: 0 to " +
                      std::to_string(kUnlimited) + ", given " + std::to_string(*amounts[resource]));
    }
  }
  return {};
}

Result<void> Account::State::CheckSums(const Amounts& amounts, const OpenHold* hold, Time when) {
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const auto resource = static_cast<Resource>(i);
    if (!amounts[resource]) continue;
    const std::int64_t amount = *amounts[resource];
    bool fits = true;
    ForEachLineOf(resource, [&](Line& line) {
      const Share* share = nullptr;
      if (hold != nullptr) {
        for (const auto& [held_line, held] : hold->shares) {
          if (held_line == &line) share = &held;
        }
      }
      fits = fits && (share != nullptr ? line.meter.FitsInstead(*share, amount, when)
                                       : line.meter.Fits(amount, when));
      // A level has no total that could overflow: its lifetime figure is a peak.
      fits = fits && (IsLevel(line.meter.info()) || amount <= kUnlimited - lifetime[i]);
    });
    if (!fits) {
      return Fail(ErrorCode::kInvalidArgument,
                  std::string(NameOf(resource)) + ": the sum would pass " +
                      std::to_string(kUnlimited) + "; given " + std::to_string(amount));
    }
  }
  return {};
}

void Account::State::CountLifetime(Resource resource, std::int64_t amount) {
  std::int64_t& total = lifetime[Index(resource)];
  bool is_level = false;
  ForEachLineOf(resource, [&](Line& line) {
    if (!IsLevel(line.meter.info())) return;
    is_level = true;
    total = std::max(total, line.meter.used());
  });
  if (!is_level) total += amount;
}

LimitUsage Account::State::UsageOf(LimitKind kind) const {
  LimitUsage usage;
  usage.kind = kind;
  usage.limit = *config.limits[kind];
  if (const std::optional<Line>& line = lines[Index(kind)]) {
    usage.used = line->meter.used();
    usage.held = line->meter.held();
    usage.peak = line->meter.peak();
    usage.reset_at = line->meter.reset_at();
    usage.violated = line->meter.IsOver();
  }
  return usage;
}

Receipt Account::State::MakeReceipt(const Amounts& recorded, const Wants& before, Time when) {
  Receipt receipt;
  receipt.recorded = recorded;
  for (const LimitInfo& info : AllLimits()) {
    if (!recorded[info.resource] || !config.limits[info.kind]) continue;
    receipt.limits.push_back(UsageOf(info.kind));
    if (info.counting == Counting::kRate) {
      const Duration wait = lines[Index(info.kind)]->meter.UntilNext(when);
      receipt.retry_after = wait == RateLimit::kNever ? Duration(0) : wait;
    }
  }
  const Wants after = wants();
  receipt.suspended = after.suspend;
  receipt.throttled = after.throttle;
  receipt.action_pending = after.suspend > before.suspend || after.throttle > before.throttle ||
                           after.terminate != before.terminate;
  return receipt;
}

}  // namespace single
}  // namespace mete
