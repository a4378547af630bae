// What happens by time alone, and the thread that sees to it.
#include <algorithm>

#include "base/check.h"
#include "quota/ledger.h"

namespace mete {

using std::chrono::milliseconds;

void Ledger::Schedule(Time at, Deadlines::Kind kind, std::uint64_t id) {
  if (deadlines.Add({at, kind, id})) bell.Ring();
}

// A rate that is over its limit ends its violation by draining; a deadline waits for that.
void Ledger::ScheduleRate(const Step& step, Record& account) {
  Rare* const rare = RateIn(account);
  if (rare == nullptr || rare->rate_used <= rare->rate->limit()) return;
  const Duration wait = rare->rate->TimeUntil(rare->rate->limit(), step.now);
  // After a reboot the time of the ledger may be before that of the boot, which is below zero.
  const Duration room = step.now > Time{} ? Time::max() - step.now : RateLimit::kNever;
  if (wait >= room) return;
  const Time end = step.now + wait;
  account.look_at = std::min(account.look_at, end - Clock::kCoarseLag);
  // Of a limit that was raised, the earlier deadline is for an earlier violation.
  if (end >= rare->rate_due) return;
  rare->rate_due = end;
  Schedule(rare->rate_due, Deadlines::Kind::kRate,
           DeadlineId(IndexIn(step, account), account.generation));
}

void Ledger::Due(const Deadlines::Entry& due) {
  const auto index = static_cast<RecordIndex>(due.id());
  Step step;
  if (!Enter(step, index, static_cast<std::uint16_t>(due.id() >> 32))) return;
  Begin(step, Access::kLook);
  Record& account = step.leaf();
  switch (due.kind()) {
    case Deadlines::Kind::kRate:
      if (Rare* const rare = RateIn(account); rare != nullptr && rare->rate_due <= step.now) {
        rare->rate_due = Time::max();
      }
      break;
    case Deadlines::Kind::kRetry: QueueIntent(account, index); break;
    default: break;
  }
  Finish(step);
  if (due.kind() == Deadlines::Kind::kWindows) {
    Schedule(account.look_at + Clock::kCoarseLag, due.kind(), due.id());
  }
}

// One record for each target that changed; those that are created meanwhile come next time.
void Ledger::ReportUsageOfAll() {
  const RecordIndex count = record_count.load(std::memory_order_acquire);
  for (RecordIndex index = 0; index < count; ++index) {
    Step step;
    if (!EnterAny(step, index)) continue;
    Record& account = step.leaf();
    if ((account.flags & Record::kChanged) == 0) continue;
    Begin(step, Access::kLook);
    account.flags &= ~std::uint32_t{Record::kChanged};
    Event usage{.kind = EventKind::kUsage};
    usage.usage = WindowUsage(account);
    Emit(std::move(usage), step, account, account, nullptr);
    Finish(step);
  }
}

std::optional<Time> ResourceManager::NextDeadline() const {
  std::optional<Time> next = ledger_->deadlines.next();
  const Time report = Time(Duration(ledger_->next_usage_report.load(std::memory_order_relaxed)));
  if (report != Time::max()) next = std::min(next.value_or(report), report);
  return next;
}

void ResourceManager::Advance() {
  const Time now = ledger_->clock.Now();
  if (ledger_->writer) ledger_->writer->IsAvailable();  // or nobody might notice
  while (const auto due = ledger_->deadlines.TakeDue(now)) {
    if (due->kind() == Deadlines::Kind::kHold) {
      Abandon(due->id());
    } else {
      ledger_->Due(*due);
    }
  }
  std::int64_t report = ledger_->next_usage_report.load(std::memory_order_relaxed);
  if (now.time_since_epoch().count() < report) return;
  const Time next = now + ledger_->config.usage_report_interval;
  // Of several threads that come here, one does it.
  if (ledger_->next_usage_report.compare_exchange_strong(report, next.time_since_epoch().count())) {
    ledger_->ReportUsageOfAll();
  }
}

void ResourceManager::Start(Enforcer* enforcer, std::function<void()> wake) {
  METE_CHECK(!ledger_->thread.joinable());
  ledger_->stopping = false;
  ledger_->thread = std::thread([this, enforcer, wake = std::move(wake)] {
    // A clock of the caller's own moves as it likes, so it has to be looked at.
    const bool is_system = dynamic_cast<const SystemClock*>(&ledger_->clock) != nullptr;
    while (!ledger_->stopping) {
      Advance();
      if (enforcer != nullptr) CarryOut(*enforcer);
      if (ledger_->news.exchange(false) && wake) wake();
      const Time now = ledger_->clock.Now();
      Duration pause = std::max(NextDeadline().value_or(Time::max()) - now, Duration(0));
      pause = std::min<Duration>(pause, is_system ? milliseconds(60'000) : milliseconds(20));
      ledger_->bell.Wait(pause);
    }
  });
}

void ResourceManager::CarryOut(Enforcer& enforcer) {
  // One by one: what is not carried out when it stops is still to be done.
  while (!ledger_->stopping) {
    const std::vector<Intent> taken = TakeIntents(1);
    if (taken.empty()) return;
    const Intent& intent = taken.front();
    const auto result = [&]() -> Result<void> {
      switch (intent.verb) {
        case Verb::kSuspend: return enforcer.Suspend(intent);
        case Verb::kResume: return enforcer.Resume(intent);
        case Verb::kThrottle: return enforcer.Throttle(intent);
        case Verb::kClearThrottle: return enforcer.ClearThrottle(intent);
        case Verb::kTerminate: return enforcer.Terminate(intent);
      }
      return {};
    }();
    FinishIntent(intent, result);
  }
}

void ResourceManager::Stop() {
  if (!ledger_->thread.joinable()) return;
  ledger_->stopping = true;
  ledger_->bell.Ring();
  ledger_->thread.join();
}

}  // namespace mete
