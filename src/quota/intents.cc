// What agents' causes ask for against what was done: one verb at a time, until they agree.
#include <algorithm>
#include <array>

#include "base/check.h"
#include "quota/ledger.h"

namespace mete {
namespace {

constexpr Duration kFirstRetry = std::chrono::seconds(1);
constexpr Duration kLastRetry = std::chrono::seconds(60);

constexpr Duration PauseAfter(int failures) {
  Duration pause = kFirstRetry;
  for (int i = 1; i < failures && pause < kLastRetry; ++i) pause *= 2;
  return std::min(pause, kLastRetry);
}

// The end comes before everything, and nothing comes after it.
std::optional<Verb> NextVerb(std::uint32_t wanted, std::uint32_t is) {
  if ((is & Record::kIsTerminated) != 0) return std::nullopt;
  if ((wanted & Record::kTerminate) != 0) return Verb::kTerminate;
  const bool suspend = (wanted & Record::kSuspend) != 0;
  const bool throttle = (wanted & Record::kThrottle) != 0;
  if (suspend != ((is & Record::kIsSuspended) != 0)) {
    return suspend ? Verb::kSuspend : Verb::kResume;
  }
  if (throttle != ((is & Record::kIsThrottled) != 0)) {
    return throttle ? Verb::kThrottle : Verb::kClearThrottle;
  }
  return std::nullopt;
}

std::uint32_t After(Verb verb, std::uint32_t flags) {
  switch (verb) {
    case Verb::kSuspend: return flags | Record::kIsSuspended;
    case Verb::kResume: return flags & ~std::uint32_t{Record::kIsSuspended};
    case Verb::kThrottle: return flags | Record::kIsThrottled;
    case Verb::kClearThrottle: return flags & ~std::uint32_t{Record::kIsThrottled};
    case Verb::kTerminate: return flags | Record::kIsTerminated;
  }
  return flags;
}

// Only what failed waits; what is asked for instead does not.
bool WaitsToRetry(const Record& agent, Verb verb, const Clock& clock) {
  const Rare* const rare = RareIn(agent);
  return rare != nullptr && rare->failures > 0 && rare->failed == verb &&
         clock.Now() < rare->retry_at;
}

QuotaAction ActionOf(Verb verb) {
  switch (verb) {
    case Verb::kSuspend:
    case Verb::kResume: return QuotaAction::kSuspend;
    case Verb::kThrottle:
    case Verb::kClearThrottle: return QuotaAction::kThrottle;
    case Verb::kTerminate: return QuotaAction::kTerminate;
  }
  return QuotaAction::kWarn;
}

}  // namespace

std::string_view NameOf(Verb verb) noexcept {
  constexpr std::array<std::string_view, 5> kNames = {"suspend", "resume", "throttle",
                                                      "clear_throttle", "terminate"};
  const auto index = static_cast<std::size_t>(verb);
  METE_CHECK(index < kNames.size());
  return kNames[index];
}

void Ledger::QueueIntent(Record& agent, RecordIndex index) {
  if (ScopeOf(agent) != QuotaScope::kAgent) return;
  if ((agent.flags & (Record::kQueued | Record::kInFlight)) != 0) return;
  const std::uint32_t wanted = HeldBack(agent);
  // A target whose end is no longer asked for may live again.
  if ((wanted & Record::kTerminate) == 0) agent.flags &= ~std::uint32_t{Record::kIsTerminated};
  const std::optional<Verb> verb = NextVerb(wanted, agent.flags);
  if (!verb || WaitsToRetry(agent, *verb, clock)) return;
  agent.flags |= Record::kQueued;
  intents.Push(index);
  news.store(true, std::memory_order_relaxed);
  bell.Ring();
}

std::vector<Intent> ResourceManager::TakeIntents(std::size_t most) {
  std::vector<Intent> taken;
  while (taken.size() < most) {
    const std::optional<RecordIndex> index = ledger_->intents.Pop();
    if (!index) break;
    Ledger::Step step;
    if (!ledger_->EnterAny(step, *index)) continue;
    Record& agent = step.leaf();
    if ((agent.flags & Record::kQueued) == 0) continue;
    agent.flags &= ~std::uint32_t{Record::kQueued};
    const std::optional<Verb> verb = NextVerb(ledger_->HeldBack(agent), agent.flags);
    if (!verb || WaitsToRetry(agent, *verb, ledger_->clock)) continue;
    agent.flags |= Record::kInFlight;
    Intent intent{.verb = *verb, .target = NameOf(agent), .account = {}, .limit = {}};
    intent.id = ledger_->intents.GiveOut({*index, agent.generation, *verb});
    intent.account = intent.target;
    const Rare* const rare = RareIn(agent);
    if (rare != nullptr && rare->failed == *verb) intent.attempt = rare->failures + 1;
    for (const Cause& cause : ledger_->CausesOf(agent)) {
      if (cause.action != ActionOf(*verb)) continue;
      intent.account = cause.account;
      intent.limit = cause.limit;
      break;
    }
    taken.push_back(std::move(intent));
  }
  return taken;
}

void ResourceManager::FinishIntent(const Intent& intent, const Result<void>& result) {
  const auto given = ledger_->intents.TakeBack(intent.id);
  if (!given) return;
  Ledger::Step step;
  if (!ledger_->Enter(step, given->account, given->generation)) return;
  ledger_->Begin(step, Access::kLook);
  Record& agent = step.leaf();
  // Of one that was attached again meanwhile, the result says nothing.
  const bool is_stale = (agent.flags & Record::kRestarted) != 0;
  agent.flags &= ~(Record::kInFlight | Record::kRestarted);
  if (!is_stale && result) {
    agent.flags = After(given->verb, agent.flags);
    if (Rare* const rare = RareIn(agent)) rare->failures = 0;
  } else if (!is_stale) {
    Rare& rare = RareOf(agent);
    rare.failures = rare.failed == given->verb ? rare.failures + 1 : 1;
    rare.failed = given->verb;
    const Duration pause = PauseAfter(rare.failures);
    rare.retry_at = step.now + pause;
    Event failed{.kind = EventKind::kActionFailed};
    failed.detail = std::string(NameOf(given->verb)) + ", tried again in " + FormatDuration(pause) +
                    ": " + result.error().ToString();
    ledger_->Emit(std::move(failed), step, agent, agent, nullptr);
    ledger_->Schedule(step.now + pause, Deadlines::Kind::kRetry,
                      DeadlineId(step.index, agent.generation));
  }
  ledger_->QueueIntent(agent, step.index);
  ledger_->Finish(step);
}

}  // namespace mete
