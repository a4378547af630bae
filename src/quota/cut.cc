// What a batch has: of each tree that changed, all that changed up to one moment between two of its
// steps, with the events of those steps. So what is on disk is, of each tree, a state that it was
// in, and what a tenant used is the sum of what is below it.
//
// Nothing is created or removed meanwhile: an account that moved to another tree in between would
// be twice in the batch, or not at all.
#include <algorithm>
#include <array>
#include <numeric>
#include <set>

#include "quota/ledger.h"
#include "quota/state_codec.h"
#include "quota/writer.h"

namespace mete {
namespace {

// While the store cannot be written; then the oldest are dropped, and it is said how many.
constexpr std::size_t kMostEventsKept = 200'000;
// Records are fetched so many ahead of being looked at.
constexpr std::size_t kAheadInList = 8;
// So many slots are sorted faster by their bits than by comparing them.
constexpr std::size_t kManySlots = 512;

template <class T>
void KeepOnce(std::vector<T>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

// In the order of slots the accounts lie one after the other in memory, and in the store.
void SortSlots(std::vector<RecordIndex>& slots, std::vector<RecordIndex>& sorted) {
  if (slots.size() < kManySlots) return std::sort(slots.begin(), slots.end());
  constexpr unsigned kBits = 12;
  static_assert(decltype(Ledger::records)::kMax <= 1u << 2 * kBits);
  sorted.resize(slots.size());
  for (const unsigned shift : {0u, kBits}) {
    std::array<std::uint32_t, (1u << kBits) + 1> begins{};
    const auto part = [shift](RecordIndex slot) { return slot >> shift & ((1u << kBits) - 1); };
    for (const RecordIndex slot : slots) ++begins[part(slot) + 1];
    std::partial_sum(begins.begin(), begins.end(), begins.begin());
    for (const RecordIndex slot : slots) sorted[begins[part(slot)]++] = slot;
    slots.swap(sorted);
  }
}

// Keeps the memory of what is large.
void Clear(StoreBatch& batch) {
  batch.removed.clear();
  batch.quotas.clear();
  batch.states.sizes.clear();
  batch.states.bytes.clear();
  batch.holds.clear();
  batch.ended_holds.clear();
  batch.keys.clear();
  batch.ended_keys.clear();
  batch.events.clear();
}

}  // namespace

Unwritten::List Writer::Cut() {
  StoreBatch& batch = batch_;
  Clear(batch);
  const std::lock_guard lock(ledger_.accounts_mutex);
  // What is forgotten by now was noted before the list is taken; what is forgotten later may not
  // be in it.
  std::vector<HoldId> holds_forgotten = ledger_.holds.TakeForgotten();
  const std::vector<KeyBook::Name> keys_forgotten = ledger_.keys.TakeForgotten();
  Unwritten::List list;
  std::vector<RecordIndex> with_events;
  for (std::size_t locked = 0;
       !unwritten_.TakeList(list, with_events, [this] { return ledger_.events->last(); });) {
    for (; locked < with_events.size(); ++locked) LockTree(with_events[locked]);
  }
  events_waiting_.store(0, std::memory_order_relaxed);
  batch.removed = unwritten_.TakeRemoved();
  KeepOnce(batch.removed);
  batch.ended_holds = std::exchange(ended_holds_, {});
  batch.ended_holds.insert(batch.ended_holds.end(), holds_forgotten.begin(), holds_forgotten.end());
  batch.ended_keys = std::exchange(ended_keys_, {});
  for (const auto& [account, key] : keys_forgotten) {
    batch.ended_keys.push_back({.account = account, .key = key});
  }
  batch.events = std::exchange(events_, {});
  batch.events.insert(batch.events.end(), list.events.begin(), list.events.end());

  std::sort(with_events.begin(), with_events.end());
  for (const RecordIndex root : with_events) {
    CutTree(root);
    UnlockTree(root);
  }
  // The numbers of events rise from batch to batch. So a tree that raised its first one since then
  // is put off.
  SortSlots(list.roots, slots_sorted_);
  for (const RecordIndex root : list.roots) {
    if (std::binary_search(with_events.begin(), with_events.end(), root)) continue;
    LockTree(root);
    if (unwritten_.HasEvents(root)) {
      unwritten_.PutOff(root, list);
    } else {
      CutTree(root);
    }
    UnlockTree(root);
  }

  KeepOnce(batch.ended_holds);
  std::sort(batch.events.begin(), batch.events.end(),
            [](const Event& a, const Event& b) { return a.sequence < b.sequence; });
  // Each once; one that was forgotten and used again is there.
  std::set<KeyBook::Name> names;
  const auto is_named = [&](const StoredKey& key) {
    return !names.emplace(key.account, key.key).second;
  };
  std::erase_if(batch.keys, is_named);
  std::erase_if(batch.ended_keys, is_named);
  batch.mark = {.batch = batch_number_ + 1,
                .time = ledger_.Now(),
                .wall_time = ledger_.clock.WallNow(),
                .boot_id = boot_id_,
                .last_event = ledger_.events->last(),
                .last_hold = ledger_.holds.last()};
  return list;
}

// A root that was removed, and its record given to another tree, has no lock of its own; and nobody
// but this thread looks at what it left. That stays so while nothing is created or removed.
void Writer::LockTree(RecordIndex root) {
  Record& record = ledger_.records[root];
  if (record.root.load(std::memory_order_relaxed) == root) record.lock.lock();
}

void Writer::UnlockTree(RecordIndex root) {
  Record& record = ledger_.records[root];
  if (record.root.load(std::memory_order_relaxed) == root) record.lock.unlock();
}

void Writer::CutTree(RecordIndex root) {
  const std::unique_ptr<Unwritten::Changes> changes = unwritten_.TakeTree(root, slots_);
  SortSlots(slots_, slots_sorted_);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (i + kAheadInList < slots_.size()) ledger_.Prefetch(slots_[i + kAheadInList]);
    Record& account = ledger_.records[slots_[i]];
    if (account.root.load(std::memory_order_relaxed) != root) continue;  // it was removed
    if ((account.flags & Record::kUnwritten) != 0) CutAccount(slots_[i], account);
  }
  if (!changes) return;
  StoreBatch& batch = batch_;
  KeepOnce(changes->holds);
  for (const HoldId id : changes->holds) {
    if (auto hold = ledger_.holds.StoredOf(id)) {
      batch.holds.push_back(*std::move(hold));
    } else {
      batch.ended_holds.push_back(id);
    }
  }
  KeepOnce(changes->keys);
  for (const auto& [account, key] : changes->keys) {
    StoredKey stored{.account = account, .key = key};
    if (const auto entry = ledger_.keys.FindOfAnyAge(account, key)) {
      stored.content = entry->content;
      stored.hold = entry->hold;
      stored.time = entry->time;
      batch.keys.push_back(std::move(stored));
    } else {
      batch.ended_keys.push_back(std::move(stored));
    }
  }
  std::move(changes->events.begin(), changes->events.end(), std::back_inserter(batch.events));
}

void Writer::CutAccount(RecordIndex index, Record& account) {
  StoreBatch& batch = batch_;
  const std::size_t before = batch.states.bytes.size();
  EncodeState(account, ledger_.holds, batch.states.bytes);
  const std::size_t bytes = batch.states.bytes.size() - before;
  batch.states.sizes.push_back({index, static_cast<std::uint32_t>(bytes)});
  if ((account.flags & Record::kUnwrittenQuota) != 0) {
    StoredQuota& quota = batch.quotas.emplace_back();
    quota.slot = index;
    if (account.parent != kNoRecord) quota.parent = account.parent;
    quota.target = NameOf(account);
    quota.policies = ledger_.TermsOf(account).policies;
    quota.window = ledger_.TermsOf(account).window;
    ForEachLine(account, [&](const Line& line) {
      quota.limits[line.kind] = Limit{line.limit, ledger_.texts.TextOf(line.text)};
    });
  }
  account.flags &= ~std::uint32_t{Record::kUnwritten | Record::kUnwrittenQuota};
}

// What was removed or has ended stays so; the rest goes with its tree again.
void Writer::NoteAgain() {
  StoreBatch& batch = batch_;
  {
    const std::lock_guard lock(ledger_.accounts_mutex);
    unwritten_.NoteRemoved(std::move(batch.removed));
  }
  const Time since(Duration(unwritten_.since()));
  const auto with = [&](AccountSlot slot, auto&& note) {
    Ledger::Step step;
    if (ledger_.EnterAny(step, slot)) {
      unwritten_.NoteTree(step.root_index, since);
      note(step);
    }
    return step.root != nullptr;
  };
  for (const StoredStates::Size& size : batch.states.sizes) {
    with(size.slot, [&](Ledger::Step& step) {
      unwritten_.Note(step.root_index, step.index, step.leaf(), since);
    });
  }
  for (const StoredQuota& quota : batch.quotas) {
    with(quota.slot, [&](Ledger::Step& step) {
      unwritten_.Note(step.root_index, step.index, step.leaf(), since);
      step.leaf().flags |= Record::kUnwrittenQuota;
    });
  }
  // Of an account that was removed, these have been noted as ended by then.
  for (const StoredHold& hold : batch.holds) {
    with(hold.account, [&](Ledger::Step& step) {
      unwritten_.ChangesOf(step.root_index).holds.push_back(hold.id);
    });
  }
  for (const StoredKey& key : batch.keys) {
    with(key.account, [&](Ledger::Step& step) {
      unwritten_.ChangesOf(step.root_index).keys.emplace_back(key.account, key.key);
    });
  }
  ended_holds_ = std::move(batch.ended_holds);
  ended_keys_ = std::move(batch.ended_keys);
  events_ = std::move(batch.events);
  if (events_.size() <= kMostEventsKept) return;
  const std::size_t dropped = events_.size() - kMostEventsKept;
  events_.erase(events_.begin(), events_.begin() + static_cast<std::ptrdiff_t>(dropped));
  events_dropped_ += dropped;
}

}  // namespace mete
