// Quotas as their owners see them.
#include "quota/ledger.h"

namespace mete {

std::int64_t LimitUsage::remaining() const noexcept {
  if (effective == kUnlimited) return kUnlimited;
  return used >= effective || held >= effective - used ? 0 : effective - used - held;
}

double LimitUsage::load() const noexcept {
  if (effective == kUnlimited) return 0;
  if (effective == 0) return used > 0 ? 2.0 : 1.0;
  return (static_cast<double>(used) + static_cast<double>(held)) / static_cast<double>(effective);
}

double LimitUsage::rate_per_second() const noexcept {
  if (elapsed <= Duration(0)) return 0;
  return static_cast<double>(used) / std::chrono::duration<double>(elapsed).count();
}

std::optional<Duration> LimitUsage::time_to_exhaustion() const noexcept {
  return TimeToExhaustion(remaining(), rate_per_second());
}

LimitUsage Ledger::UsageOf(const Step& step, const Record& account, const Line& line) const {
  const Terms& its_terms = TermsOf(account);
  LimitUsage usage{.kind = line.kind,
                   .limit = {line.limit, texts.TextOf(line.text)},
                   .effective = EffectiveLimit(line, its_terms),
                   .used = UsedOf(account, line.kind),
                   .held = HeldOf(account, InfoOf(line.kind).resource),
                   .reset_at = {}};
  if (line.kind == LimitKind::kMemory) usage.peak = account.peak;
  if (line.kind == LimitKind::kGpuMemory && account.extra) usage.peak = account.extra->gpu_peak;
  if (IsInMainWindow(line.kind) || IsInDay(line.kind)) {
    usage.reset_at = ResetAt(account, line.kind, its_terms);
    usage.elapsed = step.now - (IsInDay(line.kind) ? account.day_start : account.main_start);
  }
  usage.violated = IsCompared(account, line) && usage.used > usage.effective;
  return usage;
}

ResourceQuota Ledger::QuotaOf(const Step& step, Record& account) const {
  ResourceQuota quota;
  quota.target = NameOf(account);
  if (account.parent != kNoRecord) quota.parent = NameOf(records[account.parent]);
  quota.policies = TermsOf(account).policies;
  quota.usage = WindowUsage(account);
  const Time end = ResetAt(account, LimitKind::kTokensPerHour, TermsOf(account));
  const WallTime wall = clock.WallNow();
  const Duration left = end - step.now;
  quota.reset_at = wall > WallTime::max() - left ? WallTime::max() : wall + left;
  ForEachLine(account, [&](const Line& line) {
    quota.windows.push_back(UsageOf(step, account, line));
    quota.limits[line.kind] = quota.windows.back().limit;
  });
  quota.causes = CausesOf(account);
  const std::uint32_t held = HeldBack(account);
  quota.throttled = (held & Record::kThrottle) != 0;
  quota.suspended = (held & Record::kSuspend) != 0;
  quota.terminated = (held & Record::kTerminate) != 0;
  return quota;
}

Result<ResourceQuota> ResourceManager::GetQuota(Target target) {
  Ledger::Step step;
  if (!ledger_->Enter(step, target)) return std::unexpected(ledger_->NotFound(target));
  ledger_->Begin(step, Access::kLook);
  ledger_->Finish(step);
  return ledger_->QuotaOf(step, step.leaf());
}

Result<ResourceUsage> ResourceManager::GetUsage(Target target) {
  Ledger::Step step;
  if (!ledger_->Enter(step, target)) return std::unexpected(ledger_->NotFound(target));
  return LifetimeUsage(step.leaf());
}

std::vector<ResourceQuota> ResourceManager::ListQuotas(std::optional<QuotaScope> scope) {
  std::vector<ResourceQuota> quotas;
  const RecordIndex count = ledger_->record_count.load(std::memory_order_acquire);
  for (RecordIndex index = 0; index < count; ++index) {
    Ledger::Step step;
    if (!ledger_->EnterAny(step, index)) continue;
    if (scope && ScopeOf(step.leaf()) != *scope) continue;
    ledger_->Begin(step, Access::kLook);
    ledger_->Finish(step);
    quotas.push_back(ledger_->QuotaOf(step, step.leaf()));
  }
  return quotas;
}

}  // namespace mete
