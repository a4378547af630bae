// The last events, numbered. Whoever appends holds the lock of a tree, so that the numbers follow
// the order of its steps; nobody who reads is waited for. What a store does not have yet is not
// given out (Show).
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "mete/quota_event.h"

namespace mete {

class EventLog {
 public:
  explicit EventLog(std::size_t kept) : kept_(kept) {}

  std::uint64_t Append(Event event);  // gives it its number
  void Close();                       // nobody waits any more

  std::uint64_t last() const;  // the number of the last one
  // From now on those up to this number are given out; kAll: whatever there is.
  static constexpr std::uint64_t kAll = std::numeric_limits<std::uint64_t>::max();
  void Show(std::uint64_t up_to);

  // One from a store, where some numbers are missing. REQUIRES: rising, and none was appended.
  void Restore(Event event);
  void GoOnAfter(std::uint64_t last);

  EventReader::Batch Take(std::uint64_t& next, std::size_t most);
  bool Wait(std::uint64_t next, Duration timeout);

 private:
  // An event without what most events have not.
  struct Kept {
    explicit Kept(Event&& event);
    Event Restore() const;

    std::uint64_t sequence;
    EventKind kind;
    std::uint8_t percent;
    std::optional<LimitKind> limit;
    Time time;
    WallTime wall_time;
    TargetName target;
    std::unique_ptr<TargetName> account;  // if it is not the target
    std::int64_t used;
    std::int64_t amount;
    std::int64_t windows;
    std::unique_ptr<std::string> detail;
    std::unique_ptr<ResourceUsage> usage;
  };

  // The first one from `next` on; the end, if it is not to be given out.
  std::deque<Kept>::const_iterator Find(std::uint64_t next) const;

  const std::size_t kept_;
  mutable std::mutex mutex_;
  std::condition_variable more_;
  std::deque<Kept> events_;
  std::uint64_t last_ = 0;
  std::uint64_t shown_ = kAll;
  bool closed_ = false;
};

}  // namespace mete
