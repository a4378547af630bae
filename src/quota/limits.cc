// Limits that change, and windows that end.
#include <algorithm>

#include "base/quote.h"
#include "budget/watch.h"
#include "quota/ledger.h"
#include "quota/window.h"

namespace mete {
namespace {

constexpr std::uint8_t kAllArmed = 0xff;

// What a window looks at begins anew; levels have none, but their peaks are of the main one.
void StartMainWindow(Record& account, Time start) {
  account.main_start = start;
  account.cpu_base = account.total[kCpuCounter];
  account.tokens_base = account.total[kTokenCounter];
  account.peak_before = std::max(account.peak_before, account.peak);
  account.peak = account.total[kMemoryCounter];
  Extra* const extra = account.extra.get();
  if (extra == nullptr) return;
  extra->requests_base = extra->requests;
  extra->cost_main_base = extra->cost;
  extra->gpu_peak_before = std::max(extra->gpu_peak_before, extra->gpu_peak);
  extra->gpu_peak = extra->gpu_memory;
}

void StartDay(Record& account, Time start) {
  account.day_start = start;
  account.tokens_day_base = account.total[kTokenCounter];
  if (Extra* const extra = account.extra.get()) extra->cost_base = extra->cost;
}

bool HaveSameState(const Line& a, const Line& b) {
  return a.armed == b.armed && a.warned == b.warned && a.acted == b.acted && a.lifted == b.lifted &&
         a.is_cause == b.is_cause;
}

void ForgetPolicy(Line& line) { line.warned = line.acted = line.lifted = false; }

// Every edge that lies above what is used can be crossed again.
void Rearm(Line& line, std::int64_t used, std::int64_t limit, const Thresholds& thresholds) {
  const auto percents = thresholds.percents();
  for (std::size_t i = 0; i < percents.size(); ++i) {
    if (used < watch::ThresholdAmount(limit, percents[i])) {
      line.armed = static_cast<std::uint8_t>(line.armed | 1u << i);
    }
  }
  if (used <= limit) line.armed = static_cast<std::uint8_t>(line.armed | 1u << watch::kLimitBit);
}

}  // namespace

void Ledger::SetLimit(Step& step, Record& account, LimitKind kind, const Limit& limit) {
  const auto updated = [&](const Line* line) {
    Event event{.kind = EventKind::kUpdated, .limit = kind, .amount = limit.amount};
    Emit(std::move(event), step, account, account, line);
  };
  Line* line = FindLine(account, kind);
  if (limit.amount == kUnlimited) {
    updated(line);
    if (line == nullptr) return;
    if (line->is_cause) EndCause(step, account, line, line->action);
    texts.Release(line->text);
    RemoveLine(account, kind);
    if (kind == LimitKind::kRequestsPerMinute) RareIn(account)->rate.reset();
    return;
  }
  const bool is_new = line == nullptr;
  if (is_new) line = &AddLine(account, kind);
  const bool raised = !is_new && limit.amount > line->limit;
  line->limit = limit.amount;
  texts.Release(std::exchange(line->text, texts.Take(limit.text)));
  if (kind == LimitKind::kRequestsPerMinute) {
    Rare& rare = RareOf(account);
    if (is_new) StartRate(rare, limit.amount, step.now);
    rare.rate->SetLimit(limit.amount, step.now);
    rare.rate_used = rare.rate->Used(step.now);
  }
  updated(line);
  Rearm(*line, UsedOf(account, kind), EffectiveLimit(*line, TermsOf(account)), thresholds);
  if (raised) {
    line->acted = line->lifted = false;
    if (line->is_cause) EndCause(step, account, line, line->action);
  }
  Look(step, account, *line, true, config.soft_grace_reported);
}

void Ledger::Reset(Step& step, Record& account) {
  Emit({.kind = EventKind::kReset}, step, account, account, nullptr);
  StartMainWindow(account, step.now);
  StartDay(account, step.now);
  if (Rare* const rare = RateIn(account)) {
    rare->rate->Reset(step.now);
    rare->rate_used = 0;
  }
  ForEachLine(account, [&](Line& line) {
    if (!IsLevel(InfoOf(line.kind).resource)) line.armed = kAllArmed;
    ForgetPolicy(line);
    if (line.is_cause) EndCause(step, account, &line, line.action);
  });
}

// A window keeps its phase: after idle time the next end is the next boundary in the future, and
// one event says how many were passed.
void Ledger::EndWindows(Step& step, Record& account) {
  if (Rare* const rare = RateIn(account)) {
    rare->rate_used = rare->rate->Used(step.now);
    Line* line = FindLine(account, LimitKind::kRequestsPerMinute);
    const Line before = *line;
    Look(step, account, *line, false, Duration(0));
    if (!HaveSameState(before, *line)) Note(step, IndexIn(step, account));
  }
  if (step.now < account.look_at) return;
  Window main(account.main_start, TermsOf(account).window);
  Window day(account.day_start, kDay);
  const std::int64_t mains = main.Advance(step.now);
  const std::int64_t days = day.Advance(step.now);
  if (mains == 0 && days == 0) return;
  Note(step, IndexIn(step, account));

  std::array<std::int64_t, kLimitKindCount> ended{};
  for (const LimitInfo& info : AllLimits()) {
    ended[IndexOf(info.kind)] = UsedOf(account, info.kind);
  }
  if (mains > 0) StartMainWindow(account, main.start());
  if (days > 0) StartDay(account, day.start());
  ForEachLine(account, [&](Line& line) {
    const std::int64_t windows = IsInMainWindow(line.kind) ? mains : IsInDay(line.kind) ? days : 0;
    if (windows == 0) return;
    line.armed = kAllArmed;
    ForgetPolicy(line);
    Event event{.kind = EventKind::kWindowRolled};
    event.amount = ended[IndexOf(line.kind)];
    event.windows = windows;
    if (IsCompared(account, line)) Emit(std::move(event), step, account, account, &line);
    if (line.is_cause) EndCause(step, account, &line, line.action);
  });
  Watch(account, TermsOf(account), thresholds);
}

Result<ResourceQuota> ResourceManager::UpdateQuota(Target target, const ResourceLimits& limits) {
  const auto failed = [](const Error& why) {
    return Fail(ErrorCode::kUpdateFailed, why.ToString());
  };
  if (auto good = CheckLimits(limits); !good) return failed(good.error());
  if (auto good = ledger_->CheckStore(); !good) return std::unexpected(good.error());
  Ledger::Step step;
  if (!ledger_->EnterToChange(step, target)) return failed(ledger_->NotFound(target));
  ledger_->Begin(step);
  step.leaf().flags |= ledger_->noted_flag == 0 ? 0u : Record::kUnwrittenQuota;
  for (const LimitInfo& info : AllLimits()) {
    if (!limits[info.kind]) continue;
    ledger_->SetLimit(step, step.leaf(), info.kind, *limits[info.kind]);
  }
  ledger_->Finish(step);
  ResourceQuota quota = ledger_->QuotaOf(step, step.leaf());
  if (auto done = ledger_->Conclude(step); !done) return std::unexpected(done.error());
  return quota;
}

Result<ResourceQuota> ResourceManager::ResetQuota(Target target) {
  if (auto good = ledger_->CheckStore(); !good) return std::unexpected(good.error());
  Ledger::Step step;
  if (!ledger_->EnterToChange(step, target)) return std::unexpected(ledger_->NotFound(target));
  ledger_->Begin(step);
  ledger_->Reset(step, step.leaf());
  ledger_->Finish(step);
  ResourceQuota quota = ledger_->QuotaOf(step, step.leaf());
  if (auto done = ledger_->Conclude(step); !done) return std::unexpected(done.error());
  return quota;
}

}  // namespace mete
