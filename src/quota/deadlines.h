// What is due when: the ends of windows, of violated rates, of holds; intents that are tried again.
//
// An entry is a reminder to look, not the thing itself: one that comes too early, or for something
// that is gone, does no harm. So every account has exactly one entry for its windows (they only
// ever move later), and the entry of a hold that was settled stays until they are many (DropHolds).
//
// Thread safety: any thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "mete/clock.h"

namespace mete {

class Deadlines {
 public:
  enum class Kind : std::uint8_t { kWindows, kRate, kRetry, kHold };
  struct Entry {
    Entry(Time at_in, Kind kind, std::uint64_t id)
        : at(at_in), what(id << 2 | static_cast<std::uint64_t>(kind)) {}
    Kind kind() const { return static_cast<Kind>(what & 3); }
    std::uint64_t id() const { return what >> 2; }  // of a hold; else of the account, DeadlineId

    Time at;
    std::uint64_t what;
  };

  // True if it is now the first one.
  bool Add(const Entry& entry) {
    const std::lock_guard lock(mutex_);
    const bool first = entries_.empty() || entry.at < entries_.front().at;
    entries_.push_back(entry);
    std::push_heap(entries_.begin(), entries_.end(), Later);
    return first;
  }

  // Many at once.
  void Add(const std::vector<Entry>& entries) {
    const std::lock_guard lock(mutex_);
    entries_.insert(entries_.end(), entries.begin(), entries.end());
    std::make_heap(entries_.begin(), entries_.end(), Later);
  }

  // Takes out the reminders of holds that are over, once there are twice as many entries as it left
  // the last time: a constant cost for each, and no more of them than of what is there. Else
  // whoever reserves and settles for a day could fill the memory.
  template <class IsOver>
  void DropHolds(IsOver&& is_over) {
    const std::lock_guard lock(mutex_);
    if (entries_.size() < drop_at_) return;
    std::erase_if(entries_, [&](const Entry& entry) {
      return entry.kind() == Kind::kHold && is_over(entry.id());
    });
    std::make_heap(entries_.begin(), entries_.end(), Later);
    drop_at_ = std::max(kFew, entries_.size() * 2);
  }

  std::optional<Time> next() const {
    const std::lock_guard lock(mutex_);
    if (entries_.empty()) return std::nullopt;
    return entries_.front().at;
  }

  // One that is due, which is then no longer here.
  std::optional<Entry> TakeDue(Time now) {
    const std::lock_guard lock(mutex_);
    if (entries_.empty() || entries_.front().at > now) return std::nullopt;
    std::pop_heap(entries_.begin(), entries_.end(), Later);
    const Entry due = entries_.back();
    entries_.pop_back();
    return due;
  }

 private:
  static constexpr std::size_t kFew = 4096;  // not worth a look

  static bool Later(const Entry& a, const Entry& b) { return a.at > b.at; }

  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
  std::size_t drop_at_ = kFew;
};

}  // namespace mete
