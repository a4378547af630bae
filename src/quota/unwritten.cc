#include "quota/unwritten.h"

#include <algorithm>

namespace mete {

void Unwritten::NoteRemoved(std::vector<RecordIndex> slots) {
  slots.insert(slots.end(), removed_.begin(), removed_.end());
  std::sort(slots.begin(), slots.end());
  slots.erase(std::unique(slots.begin(), slots.end()), slots.end());
  removed_ = std::move(slots);
}

void Unwritten::Add(RecordIndex root, RecordIndex index, Record& account, Time now) {
  NoteTree(root, now);
  account.flags |= Record::kUnwritten;
  marks_[root].accounts.push_back(index);
}

void Unwritten::Enlist(RecordIndex root, Time now) {
  Marks& tree = marks_[root];
  tree.is_listed = true;
  const std::lock_guard lock(mutex_);
  tree.batch = batches_ + 1;
  roots_.push_back(root);
  KeepSince(now.time_since_epoch().count());
}

void Unwritten::NoteHasEvents(RecordIndex root) {
  marks_[root].has_events = true;
  const std::lock_guard lock(mutex_);
  have_events_.push_back(root);
}

void Unwritten::PutOff(RecordIndex root, List& list) {
  list.is_whole = false;
  const std::lock_guard lock(mutex_);
  marks_[root].batch = batches_ + 1;
  roots_.push_back(root);
  waits_since_ = std::min(waits_since_, under_way_since_);
  KeepSum();
}

void Unwritten::KeepSince(std::int64_t now) {
  const bool is_first = waits_since_ == kNone;
  waits_since_ = std::min(waits_since_, now);
  KeepSum();
  if (is_first) bell_.Ring();
}

void Unwritten::KeepSum() {
  const std::int64_t since = std::min(waits_since_, under_way_since_);
  since_.store(since, std::memory_order_relaxed);
  constexpr auto kNever = std::numeric_limits<std::int64_t>::max();
  std::int64_t look_at = kNever;
  if (ahead_ == kAlwaysLooks) {
    look_at = std::numeric_limits<std::int64_t>::min();
  } else if (since != kNone && ahead_ != kNeverLooks) {
    look_at = since > kNever - ahead_.count() ? kNever : since + ahead_.count();
  }
  look_at_.store(look_at, std::memory_order_relaxed);
}

void Unwritten::SetAhead(Duration ahead) {
  const std::lock_guard lock(mutex_);
  ahead_ = ahead;
  KeepSum();
}

Unwritten::Changes& Unwritten::ChangesOf(RecordIndex root) {
  std::unique_ptr<Changes>& changes = marks_[root].changes;
  if (!changes) changes = std::make_unique<Changes>();
  return *changes;
}

std::unique_ptr<Unwritten::Changes> Unwritten::TakeTree(RecordIndex root,
                                                        std::vector<RecordIndex>& accounts) {
  Marks& tree = marks_[root];
  tree.is_listed = false;
  tree.has_events = false;
  accounts.assign(tree.accounts.begin(), tree.accounts.end());
  tree.accounts.clear();  // keeps its memory
  return std::move(tree.changes);
}

std::uint64_t Unwritten::NextBatch() const {
  const std::lock_guard lock(mutex_);
  return waits_since_ == kNone ? 0 : batches_ + 1;
}

std::uint64_t Unwritten::last_batch() const {
  const std::lock_guard lock(mutex_);
  return batches_;
}

// What a batch that failed had is noted anew, but as old as it is.
void Unwritten::ForgetBatch(bool written) {
  const std::lock_guard lock(mutex_);
  if (!written) waits_since_ = std::min(waits_since_, under_way_since_);
  under_way_since_ = kNone;
  KeepSum();
}

}  // namespace mete
