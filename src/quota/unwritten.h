// What changed and is not on disk yet: for each tree its accounts, holds, keys and events.
//
// A change is noted before it is made, under the lock of its tree; the first one since the last cut
// puts the tree on the list of those that the next batch looks at. What says that an account is
// noted is a bit in its record, so that a report finds out by looking at the flags it has read
// anyway; the lists lie beside the records, and exist only where there is a store.
//
// A tree is named by the index of its root. An account that is removed stays in the list of its
// tree until the next batch, and is noted once more if it comes back: so in a list is noted only
// what is of that tree and has the bit.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "mete/quota_event.h"
#include "quota/bell.h"
#include "quota/key_book.h"
#include "quota/record.h"
#include "quota/slab.h"

namespace mete {

class Unwritten {
 public:
  // Of a tree, beside the states of its accounts.
  struct Changes {
    std::vector<HoldId> holds;
    std::vector<KeyBook::Name> keys;
    std::vector<Event> events;
  };
  // The trees that one batch looks at.
  struct List {
    std::uint64_t number = 0;      // of the batch, by the count of this process
    std::uint64_t last_event = 0;  // it has those up to this one
    std::vector<RecordIndex> roots;
    std::vector<Event> events;  // of no tree
    bool is_whole = true;       // no tree was put off
  };
  static constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();

  // How far memory may be ahead of the disk before whoever changes something has to look at that:
  // then `look_at` is the time from which on.
  static constexpr Duration kAlwaysLooks = Duration::min(), kNeverLooks = Duration::max();

  // `bell` rings when there is something again.
  Unwritten(Bell& bell, std::atomic<std::int64_t>& look_at, Duration ahead)
      : bell_(bell), look_at_(look_at), ahead_(ahead) {
    KeepSum();
  }

  // Under the mutex of the accounts

  void Grow() { marks_.Grow(); }  // for one record more
  void NoteRemoved(RecordIndex slot) { removed_.push_back(slot); }
  std::vector<RecordIndex> TakeRemoved() { return std::exchange(removed_, {}); }
  void NoteRemoved(std::vector<RecordIndex> slots);  // again, before those that are there

  // Under the lock of the tree

  void Note(RecordIndex root, RecordIndex index, Record& account, Time now) {
    if ((account.flags & Record::kUnwritten) == 0) Add(root, index, account, now);
  }
  void NoteTree(RecordIndex root, Time now) {
    if (!marks_[root].is_listed) Enlist(root, now);
  }
  // REQUIRES: the tree is noted.
  Changes& ChangesOf(RecordIndex root);
  // Before the number of an event of the tree is known.
  void NoteEventOf(RecordIndex root) {
    if (!marks_[root].has_events) NoteHasEvents(root);
  }
  bool HasEvents(RecordIndex root) const { return marks_[root].has_events; }
  // The batch that has, or will have, the last change of the tree.
  std::uint64_t BatchOf(RecordIndex root) const { return marks_[root].batch; }

  // What there is of a tree, which is then not noted any more; its accounts by the order in which
  // they were noted.
  std::unique_ptr<Changes> TakeTree(RecordIndex root, std::vector<RecordIndex>& accounts);
  void PutOff(RecordIndex root, List& list);  // to the next batch

  // Any time

  // An event of no tree is numbered by `number`, and belongs to the next batch.
  template <class Number>
  void NoteEvent(Event event, Time now, Number&& number);
  // The next batch; what is noted from now on is for the one after it. `last_event` is asked for at
  // the same moment. But first all trees with events have to be locked, so that none that has a
  // lower number comes later: while there are others, it adds them to `to_lock` and answers false.
  template <class LastEvent>
  bool TakeList(List& list, std::vector<RecordIndex>& to_lock, LastEvent&& last_event);
  std::uint64_t NextBatch() const;  // that would have what is noted now; 0: there is nothing
  std::uint64_t last_batch() const;
  // Since when the oldest change has waited that is not in a batch, or is in one that is under way.
  std::int64_t since() const { return since_.load(std::memory_order_relaxed); }
  void ForgetBatch(bool written);  // the one under way has ended
  void SetAhead(Duration ahead);

 private:
  struct Marks {  // of a root
    std::vector<RecordIndex> accounts;
    bool is_listed = false;
    bool has_events = false;
    std::uint64_t batch = 0;
    std::unique_ptr<Changes> changes;
  };

  void Add(RecordIndex root, RecordIndex index, Record& account, Time now);
  void Enlist(RecordIndex root, Time now);
  void NoteHasEvents(RecordIndex root);
  void KeepSince(std::int64_t now);
  void KeepSum();

  Bell& bell_;
  std::atomic<std::int64_t>& look_at_;
  Slab<Marks, 8192, 2048> marks_;
  std::vector<RecordIndex> removed_;

  mutable std::mutex mutex_;  // inside the lock of a tree
  Duration ahead_;
  std::vector<RecordIndex> roots_;
  std::vector<RecordIndex> have_events_;
  std::vector<Event> events_;
  std::uint64_t batches_ = 0;
  std::int64_t waits_since_ = kNone, under_way_since_ = kNone;
  std::atomic<std::int64_t> since_{kNone};
};

template <class Number>
void Unwritten::NoteEvent(Event event, Time now, Number&& number) {
  const std::lock_guard lock(mutex_);
  event.sequence = number(event);
  events_.push_back(std::move(event));
  KeepSince(now.time_since_epoch().count());
}

template <class LastEvent>
bool Unwritten::TakeList(List& list, std::vector<RecordIndex>& to_lock, LastEvent&& last_event) {
  const std::lock_guard lock(mutex_);
  if (!have_events_.empty()) {
    to_lock.insert(to_lock.end(), have_events_.begin(), have_events_.end());
    have_events_.clear();
    return false;
  }
  list.number = ++batches_;
  list.last_event = last_event();
  list.roots = std::exchange(roots_, {});
  list.events = std::exchange(events_, {});
  under_way_since_ = std::min(under_way_since_, std::exchange(waits_since_, kNone));
  KeepSum();
  return true;
}

}  // namespace mete
