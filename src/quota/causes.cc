// Why targets are held back, and what is to be done about it (rule 12).
//
// A cause belongs to the account whose limit was passed, or which an operator named; it holds for
// that account and for every agent below. So it is kept once, and an agent's state is worked out
// from its path; only events and intents go down the tree.
#include <algorithm>

#include "base/check.h"
#include "quota/ledger.h"

namespace mete {
namespace {

std::uint32_t FlagOf(QuotaAction action) {
  switch (action) {
    case QuotaAction::kWarn: return 0;
    case QuotaAction::kThrottle: return Record::kThrottle;
    case QuotaAction::kSuspend: return Record::kSuspend;
    case QuotaAction::kTerminate: return Record::kTerminate;
  }
  return 0;
}

EventKind EventOf(QuotaAction action) {
  switch (action) {
    case QuotaAction::kWarn: return EventKind::kWarned;
    case QuotaAction::kThrottle: return EventKind::kThrottled;
    case QuotaAction::kSuspend: return EventKind::kSuspended;
    case QuotaAction::kTerminate: return EventKind::kTerminated;
  }
  return EventKind::kWarned;
}

bool IsLifted(const Record& agent, RecordIndex above, LimitKind kind) {
  if ((agent.flags & Record::kHasLifted) == 0) return false;
  const auto& lifted = RareIn(agent)->lifted;
  return std::any_of(lifted.begin(), lifted.end(), [&](const Rare::Lifted& one) {
    return one.account == above && one.limit == kind;
  });
}

void Unlift(Record& agent, RecordIndex above, LimitKind kind) {
  if ((agent.flags & Record::kHasLifted) == 0) return;
  std::erase_if(RareIn(agent)->lifted,
                [&](const Rare::Lifted& one) { return one.account == above && one.limit == kind; });
  if (RareIn(agent)->lifted.empty()) agent.flags &= ~std::uint32_t{Record::kHasLifted};
}

}  // namespace

void KeepCauseFlags(Record& account) {
  std::uint32_t flags = account.flags & ~kCauseFlags;
  if ((flags & Record::kOperatorSuspend) != 0) flags |= Record::kSuspend;
  if ((flags & Record::kOperatorTerminate) != 0) flags |= Record::kTerminate;
  ForEachLine(account, [&](const Line& line) {
    if (line.is_cause) flags |= FlagOf(line.action);
  });
  account.flags = flags;
}

RecordIndex Ledger::IndexIn(const Step& step, const Record& account) const {
  RecordIndex index = step.index;
  for (const Record* at : step) {
    if (at == &account) return index;
    index = at->parent;
  }
  METE_CHECK(index != kNoRecord);
  return index;
}

std::uint32_t Ledger::HeldBack(const Record& account) const {
  std::uint32_t flags = account.flags & kCauseFlags;
  for (RecordIndex above = account.parent; above != kNoRecord; above = records[above].parent) {
    Record& ancestor = records[above];
    if ((account.flags & Record::kHasLifted) == 0) {
      flags |= ancestor.flags & kCauseFlags;
      continue;
    }
    if ((ancestor.flags & Record::kOperatorSuspend) != 0) flags |= Record::kSuspend;
    if ((ancestor.flags & Record::kOperatorTerminate) != 0) flags |= Record::kTerminate;
    ForEachLine(ancestor, [&](const Line& line) {
      if (line.is_cause && !IsLifted(account, above, line.kind)) flags |= FlagOf(line.action);
    });
  }
  return flags;
}

std::string ToString(const Cause& cause) {
  const std::string_view what = cause.limit ? InfoOf(*cause.limit).name : "operator";
  return std::string(what) + " of " + cause.account.ToString();
}

std::vector<Cause> Ledger::CausesOf(Record& account) const {
  std::vector<Cause> causes;
  Record* at = &account;
  for (RecordIndex index = kNoRecord;; index = at->parent, at = &records[index]) {
    const TargetName name = NameOf(*at);
    if ((at->flags & Record::kOperatorSuspend) != 0) {
      causes.push_back({name, std::nullopt, QuotaAction::kSuspend});
    }
    if ((at->flags & Record::kOperatorTerminate) != 0) {
      causes.push_back({name, std::nullopt, QuotaAction::kTerminate});
    }
    ForEachLine(*at, [&](const Line& line) {
      if (!line.is_cause || (at != &account && IsLifted(account, index, line.kind))) return;
      causes.push_back({name, line.kind, line.action});
    });
    if (at->parent == kNoRecord) return causes;
  }
}

void Ledger::AddCause(Step& step, Record& account, Line* line, QuotaAction action) {
  if (line != nullptr) {
    line->is_cause = true;
    line->action = action;
  }
  KeepCauseFlags(account);
  const auto tell = [&](Record& target, RecordIndex index) {
    Event event{.kind = EventOf(action)};
    if (line != nullptr) event.amount = EffectiveLimit(*line, TermsOf(account));
    Emit(std::move(event), step, target, account, line);
    QueueIntent(target, index);
  };
  tell(account, IndexIn(step, account));
  ForEachBelow(account, [&](Record& below, RecordIndex index) {
    if (ScopeOf(below) == QuotaScope::kAgent) tell(below, index);
  });
}

// Whoever was held back by nothing else is free now; of one that was to be ended nothing is said.
void Ledger::EndCause(Step& step, Record& account, Line* line, QuotaAction action) {
  const RecordIndex own = IndexIn(step, account);
  const std::uint32_t flag = FlagOf(action);
  std::vector<RecordIndex> held;
  if ((HeldBack(account) & flag) != 0) held.push_back(own);
  ForEachBelow(account, [&](Record& below, RecordIndex index) {
    if (ScopeOf(below) == QuotaScope::kAgent && (HeldBack(below) & flag) != 0) {
      held.push_back(index);
    }
  });
  if (line != nullptr) {
    line->is_cause = false;
    ForEachBelow(account, [&](Record& below, RecordIndex index) {
      if (!IsLifted(below, own, line->kind)) return;
      Note(step, index);
      Unlift(below, own, line->kind);
    });
  } else {
    account.flags &= ~std::uint32_t{action == QuotaAction::kSuspend ? Record::kOperatorSuspend
                                                                    : Record::kOperatorTerminate};
  }
  KeepCauseFlags(account);
  for (const RecordIndex index : held) {
    Record& target = records[index];
    if ((HeldBack(target) & flag) != 0) continue;
    Event event{.kind = EventKind::kResumed};
    if (line != nullptr) event.amount = EffectiveLimit(*line, TermsOf(account));
    if (action != QuotaAction::kTerminate) Emit(std::move(event), step, target, account, line);
    QueueIntent(target, index);
  }
}

// What is in force above holds for it from the start.
void Ledger::Inherit(Step& step, Record& agent) {
  for (Record* at : step) {
    if (at == &agent) continue;
    const auto tell = [&](QuotaAction action, const Line* line) {
      Event event{.kind = EventOf(action)};
      if (line != nullptr) event.amount = EffectiveLimit(*line, TermsOf(*at));
      Emit(std::move(event), step, agent, *at, line);
    };
    if ((at->flags & Record::kOperatorSuspend) != 0) tell(QuotaAction::kSuspend, nullptr);
    if ((at->flags & Record::kOperatorTerminate) != 0) tell(QuotaAction::kTerminate, nullptr);
    ForEachLine(*at, [&](const Line& line) {
      if (line.is_cause) tell(line.action, &line);
    });
  }
  QueueIntent(agent, step.index);
}

// Own causes are lifted with their limit, those above for this agent alone.
void Ledger::Lift(Step& step, Record& account, QuotaAction action) {
  ForEachLine(account, [&](Line& line) {
    if (!line.is_cause || line.action != action) return;
    line.lifted = true;
    EndCause(step, account, &line, action);
  });
  if (ScopeOf(account) != QuotaScope::kAgent) return;
  const bool was_held = (HeldBack(account) & FlagOf(action)) != 0;
  const Line* last = nullptr;
  const Record* last_account = nullptr;
  for (RecordIndex above = account.parent; above != kNoRecord; above = records[above].parent) {
    ForEachLine(records[above], [&](const Line& line) {
      if (!line.is_cause || line.action != action || IsLifted(account, above, line.kind)) return;
      RareOf(account).lifted.push_back({above, line.kind});
      account.flags |= Record::kHasLifted;
      last = &line;
      last_account = &records[above];
    });
  }
  if (last == nullptr || !was_held || (HeldBack(account) & FlagOf(action)) != 0) return;
  Event resumed{.kind = EventKind::kResumed};
  resumed.amount = EffectiveLimit(*last, TermsOf(*last_account));
  Emit(std::move(resumed), step, account, *last_account, last);
  QueueIntent(account, step.index);
}

Result<void> ResourceManager::Suspend(Target target) {
  Ledger::Step step;
  if (!ledger_->EnterToChange(step, target)) return std::unexpected(ledger_->NotFound(target));
  ledger_->Begin(step);
  Record& account = step.leaf();
  if ((account.flags & Record::kOperatorSuspend) == 0) {
    account.flags |= Record::kOperatorSuspend;
    ledger_->AddCause(step, account, nullptr, QuotaAction::kSuspend);
  }
  ledger_->Finish(step);
  return ledger_->Conclude(step);
}

Result<void> ResourceManager::Terminate(Target target) {
  Ledger::Step step;
  if (!ledger_->EnterToChange(step, target)) return std::unexpected(ledger_->NotFound(target));
  ledger_->Begin(step);
  Record& account = step.leaf();
  if ((account.flags & Record::kOperatorTerminate) == 0) {
    account.flags |= Record::kOperatorTerminate;
    ledger_->AddCause(step, account, nullptr, QuotaAction::kTerminate);
  }
  ledger_->Finish(step);
  return ledger_->Conclude(step);
}

Result<void> ResourceManager::Resume(Target target, bool override_causes) {
  Ledger::Step step;
  if (!ledger_->EnterToChange(step, target)) return std::unexpected(ledger_->NotFound(target));
  ledger_->Begin(step);
  Record& account = step.leaf();
  // The operator's cause goes last, so that one event says that the target is free.
  if (override_causes) {
    ledger_->Lift(step, account, QuotaAction::kSuspend);
    ledger_->Lift(step, account, QuotaAction::kThrottle);
  }
  if ((account.flags & Record::kOperatorSuspend) != 0) {
    ledger_->EndCause(step, account, nullptr, QuotaAction::kSuspend);
  }
  ledger_->Finish(step);
  std::string left;
  bool to_end = false;
  for (const Cause& cause : ledger_->CausesOf(account)) {
    if (cause.action == QuotaAction::kThrottle) continue;
    to_end = to_end || cause.action == QuotaAction::kTerminate;
    left += (left.empty() ? "" : ", ") + ToString(cause);
  }
  if (auto done = ledger_->Conclude(step); !done || left.empty()) return done;
  return Fail(ErrorCode::kLimitExceeded,
              (to_end ? "still to be terminated; raise or reset the limit, or start it anew: "
                      : "still suspended; raise or reset the limit, or override: ") +
                  left);
}

Result<bool> ResourceManager::IsThrottled(Target target) {
  Ledger::Step step;
  if (!ledger_->Enter(step, target)) return std::unexpected(ledger_->NotFound(target));
  ledger_->Begin(step, Access::kLook);
  ledger_->Finish(step);
  return (ledger_->HeldBack(step.leaf()) & Record::kThrottle) != 0;
}

Result<void> ResourceManager::ClearThrottle(Target target) {
  Ledger::Step step;
  if (!ledger_->EnterToChange(step, target)) return std::unexpected(ledger_->NotFound(target));
  ledger_->Begin(step);
  ledger_->Lift(step, step.leaf(), QuotaAction::kThrottle);
  ledger_->Finish(step);
  return ledger_->Conclude(step);
}

}  // namespace mete
