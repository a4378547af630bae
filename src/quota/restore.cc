#include "quota/restore.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "quota/state_codec.h"
#include "quota/window.h"

namespace mete {
namespace {

// Of a hold that was detached without a time of its own: nobody may know its number any more.
constexpr Duration kLongestHold = std::chrono::hours(24);

Error Damaged(const std::string& what) {
  return {ErrorCode::kStoreUnavailable, "store: damaged: " + what, Duration(0)};
}

Time Later(Time time, Duration by) {
  if (by > Duration(0) && time > Time::max() - by) return Time::max();
  if (by < Duration(0) && time < Time::min() - by) return Time::min();
  return time + by;
}

// One loading: what the store hands over, piece by piece, then what all of it together says.
class Loading {
 public:
  explicit Loading(Ledger& ledger) : ledger_(ledger) {}

  Result<StoredMark> Run(Store& store);
  std::vector<HoldId> TakeOrphans() { return std::move(orphans_); }
  bool is_shifted() const { return is_shifted_; }
  void NoteEnds();
  void NoteAll();

 private:
  Result<void> TakeQuota(StoredQuota& quota);
  Result<void> TakeState(AccountSlot slot, std::string_view bytes);
  Result<void> TakeHold(StoredHold& hold);
  Result<void> Link();
  Result<void> LinkAccount(RecordIndex index);
  Result<void> PutSlots();
  Duration ShiftOf(const StoredMark& mark) const;
  void SetInMotion(Duration shift);
  bool IsThere(RecordIndex slot) const {
    return slot < ledger_.records.size() && (ledger_.records[slot].flags & Record::kLive) != 0;
  }

  Ledger& ledger_;
  bool is_linked_ = false, is_shifted_ = false;
  std::vector<StoredSlots> slots_;
  std::vector<StoredHold> holds_;
  std::vector<StoredKey> keys_;
  std::vector<HoldId> orphans_;
  std::vector<HoldId> limited_;  // that got an end here
};

Result<StoredMark> Loading::Run(Store& store) {
  StoreVisitor visitor;
  visitor.quota = [this](StoredQuota& quota) { return TakeQuota(quota); };
  visitor.state = [this](AccountSlot slot, std::string_view bytes) -> Result<void> {
    if (auto done = Link(); !done) return done;
    return TakeState(slot, bytes);
  };
  visitor.hold = [this](StoredHold& hold) -> Result<void> {
    holds_.push_back(std::move(hold));
    return {};
  };
  visitor.key = [this](StoredKey& key) -> Result<void> {
    if (!IsThere(key.account)) return std::unexpected(Damaged("a key of no account"));
    keys_.push_back(std::move(key));
    return {};
  };
  std::vector<Event> events;
  visitor.event = [&](Event& event) -> Result<void> {
    events.push_back(std::move(event));
    return {};
  };
  Result<StoredMark> mark = store.Load(visitor, ledger_.config.events_kept);
  if (!mark) return mark;
  if (auto done = Link(); !done) return std::unexpected(done.error());

  const Duration shift = ShiftOf(*mark);
  is_shifted_ = shift != Duration(0);
  const Time last = Later(mark->time, shift);
  if (mark->batch > 0) ledger_.latest = last.time_since_epoch().count();
  for (StoredHold& hold : holds_) {
    if (hold.ends) hold.ends = Later(*hold.ends, shift);
    if (auto done = TakeHold(hold); !done) return std::unexpected(done.error());
  }
  if (auto done = PutSlots(); !done) return std::unexpected(done.error());
  for (const StoredKey& key : keys_) {
    ledger_.keys.Remember(key.account, key.key, {key.content, key.hold, Later(key.time, shift)});
  }
  for (Event& event : events) {
    ledger_.events->Restore(std::move(event));
  }
  ledger_.events->GoOnAfter(mark->last_event);
  ledger_.holds.GoOnAfter(mark->last_hold);
  SetInMotion(shift);
  return mark;
}

Result<void> Loading::TakeQuota(StoredQuota& quota) {
  if (quota.slot >= NameTable::kMaxIndex || quota.slot < ledger_.records.size()) {
    return std::unexpected(
        Damaged("an account in a place that cannot be: " + std::to_string(quota.slot)));
  }
  while (ledger_.records.size() <= quota.slot) {
    const RecordIndex next = ledger_.records.size();
    ledger_.records.Grow().root.store(next, std::memory_order_relaxed);
    if (next < quota.slot) ledger_.free_records.push_back(next);
  }
  Record& account = ledger_.records[quota.slot];
  account.flags = Record::kLive;
  if (!account.name.Set(quota.target.scope, quota.target.id)) {
    RareOf(account).long_name = std::move(quota.target.id);
  }
  account.parent = quota.parent.value_or(kNoRecord);
  const std::optional<std::uint16_t> terms =
      quota.window < kShortestWindow
          ? std::nullopt
          : ledger_.terms.IndexOf({.policies = quota.policies, .window = quota.window});
  if (!terms) return std::unexpected(Damaged("the terms of " + NameOf(account).ToString()));
  account.terms = *terms;
  std::size_t lines = 0;
  for (const LimitInfo& info : AllLimits()) {
    const std::optional<Limit>& limit = quota.limits[info.kind];
    if (!limit) continue;
    if (limit->amount < 0) {
      return std::unexpected(Damaged("a negative limit of " + NameOf(account).ToString()));
    }
    Line line;
    line.limit = limit->amount;
    line.text = ledger_.texts.Take(limit->text);
    line.kind = info.kind;
    line.is_set = true;
    if (lines < account.lines.size()) {
      account.lines[lines++] = line;
    } else {
      RareOf(account).lines.push_back(line);
    }
    if (info.counting == Counting::kRate) StartRate(RareOf(account), limit->amount, Time());
  }
  return {};
}

// Once all quotas are there: an account may lie before the one above it.
Result<void> Loading::Link() {
  if (std::exchange(is_linked_, true)) return {};
  const RecordIndex count = ledger_.records.size();
  for (RecordIndex index = 0; index < count; ++index) {
    if (!IsThere(index)) continue;
    if (auto done = LinkAccount(index); !done) return done;
  }
  ledger_.record_count.store(count, std::memory_order_release);
  return {};
}

Result<void> Loading::LinkAccount(RecordIndex index) {
  Record& account = ledger_.records[index];
  RecordIndex root = index;
  const Record* below = &account;
  while (below->parent != kNoRecord) {  // ends: scopes rise
    if (!IsThere(below->parent) || ScopeOf(ledger_.records[below->parent]) <= ScopeOf(*below)) {
      return std::unexpected(Damaged("what is above " + NameOf(account).ToString()));
    }
    root = below->parent;
    below = &ledger_.records[root];
  }
  account.root.store(root, std::memory_order_release);
  if (account.parent != kNoRecord) {
    auto& children = ExtraOf(ledger_.records[account.parent]).children;
    account.place = static_cast<std::uint32_t>(children.size());
    children.push_back(index);
  }
  ledger_.names.Insert(HashOf(account), index, account.parent,
                       [this](RecordIndex other) { return HashOf(ledger_.records[other]); });
  return {};
}

Result<void> Loading::TakeState(AccountSlot slot, std::string_view bytes) {
  if (!IsThere(slot)) return std::unexpected(Damaged("the state of no account"));
  return DecodeState(bytes, ledger_.records[slot], slots_);
}

Result<void> Loading::TakeHold(StoredHold& stored) {
  if (!IsThere(stored.account)) return std::unexpected(Damaged("a hold of no account"));
  Record& account = ledger_.records[stored.account];
  if (stored.is_settled) {
    SettledHold settled{stored.account, stored.reserved, {}, true};
    settled.answer.used = stored.used;
    settled.answer.above_hold = stored.above_hold;
    settled.answer.receipt.recorded = stored.used.named();
    settled.answer.receipt.replayed = true;
    ledger_.holds.Restore(stored.id, std::move(settled));
    return {};
  }
  OpenHold hold{.account = stored.account,
                .generation = account.generation,
                .reserved = stored.reserved,
                .ends = stored.ends,
                .is_detached = stored.is_detached};
  RareOf(account).holds.push_back(stored.id);
  for (RecordIndex at = stored.account; at != kNoRecord; at = ledger_.records[at].parent) {
    ForEachResource(stored.reserved.named(), [&](Resource resource) {
      if (resource == Resource::kRequests) return;
      ExtraOf(ledger_.records[at]).held[IndexOf(resource)] += stored.reserved.Get(resource);
    });
  }
  if (!hold.is_detached) {
    orphans_.push_back(stored.id);
  } else if (!hold.ends) {
    hold.ends = ledger_.Now() + kLongestHold;
    limited_.push_back(stored.id);
  }
  if (hold.ends) ledger_.Schedule(*hold.ends, Deadlines::Kind::kHold, stored.id);
  ledger_.holds.Restore(stored.id, std::move(hold));
  return {};
}

// What holds of requests took from the rates on their paths.
Result<void> Loading::PutSlots() {
  for (const StoredSlots& slots : slots_) {
    if (!ledger_.holds.SetSlots(slots.hold, slots.slots, slots.rates)) {
      return std::unexpected(Damaged("hold " + std::to_string(slots.hold) + " is missing"));
    }
  }
  return {};
}

// Times are of one boot. Over a reboot the wall clock says how long it took, where it can be
// trusted; else the machine counts as if it had not been off (rule 7).
Duration Loading::ShiftOf(const StoredMark& mark) const {
  const Clock& clock = ledger_.clock;
  if (mark.batch == 0 || mark.boot_id == clock.BootId()) return Duration(0);
  Duration off{0};
  const WallTime now = clock.WallNow();
  if (clock.IsWallSynchronised() && now > mark.wall_time) off = now - mark.wall_time;
  return clock.Now() - off - mark.time;
}

// What follows from all of it: which causes hold, where edges lie, what is due, what is to be done.
void Loading::SetInMotion(Duration shift) {
  std::vector<Deadlines::Entry> due;
  const RecordIndex count = ledger_.records.size();
  due.reserve(count);
  for (RecordIndex index = 0; index < count; ++index) {
    Record& account = ledger_.records[index];
    if ((account.flags & Record::kLive) == 0) continue;
    if (shift != Duration(0)) ShiftTimes(account, shift);
    KeepCauseFlags(account);
    if (Rare* const rare = RateIn(account)) {
      rare->rate_used = rare->rate->Used(Time(Duration(ledger_.latest.load())));
    }
  }
  for (RecordIndex index = 0; index < count; ++index) {
    Ledger::Step step;
    if (!ledger_.EnterAny(step, index)) continue;
    step.now = Time(Duration(ledger_.latest.load()));
    Record& account = step.leaf();
    Watch(account, ledger_.TermsOf(account), ledger_.thresholds);
    ledger_.ScheduleRate(step, account);
    due.emplace_back(account.look_at + Clock::kCoarseLag, Deadlines::Kind::kWindows,
                     DeadlineId(index, account.generation));
    ledger_.QueueIntent(account, index);
  }
  ledger_.deadlines.Add(due);
}

// Or each restart would give them another one.
void Loading::NoteEnds() {
  for (const HoldId id : limited_) {
    Ledger::Step step;
    std::optional<OpenHold> hold;
    if (!ledger_.EnterHold(step, id, hold)) continue;
    step.now = ledger_.Now();
    ledger_.NotePath(step);
    ledger_.NoteHold(step, id);
  }
}

// Times in a store are all of one boot: so all that have some are written again, in one batch with
// the mark that names the new one.
void Loading::NoteAll() {
  const auto with = [this](RecordIndex index, auto&& note) {
    Ledger::Step step;
    if (!ledger_.EnterAny(step, index)) return;
    step.now = ledger_.Now();
    ledger_.Note(step, index);
    note(step);
  };
  for (RecordIndex index = 0; index < ledger_.records.size(); ++index) {
    with(index, [](const Ledger::Step&) {});
  }
  for (const StoredHold& hold : holds_) {
    with(hold.account, [&](const Ledger::Step& step) { ledger_.NoteHold(step, hold.id); });
  }
  for (const StoredKey& key : keys_) {
    with(key.account,
         [&](const Ledger::Step& step) { ledger_.NoteKey(step, key.account, key.key); });
  }
}

}  // namespace

Result<std::vector<HoldId>> Restore(Ledger& ledger, std::unique_ptr<Store> store) {
  Loading loading(ledger);
  const Result<StoredMark> mark = loading.Run(*store);
  if (!mark) return std::unexpected(mark.error());
  ledger.writer = std::make_unique<Writer>(ledger, std::move(store), *mark);
  for (RecordIndex index = 0; index < ledger.records.size(); ++index) {
    ledger.writer->unwritten().Grow();
  }
  ledger.noted_flag = Record::kUnwritten;
  if (ledger.config.durability != Durability::kNone) ledger.events->Show(ledger.events->last());
  loading.NoteEnds();
  if (loading.is_shifted()) {
    loading.NoteAll();
    ledger.writer->WriteFirst();
  }
  ledger.writer->Start();
  return loading.TakeOrphans();
}

}  // namespace mete
