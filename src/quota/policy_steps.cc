// What follows from a charge or a changed limit, one limit at a time (rules 1, 9, 10).
#include "budget/watch.h"
#include "quota/ledger.h"
#include "quota/policy.h"

namespace mete {

// Thresholds rising, then the violation.
void Ledger::RaiseEdges(Step& step, Record& account, Line& line) {
  const std::int64_t used = UsedOf(account, line.kind);
  const std::int64_t limit = EffectiveLimit(line, TermsOf(account));
  const auto percents = thresholds.percents();
  const auto is_armed = [&](std::size_t bit) { return ((line.armed >> bit) & 1) != 0; };
  const auto set_armed = [&](std::size_t bit, bool armed) {
    const unsigned mask = 1u << bit;
    line.armed = static_cast<std::uint8_t>(armed ? line.armed | mask : line.armed & ~mask);
  };
  const bool falls = !IsInMainWindow(line.kind) && !IsInDay(line.kind);
  for (std::size_t i = 0; i < percents.size() && limit > 0; ++i) {
    if (falls && used <= watch::RearmAmount(limit, percents[i])) set_armed(i, true);
    if (!is_armed(i) || used < watch::ThresholdAmount(limit, percents[i])) continue;
    set_armed(i, false);
    Event event{.kind = EventKind::kThreshold, .percent = percents[i], .amount = limit};
    Emit(std::move(event), step, account, account, &line);
  }
  if (falls && used <= watch::RearmAmount(limit, 100)) set_armed(watch::kLimitBit, true);
  if (!is_armed(watch::kLimitBit) || used <= limit) return;
  set_armed(watch::kLimitBit, false);
  Emit({.kind = EventKind::kViolation, .amount = limit}, step, account, account, &line);
}

void Ledger::Look(Step& step, Record& account, Line& line, bool violating, Duration grace) {
  if (!IsCompared(account, line)) return;
  RaiseEdges(step, account, line);
  const std::int64_t used = UsedOf(account, line.kind);
  const std::int64_t limit = EffectiveLimit(line, TermsOf(account));
  if (used <= limit) {
    // A flow falls only with its window; a level or a rate ends its violation here (rule 13).
    if (IsInMainWindow(line.kind) || IsInDay(line.kind)) return;
    line.acted = false;
    if (used <= RearmLevel(limit)) line.warned = line.lifted = false;
    if (line.is_cause) EndCause(step, account, &line, line.action);
    return;
  }
  if (!violating) return;
  const Policy& policy = TermsOf(account).of(InfoOf(line.kind).resource);
  PolicyState state{.warned = line.warned, .acted = line.acted, .lifted = line.lifted};
  if (line.warned) state.warned_at = RareIn(account)->warned_at[IndexOf(line.kind)];
  const Decision decision = Decide(policy.mode, state, step.now, grace);
  if (decision == Decision::kNothing) return;
  state = After(decision, state, step.now);
  line.warned = state.warned;
  line.acted = state.acted;
  if (decision == Decision::kWarn) {
    RareOf(account).warned_at[IndexOf(line.kind)] = state.warned_at;
  }
  if (decision == Decision::kAct && policy.action != QuotaAction::kWarn) {
    return AddCause(step, account, &line, policy.action);
  }
  const auto warn = [&](const Record& target) {
    Emit({.kind = EventKind::kWarned, .amount = limit}, step, target, account, &line);
  };
  warn(account);
  ForEachBelow(account, [&](const Record& below, RecordIndex) {
    if (ScopeOf(below) == QuotaScope::kAgent) warn(below);
  });
}

void Ledger::LookUpwards(Step& step, Resource resource, bool violating, Duration grace) {
  for (Record* account : step) {
    ForEachLineOf(*account, resource,
                  [&](Line& line) { Look(step, *account, line, violating, grace); });
  }
}

}  // namespace mete
