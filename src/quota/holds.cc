// Reservations: set aside on the whole path or not at all (rules 3, 14, 16).
#include <algorithm>

#include "base/check.h"
#include "quota/ledger.h"

namespace mete {
namespace {

std::string Show(const LimitInfo& info, std::int64_t amount) {
  return info.unit == Unit::kNano ? FormatNanoDecimal(amount) : std::to_string(amount);
}

constexpr Duration kLongestTtl = std::chrono::hours(24);

}  // namespace

std::optional<Error> Ledger::RefusalOf(const Step& step, Record& account, const Line& line,
                                       std::int64_t asked) const {
  const LimitInfo& info = InfoOf(line.kind);
  const std::int64_t limit = EffectiveLimit(line, TermsOf(account));
  const std::int64_t used = UsedOf(account, line.kind);
  const std::int64_t held = HeldOf(account, info.resource);
  Duration wait{0};
  if (info.counting == Counting::kRate) {
    const auto fits = RateLimit(*RateIn(account)->rate).TryReserve(asked, step.now);
    if (fits) return std::nullopt;
    wait = fits.error() == RateLimit::kNever ? Duration(0) : fits.error();
  } else {
    if (asked == 0 || (used <= limit && held <= limit - used && asked <= limit - used - held)) {
      return std::nullopt;
    }
    const bool throttled = line.is_cause && line.action == QuotaAction::kThrottle;
    if (throttled && ResetAt(account, line.kind, TermsOf(account)) != Time::max()) {
      wait = ResetAt(account, line.kind, TermsOf(account)) - step.now;
    }
  }
  const std::string name = std::string(info.name) + " of " + NameOf(account).ToString();
  const std::string numbers = "asked " + Show(info, asked) + ", used " + Show(info, used) +
                              ", held " + Show(info, held) + ", limit " + Show(info, limit);
  if (wait > Duration(0)) {
    return Error{ErrorCode::kRateLimited,
                 name + ": no room yet; " + numbers + ", retry after " + FormatDuration(wait),
                 wait};
  }
  return Error{ErrorCode::kLimitExceeded, name + ": would pass the limit; " + numbers, Duration(0)};
}

Result<void> Ledger::CheckRoom(const Step& step, const Amounts& amounts) const {
  // Whoever is to stand still or to end starts nothing new, of whatever resource.
  if ((HeldBack(step.leaf()) & (Record::kSuspend | Record::kTerminate)) != 0) {
    for (const Cause& cause : CausesOf(step.leaf())) {
      if (cause.action == QuotaAction::kThrottle) continue;
      return Fail(ErrorCode::kLimitExceeded,
                  ToString(cause) + ": " + std::string(NameOf(cause.action)) +
                      " is in force; nothing can be reserved until that ends");
    }
  }
  std::optional<Error> refused;
  ForEachResource(amounts.named(), [&](Resource resource) {
    for (Record* account : step) {
      ForEachLineOf(*account, resource, [&](const Line& line) {
        if (refused || !IsCompared(*account, line)) return;
        refused = RefusalOf(step, *account, line, amounts.Get(resource));
      });
    }
  });
  if (refused) return std::unexpected(*std::move(refused));
  return CheckRise(step, amounts);
}

Result<Reservation> ResourceManager::Reserve(Target target, const Amounts& amounts,
                                             const ReserveOptions& options) {
  if (auto good = CheckSigns(amounts); !good) return std::unexpected(good.error());
  if (options.ttl && (*options.ttl <= Duration(0) || *options.ttl > kLongestTtl)) {
    return Fail(ErrorCode::kInvalidArgument, "ttl: out of range; allowed: more than 0s, up to " +
                                                 FormatDuration(kLongestTtl) + ", given " +
                                                 FormatDuration(*options.ttl));
  }
  if (auto good = ledger_->CheckStore(); !good) return std::unexpected(good.error());
  Ledger::Step step;
  if (!ledger_->EnterToChange(step, target)) return std::unexpected(ledger_->NotFound(target));
  const Result<HoldId> hold = ledger_->HoldOnce(step, amounts, options);
  if (!hold) return std::unexpected(hold.error());
  auto done = ledger_->Conclude(step);
  if (done) return Reservation(this, *hold);
  // Whoever asks again with the key gets it; without one nobody ever will.
  if (options.key.empty()) Drop(*hold);
  return std::unexpected(done.error());
}

Result<HoldId> Ledger::HoldOnce(Step& step, const Amounts& amounts, const ReserveOptions& options) {
  if (options.key.empty()) return Hold(step, amounts, options);
  const std::int64_t ttl = options.ttl.value_or(Duration(0)).count();
  const std::uint64_t content = ContentOf(kHoldContent, amounts, static_cast<std::uint64_t>(ttl));
  const auto seen = FindKey(step, options.key, content);
  if (!seen) return std::unexpected(seen.error());
  if (*seen) {
    if (holds.Find((*seen)->hold)) return (*seen)->hold;
    return Fail(ErrorCode::kNotFound,
                "key: the hold that it made is over: " + std::to_string((*seen)->hold));
  }
  Result<HoldId> hold = Hold(step, amounts, options);
  if (hold) KeepKey(step, options.key, {.content = content, .hold = *hold});
  return hold;
}

Result<HoldId> Ledger::Hold(Step& step, const Amounts& amounts, const ReserveOptions& options) {
  Begin(step);
  if (auto room = CheckRoom(step, amounts); !room) {
    Finish(step);
    return std::unexpected(room.error());
  }
  OpenHold hold{.account = step.index, .generation = step.leaf().generation, .reserved = amounts};
  if (options.ttl) hold.ends = step.now + *options.ttl;
  ForEachResource(amounts.named(), [&](Resource resource) {
    const std::int64_t amount = amounts.Get(resource);
    for (std::size_t level = 0; level < step.size; ++level) {
      Record& account = *step.path[level];
      if (resource != Resource::kRequests) {
        ExtraOf(account).held[IndexOf(resource)] += amount;
      } else if (Rare* const rare = RateIn(account)) {
        // Used at once; CheckRoom has seen that it fits.
        hold.slots[level] = *rare->rate->TryReserve(amount, step.now);
        hold.rates[level] = rare->rate_number;
        rare->rate_used = rare->rate->Used(step.now);
      }
    }
    // Only a rate uses what it admits at once, and can reach a threshold by it.
    if (resource == Resource::kRequests) LookUpwards(step, resource, false, Duration(0));
  });
  const HoldId id = holds.Open(hold);
  RareOf(step.leaf()).holds.push_back(id);
  NoteHold(step, id);
  if (hold.ends) {
    deadlines.DropHolds([&](HoldId other) { return !holds.Find(other); });
    Schedule(*hold.ends, Deadlines::Kind::kHold, id);
  }
  Finish(step);
  return id;
}

void Ledger::NoteHold(const Step& step, HoldId id) {
  if (writer) writer->unwritten().ChangesOf(step.root_index).holds.push_back(id);
}

// The amounts are free again, and nothing is used; what a rate admitted comes back as far as it has
// not drained.
void Ledger::GiveBack(Step& step, HoldId id, const OpenHold& hold, std::int64_t requests_used) {
  std::erase(RareOf(step.leaf()).holds, id);
  NoteHold(step, id);
  for (std::size_t level = 0; level < step.size; ++level) {
    Record& account = *step.path[level];
    Rare* const rare = RateIn(account);
    ForEachResource(hold.reserved.named(), [&](Resource resource) {
      const std::int64_t amount = hold.reserved.Get(resource);
      if (resource != Resource::kRequests) {
        ExtraOf(account).held[IndexOf(resource)] -= amount;
      } else if (rare != nullptr && rare->rate_number == hold.rates[level] &&
                 amount > requests_used) {
        rare->rate->GiveBack(hold.slots[level], amount - requests_used, step.now);
        rare->rate_used = rare->rate->Used(step.now);
      }
    });
  }
}

bool Ledger::EnterHold(Step& step, HoldId id, std::optional<OpenHold>& hold) const {
  hold = holds.Find(id);
  if (!hold || !Enter(step, hold->account, hold->generation)) return false;
  // Somebody else may have ended it in between.
  hold = holds.Find(id);
  if (!hold) step.Leave();
  return hold.has_value();
}

Result<Settlement> ResourceManager::Settle(HoldId id, const Amounts& actual) {
  if (auto good = CheckSigns(actual); !good) return std::unexpected(good.error());
  Ledger& ledger = *ledger_;
  Ledger::Step step;
  std::optional<OpenHold> hold;
  Result<Settlement> settlement;
  if (!ledger.EnterToChange(step, [&] { return ledger.EnterHold(step, id, hold); })) {
    const std::optional<SettledHold> settled = ledger.holds.AnswerOf(id);
    if (!settled) {
      return Fail(ErrorCode::kNotFound, "hold: not open: " + std::to_string(id));
    }
    settlement = ledger.AnswerOf(step, *settled);
  } else {
    settlement = ledger.Settle(step, id, *hold, actual);
    if (!settlement) return settlement;
  }
  if (step.root == nullptr) return settlement;
  if (auto done = ledger.Conclude(step); !done) return std::unexpected(done.error());
  if (ledger.writer) {
    settlement->receipt.durable = ledger.writer->is_sync() || ledger.writer->IsAvailable();
  }
  return settlement;
}

// What was counted then; of one that a store has kept, with what is so now. Leaves the account
// entered, where it is still there.
Settlement Ledger::AnswerOf(Step& step, const SettledHold& hold) {
  Settlement answer = hold.answer;
  if (hold.account == kNoRecord || !EnterAny(step, hold.account)) return answer;
  if (!hold.is_restored) return answer;
  Begin(step, Access::kLook);
  Finish(step);
  FillFigures(step, answer.receipt);
  SetState(answer.receipt, HeldBack(step.leaf()), HeldBack(step.leaf()));
  return answer;
}

Result<Settlement> Ledger::Settle(Step& step, HoldId id, const OpenHold& hold,
                                  const Amounts& actual) {
  Begin(step);
  Settlement settlement;
  const ResourceSet measured = MeasuredOf(step.leaf());
  ForEachResource(actual.named() + hold.reserved.named() - measured, [&](Resource resource) {
    const std::int64_t reserved = hold.reserved.Get(resource);
    const std::int64_t used = actual.Has(resource) ? actual.Get(resource) : reserved;
    settlement.used.Set(resource, used);
    if (used > reserved) settlement.above_hold.Set(resource, used - reserved);
  });
  const std::int64_t admitted =
      std::min(settlement.used.Get(Resource::kRequests), hold.reserved.Get(Resource::kRequests));
  if (auto good = CheckRise(step, settlement.above_hold, admitted); !good) {
    Finish(step);
    return std::unexpected(good.error());
  }
  const std::uint32_t before = HeldBack(step.leaf());
  const ResourceSet used = settlement.used.named();
  GiveBack(step, id, hold, settlement.used.Get(Resource::kRequests));
  ForEachResource(used, [&](Resource resource) {
    Count(step, resource, settlement.used.Get(resource),
          resource == Resource::kRequests ? admitted : 0);
  });
  ForEachResource(used, [&](Resource resource) {
    const std::int64_t excess = settlement.above_hold.Get(resource);
    if (excess > 0) NoteExcess(step, resource, excess);
    LookUpwards(step, resource, settlement.used.Get(resource) > 0, config.soft_grace_reported);
  });
  Finish(step);
  settlement.receipt.recorded = used;
  settlement.receipt.measured = actual.named() & measured;
  FillFigures(step, settlement.receipt);
  SetState(settlement.receipt, before, HeldBack(step.leaf()));
  holds.Settle(id, settlement);
  return settlement;
}

// One event, however many limits the resource has.
void Ledger::NoteExcess(Step& step, Resource resource, std::int64_t excess) {
  const Line* first = nullptr;
  ForEachLineOf(step.leaf(), resource, [&](const Line& line) {
    if (first == nullptr) first = &line;
  });
  Event event{.kind = EventKind::kSettledAboveHold, .amount = excess};
  event.detail = NameOf(resource);
  Emit(std::move(event), step, step.leaf(), step.leaf(), first);
}

Result<void> ResourceManager::Release(HoldId id) {
  Ledger::Step step;
  std::optional<OpenHold> hold;
  if (!ledger_->EnterToChange(step, [&] { return ledger_->EnterHold(step, id, hold); })) {
    return Fail(ErrorCode::kNotFound, "hold: not open: " + std::to_string(id));
  }
  ledger_->Release(step, id, *hold);
  return ledger_->Conclude(step);
}

void Ledger::Release(Step& step, HoldId id, const OpenHold& hold) {
  Begin(step);
  holds.Close(id);
  GiveBack(step, id, hold, 0);
  LookUpwards(step, Resource::kRequests, false, Duration(0));
  Finish(step);
}

void ResourceManager::Drop(HoldId id) {
  Ledger::Step step;
  std::optional<OpenHold> hold;
  if (ledger_->EnterHold(step, id, hold)) ledger_->Release(step, id, *hold);
}

// Whoever reserved money may have spent it and died before saying so; everything else was not used
// (rule 14). Nobody waits for the answer, so this waits for nothing.
void ResourceManager::Abandon(HoldId id) noexcept {
  Ledger::Step step;
  std::optional<OpenHold> hold;
  if (!ledger_->EnterHold(step, id, hold)) return;
  if (hold->reserved.Get(Resource::kCost) == 0) return ledger_->Release(step, id, *hold);
  Amounts spent;
  ForEachResource(hold->reserved.named(), [&](Resource resource) { spent.Set(resource, 0); });
  spent.Set(Resource::kCost, hold->reserved.Get(Resource::kCost));
  [[maybe_unused]] const auto settled = ledger_->Settle(step, id, *hold, spent);
}

HoldId Reservation::Detach() noexcept {
  METE_CHECK(manager_ != nullptr);
  std::exchange(manager_, nullptr)->Detach(id_);
  return id_;
}

// A store has to know, or it would be abandoned when the process has gone.
void ResourceManager::Detach(HoldId id) noexcept {
  Ledger::Step step;
  std::optional<OpenHold> hold;
  if (ledger_->writer == nullptr || !ledger_->EnterHold(step, id, hold)) return;
  step.now = ledger_->Now();
  ledger_->NotePath(step);
  ledger_->holds.Detach(id);
  ledger_->NoteHold(step, id);
}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  if (this == &other) return *this;
  if (manager_ != nullptr) manager_->Abandon(id_);
  manager_ = std::exchange(other.manager_, nullptr);
  id_ = other.id_;
  return *this;
}

Reservation::~Reservation() {
  if (manager_ != nullptr) manager_->Abandon(id_);
}

Result<Settlement> Reservation::Settle(const Amounts& actual) {
  METE_CHECK(manager_ != nullptr);
  return manager_->Settle(id_, actual);
}

Result<void> Reservation::Release() {
  METE_CHECK(manager_ != nullptr);
  return manager_->Release(id_);
}

}  // namespace mete
